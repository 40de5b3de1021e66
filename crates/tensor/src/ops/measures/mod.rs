//! Measures of similarity other than CKA: RBF kernels, representational similarity analysis, ridge regression.

pub(crate) mod cholesky_inverse;
pub(crate) mod l2_normalize;
pub(crate) mod rbf;
pub(crate) mod ridge_inverse;
