//! Facts: what is known of a value from how it was made, whatever its numbers.
//!
//! Each op states them for its own output ([`Op::facts`](crate::Op::facts)); rules of gradients ask for them and leave out what a fact makes
//! needless. A fact may be missing, but never false.

use crate::error::Result;
use crate::graph::Var;
use crate::shape::Shape;

/// What is known of a value, rounding aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// It is a square matrix, or several, each equal to its transpose.
    pub symmetric: bool,
    /// The rows of each of its matrices sum to 0.
    pub rows_sum_to_zero: bool,
    /// What lies along its first axis sums to 0: of activations `[n, …]`, each feature over the examples.
    pub columns_sum_to_zero: bool,
    /// It holds layers one after another, and the columns of each sum to 0.
    pub layers_sum_to_zero: bool,
    /// It is a Gram matrix, or the gradient of one, centered in this way.
    pub centering: Option<Centering>,
}

/// What is taken off a Gram matrix before two are compared. Each is an orthogonal projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centering {
    /// Row and column means: `H K H`. With it CKA is the biased estimator.
    Double,
    /// U-centring: the diagonal is 0, and so is every row sum. With it CKA is the debiased estimator (Song et al. 2012;
    /// Székely and Rizzo 2014). Needs n ≥ 4: for 3 examples nothing is left.
    Unbiased,
    /// The mean off the diagonal, and the diagonal: what a correlation of dissimilarities compares (RSA). Needs n ≥ 3.
    OffDiagonal,
}

impl Facts {
    /// Facts of the same values in another shape: time steps folded into features keep their columns.
    pub(crate) fn reshaped(self, from: &Shape, to: &Shape) -> Self {
        Self { columns_sum_to_zero: self.columns_sum_to_zero && from.first() == to.first(), ..Self::default() }
    }
}

impl<'g> Var<'g> {
    /// What is known of this value from how it was made.
    pub fn facts(self) -> Facts {
        self.graph.nodes.borrow()[self.id].facts
    }

    /// One of the layers that lie in this value one after another: the one of this shape from element `start` on.
    pub(crate) fn packed_layer(self, start: usize, shape: Shape) -> Result<Self> {
        let layer = self.slice(0, start, shape.elements())?.reshape(shape)?;
        let columns_sum_to_zero = self.facts().layers_sum_to_zero;
        Ok(if columns_sum_to_zero { layer.with_facts(Facts { columns_sum_to_zero, ..layer.facts() }) } else { layer })
    }

    /// This square matrix itself where it is known to be symmetric, else (M + Mᵀ) / 2: a Gram matrix is symmetric, so only that part of
    /// its gradient counts.
    pub(crate) fn symmetrized(self) -> Result<Self> {
        if self.facts().symmetric { Ok(self) } else { self.add(self.transpose()?)?.affine(0.5, 0.0) }
    }

    /// The gradient `self` of activations `[n, …]` without its mean over the examples, which is known to be 0 where its columns sum to 0.
    pub(crate) fn without_mean(self) -> Result<Self> {
        if self.facts().columns_sum_to_zero { Ok(self) } else { self.sub(self.mean(&[0], true)?) }
    }
}
