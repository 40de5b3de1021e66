//! The device: adapters, their capabilities, buffers.

pub(crate) mod adapter;
pub(crate) mod caps;
pub(crate) mod cooperative;
pub(crate) mod counters;
pub(crate) mod gpu;
pub(crate) mod mesa;
mod open;
pub(crate) mod options;
pub(crate) mod pool;
pub(crate) mod subgroups;
mod trial;
