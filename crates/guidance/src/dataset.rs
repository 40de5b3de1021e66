//! Data sets on the GPU: what they hold is uploaded once, or drawn there; batches are made there.

use std::path::PathBuf;

use trellis_tensor::ops::{SequenceTask, Sequences};
use trellis_tensor::{Clock, Gpu, Graph, Tensor, Var};

use crate::data::text::Text;
use crate::data::{DrawnSequences, Images};
use crate::error::{Error, Result};
use crate::network::{Each, Input, InputShape, Output, TokenShape};

/// Examples in up to three splits, on the GPU.
#[derive(Clone, Debug)]
pub struct Dataset {
    gpu: Gpu,
    name: String,
    input: InputShape,
    output: Output,
    train: Split,
    validation: Option<Split>,
    test: Option<Split>,
    skipped: Vec<PathBuf>,
}

/// One split on the GPU.
#[derive(Clone, Debug)]
pub struct Split {
    examples: Examples,
    count: usize,
}

/// Where the examples of a split come from.
#[derive(Clone, Debug)]
enum Examples {
    /// Bytes `u8[count, channels, height, width]`, labels `u32[count]`, and what makes the training pixels have mean 0 and
    /// variance 1.
    Images { images: Tensor, labels: Tensor, scale: f32, shift: f32 },
    /// Drawn where they are needed.
    Drawn(Sequences),
    /// Blocks of text `u32[count, time]`, and the token that follows each of theirs.
    Text { tokens: Tensor, next: Tensor },
}

/// A batch in a graph.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'g> {
    /// What networks take: images are normalised, `[batch, channels, height, width]`; tokens are `u32[batch, time]`.
    pub input: Input<'g>,
    /// `u32[batch]`, or `u32[batch, time]` where each position has a label.
    pub labels: Var<'g>,
}

/// Drawn training examples have numbers below this: batches are always of new ones.
const DRAWN: usize = (1 << 31) - 1;

impl Dataset {
    /// Uploads splits of images. Normalisation comes from the training split alone.
    ///
    /// # Errors
    /// [`Error::Data`] if the splits differ in image size or the training split is empty; when memory does not allow it.
    pub fn new(gpu: &Gpu, train: &Images, validation: Option<&Images>, test: Option<&Images>) -> Result<Self> {
        let image = [train.channels, train.height, train.width];
        for split in [Some(train), validation, test].into_iter().flatten() {
            if [split.channels, split.height, split.width] != image || split.count() == 0 {
                let problem = format!("{} images of {}x{}", split.count(), split.height, split.width);
                return Err(Error::data(&split.name, problem, "all splits need images of one size, at least one each"));
            }
        }
        let (mean, deviation) = train.pixel_mean_std();
        let (scale, shift) = (1.0 / (255.0 * deviation), -mean / deviation);
        let upload = |split: &Images, kind: &str| {
            let shape = [split.count(), split.channels, split.height, split.width];
            let labels: Vec<u32> = split.labels.iter().map(|&label| u32::from(label)).collect();
            let images = Tensor::from_u8(gpu, &format!("{kind} images"), shape, &split.pixels)?;
            let labels = Tensor::from_u32(gpu, &format!("{kind} labels"), [split.count()], &labels)?;
            Ok::<Split, Error>(Split {
                examples: Examples::Images { images, labels, scale, shift },
                count: split.count(),
            })
        };
        Ok(Self {
            gpu: gpu.clone(),
            name: train.name.clone(),
            input: image.into(),
            output: train.classes.into(),
            train: upload(train, "train")?,
            validation: validation.map(|split| upload(split, "validation")).transpose()?,
            test: test.map(|split| upload(split, "test")).transpose()?,
            skipped: Vec::new(),
        })
    }

    /// Sequences that are drawn on the GPU. Training batches are always of new examples; `counts` says how many of the
    /// training, validation and test split an evaluation looks at. Seed and split decide them.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no training example.
    pub fn drawn(gpu: &Gpu, drawn: DrawnSequences, counts: [usize; 3]) -> Result<Self> {
        let split = |count: usize, stream: u32| {
            (count > 0).then_some(Split { examples: Examples::Drawn(drawn.sequences(stream)), count })
        };
        let [train, validation, test] = counts;
        let sequences = drawn.sequences(0);
        let padding = (sequences.task == SequenceTask::Parity).then_some(2);
        let shape = TokenShape { time: sequences.time(), vocabulary: sequences.vocabulary(), padding };
        Ok(Self {
            gpu: gpu.clone(),
            name: drawn.name().to_string(),
            input: shape.into(),
            output: match sequences.task {
                SequenceTask::Parity => 2.into(),
                SequenceTask::CopyPaste { .. } => Output { classes: sequences.vocabulary(), each: Each::Position },
            },
            train: split(train, 0).ok_or_else(|| Error::config("data", "train", "is 0", "give a number above 0"))?,
            validation: split(validation, 1),
            test: split(test, 2),
            skipped: Vec::new(),
        })
    }

    /// Text in blocks of `time` tokens; the label of each is the token that follows. The splits are of so many blocks each, one
    /// after another from the beginning.
    ///
    /// # Errors
    /// [`Error::Data`] if the text is too short, or no block is for training; when memory does not allow it.
    pub fn text(gpu: &Gpu, text: &Text, time: usize, counts: [usize; 3]) -> Result<Self> {
        let available = text.tokens.len().saturating_sub(1) / time.max(1);
        let wanted = counts.iter().try_fold(0_usize, |sum, &count| sum.checked_add(count));
        if time == 0 || counts[0] == 0 || wanted.is_none_or(|wanted| wanted > available) {
            let [train, validation, test] = counts;
            let problem = format!("has {available} blocks of {time} tokens, not {train} + {validation} + {test}");
            return Err(Error::data(&text.name, problem, "make the splits smaller, at least one training block"));
        }
        let split = |first: usize, count: usize, kind: &str| {
            let upload = |what: &str, from: usize| {
                let tokens = &text.tokens[from..from + count * time];
                Tensor::from_u32(gpu, &format!("{kind} {what}"), [count, time], tokens)
            };
            let (tokens, next) = (upload("tokens", first * time)?, upload("next tokens", first * time + 1)?);
            Ok::<Split, Error>(Split { examples: Examples::Text { tokens, next }, count })
        };
        let [train, validation, test] = counts;
        Ok(Self {
            gpu: gpu.clone(),
            name: text.name.clone(),
            input: TokenShape { time, vocabulary: text.vocabulary(), padding: None }.into(),
            output: Output { classes: text.vocabulary(), each: Each::Position },
            train: split(0, train, "train")?,
            validation: (validation > 0).then(|| split(train, validation, "validation")).transpose()?,
            test: (test > 0).then(|| split(train + validation, test, "test")).transpose()?,
            skipped: Vec::new(),
        })
    }

    /// The same, with a note of files that were left out.
    pub(crate) fn without(self, skipped: Vec<PathBuf>) -> Self {
        Self { skipped, ..self }
    }

    /// Files that were left out because they are no images.
    pub fn skipped(&self) -> &[PathBuf] {
        &self.skipped
    }

    /// A random batch of training examples for the step that `clock` shows, without replacement within an epoch.
    ///
    /// # Errors
    /// When `batch` is 0 or more than there are.
    pub fn train_batch<'g>(&self, graph: &'g Graph, clock: &Clock, batch: usize, seed: u64) -> Result<Batch<'g>> {
        let examples = if let Examples::Drawn(_) = self.train.examples { DRAWN } else { self.train.count };
        let index = graph.leaf(clock.tensor()).sample_batch(examples, batch, seed)?;
        self.gather(graph, &self.train, index)
    }

    /// Examples `step · batch …` of `split`; past its end, nothing, with labels that are ignored.
    ///
    /// # Errors
    /// When `batch` is 0.
    pub fn sequential_batch<'g>(
        &self,
        graph: &'g Graph,
        split: &Split,
        clock: &Clock,
        batch: usize,
    ) -> Result<Batch<'g>> {
        let index = graph.leaf(clock.tensor()).sequential_batch(split.count, batch)?;
        self.gather(graph, split, index)
    }

    /// Training examples by index, `[batch]`.
    ///
    /// # Errors
    /// When `index` holds no indices.
    pub fn train_examples<'g>(&self, graph: &'g Graph, index: Var<'g>) -> Result<Batch<'g>> {
        self.gather(graph, &self.train, index)
    }

    fn gather<'g>(&self, graph: &'g Graph, split: &Split, index: Var<'g>) -> Result<Batch<'g>> {
        let [values, labels] = match &split.examples {
            Examples::Images { images, labels, scale, shift } => {
                let images = graph.leaf(images).gather_images(index, *scale, *shift)?;
                [images, graph.leaf(labels).gather_labels(index)?]
            }
            Examples::Drawn(sequences) => index.sequences(*sequences)?,
            Examples::Text { tokens, next } => {
                [graph.leaf(tokens).gather_labels(index)?, graph.leaf(next).gather_labels(index)?]
            }
        };
        Ok(Batch { input: self.input.of(values), labels })
    }

    /// The normalised value of a black pixel, what a shifted image is filled with; 0 where there are no images.
    pub fn black(&self) -> f32 {
        match self.train.examples {
            Examples::Images { shift, .. } => shift,
            _ => 0.0,
        }
    }

    /// The splits that exist, by name.
    pub fn splits(&self) -> impl Iterator<Item = (&'static str, &Split)> {
        let named =
            [("train", Some(&self.train)), ("validation", self.validation.as_ref()), ("test", self.test.as_ref())];
        named.into_iter().filter_map(|(name, split)| Some((name, split?)))
    }

    /// The device that holds it.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What an example is.
    pub fn input(&self) -> InputShape {
        self.input
    }

    /// What has a label, and of how many classes.
    pub fn output(&self) -> Output {
        self.output
    }

    /// Training examples; of drawn ones, those that an evaluation looks at.
    pub fn train_count(&self) -> usize {
        self.train.count
    }
}

impl Split {
    /// Number of examples.
    pub fn count(&self) -> usize {
        self.count
    }
}
