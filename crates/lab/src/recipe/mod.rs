//! Recipe of a checkpoint, that is, what it needs besides its numbers: network, input, output and origin.
//!
//! A [`Recipe`] is one line of JSON among what a file of weights says of itself. It rebuilds the network exactly
//! ([`Recipe::network`]), prepares images and text as training saw them ([`Predictor`]), and finds the data of an evaluation
//! ([`Recipe::dataset`]).

mod data;
mod image;
mod predict;

use std::path::Path;

use serde::{Deserialize, Serialize};
use trellis_data::Normalization;
use trellis_data::text::TokenKind;
use trellis_tensor::Gpu;

use crate::config::{Config, DataSet, NetworkConfig};
pub use data::Chosen;
pub use image::expand;
pub use predict::{Candidate, Prediction, Predictor};
use trellis_guidance::network::{InputScale, InputShape, Output, TokenShape};
use trellis_guidance::trainer::EvalRecord;
use trellis_guidance::weights::{WeightsFile, load};
use trellis_guidance::{Dataset, Error, Network, Result};

/// Number of this form of recipes; readers refuse greater ones.
const VERSION: u32 = 2;

/// Description of a checkpoint's numbers. In JSON its keys have the order of these fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Form of the recipe: 1, or 2 where its network sees images in a scale of its own, which readers of form 1 do not know.
    pub version: u32,
    /// The network, with the keys of the configuration's section.
    pub network: NetworkConfig,
    /// Input of the network.
    pub input: RecipeInput,
    /// Output of the network: number of classes, and what has a label.
    pub output: Output,
    /// Names of all classes in order; empty if they are just the indices.
    pub class_names: Vec<String>,
    /// The data of the training.
    pub data: RecipeData,
    /// The run that gave the numbers, and when.
    pub run: Origin,
}

/// Input of a network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RecipeInput {
    /// Images, normalized: `(brightness − mean) / deviation`, brightness from 0 to 1.
    Images {
        /// Channels, height, width.
        shape: [usize; 3],
        /// Units of brightness.
        normalization: Normalization,
        /// Scale of the images that the network sees, where it is another: that of `[guide] mean` and `std`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scale: Option<InputScale>,
        /// Preparation of an image; `null` where images are taken as they lie.
        preparation: Option<Preparation>,
    },
    /// Sequences of token ids.
    Tokens {
        /// Positions of a sequence, padding counted.
        time: usize,
        /// Ids are below this.
        vocabulary: usize,
        /// The id that fills shorter sequences up, at their end.
        padding: Option<u32>,
        /// Meaning of the ids; `null` if they are just numbers.
        tokens: Option<TokenKind>,
    },
}

/// Preparation of an image file before it is normalized.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Part of the image that is seen: `center square`.
    pub region: String,
    /// Height and width to which it is resized.
    pub resize: usize,
    /// Filter of the resizing.
    pub filter: String,
    /// Height and width of the middle that networks see of that; `null`: all.
    pub crop: Option<usize>,
}

const REGION: &str = "center square";
const FILTER: &str = "bilinear, antialiased as Pillow";

/// The data of a training.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipeData {
    /// Kind of data set.
    pub set: DataSet,
    /// [`Dataset::describe`], by which another set shows.
    pub contents: String,
}

/// Origin of a checkpoint's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// Name of the experiment.
    pub experiment: String,
    /// Arm, or `guide`.
    pub arm: String,
    /// Seed.
    pub seed: u64,
    /// Optimizer steps taken.
    pub step: u64,
    /// Evaluation of the validation split after that step, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Score>,
}

/// Result of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of labels that are right, 0 to 1.
    #[serde(deserialize_with = "trellis_guidance::trainer::number")]
    pub top1: f32,
    /// Mean cross-entropy in nats.
    #[serde(deserialize_with = "trellis_guidance::trainer::number")]
    pub loss: f32,
}

impl Score {
    /// Score of an evaluation.
    pub(crate) fn of(eval: &EvalRecord) -> Self {
        Self { top1: eval.top1, loss: eval.loss }
    }

    /// `true` where more is right, or, of as much, the loss is lower. A score of NaN is better than none.
    pub(crate) fn is_better_than(self, other: Self) -> bool {
        let pair = |score: Self| [score.top1, score.loss].map(f64::from);
        is_better(pair(self), pair(other))
    }
}

/// `true` where a top-1 is higher, or as high with a lower loss; each is `[top1, loss]`. NaN is worse than any number.
pub(crate) fn is_better(a: [f64; 2], b: [f64; 2]) -> bool {
    let top1 = |score: [f64; 2]| if score[0].is_nan() { -1.0 } else { score[0] };
    let loss = |score: [f64; 2]| if score[1].is_nan() { f64::INFINITY } else { score[1] };
    top1(a).total_cmp(&top1(b)).then(loss(b).total_cmp(&loss(a))).is_gt()
}

impl Recipe {
    /// Recipe of `network`, which `section` describes, trained on `data` as `config` says.
    pub(crate) fn new(config: &Config, section: NetworkConfig, network: &Network, data: &Dataset, run: Origin) -> Self {
        let preparation = (config.data.set == DataSet::Folder).then(|| Preparation {
            region: REGION.to_string(),
            resize: config.data.resize.unwrap_or(config.data.size),
            filter: FILTER.to_string(),
            crop: config.data.resize.map(|_| config.data.size),
        });
        let input = match (network.input(), data.normalization()) {
            (InputShape::Tokens(TokenShape { time, vocabulary, padding }), _) => {
                RecipeInput::Tokens { time, vocabulary, padding, tokens: data.token_kind().cloned() }
            }
            (InputShape::Image(shape), normalization) => {
                let normalization = normalization.unwrap_or(Normalization { mean: 0.0, deviation: 1.0 });
                let scale = network.input_scale().cloned();
                RecipeInput::Images { shape, normalization, scale, preparation }
            }
        };
        // A guide from a file may have classes of its own, of which nothing is known.
        let known = network.output() == data.output();
        let class_names = if known { data.all_class_names().to_vec() } else { Vec::new() };
        Self {
            version: if network.input_scale().is_some() { VERSION } else { 1 },
            network: section,
            input,
            output: network.output(),
            class_names,
            data: RecipeData { set: config.data.set, contents: data.describe() },
            run,
        }
    }

    /// Reads the recipe of a file of weights.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read, [`Error::Checkpoint`] if it is no such file, has no recipe, or one that this version does not
    /// know.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(text) = WeightsFile::read(path)?.recipe() else {
            let hint = "give a checkpoint of a run (those of earlier versions have none)";
            return Err(Error::checkpoint(path, "holds weights without their recipe", hint));
        };
        #[derive(Deserialize)]
        struct Form {
            version: u32,
        }
        let bad = |error: serde_json::Error| {
            Error::checkpoint(path, format!("has a recipe that cannot be read ({error})"), "use another checkpoint")
        };
        let Form { version } = serde_json::from_str(&text).map_err(bad)?;
        if version > VERSION {
            let problem = format!("has a recipe of form {version}, and this version reads {VERSION}");
            return Err(Error::checkpoint(path, problem, "use the version of Trellis that wrote it"));
        }
        serde_json::from_str(&text).map_err(bad)
    }

    /// JSON in one line.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text, numbers, and keys that are text")
    }

    /// The network, with the weights of `path`.
    ///
    /// # Errors
    /// When the file is not of such a network, or memory does not allow it.
    pub fn network(&self, gpu: &Gpu, path: &Path) -> Result<Network> {
        let network = Network::with_shape(gpu, self.network.architecture(), self.input_shape(), self.output, 0)?;
        let network = match &self.input {
            RecipeInput::Images { normalization, scale: Some(scale), .. } => {
                network.with_input_scale(scale, *normalization)?
            }
            _ => network,
        };
        load(&network, path)?;
        Ok(network)
    }

    /// Input shape of the network.
    pub fn input_shape(&self) -> InputShape {
        match self.input {
            RecipeInput::Images { shape, .. } => shape.into(),
            RecipeInput::Tokens { time, vocabulary, padding, .. } => TokenShape { time, vocabulary, padding }.into(),
        }
    }

    /// Name of a class, a character where classes are those of a text, or its number. What a terminal obeys is escaped.
    pub fn class_name(&self, class: usize) -> String {
        let character = match &self.input {
            RecipeInput::Tokens { tokens: Some(TokenKind::Characters { characters }), .. } => {
                characters.chars().nth(class)
            }
            _ => None,
        };
        let plain = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
        let name = self.class_names.get(class).cloned().or(character.map(plain));
        name.unwrap_or_else(|| class.to_string())
    }

    /// True if its classes are characters.
    pub fn is_of_characters(&self) -> bool {
        matches!(self.input, RecipeInput::Tokens { tokens: Some(TokenKind::Characters { .. }), .. })
    }

    /// A few lines for people: names and values.
    pub fn describe(&self) -> Vec<(&'static str, String)> {
        let input = match &self.input {
            RecipeInput::Images { shape, normalization: Normalization { mean, deviation }, scale, preparation } => {
                let prepared =
                    preparation.as_ref().map_or("as they lie".to_string(), |Preparation { resize, crop, .. }| {
                        let crop = crop.map_or(String::new(), |size| format!(", the middle {size} x {size} of it"));
                        format!("center square, resized to {resize} x {resize}{crop}")
                    });
                let units = match scale {
                    Some(InputScale { mean, std }) => format!("channels {mean:?} ± {std:?}"),
                    None => format!("brightness {mean} ± {deviation}"),
                };
                format!("{}, {prepared}; {units}", InputShape::from(*shape))
            }
            RecipeInput::Tokens { tokens, .. } => match tokens {
                None => self.input_shape().to_string(),
                Some(TokenKind::Bytes) => format!("{}, bytes", self.input_shape()),
                Some(TokenKind::Characters { .. }) => format!("{}, characters", self.input_shape()),
                Some(TokenKind::Tokenizer { path, .. }) => format!("{}, {}", self.input_shape(), path.display()),
            },
        };
        let Origin { experiment, arm, seed, step, validation } = &self.run;
        let score = validation.map_or(String::new(), |score| {
            format!(", validation top-1 {:.1} %, loss {:.3}", 100.0 * score.top1, score.loss)
        });
        let names = match self.class_names.len() {
            0 => String::new(),
            count => {
                let more = if count > LISTED { ", …" } else { "" };
                format!(": {}{more}", self.class_names[..count.min(LISTED)].join(", "))
            }
        };
        vec![
            ("network", self.network.architecture().describe()),
            ("input", input),
            ("classes", format!("{}{names}", self.output.classes)),
            ("run", format!("{experiment}, arm {arm}, seed {seed}, step {step}{score}")),
        ]
    }
}

/// Names of classes that are listed in a line.
const LISTED: usize = 10;

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use trellis_guidance::Rnn;
    use trellis_guidance::network::LabelPer;

    #[test]
    fn more_right_labels_are_better_then_a_lower_loss() {
        let score = |top1, loss| Score { top1, loss };
        assert!(score(0.6, 9.0).is_better_than(score(0.5, 1.0)) && !score(0.5, 1.0).is_better_than(score(0.6, 9.0)));
        assert!(score(0.5, 1.0).is_better_than(score(0.5, 1.1)) && !score(0.5, 1.0).is_better_than(score(0.5, 1.0)));
        assert!(
            score(0.1, 2.0).is_better_than(score(f32::NAN, 1.0))
                && !score(0.1, f32::NAN).is_better_than(score(0.1, 2.0))
        );
    }

    #[test]
    fn a_recipe_is_read_as_it_was_written() {
        let tokens = Some(TokenKind::Characters { characters: "\0 \"\\aé😀".to_string() });
        let recipe = Recipe {
            version: VERSION,
            network: NetworkConfig::Rnn(Rnn { dropout: 0.1, ..Rnn::paper() }),
            input: RecipeInput::Tokens { time: 8, vocabulary: 7, padding: None, tokens },
            output: Output { classes: 7, label_per: LabelPer::Position },
            class_names: Vec::new(),
            data: RecipeData { set: DataSet::Text, contents: "train 3".to_string() },
            run: Origin {
                experiment: "x".to_string(),
                arm: "alone".to_string(),
                seed: u64::MAX,
                step: 3,
                validation: Some(Score { top1: 0.1, loss: f32::MIN_POSITIVE }),
            },
        };
        assert_eq!(serde_json::from_str::<Recipe>(&recipe.to_json()).unwrap(), recipe);
        let images = RecipeInput::Images {
            shape: [3, 8, 8],
            normalization: Normalization { mean: 0.333_333_34, deviation: 1e-7 },
            scale: Some(InputScale::imagenet()),
            preparation: None,
        };
        let images = Recipe { input: images, ..recipe };
        assert_eq!(serde_json::from_str::<Recipe>(&images.to_json()).unwrap(), images);
    }
}
