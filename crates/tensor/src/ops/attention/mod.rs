//! Attention: masks, forms of its kernels, the op and its gradient.

#[allow(clippy::module_inception, reason = "the family has the name of its first op, as its kernel has")]
pub(crate) mod attention;
pub(crate) mod attention_grad;
pub(crate) mod form;
pub(crate) mod layer;
pub(crate) mod mask;
pub(crate) mod pair_loops;
pub(crate) mod sizes;
mod stored;
