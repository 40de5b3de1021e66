//! Matrix products: the op, and the variants of kernels that compute products everywhere.

pub(crate) mod block;
pub(crate) mod epilogue;
pub(crate) mod matmul;
pub(crate) mod members;
pub(crate) mod units;
pub(crate) mod variant;
