//! Facts: properties of a value that follow from the op that made it, for any numbers.
//!
//! Each op states them for its own output ([`Op::facts`](crate::Op::facts)). Backward rules read them and skip work that a fact
//! makes needless. A fact may be missing, but never false.

use crate::shape::Shape;

/// Known properties of a value, rounding aside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The value is a square matrix, or several, each equal to its transpose.
    pub symmetric: bool,
    /// The rows of each of its matrices sum to 0.
    pub rows_sum_to_zero: bool,
    /// Elements along its first axis sum to 0: of activations `[n, …]`, each feature over the examples.
    pub columns_sum_to_zero: bool,
    /// The value holds layers one after another, and the columns of each sum to 0.
    pub layers_sum_to_zero: bool,
    /// Centering of the value, if it is a Gram matrix, or the gradient of one.
    pub centering: Option<Centering>,
}

/// Part of a Gram matrix that is subtracted before two are compared. Each centering is an orthogonal projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centering {
    /// Row and column means: `H K H`. With it CKA is the biased estimator.
    Double,
    /// U-centering: the diagonal is 0, and so is every row sum. With it CKA is the debiased estimator (Song et al. 2012;
    /// Székely and Rizzo 2014). Needs n ≥ 4: for 3 examples nothing is left.
    Unbiased,
    /// The mean off the diagonal, and the diagonal. A correlation of dissimilarities compares the rest (RSA). Needs n ≥ 3.
    OffDiagonal,
}

impl Facts {
    /// Facts of the same values in another shape: time steps folded into features keep their columns.
    pub(crate) fn reshaped(self, from: &Shape, to: &Shape) -> Self {
        Self { columns_sum_to_zero: self.columns_sum_to_zero && from.first() == to.first(), ..Self::default() }
    }
}
