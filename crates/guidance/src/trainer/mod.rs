//! Training a target, guided or alone, entirely on the GPU.
//!
//! Read `step.rs` first: it records one guided step. A run is a [`Session`](crate::Session): one plan for guided steps and one for
//! unguided ones over the same parameters, optimizer and step state. The CPU submits chunks of steps and collects metrics of
//! earlier chunks while they run.

pub(crate) mod control;
mod diagnose;
mod evaluate;
mod export;
mod fixed_batches;
pub(crate) mod guidance;
mod guides;
mod invariants;
pub(crate) mod methods;
mod pull;
pub(crate) mod records;
pub(crate) mod run;
pub(crate) mod session;
mod state;
mod step;
pub(crate) mod training;

pub use control::{Draws, guide_sides};
pub use evaluate::{Evaluation, TRAINING, evaluate};
pub use guides::MOST_GUIDES;
pub use records::{EvalRecord, RunRecord, StepRecord, number};
