//! Training: parameters, optimizers, schedules, the step counter, metrics.

pub(crate) mod init;
pub(crate) mod metrics;
pub(crate) mod optimizer;
pub(crate) mod params;
pub(crate) mod schedule;
