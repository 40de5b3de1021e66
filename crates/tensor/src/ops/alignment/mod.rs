//! CKA and its gradient: centering, Gram matrices, the value. `docs/alignment.md` derives them.

pub(crate) mod center;
pub(crate) mod center_gram;
pub(crate) mod center_layers;
pub(crate) mod cka;
pub(crate) mod cka_features;
pub(crate) mod cka_gram_grad;
pub(crate) mod cost_model;
pub(crate) mod gram;
pub(crate) mod gram_grad;
pub(crate) mod layer_grams;
mod projection;
