//! Kernels that measure the device.

pub(crate) mod fma_chain;
