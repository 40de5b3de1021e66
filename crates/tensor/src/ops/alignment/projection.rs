//! Projections of gradients: onto symmetric matrices, and onto columns without a mean. A fact may say that nothing is left to
//! do.

use crate::error::Result;
use crate::graph::Var;

impl<'g> Var<'g> {
    /// This square matrix itself if it is known to be symmetric, else (M + Mᵀ) / 2. A Gram matrix is symmetric, so only that
    /// part of its gradient counts.
    pub(crate) fn symmetrized(self) -> Result<Self> {
        if self.facts().symmetric { Ok(self) } else { self.add(self.transpose()?)?.affine(0.5, 0.0) }
    }

    /// The gradient `self` of activations `[n, …]` without its mean over the examples, which is known to be 0 where its columns sum to 0.
    pub(crate) fn without_mean(self) -> Result<Self> {
        if self.facts().columns_sum_to_zero { Ok(self) } else { self.sub(self.mean(&[0], true)?) }
    }
}
