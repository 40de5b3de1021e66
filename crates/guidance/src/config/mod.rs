//! The TOML file that describes an experiment. Every key has a default; unknown keys are errors, with a suggestion.

mod defaults;
mod explain;
mod resolve;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::network::TapAt;
use crate::record::ARMS;
use explain::{explain, suggestion};

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
    /// The measure of alikeness.
    pub metric: MetricName,
    /// σ of `rbf_cka` and `rbf_cka_debiased` as a fraction of the median distance.
    pub bandwidth: f32,
    /// α, the weight of Σ (1 − metric).
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
        let bandwidth = self.guidance.bandwidth;
        if !(bandwidth.is_finite() && bandwidth > 0.0) {
            return bad("guidance.bandwidth", format!("{bandwidth} is no width"), "give a number above 0");
        }
        let weights = self.arm.values().filter_map(|arm| arm.weight).chain([self.guidance.weight]);
        if let Some(weight) = weights.into_iter().find(|weight| !weight.is_finite()) {
            return bad("guidance.weight", format!("{weight} is no weight"), "give a finite number");
        }
        Ok(())
    }
}
