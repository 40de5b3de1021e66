//! Convolutions and pooling.

mod by_tap;
pub(crate) mod conv2d;
pub(crate) mod conv2d_grad;
mod geometry;
pub(crate) mod grouped;
pub(crate) mod grouped_grad;
pub(crate) mod pool;
