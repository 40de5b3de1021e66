//! Runs: optimizers, arms, evaluations, resuming.

mod arms; // arms of one's own, and the guides that they use
mod evaluation; // what is counted after so many steps
mod guide_weights; // weights of a guide that follow from gradients or likeness
mod input_scale; // guides that see images in a scale of their own
mod methods; // distillation, hints and matched Gram matrices, step by step against PyTorch
mod mixed; // loss scaling and mixed-precision training
mod optimizer; // optimizers, step by step against PyTorch
mod recorded; // guides whose layers were recorded
mod resume; // runs that were killed and go on
pub(crate) mod runs; // runs: counters, determinism, divergence, checkpoints
mod schedules; // steps at which the guide pulls
mod several_guides; // several guides of one target, each by its own schedule
mod unlabeled; // guided initialization: steps without labels
