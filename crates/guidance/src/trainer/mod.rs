//! Training a target, guided or alone, entirely on the GPU.
//!
//! Read `step.rs` first: it records one guided step. A run is a [`Session`]: one plan for guided steps and one for
//! unguided ones over the same parameters, optimizer and step state. The CPU submits chunks of steps and collects metrics of
//! earlier chunks while they run.

mod control;
mod diagnose;
mod evaluate;
mod fixed_batches;
mod guidance;
mod invariants;
mod phase;
pub(crate) mod records;
mod run;
mod session;
mod state;
mod step;
mod training;

pub use control::{Control, Draws, guide_sides};
pub use evaluate::{Evaluation, TRAINING, evaluate};
pub use guidance::Guidance;
pub use records::{EvalRecord, RunRecord, StepRecord, number};
pub use run::{Event, Trainer};
pub use session::Session;
pub use training::{Batches, Training};
