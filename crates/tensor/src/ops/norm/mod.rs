//! Normalization over batches and layers.

pub(crate) mod batch_norm;
pub(crate) mod batch_norm_grad;
pub(crate) mod batch_stats;
pub(crate) mod layer_norm;
