//! The Gaussian (RBF) kernel of a layer's activations, and the median heuristic for its width.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::center_gram::{Squares, squares};
use crate::ops::loss::softmax::row_launch;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `K_ij = exp(−|x_i − x_j|² / (2 σ²))`. Inputs: the Gram matrix `[n, n]` of centered activations, σ² `[]`; or for time
/// steps `[time, n, n]` and `[time]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RbfKernel;

/// The gradient of [`RbfKernel`] with respect to the Gram matrix: symmetric, rows sum to 0. Inputs: the gradient of K
/// (symmetric), K, σ².
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RbfKernelGrad;

/// `factor` times the median of the positive squared distances between examples, `[]`; `factor` where all examples are
/// the same. Input: the Gram matrix `[n, n]` of centered activations, or `[time, n, n]` for `[time]`. Takes no gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MedianDistance {
    /// Factor of the median.
    pub factor: f32,
}

/// One number for each Gram matrix of this type.
fn widths(g: &TensorType) -> TensorType {
    TensorType::f32(&g.shape[..g.shape.rank() - 2])
}

/// |x_i − x_j|² from a Gram matrix.
fn squared_distance(g: &[f64], n: usize, i: usize, j: usize) -> f64 {
    g[i * n + i] + g[j * n + j] - 2.0 * g[i * n + j]
}

impl Op for RbfKernel {
    fn name(&self) -> &'static str {
        "rbf_kernel"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [g, variance] if squares(g).is_ok() && **variance == widths(g) => Ok((*g).clone()),
            _ => Err("takes Gram matrices and a number for each".to_string()),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        // The width gets no gradient: it is a choice, or the median, which counts as a constant.
        Ok(vec![Some(y.graph().push(RbfKernelGrad, &[dy.symmetrized()?, y, x[1]])?), None])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let Squares { count, n } = squares(inputs[0]).expect("checked while recording");
        let elements = count * n * n;
        Dispatch::linear(kernel!("measures/rbf_kernel"), elements).dims(&[n, count]).bind(2).flops(6 * elements).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = squares(types[0]).expect("checked while recording").n;
        let kernel = |(g, variance): (&[f64], &f64)| -> Vec<f64> {
            let element = |at: usize| (-squared_distance(g, n, at / n, at % n).max(0.0) / (2.0 * variance)).exp();
            (0..n * n).map(element).collect()
        };
        inputs[0].chunks(n * n).zip(&inputs[1]).flat_map(kernel).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [n, p] = [awkward_size(rng, 65), awkward_size(rng, 40)];
        let variance = rng.range(0.5, 2.0) * p as f32;
        if rng.below(2) == 0 {
            let time = 1 + rng.below(3);
            return TestCase::new(move |x| {
                x[0].centered_token_grams()?.rbf_kernel(x[0].graph().constant(variance, [time]))
            })
            .normal(rng, [n, time, p]);
        }
        TestCase::new(move |x| x[0].centered_gram()?.rbf_kernel(x[0].graph().constant(variance, [])))
            .normal(rng, [n, p])
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

    fn facts(&self, _: &[Facts]) -> Facts {
        Facts { symmetric: true, rows_sum_to_zero: true, ..Facts::default() }
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let Squares { count, n } = squares(inputs[0]).expect("checked while recording");
        row_launch(kernel!("measures/rbf_kernel_grad"), caps, count * n, n).bind(3).flops(3 * count * n * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = squares(types[0]).expect("checked while recording").n;
        let pairs = inputs[0].iter().zip(&inputs[1]).enumerate();
        let mut dg: Vec<f64> = pairs.map(|(at, (dk, k))| dk * k / inputs[2][at / (n * n)]).collect();
        for (row, dg) in dg.chunks_mut(n).enumerate() {
            dg[row % n] = 0.0;
            dg[row % n] = -dg.iter().sum::<f64>();
        }
        dg
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = awkward_size(rng, 129);
        let time = if rng.below(2) == 0 { vec![] } else { vec![1 + rng.below(3)] };
        let shape = [&time[..], &[n, n]].concat();
        let sample = TestCase::forward_only(RbfKernelGrad).normal(rng, shape.clone());
        sample.uniform(rng, shape, 0.0, 1.0).uniform(rng, time, 0.5, 2.0)
    }
}

impl Op for MedianDistance {
    fn name(&self) -> &'static str {
        "median_distance"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [g] => squares(g).map(|_| widths(g)),
            _ => Err("takes Gram matrices".to_string()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![None])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let Squares { count, n } = squares(inputs[0]).expect("checked while recording");
        // In each of four rounds the last invocation walks over rows 255, 511, …, then the first over 512 counters.
        let rows = n.div_ceil(256);
        let iterations = 4 * (128 * rows * rows + 127 * rows + 512);
        let dispatch = Dispatch::grid(kernel!("measures/median_distance"), [count, 1, 1]).iterations(iterations);
        dispatch.dims(&[n]).floats(&[self.factor]).bind(1).flops(16 * count * n * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = squares(types[0]).expect("checked while recording").n;
        inputs[0].chunks(n * n).map(|g| f64::from(self.factor) * median_distance(g, n)).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = awkward_size(rng, 129);
        let op = MedianDistance { factor: rng.range(0.2, 2.0) };
        let time = if rng.below(2) == 0 { vec![] } else { vec![1 + rng.below(3)] };
        let mut grams = Vec::new();
        for _ in 0..time.iter().product() {
            // Some examples twice.
            let p = 3;
            let rows: Vec<f64> = (0..n * p).map(|_| f64::from(rng.normal())).collect();
            let row_of: Vec<usize> = (0..n).map(|i| if rng.below(4) == 0 { 0 } else { i }).collect();
            let dot =
                |i: usize, j: usize| (0..p).map(|k| rows[row_of[i] * p + k] * rows[row_of[j] * p + k]).sum::<f64>();
            grams.extend((0..n * n).map(|at| dot(at / n, at % n)));
        }
        let ty = TensorType::f32([&time[..], &[n, n]].concat());
        TestCase { differentiable: false, ..TestCase::new(move |x| x[0].graph().push(op, x)) }.input(ty, grams)
    }
}

/// The median of the positive squared distances, of an even number the lower one; 1 if there are none.
fn median_distance(g: &[f64], n: usize) -> f64 {
    let pairs = (0..n).flat_map(|i| (0..i).map(move |j| (i, j)));
    let apart = pairs.filter(|&(i, j)| squared_distance(g, n, i, j) > 1e-6 * (g[i * n + i] + g[j * n + j]));
    let mut distances: Vec<f64> = apart.map(|(i, j)| squared_distance(g, n, i, j)).collect();
    distances.sort_by(f64::total_cmp);
    distances.get(distances.len().saturating_sub(1) / 2).copied().unwrap_or(1.0)
}

impl<'g> Var<'g> {
    /// The RBF kernel `exp(−|x_i − x_j|² / (2 variance))` from the Gram matrix `[n, n]` of centered activations
    /// ([`Var::centered_gram`]), `variance` being `[]`; or of `[time, n, n]`, and `[time]`. The width takes no gradient.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes.
    pub fn rbf_kernel(self, variance: Var<'g>) -> Result<Var<'g>> {
        self.graph().push(RbfKernel, &[self, variance])
    }

    /// σ² by the median heuristic: (fraction · median distance between examples)², from a Gram matrix `[n, n]`. Pairs of
    /// equal examples are left out; with no others it is `fraction²`. Source: Kornblith et al. 2019, section 4. From
    /// `[time, n, n]` one for each time step. A plan for a software adapter takes at most 2,560 examples.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another shape.
    pub fn median_variance(self, fraction: f32) -> Result<Var<'g>> {
        self.graph().push(MedianDistance { factor: fraction * fraction }, &[self])
    }
}
