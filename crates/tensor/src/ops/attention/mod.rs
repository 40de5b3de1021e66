//! Attention: masks, forms of its kernels, the op and its gradient.

pub(crate) mod attention;
pub(crate) mod attention_grad;
pub(crate) mod form;
mod layer;
pub(crate) mod mask;
pub(crate) mod sizes;
