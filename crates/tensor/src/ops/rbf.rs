//! The Gaussian (RBF) kernel of a layer's activations, and the median heuristic for its width.

use crate::error::Result;
use crate::gpu::Caps;
use crate::graph::Var;
use crate::kernel;
use crate::op::{Dispatch, Lowered, Op, Sample, awkward_size};
use crate::ops::center_gram::square;
use crate::ops::gram::symmetric;
use crate::ops::softmax::row_launch;
use crate::rng::Rng;
use crate::shape::TensorType;

/// `K_ij = exp(−|x_i − x_j|² / (2 σ²))`. Inputs: the Gram matrix `[n, n]` of centred activations, σ² `[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RbfKernel;

/// The gradient of [`RbfKernel`] with respect to the Gram matrix: symmetric, rows sum to 0. Inputs: the gradient of K
/// (symmetric), K, σ².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RbfKernelGrad;

/// `factor` times the median of the positive squared distances between examples, `[]`; `factor` where all examples are
/// the same. Input: the Gram matrix `[n, n]` of centred activations. Takes no gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MedianDistance {
    /// What the median is multiplied by.
    pub factor: f32,
}

/// |x_i − x_j|² out of a Gram matrix.
fn squared_distance(g: &[f64], n: usize, i: usize, j: usize) -> f64 {
    g[i * n + i] + g[j * n + j] - 2.0 * g[i * n + j]
}

impl Op for RbfKernel {
    fn name(&self) -> &'static str {
        "rbf_kernel"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [g, variance] if **variance == TensorType::f32([]) => square(g).map(|n| TensorType::f32([n, n])),
            _ => Err("takes a Gram matrix and a scalar".to_string()),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        // No gradient for the width: it is a choice, or the median, which is taken for a constant.
        Ok(vec![Some(y.graph().push(RbfKernelGrad, &[symmetric(dy)?, y, x[1]])?), None])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].shape[0];
        Dispatch::linear(kernel!("rbf_kernel"), n * n).dims(&[n]).bind(2).flops(6 * n * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = types[0].shape[0];
        let element = |at: usize| {
            let squared = squared_distance(&inputs[0], n, at / n, at % n);
            (-squared.max(0.0) / (2.0 * inputs[1][0])).exp()
        };
        (0..n * n).map(element).collect()
    }

    fn sample(rng: &mut Rng) -> Sample {
        let [n, p] = [awkward_size(rng, 65), awkward_size(rng, 40)];
        let variance = rng.range(0.5, 2.0) * p as f32;
        Sample::new(move |x| x[0].centered_gram()?.rbf_kernel(x[0].graph().constant(variance, []))).normal(rng, [n, p])
    }
}

impl Op for RbfKernelGrad {
    fn name(&self) -> &'static str {
        "rbf_kernel_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [dk, k, variance] if dk == k => RbfKernel.infer(&[k, variance]),
            _ => Err("takes two matrices of equal shape and a scalar".to_string()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].shape[0];
        row_launch(kernel!("rbf_kernel_grad"), caps, n, n).bind(3).flops(3 * n * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = types[0].shape[0];
        let mut dg: Vec<f64> = inputs[0].iter().zip(&inputs[1]).map(|(dk, k)| dk * k / inputs[2][0]).collect();
        for i in 0..n {
            dg[i * n + i] = 0.0;
            dg[i * n + i] = -dg[i * n..][..n].iter().sum::<f64>();
        }
        dg
    }

    fn sample(rng: &mut Rng) -> Sample {
        let n = awkward_size(rng, 129);
        Sample::forward_only(RbfKernelGrad).normal(rng, [n, n]).uniform(rng, [n, n], 0.0, 1.0).uniform(
            rng,
            [],
            0.5,
            2.0,
        )
    }
}

impl Op for MedianDistance {
    fn name(&self) -> &'static str {
        "median_distance"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [g] if square(g)? <= MAX_EXAMPLES => Ok(TensorType::f32([])),
            _ => Err(format!("takes the Gram matrix of at most {MAX_EXAMPLES} examples")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![None])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].shape[0];
        let dispatch = Dispatch::grid(kernel!("median_distance"), [1, 1, 1]);
        dispatch.dims(&[n]).floats(&[self.factor]).bind(1).flops(16 * n * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let (g, n) = (&inputs[0], types[0].shape[0]);
        let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
        let apart = pairs.filter(|&(i, j)| squared_distance(g, n, i, j) > 1e-6 * (g[i * n + i] + g[j * n + j]));
        let mut distances: Vec<f64> = apart.map(|(i, j)| squared_distance(g, n, i, j)).collect();
        distances.sort_by(f64::total_cmp);
        let median = distances.get(distances.len().saturating_sub(1) / 2).copied().unwrap_or(1.0);
        vec![f64::from(self.factor) * median]
    }

    fn sample(rng: &mut Rng) -> Sample {
        let n = awkward_size(rng, 129);
        let op = MedianDistance { factor: rng.range(0.2, 2.0) };
        // Some examples twice.
        let p = 3;
        let rows: Vec<f64> = (0..n * p).map(|_| f64::from(rng.normal())).collect();
        let row_of: Vec<usize> = (0..n).map(|i| if rng.below(4) == 0 { 0 } else { i }).collect();
        let dot = |i: usize, j: usize| (0..p).map(|k| rows[row_of[i] * p + k] * rows[row_of[j] * p + k]).sum();
        let gram = (0..n * n).map(|at| dot(at / n, at % n)).collect();
        Sample { differentiable: false, ..Sample::new(move |x| x[0].graph().push(op, x)) }
            .input(TensorType::f32([n, n]), gram)
    }
}

/// One workgroup walks over half of n² elements four times, and software adapters leave a loop after 65,535 turns.
const MAX_EXAMPLES: usize = 2048;

impl<'g> Var<'g> {
    /// The RBF kernel `exp(−|x_i − x_j|² / (2 variance))` from the Gram matrix `[n, n]` of centred activations
    /// ([`Var::centered_gram`]). The width takes no gradient.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes.
    pub fn rbf_kernel(self, variance: Var<'g>) -> Result<Var<'g>> {
        self.graph().push(RbfKernel, &[self, variance])
    }

    /// σ² by the median heuristic: (fraction · median distance between examples)², from a Gram matrix `[n, n]`. Pairs of
    /// equal examples are left out; with no others it is `fraction²`. Source: Kornblith et al. 2019, section 4.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another shape, or more than 2,048 examples.
    pub fn median_variance(self, fraction: f32) -> Result<Var<'g>> {
        self.graph().push(MedianDistance { factor: fraction * fraction }, &[self])
    }
}
