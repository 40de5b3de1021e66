//! Ops on the input: batches drawn, cut out and augmented on the GPU.

pub(crate) mod augment;
pub(crate) mod crop;
pub(crate) mod sampler;
pub(crate) mod sequences;
