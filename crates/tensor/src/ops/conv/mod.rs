//! Convolutions and pooling.

pub(crate) mod conv2d;
pub(crate) mod conv2d_grad;
pub(crate) mod pool;
