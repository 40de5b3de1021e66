//! The TOML file that describes an experiment. Every key has a default; unknown keys are errors, with a suggestion.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use trellis_tensor::{Curve, Init, OptimizerConfig, Rule};

use crate::data::Images;
use crate::data::{glyphs::glyphs, idx};
use crate::error::{Error, Result};
use crate::layer_map::LayerMap;
use crate::network::{Cnn, Fcn, TapAt};
use crate::record::ARMS;
use crate::trainer::Training;

/// An experiment: arms × seeds of one target, one guide and one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What the run folder is called.
    pub name: String,
    /// Seeds; each arm is trained once with each.
    pub seeds: Vec<u64>,
    /// Arms, of `alone`, `untrained`, `trained`, `trained_first`.
    pub arms: Vec<String>,
    /// The data set and its splits.
    pub data: DataConfig,
    /// The network that is trained.
    pub target: TargetConfig,
    /// The network that guides.
    pub guide: GuideConfig,
    /// How it guides.
    pub guidance: GuidanceConfig,
    /// How the target is trained.
    pub training: TrainingConfig,
    /// What single arms do differently: `[arm.alone] learning_rate = 0.003`.
    pub arm: BTreeMap<String, ArmConfig>,
}

/// `[data]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// `glyphs` (drawn) or `idx` (MNIST's format, from the folder given by `--data`).
    pub set: DataSet,
    /// Height and width of glyphs, 16 or 28.
    pub size: usize,
    /// Training images.
    pub train: usize,
    /// Validation images.
    pub validation: usize,
    /// Test images.
    pub test: usize,
    /// Number of classes of an IDX set.
    pub classes: usize,
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
}

/// `[target]`: a fully connected network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TargetConfig {
    /// Hidden layers.
    pub depth: usize,
    /// Units of each.
    pub width: usize,
    /// Batch norm in every hidden layer.
    pub batch_norm: bool,
    /// Dropout after every hidden layer.
    pub dropout: f32,
    /// Initial weights.
    pub init: InitConfig,
}

/// Initial weights by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitConfig {
    /// PyTorch's default.
    Default,
    /// Kaiming normal for ReLU.
    Kaiming,
    /// Xavier normal.
    Xavier,
    /// Orthogonal with gain √2.
    Orthogonal,
}

/// `[guide]`: a convolutional network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuideConfig {
    /// Channels of each convolution.
    pub channels: Vec<usize>,
    /// Stride of each convolution.
    pub strides: Vec<usize>,
    /// Batch norm in every convolution layer.
    pub batch_norm: bool,
    /// Initial weights.
    pub init: InitConfig,
    /// Steps of its own training, for the arms that use it trained.
    pub steps: u32,
    /// Learning rate of its own training.
    pub learning_rate: f32,
}

/// `[guidance]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GuidanceConfig {
    /// α, the weight of Σ (1 − CKA).
    pub weight: f32,
    /// Where layers are tapped.
    pub taps: TapAt,
    /// Guided steps of the arm `trained_first`.
    pub first_steps: u32,
    /// The other arms' weight falls linearly to 0 at this step; 0 for a constant weight.
    pub decay_steps: u32,
    /// Pairs of guide layer and target layer; empty for the paper's even rule.
    pub pairs: Vec<(String, String)>,
}

/// `[training]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Optimiser steps.
    pub steps: u32,
    /// Examples a step.
    pub batch: usize,
    /// `sgd`, `adam` or `adamw`.
    pub optimizer: OptimizerName,
    /// Learning rate.
    pub learning_rate: f32,
    /// `constant` or `cosine`.
    pub schedule: RateSchedule,
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
    /// Random shifts of training images, in pixels.
    pub shift: usize,
    /// Random mirroring of training images.
    pub flip: bool,
    /// Steps between evaluations; 0 for one before and one after.
    pub eval_every: u32,
}

/// Optimisers by name.
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
}

/// `[arm.<name>]`: what this arm does differently; missing keys are as in the rest of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArmConfig {
    /// Learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f32>,
    /// Weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f32>,
    /// Dropout of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
    /// α.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "experiment".to_string(),
            seeds: vec![1, 2, 3],
            arms: ARMS.map(str::to_string).to_vec(),
            data: DataConfig::default(),
            target: TargetConfig::default(),
            guide: GuideConfig::default(),
            guidance: GuidanceConfig::default(),
            training: TrainingConfig::default(),
            arm: BTreeMap::new(),
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self { set: DataSet::Glyphs, size: 16, train: 2000, validation: 500, test: 1000, classes: 10, seed: 0 }
    }
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self { depth: 6, width: 128, batch_norm: true, dropout: 0.0, init: InitConfig::Default }
    }
}

impl Default for GuideConfig {
    fn default() -> Self {
        Self {
            channels: vec![8, 16, 32],
            strides: vec![1, 2, 2],
            batch_norm: true,
            init: InitConfig::Default,
            steps: 400,
            learning_rate: 3e-3,
        }
    }
}

impl Default for GuidanceConfig {
    fn default() -> Self {
        Self { weight: 1.0, taps: TapAt::BeforeNorm, first_steps: 150, decay_steps: 0, pairs: Vec::new() }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 300,
            batch: 128,
            optimizer: OptimizerName::Adam,
            learning_rate: 1e-3,
            schedule: RateSchedule::Constant,
            warmup: 0,
            momentum: 0.9,
            weight_decay: 0.0,
            clip_norm: 0.0,
            label_smoothing: 0.0,
            shift: 0,
            flip: false,
            eval_every: 50,
        }
    }
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Config`] with line, key and a suggestion.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        Self::parse(&text, path)
    }

    /// Reads text; `path` names it in errors.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let config: Self = toml::from_str(text).map_err(|error| explain(text, path, &error))?;
        config.check(path)?;
        Ok(config)
    }

    /// The file with every default filled in.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("plain tables and numbers")
    }

    /// Values that types do not rule out.
    fn check(&self, path: &Path) -> Result<()> {
        let TrainingConfig { steps, batch, learning_rate, .. } = self.training;
        let bad = |key: &str, problem: String, hint: &str| Err(Error::config(path, key, problem, hint));
        if let Some(arm) = self.arms.iter().chain(self.arm.keys()).find(|arm| !ARMS.contains(&arm.as_str())) {
            return bad("arms", format!("unknown arm `{arm}`"), &suggestion(arm, &ARMS));
        }
        if self.arms.is_empty() || self.seeds.is_empty() {
            return bad("arms", "no arms or no seeds".into(), "name at least one of each");
        }
        let sizes = [
            ("training.steps", steps as usize),
            ("training.batch", batch),
            ("data.train", self.data.train),
            ("data.test", self.data.test),
            ("data.classes", self.data.classes),
            ("target.depth", self.target.depth),
            ("target.width", self.target.width),
            ("guide.channels", self.guide.channels.iter().copied().min().unwrap_or(0)),
            ("guide.strides", self.guide.strides.iter().copied().min().unwrap_or(0)),
        ];
        if let Some((key, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return bad(key, "is 0 or empty".into(), "give a number above 0");
        }
        if self.guide.strides.len() != self.guide.channels.len() {
            return bad("guide.strides", "has another length than guide.channels".into(), "give one for each");
        }
        if batch > self.data.train {
            return bad("training.batch", format!("{batch} is more than data.train"), "make it smaller");
        }
        if self.data.classes > 256 {
            return bad("data.classes", "is more than 256".into(), "labels are bytes");
        }
        if !matches!(self.data.size, 16 | 28) {
            return bad("data.size", format!("glyphs are not {} pixels wide", self.data.size), "16 or 28");
        }
        let rates =
            self.arm.values().filter_map(|arm| arm.learning_rate).chain([learning_rate, self.guide.learning_rate]);
        if let Some(rate) = rates.into_iter().find(|rate| !(rate.is_finite() && *rate > 0.0)) {
            return bad("training.learning_rate", format!("{rate} is no rate"), "give a number above 0");
        }
        let weights = self.arm.values().filter_map(|arm| arm.weight).chain([self.guidance.weight]);
        if let Some(weight) = weights.into_iter().find(|weight| !weight.is_finite()) {
            return bad("guidance.weight", format!("{weight} is no weight"), "give a finite number");
        }
        Ok(())
    }

    /// The images of the three splits; `folder` is where an IDX set lies.
    ///
    /// # Errors
    /// When files are missing or damaged, or hold too few images.
    pub fn images(&self, path: &Path, folder: Option<&Path>) -> Result<[Images; 3]> {
        let DataConfig { set, size, train, validation, test, classes, seed } = self.data;
        let parts = match (set, folder) {
            (DataSet::Glyphs, _) => {
                let total = [train, validation, test].iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
                let total = total.filter(|&n| n <= 10_000_000).ok_or_else(|| {
                    Error::config(path, "data.train", "more than ten million images", "make the splits smaller")
                })?;
                glyphs(total, size, seed).split(&[train, validation, test], seed)?
            }
            (DataSet::Idx, Some(folder)) => {
                let (first, second) = idx::load(folder, classes)?;
                match second {
                    // A set with its own test images: those are the test split.
                    Some(second) => {
                        let mut parts = first.split(&[train, validation], seed)?;
                        parts.push(second.subset(test, seed)?);
                        parts
                    }
                    None => first.split(&[train, validation, test], seed)?,
                }
            }
            (DataSet::Idx, None) => {
                return Err(Error::config(
                    path,
                    "data.set",
                    "an IDX set lies in a folder",
                    "give it with --data FOLDER",
                ));
            }
        };
        Ok(parts.try_into().expect("three sizes give three parts"))
    }

    /// The target of an arm.
    pub fn fcn(&self, arm: &str) -> Fcn {
        let TargetConfig { depth, width, batch_norm, dropout, init } = self.target.clone();
        let dropout = self.arm.get(arm).and_then(|arm| arm.dropout).unwrap_or(dropout);
        Fcn { depth, width, batch_norm, dropout, init: init.into() }
    }

    /// The guide.
    pub fn cnn(&self) -> Cnn {
        let GuideConfig { channels, strides, batch_norm, init, .. } = self.guide.clone();
        Cnn { channels, strides, batch_norm, init: init.into() }
    }

    /// The layer map.
    pub fn layer_map(&self) -> LayerMap {
        match self.guidance.pairs.as_slice() {
            [] => LayerMap::even(),
            pairs => LayerMap::named(pairs.iter().cloned()),
        }
    }

    /// The weight α of an arm.
    pub fn weight(&self, arm: &str) -> f32 {
        self.arm.get(arm).and_then(|arm| arm.weight).unwrap_or(self.guidance.weight)
    }

    /// The training of an arm.
    pub fn training(&self, arm: &str, seed: u64) -> Training {
        let t = &self.training;
        let own = self.arm.get(arm).cloned().unwrap_or_default();
        let base = own.learning_rate.unwrap_or(t.learning_rate);
        let rate = match t.schedule {
            RateSchedule::Constant => Curve::Constant(base),
            RateSchedule::Cosine => Curve::Cosine { base, floor: 0.0, warmup: t.warmup, total: t.steps },
        };
        let rule = match t.optimizer {
            OptimizerName::Sgd => Rule::Sgd { momentum: t.momentum, nesterov: false },
            OptimizerName::Adam => Rule::Adam,
            OptimizerName::Adamw => Rule::AdamW,
        };
        let weight_decay = own.weight_decay.unwrap_or(t.weight_decay);
        let clip_norm = (t.clip_norm > 0.0).then_some(t.clip_norm);
        Training {
            steps: t.steps,
            batch: t.batch,
            optimizer: OptimizerConfig { rate, rule, weight_decay, clip_norm },
            seed,
            label_smoothing: t.label_smoothing,
            shift: t.shift,
            flip: t.flip,
            eval_every: t.eval_every,
        }
    }

    /// The guide's own training.
    pub fn guide_training(&self, seed: u64) -> Training {
        let steps = self.guide.steps;
        let rate = Curve::Cosine { base: self.guide.learning_rate, floor: 0.0, warmup: 0, total: steps };
        let batch = self.training.batch;
        let (shift, flip) = (self.training.shift, self.training.flip);
        Training { batch, optimizer: OptimizerConfig::adam(rate), seed, shift, flip, ..Training::new(steps) }
    }
}

impl From<InitConfig> for Init {
    fn from(init: InitConfig) -> Self {
        match init {
            InitConfig::Default => Init::Default,
            InitConfig::Kaiming => Init::KaimingNormal(std::f32::consts::SQRT_2),
            InitConfig::Xavier => Init::XavierNormal(1.0),
            InitConfig::Orthogonal => Init::Orthogonal(std::f32::consts::SQRT_2),
        }
    }
}

/// serde's message, with the line and, for an unknown key, the nearest known one.
fn explain(text: &str, path: &Path, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(String::new(), |span| {
        let at = span.start.min(text.len());
        format!("line {}: ", 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count())
    });
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown") => {
            let what = if message.starts_with("unknown field") { "unknown key" } else { "unknown value" };
            Error::config(path, *unknown, format!("{line}{what}"), suggestion(unknown, known))
        }
        _ => Error::config(path, "", format!("{line}{message}"), "see examples/configs/ for files that work"),
    }
}

/// "did you mean …?", or all that there is.
fn suggestion(unknown: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (distance(unknown, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + unknown.len() / 3 => format!("did you mean `{name}`?"),
        _ => format!("known are {}", known.join(", ")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Config::parse(text, Path::new("x.toml")).unwrap_err().to_string()
    }

    #[test]
    fn the_resolved_file_reads_back_as_itself() {
        let text = "name = \"a\"\n[arm.alone]\nlearning_rate = 0.003\n[guidance]\npairs = [[\"conv1\", \"fc2\"]]\n";
        let config = Config::parse(text, Path::new("x.toml")).unwrap();
        assert_eq!(config.training("alone", 0).optimizer.rate, Curve::Constant(0.003));
        assert_eq!(config.training("trained", 0).optimizer.rate, Curve::Constant(0.001));
        assert_eq!(Config::parse(&config.to_toml(), Path::new("y.toml")).unwrap(), config);
    }

    #[test]
    fn an_unknown_key_comes_with_line_and_suggestion() {
        let message = error("name = \"a\"\n[target]\ndept = 3\n");
        assert_eq!(message, "x.toml: `dept`: line 3: unknown key; did you mean `depth`?");
        assert!(error("[training]\noptimizer = \"adm\"\n").contains("did you mean `adam`?"));
        assert!(error("arms = [\"alon\"]\n").contains("did you mean `alone`?"));
        assert!(error("[target]\ndepth = \"six\"\n").contains("line 2"));
        assert!(error("[target\n").contains("line 1"));
    }

    #[test]
    fn values_that_cannot_be_run_are_refused() {
        for (text, key) in [
            ("[target]\ndepth = 0\n", "target.depth"),
            ("[training]\nbatch = 5000\n", "training.batch"),
            ("[training]\nlearning_rate = nan\n", "learning_rate"),
            ("[guidance]\nweight = inf\n", "guidance.weight"),
            ("[guide]\nstrides = [1]\n", "guide.strides"),
            ("seeds = []\n", "arms"),
            ("[data]\nsize = 20\n", "data.size"),
        ] {
            assert!(error(text).contains(key), "{text}: {}", error(text));
        }
    }
}
