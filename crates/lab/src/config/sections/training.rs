//! `[training]`: how the target is trained. An arm may set any of these keys otherwise.

use serde::{Deserialize, Serialize};
use trellis_tensor::{LossScale, OptimizerConfig, Rule, Schedule};

use super::keys::{ABOVE_0, FROM_0, Range, SHARE, section, words_of_enums};
use crate::config::{ConfigError, values};
use trellis_guidance::{Batches, Crop, Precision};

section! {
    /// `[training]`: training of the target.
    TrainingConfig {
        /// Optimizer steps.
        steps: u32 = 300, in Range::Counts(usize::MAX);
        /// Epochs, in place of `steps`: one is as many steps as there are full batches of training examples.
        #[serde(skip_serializing_if = "Option::is_none")]
        epochs: Option<u32> = None, in Range::Counts(usize::MAX);
        /// Examples a step; without the key 128, or all of fewer training examples.
        #[serde(skip_serializing_if = "Option::is_none")]
        batch: Option<usize> = None, in Range::Counts(usize::MAX);
        /// Batches: `random`, or `fixed`, the same sets every epoch, so that the guide runs over each once.
        batches: Batches = Batches::Random;
        /// Precision: `f32`, or `mixed`, where the target multiplies f16: linear layers, and on matrix units convolutions (but no depthwise ones) and attention.
        precision: PrecisionName = PrecisionName::F32;
        /// Layers or blocks of the target that are computed again together for the backward pass; 0 keeps all.
        recompute: usize = 0;
        /// Optimizer.
        optimizer: OptimizerName = OptimizerName::Adam;
        /// Learning rate.
        learning_rate: f32 = 1e-3, in ABOVE_0;
        /// Schedule of the learning rate.
        schedule: RateSchedule = RateSchedule::Constant;
        /// Steps after each of which the rate is multiplied by `decay`.
        decay_every: u32 = 100, in Range::Counts(usize::MAX), needs "schedule = \"steps\"" |t| t.schedule == RateSchedule::Steps;
        /// Factor of the rate after every `decay_every` steps.
        decay: f32 = 0.1, in FROM_0, needs "schedule = \"steps\"" |t| t.schedule == RateSchedule::Steps;
        /// Steps of linear warm-up.
        warmup: u32 = 0, needs "schedule = \"cosine\"" |t| t.schedule == RateSchedule::Cosine;
        /// Momentum.
        momentum: f32 = 0.9, in SHARE, needs "optimizer = \"sgd\"" |t| t.optimizer == OptimizerName::Sgd;
        /// Weight decay: of `adamw` decoupled, else an L2 term in the gradient. It applies to all parameters.
        weight_decay: f32 = 0.0, in FROM_0;
        /// Largest global gradient norm; 0 for no clipping.
        clip_norm: f32 = 0.0, in FROM_0;
        /// Share ε of label smoothing.
        label_smoothing: f32 = 0.0, in SHARE;
        /// Part of training images that is seen: the `center`, a `random` part, or a random part `resized`.
        crop: CropName = CropName::Center;
        /// Least and greatest share of the image that is taken.
        #[serde(deserialize_with = "values::two::two")]
        crop_scale: [f32; 2] = [0.08, 1.0], needs "crop = \"resized\"" |t| t.crop == CropName::Resized;
        /// Largest random shift of training images, in pixels.
        shift: usize = 0, in Range::UpTo(15);
        /// Random mirroring of training images.
        flip: bool = false;
        /// Steps between evaluations; 0 for one before and one after.
        eval_every: u32 = 50;
        /// Epochs between evaluations, in place of `eval_every`.
        #[serde(skip_serializing_if = "Option::is_none")]
        eval_every_epochs: Option<u32> = None, in Range::Counts(usize::MAX);
    }
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

words_of_enums!(CropName, PrecisionName, OptimizerName, RateSchedule, Batches);

impl TrainingConfig {
    /// The optimizer, with its learning rate over the steps.
    pub(in crate::config) fn optimizer(&self) -> OptimizerConfig {
        let base = self.learning_rate;
        let rate = match self.schedule {
            RateSchedule::Constant => Schedule::Constant(base),
            RateSchedule::Steps => Schedule::Steps { base, factor: self.decay, every: self.decay_every },
            RateSchedule::Cosine => Schedule::Cosine { base, floor: 0.0, warmup: self.warmup, total: self.steps },
        };
        let rule = match self.optimizer {
            OptimizerName::Sgd => Rule::Sgd { momentum: self.momentum, nesterov: false },
            OptimizerName::Adam => Rule::Adam,
            OptimizerName::Adamw => Rule::AdamW,
        };
        let clip_norm = (self.clip_norm > 0.0).then_some(self.clip_norm);
        OptimizerConfig { rate, rule, weight_decay: self.weight_decay, clip_norm }
    }

    /// The precision.
    pub(in crate::config) fn precision(&self) -> Precision {
        match self.precision {
            PrecisionName::F32 => Precision::F32,
            PrecisionName::Mixed => Precision::Mixed(LossScale::default()),
        }
    }

    /// The part of training images that is seen.
    pub(in crate::config) fn crop(&self) -> Crop {
        match self.crop {
            CropName::Center => Crop::Center,
            CropName::Random => Crop::Random,
            CropName::Resized => Crop::Resized(self.crop_scale),
        }
    }
}
