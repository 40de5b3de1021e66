//! Predictions of a checkpoint: classes of images, and the next token of a text.

use std::path::{Path, PathBuf};

use serde::Serialize;
use trellis_data::Images;
use trellis_data::text::Text;
use trellis_tensor::{Gpu, Graph, Plan, StepState, Tensor};

use super::image::{Prepared, Stored};
use super::{Preparation, Recipe, RecipeInput};
use trellis_guidance::network::Mode;
use trellis_guidance::{BatchSource, CapturePoint, Dataset, Error, Network, Result};

/// A checkpoint ready to predict.
#[derive(Debug)]
pub struct Predictor {
    gpu: Gpu,
    path: PathBuf,
    recipe: Recipe,
    network: Network,
}

/// Prediction of a network for one example.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The most likely classes, or tokens that may be next, most likely first.
    pub best: Vec<Candidate>,
    /// Things that a person should know of how the example was prepared.
    pub notes: Vec<String>,
}

/// A class or token that an example may have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// Its number.
    pub class: usize,
    /// Its name, or its number as text.
    pub name: String,
    /// 0 to 1.
    pub probability: f32,
}

/// Images that are predicted at once.
const BATCH: usize = 64;

/// Candidates that are kept of a prediction.
const BEST: usize = 5;

impl Candidate {
    /// The most likely of all classes; `name` names them.
    fn best(logits: &[f32], name: impl Fn(usize) -> String) -> Vec<Self> {
        let mut all: Vec<(usize, f32)> = softmax(logits).into_iter().enumerate().collect();
        all.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        all.truncate(BEST);
        let candidate = |(class, probability)| Self { class, name: name(class), probability };
        all.into_iter().map(candidate).collect()
    }
}

impl Predictor {
    /// Reads a checkpoint that has a recipe.
    ///
    /// # Errors
    /// As [`Recipe::read`] and [`Recipe::network`].
    pub fn open(gpu: &Gpu, path: &Path) -> Result<Self> {
        let recipe = Recipe::read(path)?;
        let network = recipe.network(gpu, path)?;
        Ok(Self { gpu: gpu.clone(), path: path.to_owned(), recipe, network })
    }

    /// Predicts the classes of image files, and hands each result to `tell`, in their order; an image that cannot be read is an
    /// error of its own.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a network that takes no images; a lost device; the first of `tell`.
    pub fn images(
        &self,
        files: &[PathBuf],
        mut tell: impl FnMut(&Path, Result<Prediction>) -> Result<()>,
    ) -> Result<()> {
        let stored = self.recipe.stored(&self.path)?;
        for files in files.chunks(BATCH) {
            let mut read: Vec<_> = files.iter().map(|file| stored.read(file)).collect();
            let pixels: Vec<&[u8]> = read.iter().flatten().map(|image| &image.pixels[..]).collect();
            let mut best = self.classes(stored, &pixels)?.into_iter();
            for (file, image) in files.iter().zip(read.drain(..)) {
                let predicted =
                    |image: Prepared| Prediction { best: best.next().unwrap_or_default(), notes: image.notes };
                tell(file, image.map(predicted))?;
            }
        }
        Ok(())
    }

    /// Likely classes of images that lie in memory, `[channels, height, width]` each.
    fn classes(&self, stored: Stored, images: &[&[u8]]) -> Result<Vec<Vec<Candidate>>> {
        let RecipeInput::Images { normalization, preparation, .. } = &self.recipe.input else { return Ok(Vec::new()) };
        if images.is_empty() {
            return Ok(Vec::new());
        }
        let set = Images {
            channels: stored.channels,
            height: stored.size,
            width: stored.size,
            pixels: images.concat(),
            labels: vec![0; images.len()],
            classes: self.recipe.output.classes,
            name: "images".to_string(),
        };
        let data = Dataset::new(&self.gpu, &set, None, None)?.normalized(*normalization);
        let crop = preparation.as_ref().and_then(|Preparation { crop, .. }| *crop);
        let data = if let Some(size) = crop { data.cropped(size)? } else { data };
        let (graph, step_state) = (Graph::new(), StepState::new(&self.gpu)?);
        let batch = BatchSource::sequential(&data, data.train(), images.len())?.batch(&graph, &step_state)?;
        let logits = self.network.forward(&graph, batch.input, Mode::Eval, CapturePoint::default())?.logits;
        let plan = Plan::new(&self.gpu, &graph, &[logits])?;
        plan.run(1)?;
        let logits = plan.read(logits)?;
        let best = |logits: &[f32]| Candidate::best(logits, |class| self.recipe.class_name(class));
        Ok(logits.chunks(self.recipe.output.classes).map(best).collect())
    }

    /// Predicts the token after `text`, of which the last tokens count that fill the network's sequences.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a network that was not trained on text, or whose outputs depend on later tokens where `text` does
    /// not fill a sequence; [`Error::Data`] for an empty text, or one that cannot be cut into the network's tokens.
    pub fn next_token(&self, text: &str) -> Result<Prediction> {
        let bad = |problem: &str, hint: &str| Err(Error::checkpoint(&self.path, problem, hint));
        let RecipeInput::Tokens { time, tokens: Some(tokens), .. } = &self.recipe.input else {
            return bad("was not trained on text", "give image files to a network of images");
        };
        let tokenizer = tokens.tokenizer(self.path.parent().unwrap_or(Path::new("")))?;
        let text = Text::new("--text", text.as_bytes(), tokenizer)?;
        let last = text.len().saturating_sub(*time);
        let mut ids = text.tokens(last, text.len() - last)?;
        let (given, mut notes) = (ids.len(), Vec::new());
        if last > 0 {
            notes.push(format!("only its last {time} of {} tokens count", text.len()));
        }
        if given < *time && !self.recipe.network.is_causal() {
            let problem =
                format!("is of a network that looks at later tokens too, and {given} tokens do not fill its {time}");
            return bad(&problem, "give a longer text");
        }
        // Positions behind them are not seen.
        ids.resize(*time, 0);
        let (logits, classes) = (self.logits(&ids)?, self.recipe.output.classes);
        let best = Candidate::best(&logits[(given - 1) * classes..given * classes], |id| text.token_name(id));
        Ok(Prediction { best, notes })
    }

    /// Logits of a sequence of token ids that is as long as the network's: `[classes]`, or `[time, classes]` where each position
    /// has a label.
    ///
    /// # Errors
    /// [`Error::Tensor`] for a sequence of another length, or a network that takes none.
    pub fn logits(&self, ids: &[u32]) -> Result<Vec<f32>> {
        let graph = Graph::new();
        let ids = Tensor::from_u32(&self.gpu, "tokens", [1, ids.len()], ids)?;
        let input = self.network.input().of(graph.leaf(&ids));
        let logits = self.network.forward(&graph, input, Mode::Eval, CapturePoint::default())?.logits;
        let plan = Plan::new(&self.gpu, &graph, &[logits])?;
        plan.run(1)?;
        Ok(plan.read(logits)?)
    }
}

/// Probabilities of logits.
fn softmax(logits: &[f32]) -> Vec<f32> {
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - greatest).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| (power / sum) as f32).collect()
}
