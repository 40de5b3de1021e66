//! The inverse of a Gram matrix with a ridge, for kernel ridge regression.
//!
//! Up to 256 rows it is one op of Gauss-Jordan elimination; past that, [Cholesky factors](super::cholesky_inverse), whose work lies in
//! products.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::center_gram::{Squares, squares};
use crate::ops::gemm::members::Layout;
use crate::ops::measures::cholesky_inverse::inverse_by_factors;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `(A + λ I)⁻¹` of a positive semi-definite matrix `[n, n]`. Cost: 2·n³ flop in ⌈n / 16⌉ steps of two dispatches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RidgeInverse {
    /// λ, above 0.
    pub lambda: f32,
}

/// Greatest number of rows of a matrix that is inverted by elimination alone.
const DIRECT: usize = 256;

/// Rows and columns that one step eliminates; also in the kernels.
const BLOCK: usize = 16;

impl Op for RidgeInverse {
    fn name(&self) -> &'static str {
        "ridge_inverse"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [a] if self.lambda > 0.0 && a.shape.rank() == 2 => {
                squares(a).map(|Squares { n, .. }| TensorType::f32([n, n]))
            }
            _ => Err(format!("takes a square matrix and λ above 0, not {inputs:?} and {}", self.lambda)),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        gradient(y, dy).map(|da| vec![Some(da)])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].shape[0];
        let (steps, tiles) = (n.div_ceil(BLOCK), n.div_ceil(BLOCK));
        let mut dispatches = Vec::with_capacity(2 * steps);
        let mut source = Arg::Input(0);
        for step in 0..steps {
            // Back and forth between the output and a scratch buffer, so that the last step writes the output.
            let target = if (steps - step) % 2 == 1 { Arg::Output } else { Arg::Scratch(1) };
            let sized = |dispatch: Dispatch| {
                dispatch.constant("FIRST", u32::from(step == 0)).dims(&[n, BLOCK * step]).floats(&[self.lambda])
            };
            let pivot = Dispatch::grid(kernel!("measures/ridge_pivot"), [1, 1, 1]).args([source, Arg::Scratch(0)]);
            let update = Dispatch::grid(kernel!("measures/ridge_inverse"), [tiles, tiles, 1]);
            dispatches.push(sized(pivot).flops(2 * BLOCK.pow(3)));
            dispatches.push(sized(update.args([source, Arg::Scratch(0), target])).flops(4 * BLOCK * n * n));
            source = target;
        }
        Lowered { dispatches, scratch: vec![4 * BLOCK * BLOCK, 4 * n * n] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = types[0].shape[0];
        let mut a = inputs[0].clone();
        (0..n).for_each(|i| a[i * n + i] += f64::from(self.lambda));
        for c in 0..n {
            let scale = 1.0 / a[c * n + c];
            let (across, down): (Vec<f64>, Vec<f64>) = (0..n).map(|i| (a[c * n + i], a[i * n + c])).unzip();
            for (at, value) in a.iter_mut().enumerate() {
                *value = match (at / n == c, at % n == c) {
                    (true, true) => scale,
                    (true, false) => *value * scale,
                    (false, true) => -*value * scale,
                    (false, false) => *value - down[at / n] * across[at % n] * scale,
                };
            }
        }
        a
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [n, p] = [awkward_size(rng, 65), awkward_size(rng, 40)];
        let op = RidgeInverse { lambda: rng.range(0.5, 2.0) };
        let scale = 1.0 / p as f32;
        TestCase::new(move |x| x[0].graph().push(op, &[x[0].gram()?.affine(scale, 0.0)?])).normal(rng, [n, p])
    }
}

/// The gradient to A, where `dy` is that to its inverse `y`: d(A⁻¹) = −A⁻¹ dA A⁻¹.
pub(crate) fn gradient<'g>(y: Var<'g>, dy: Var<'g>) -> Result<Var<'g>> {
    y.matmul(dy, Layout::TN)?.matmul(y, Layout::NT)?.affine(-1.0, 0.0)
}

impl<'g> Var<'g> {
    /// `(A + λ I)⁻¹` of this positive semi-definite matrix `[n, n]`, such as a Gram matrix. Cost: about 2·n³ flop; past 256 rows
    /// nearly all of them in matrix products.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless it is square and `lambda` above 0.
    pub fn ridge_inverse(self, lambda: f32) -> Result<Var<'g>> {
        match self.shape()[..] {
            [n, m] if n == m && n > DIRECT && lambda > 0.0 => inverse_by_factors(self, lambda),
            _ => self.graph().push(RidgeInverse { lambda }, &[self]),
        }
    }
}
