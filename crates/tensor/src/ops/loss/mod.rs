//! Losses and scores.

pub(crate) mod confusion;
pub(crate) mod cross_entropy;
pub(crate) mod masked_mean;
pub(crate) mod sequence_score;
pub(crate) mod softmax;
pub(crate) mod top_k;
