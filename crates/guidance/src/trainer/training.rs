//! Settings of a run.

use serde::{Deserialize, Serialize};
use trellis_tensor::{OptimizerConfig, Schedule};

use crate::data::{BatchSource, Crop, Dataset};
use crate::error::Result;
use crate::network::Precision;

/// Order in which examples are drawn. Either way every example is seen once an epoch, but for those that do not fill a
/// batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batches {
    /// Each epoch deals the examples anew.
    #[default]
    Random,
    /// The examples are dealt once; each epoch shuffles the batches. The guide then says the same of a batch every
    /// time: its Gram matrices are computed once, before the first step, and it does not run again. Not with
    /// augmentation. Cost: `examples · batch · 4` bytes for each pair of layers.
    Fixed,
}

/// Settings of a run besides its networks and data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// Optimizer steps.
    pub steps: u32,
    /// Examples a step.
    pub batch: usize,
    /// Order in which examples are drawn.
    pub batches: Batches,
    /// Optimizer and learning rate.
    pub optimizer: OptimizerConfig,
    /// Precision of training: mixed if linear layers multiply f16.
    pub precision: Precision,
    /// Number of blocks of the target (hidden layers, residual blocks) that are recomputed together for the backward
    /// pass instead of being kept. Less memory, one more forward pass, the same bits. 0: all are kept.
    pub recompute: usize,
    /// Seed of batches, dropout and augmentation. Initial weights have their own.
    pub seed: u64,
    /// ε of label smoothing, 0 for none.
    pub label_smoothing: f32,
    /// Part of training images that is seen.
    pub crop: Crop,
    /// Training images are shifted by up to this many pixels each way.
    pub shift: usize,
    /// Training images are mirrored with probability 1/2.
    pub flip: bool,
    /// Steps between evaluations; one before the first step and one after the last come on top. 0 for those two alone.
    pub eval_every: u32,
    /// Checks the gradient of the measure before the first guided step and at each evaluation. For debugging: it costs
    /// a step and copies the activations to the CPU.
    pub check: bool,
}

impl Training {
    /// Adam at 1e-3 with batches of 128, no augmentation, evaluated before and after.
    pub fn new(steps: u32) -> Self {
        Self {
            steps,
            batch: 128,
            batches: Batches::Random,
            optimizer: OptimizerConfig::adam(Schedule::Constant(1e-3)),
            precision: Precision::F32,
            recompute: 0,
            seed: 0,
            label_smoothing: 0.0,
            crop: Crop::Center,
            shift: 0,
            flip: false,
            eval_every: 0,
            check: false,
        }
    }
}

impl Training {
    /// The batches of a run on `data`.
    pub(super) fn batches<'a>(&self, data: &'a Dataset) -> Result<BatchSource<'a>> {
        Ok(BatchSource::shuffled(data, self.batch, self.seed)?.crop(self.crop))
    }

    /// Steps from one evaluation to the next.
    pub(super) fn evaluation_interval(&self) -> u32 {
        if self.eval_every == 0 { self.steps.max(1) } else { self.eval_every }
    }

    /// True if there is an evaluation after so many steps.
    pub fn evaluates_after(&self, step: u32) -> bool {
        step.is_multiple_of(self.evaluation_interval()) || step == self.steps
    }

    /// True if an image is not the same each time it is seen.
    pub fn augments(&self) -> bool {
        self.shift > 0 || self.flip || self.crop != Crop::Center
    }
}
