//! Large positive definite matrices inverted by their Cholesky factors, in blocks.
//!
//! With `A + λ I = L Lᵀ` the inverse is `L⁻ᵀ L⁻¹`. `L⁻¹` is computed by halves, down to blocks of 32 rows that one workgroup
//! eliminates: nearly all of the work is then products. Inverting `A` itself by halves would cost as little and lose digits:
//! the condition of `L` is the root of that of `A`.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::Arg;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::center_gram::squares;
use crate::ops::gemm::members::Layout;
use crate::ops::measures::ridge_inverse::gradient;
use crate::ops::movement::concat::copy_runs;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `L⁻¹` of a positive semi-definite matrix `[n, n]` of at most 32 rows, where `L Lᵀ = A + λ I` and L is lower triangular.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CholeskyInverse {
    /// λ, 0 or more.
    pub lambda: f32,
}

/// The second input, an inverse of the first plus λ I. The first input gets the gradient of an inverse; the second, and the
/// values that it was computed from, get none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InverseOf;

/// Rows of a block that one workgroup eliminates; also in the kernel.
const BLOCK: usize = 32;

impl Op for CholeskyInverse {
    fn name(&self) -> &'static str {
        "cholesky_inverse"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [a] if a.shape.rank() == 2 && a.shape[0] <= BLOCK && self.lambda >= 0.0 => {
                squares(a).map(|_| TensorType::f32(a.shape.clone()))
            }
            _ => Err(format!("takes a square matrix of up to {BLOCK} rows and λ from 0 on, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].shape[0];
        let launch = Dispatch::grid(kernel!("measures/cholesky_inverse"), [1, 1, 1]).dims(&[n]).floats(&[self.lambda]);
        launch.bind(1).flops(4 * n.pow(3) / 3).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = types[0].shape[0];
        let mut left = inputs[0].clone();
        (0..n).for_each(|i| left[i * n + i] += f64::from(self.lambda));
        let mut right: Vec<f64> = (0..n * n).map(|at| if at % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
        for c in 0..n {
            let root = left[c * n + c].sqrt();
            for matrix in [&mut left, &mut right] {
                matrix[c * n..(c + 1) * n].iter_mut().for_each(|value| *value /= root);
            }
            for row in c + 1..n {
                let factor = left[row * n + c] / root;
                for matrix in [&mut left, &mut right] {
                    let (before, after) = matrix.split_at_mut(row * n);
                    let pivot = &before[c * n..(c + 1) * n];
                    after[..n].iter_mut().zip(pivot).for_each(|(value, pivot)| *value -= factor * pivot);
                }
            }
        }
        right
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [n, p] = [awkward_size(rng, BLOCK), awkward_size(rng, 40)];
        let op = CholeskyInverse { lambda: rng.range(0.5, 2.0) };
        let scale = 1.0 / p as f32;
        let sample = TestCase::new(move |x| x[0].graph().push(op, &[x[0].gram()?.affine(scale, 0.0)?]));
        TestCase { differentiable: false, ..sample }.normal(rng, [n, p])
    }
}

impl Op for InverseOf {
    fn name(&self) -> &'static str {
        "inverse_of"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [a, inverse] if a == inverse && a.shape.rank() == 2 => squares(a).map(|_| (*inverse).clone()),
            _ => Err(format!("takes a square matrix and its inverse, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(gradient(y, dy)?), None])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], output: &TensorType) -> Lowered {
        let elements = output.elements();
        copy_runs(elements, elements, elements, 0).args([Arg::Input(1), Arg::Output]).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[1].clone()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [n, p] = [awkward_size(rng, 70), awkward_size(rng, 40)];
        let lambda = rng.range(0.5, 2.0);
        let scale = 1.0 / p as f32;
        TestCase::new(move |x| inverse_by_factors(x[0].gram()?.affine(scale, 0.0)?, lambda)).normal(rng, [n, p])
    }
}

/// `(A + λ I)⁻¹` of a positive semi-definite matrix `[n, n]`. Cost: 5/3·n³ flop, all but n · 32² of them in products.
pub(crate) fn inverse_by_factors<'g>(a: Var<'g>, lambda: f32) -> Result<Var<'g>> {
    let factor = inverse_factor(a, lambda)?;
    a.graph().push(InverseOf, &[a, factor.matmul(factor, Layout::TN)?])
}

/// `L⁻¹`, where `L Lᵀ = A + λ I`, by its blocks:
///
/// ```text
/// L₁₁⁻¹ of A₁₁;  L₂₁ = A₂₁ L₁₁⁻ᵀ;  L₂₂⁻¹ of A₂₂ − L₂₁ L₂₁ᵀ
///
/// |       L₁₁⁻¹             0    |
/// | −L₂₂⁻¹ L₂₁ L₁₁⁻¹      L₂₂⁻¹  |
/// ```
fn inverse_factor<'g>(a: Var<'g>, lambda: f32) -> Result<Var<'g>> {
    let n = a.shape()[0];
    if n <= BLOCK {
        return a.graph().push(CholeskyInverse { lambda }, &[a]);
    }
    let first = (n / 2).next_multiple_of(BLOCK);
    let rest = n - first;
    let block = |row, rows, column, columns| a.slice(0, row, rows)?.slice(1, column, columns);
    let above = inverse_factor(block(0, first, 0, first)?, lambda)?;
    let below = block(first, rest, 0, first)?.matmul(above, Layout::NT)?;
    let schur = block(first, rest, first, rest)?.sub(below.matmul(below, Layout::NT)?)?;
    let last = inverse_factor(schur, lambda)?;
    let corner = last.matmul(below.matmul(above, Layout::NN)?, Layout::NN)?.affine(-1.0, 0.0)?;
    let zero = a.graph().constant(0.0, [first, rest]);
    Var::concat(&[Var::concat(&[above, zero], 1)?, Var::concat(&[corner, last], 1)?], 0)
}
