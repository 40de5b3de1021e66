//! Commands that measure: kernels, training steps, and which kernels suit an adapter.

pub(crate) mod bench;
pub(crate) mod profile;
pub(crate) mod tune;
