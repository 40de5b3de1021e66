//! Guidance schedule: how long and how strongly the guide pulls.

use serde::{Deserialize, Serialize};
use trellis_tensor::Schedule;

/// Steps at which the guide pulls, and the course of its weight. Configurations write it as `"always"` or `{ first_steps = 120 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuideSchedule {
    /// At every step.
    Always,
    /// During the first steps, then not at all.
    FirstSteps(u32),
    /// With a weight that falls linearly and is 0 from this step on.
    LinearDecay(u32),
}

impl GuideSchedule {
    /// Guidance at every step.
    pub fn always() -> Self {
        Self::Always
    }

    /// Guidance as an initialization: during the first `steps` steps alone (arXiv:2410.20035, section 5).
    pub fn first_steps(steps: u32) -> Self {
        Self::FirstSteps(steps)
    }

    /// A weight that falls linearly to 0 at step `steps`.
    pub fn linear_decay(steps: u32) -> Self {
        Self::LinearDecay(steps)
    }

    /// The first of `total` steps that is not guided. From there on an unguided plan runs: it costs nothing.
    pub fn end(self, total: u32) -> u32 {
        match self {
            Self::Always => total,
            Self::FirstSteps(steps) | Self::LinearDecay(steps) => steps.min(total),
        }
    }

    /// The weight of the alignment loss over the steps, starting at `alpha`.
    pub fn weight(self, alpha: f32) -> Schedule {
        match self {
            Self::Always | Self::FirstSteps(_) => Schedule::Constant(alpha),
            Self::LinearDecay(steps) => Schedule::Linear { base: alpha, total: steps },
        }
    }

    /// The schedule in words, to stand behind the name of a guide; `total` is the number of steps of the training.
    pub fn describe(self, total: u32) -> String {
        match self {
            Self::Always => " at every step".to_string(),
            Self::FirstSteps(steps) => format!(", the first {steps} of {total} steps"),
            Self::LinearDecay(steps) => format!(", its weight falling to 0 at step {steps}"),
        }
    }
}
