//! The end of a step: loss scale, optimizers, schedules, the step counter.

pub(crate) mod end_step;
pub(crate) mod loss_scale;
pub(crate) mod optimizer;
pub(crate) mod schedule;
