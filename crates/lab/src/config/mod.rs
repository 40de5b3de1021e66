//! The TOML file that describes an experiment. Every key has a default; unknown keys are errors, with a suggestion.

mod arm;
mod check;
mod defaults;
mod explain;
mod lengths;
mod network;
mod overrides;
mod pools;
mod resolve;
mod splits;
mod synonyms;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::{DeTable, Deserializer};

pub use arm::{ArmConfig, ArmGuide};
use explain::explain;
pub use network::{GuideConfig, NetworkConfig, TargetConfig};
use trellis_guidance::error::{Error, Result};
use trellis_guidance::io::regular_file;
use trellis_guidance::network::CapturePoint;
use trellis_guidance::trainer::Batches;
pub use values::amount::Amount;
pub use values::channels::Channels;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// An experiment: arms × seeds of one target, one guide and one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the run folder.
    pub name: String,
    /// Seeds; each arm is trained once with each.
    pub seeds: Vec<u64>,
    /// Arms in the order in which they are trained: `alone`, `untrained`, `trained`, `trained_first`, and those of `[arm.<name>]`.
    /// Differences are to the first.
    pub arms: Vec<String>,
    /// The data set and its splits.
    pub data: DataConfig,
    /// `[target]`: the network that is trained, a fully connected one unless `network` says otherwise.
    #[serde(skip_deserializing)]
    pub target: TargetConfig,
    /// `[guide]`: the network that guides, a convolutional one unless `network` says otherwise.
    #[serde(skip_deserializing)]
    pub guide: GuideConfig,
    /// Settings of guidance.
    pub guidance: GuidanceConfig,
    /// Settings of the target's training.
    pub training: TrainingConfig,
    /// Arms of one's own, and settings of single arms that differ: `[arm.alone] learning_rate = 0.003`.
    pub arm: BTreeMap<String, ArmConfig>,
    /// [`Training::check`](trellis_guidance::Training::check) of every arm. No key: it changes no result.
    #[serde(skip)]
    pub check_gradients: bool,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `glyphs`, `copy_paste` and `parity` (drawn), `idx` (MNIST's format), `cifar` and `folder` (JPEG and PNG, from the folder
    /// given by `--data`), or `text` (the file given by `--data`).
    pub set: DataSet,
    /// Height and width of glyphs, 16 or 28, or of the part of a `folder`'s images that networks see.
    pub size: usize,
    /// Height and width to which the images of a `folder` are resized where networks see a part of them, `size` ×
    /// `size`. Without the key they see all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// Training images, a number or a share. Of sequences, a number that an evaluation looks at: batches are always of
    /// new ones. Of text, blocks of `context` tokens. Without the key 2,000, of a `folder` the images that the other
    /// splits leave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train: Option<Amount>,
    /// Validation images, sequences or blocks. Without the key 500, of a `folder` all that it has to validate with, or a tenth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Amount>,
    /// Test images, sequences or blocks. Without the key 1,000, of a `folder` all that it has to test with, or a tenth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Amount>,
    /// Number of classes, or of different tokens; of an IDX set 10 without the key, others know it themselves. Without data,
    /// memory is counted by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// If true, files of a `folder` that are no images are left out; otherwise they are an error.
    pub skip_broken: bool,
    /// If true, images and text stay on the CPU, and threads read each batch ahead of its step. Without the key, this
    /// is so where they do not fit on the GPU. The batches are the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Fewest and most symbols of a sequence; without the key the paper's, 20 to 40 of copy-paste and 2 to 50 of parity.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "values::two::two_if_given")]
    pub lengths: Option<[usize; 2]>,
    /// Different digits of copy-paste.
    pub symbols: usize,
    /// Tokens of a block of text.
    pub context: usize,
    /// Tokens of text: its `characters` or `bytes`.
    pub level: TextLevel,
    /// A `tokenizer.json` that cuts the text, in place of `level`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Seed of the drawing and the split.
    pub seed: u64,
}

/// Kinds of data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataSet {
    /// Ten drawn symbols.
    Glyphs,
    /// A folder of IDX files.
    Idx,
    /// A folder with CIFAR-10 or CIFAR-100 in binary form.
    Cifar,
    /// A folder of JPEG and PNG files, `<class>/…` or `train/<class>/…` with `val/<class>/…` and `test/<class>/…`.
    Folder,
    /// Drawn digits that are asked for again.
    CopyPaste,
    /// Drawn bits whose parity is asked for.
    Parity,
    /// A file of text whose next token is asked for.
    Text,
}

impl DataSet {
    /// True if examples are drawn, not read from files.
    pub(crate) fn is_drawn(self) -> bool {
        matches!(self, Self::Glyphs | Self::CopyPaste | Self::Parity)
    }
}

/// Unit of text that one token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextLevel {
    /// A byte, of any file.
    Bytes,
    /// A character.
    Characters,
}

/// `[guidance]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuidanceConfig {
    /// The measure of alikeness.
    pub metric: MetricName,
    /// σ of `rbf_cka` and `rbf_cka_debiased` as a fraction of the median distance.
    pub bandwidth: f32,
    /// λ of `ridge`.
    pub lambda: f32,
    /// α, the weight of Σ (1 − metric).
    pub weight: f32,
    /// Point at which activations are captured.
    pub taps: CapturePoint,
    /// Guided steps of the arm `trained_first`, unless it has its own; half of all without the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_steps: Option<u32>,
    /// Step at which the weight of arms without `first_steps` has fallen linearly to 0; 0 for a constant weight.
    pub decay_steps: u32,
    /// Pairs of guide layer and target layer; empty for the paper's even rule.
    #[serde(deserialize_with = "values::two::pairs")]
    pub pairs: Vec<(String, String)>,
}

/// Measures by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Linear CKA, biased: the paper's.
    Cka,
    /// Linear CKA, debiased.
    CkaDebiased,
    /// CKA of Gaussian kernels, biased.
    RbfCka,
    /// CKA of Gaussian kernels, debiased.
    RbfCkaDebiased,
    /// RSA by cosine.
    RsaCosine,
    /// RSA by correlation.
    RsaPearson,
    /// Kernel ridge regression.
    Ridge,
}

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Optimizer steps.
    pub steps: u32,
    /// Epochs, in place of `steps`: one is as many steps as there are full batches of training examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Examples a step; without the key 128, or all of fewer training examples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// `random`, or `fixed`: the same sets every epoch, so that the guide runs over each once.
    pub batches: Batches,
    /// `f32`, or `mixed`: linear layers of the target multiply f16.
    pub precision: PrecisionName,
    /// Layers or blocks of the target that are computed again together for the backward pass; 0: all are kept.
    pub recompute: usize,
    /// `sgd`, `adam` or `adamw`.
    pub optimizer: OptimizerName,
    /// Learning rate.
    pub learning_rate: f32,
    /// `constant`, `cosine` or `steps`.
    pub schedule: RateSchedule,
    /// With `steps`, the rate is multiplied by `decay` after every so many steps.
    pub decay_every: u32,
    /// See `decay_every`.
    pub decay: f32,
    /// Steps of linear warm-up, with `cosine`.
    pub warmup: u32,
    /// Momentum of `sgd`.
    pub momentum: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Largest global gradient norm; 0 for no clipping.
    pub clip_norm: f32,
    /// ε of label smoothing.
    pub label_smoothing: f32,
    /// Part of training images that is seen: the `center`, a `random` part, or a random part `resized`.
    pub crop: CropName,
    /// Least and greatest share of the image that `crop = "resized"` takes.
    #[serde(deserialize_with = "values::two::two")]
    pub crop_scale: [f32; 2],
    /// Random shifts of training images, in pixels.
    pub shift: usize,
    /// Random mirroring of training images.
    pub flip: bool,
    /// Steps between evaluations; 0 for one before and one after.
    pub eval_every: u32,
    /// Epochs between evaluations, in place of `eval_every`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_every_epochs: Option<u32>,
}

/// Parts of images by name: see [`Crop`](trellis_guidance::Crop).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CropName {
    /// The middle.
    Center,
    /// A part of the size that networks see.
    Random,
    /// A part of any size.
    Resized,
}

/// Precisions by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrecisionName {
    /// Everything in f32.
    F32,
    /// Products of linear layers in f16 with f32 sums, and a loss scale.
    Mixed,
}

/// Optimizers by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    /// Gradient descent with momentum.
    Sgd,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
}

/// Learning-rate schedules by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateSchedule {
    /// The same at every step.
    Constant,
    /// Warm-up, then half a cosine to 0.
    Cosine,
    /// A drop every so many steps.
    Steps,
}

/// Key at fault, problem and advice.
type ConfigError = (String, String, String);

fn refuse<T>(key: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Result<T, ConfigError> {
    Err((key.into(), problem.into(), hint.into()))
}

/// The error of a key in the file `path`.
fn refused(path: &Path, (key, problem, hint): ConfigError) -> Error {
    Error::config(path, key, problem, hint)
}

impl Config {
    /// Reads a file. Files that it names lie beside it.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Config`] with line, key and a suggestion.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_with(path, &[])
    }

    /// [`Config::read`] with keys set to other values, each as `training.learning_rate=3e-4`: what `--set` gives.
    ///
    /// # Errors
    /// As there; [`Error::Config`] for what is no `key=value`.
    pub fn read_with(path: &Path, set: &[String]) -> Result<Self> {
        let text = regular_file::read(path, LARGEST)?;
        let no_text = |_| Error::config(path, "", "is not UTF-8", "see examples/configs/ for files that work");
        let mut config = Self::parse_with(&String::from_utf8(text).map_err(no_text)?, set, path)?;
        // A file that a file names lies beside it. What a run keeps of its configuration can be run from anywhere.
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |key: &str, named: Option<PathBuf>| {
            let Some(named) = named else { return Ok(None) };
            let absolute = std::path::absolute(folder.join(named)).map_err(|e| Error::io(path, e))?;
            let hint = "rename the folder that is not";
            absolute.to_str().ok_or_else(|| Error::config(path, key, "has a path that is no UTF-8", hint))?;
            Ok::<_, Error>(Some(absolute))
        };
        config.guide.weights = beside("guide.weights", config.guide.weights)?;
        config.data.tokenizer = beside("data.tokenizer", config.data.tokenizer)?;
        Ok(config)
    }

    /// Reads text; `path` names it in errors.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        Self::parse_with(text, &[], path)
    }

    /// [`Config::parse`] with keys set to other values, as in [`Config::read_with`].
    ///
    /// # Errors
    /// As there.
    pub fn parse_with(text: &str, set: &[String], path: &Path) -> Result<Self> {
        let text = &overrides::with_set(text, set, path)?;
        let mut config = Self::sections(text).map_err(|error| explain(text, path, &error))?;
        lengths::given_twice(text, path)?;
        config.fill_in();
        config.check(path)?;
        Ok(config)
    }

    /// The keys of a network depend on its kind, so its section is read by itself.
    fn sections(text: &str) -> Result<Self, toml::de::Error> {
        let mut file = DeTable::parse(text)?;
        let (target, guide) = (file.get_mut().remove("target"), file.get_mut().remove("guide"));
        let config = Self::deserialize(Deserializer::from(file))?;
        Ok(Self { target: TargetConfig::read(target)?, guide: GuideConfig::read(guide)?, ..config })
    }

    /// The file with every default filled in.
    pub fn to_toml(&self) -> String {
        let mut file = toml::to_string(self).expect("plain tables and numbers");
        if self.is_in_epochs() {
            let mut table: toml::Table = file.parse().expect("what was written");
            lengths::drop_steps(&mut table);
            file = table.to_string();
        }
        file
    }
}
