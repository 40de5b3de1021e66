//! Layer normalization over the last axis, and its gradients.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::gemm::variant::sum_parts;
use crate::ops::loss::softmax::{checked_rows, row_launch, rows_of};
use crate::ops::movement::reduce::software_lanes;
use crate::ops::norm::batch_stats::BatchStats;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `y = γ (x − mean) / √(variance + ε) + β` with mean and biased variance of each row. Inputs: x `[…, n]`, gamma and
/// beta `[n]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Summand under the root.
    pub eps: f32,
}

/// `dx` of [`LayerNorm`]. Inputs: x, gamma, dy, and the rows' statistics `[2, rows]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormGrad {
    /// Summand under the root.
    pub eps: f32,
}

/// `[2, n]`: dγ = Σ dy x̂ and dβ = Σ dy over rows. Inputs: x, dy, and the rows' statistics `[2, rows]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormSums {
    /// Summand under the root.
    pub eps: f32,
}

/// `x̂ = (x − mean) / √(variance + ε)` of one row, and the factor `1 / √(variance + ε)`.
fn normalized(x: &[f64], mean: f64, variance: f64, eps: f32) -> (Vec<f64>, f64) {
    let scale = 1.0 / (variance + f64::from(eps)).sqrt();
    (x.iter().map(|x| (x - mean) * scale).collect(), scale)
}

fn mean_of(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len() as f64;
    values.sum::<f64>() / n
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if let [x, gamma, beta] = inputs
            && let Some([_, n]) = rows_of(x)
            && **gamma == TensorType::f32([n])
            && gamma == beta
        {
            return Ok((*x).clone());
        }
        Err(format!("takes x f32[…, n], not empty, and gamma and beta f32[n], not {inputs:?}"))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let (graph, eps) = (dy.graph(), self.eps);
        let [rows, n] = checked_rows(&x[0].ty());
        let row_stats = graph.push(BatchStats, &[x[0].reshape([1, rows, n])?])?;
        let dx = graph.push(LayerNormGrad { eps }, &[x[0], x[1], dy, row_stats])?;
        let sums = graph.push(LayerNormSums { eps }, &[x[0], dy, row_stats])?;
        let part = |row| sums.slice(0, row, 1)?.reshape([n]);
        Ok(vec![Some(dx), Some(part(0)?), Some(part(1)?)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, n] = checked_rows(inputs[0]);
        row_launch(kernel!("norm/layer_norm"), caps, rows, n).floats(&[self.eps]).bind(3).flops(10 * rows * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let mean = mean_of(x.iter().copied());
            let variance = mean_of(x.iter().map(|x| (x - mean) * (x - mean)));
            let (normal, _) = normalized(x, mean, variance, self.eps);
            normal.iter().zip(inputs[1].iter().zip(&inputs[2])).map(|(x, (gamma, beta))| gamma * x + beta).collect()
        };
        inputs[0].chunks(types[0].shape.last_axis()).flat_map(row).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (eps, offset) = (rng.range(1e-3, 0.1), rng.range(-20.0, 20.0));
        let shape = [1 + rng.below(3), awkward_size(rng, 40), awkward_size(rng, 300)];
        let sample = TestCase::new(move |x| x[0].layer_norm(x[1], x[2], eps));
        sample.uniform(rng, shape, offset - 2.0, offset + 2.0).normal(rng, [shape[2]]).normal(rng, [shape[2]])
    }
}

impl Op for LayerNormGrad {
    fn name(&self) -> &'static str {
        "layer_norm_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if let [x, gamma, dy, row_stats] = inputs
            && let Some([rows, n]) = rows_of(x)
            && **gamma == TensorType::f32([n])
            && x == dy
            && **row_stats == TensorType::f32([2, rows])
        {
            return Ok((*x).clone());
        }
        Err(format!("takes x f32[…, n], gamma, dy and row_stats f32[2, rows], not {inputs:?}"))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, n] = checked_rows(inputs[0]);
        row_launch(kernel!("norm/layer_norm_grad"), caps, rows, n)
            .floats(&[self.eps])
            .bind(4)
            .flops(12 * rows * n)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [rows, n] = checked_rows(types[0]);
        let row = |r: usize| -> Vec<f64> {
            let (normal, scale) = normalized(&inputs[0][r * n..][..n], inputs[3][r], inputs[3][rows + r], self.eps);
            let g: Vec<f64> = inputs[2][r * n..][..n].iter().zip(&inputs[1]).map(|(dy, gamma)| dy * gamma).collect();
            let sum = mean_of(g.iter().copied());
            let product = mean_of(g.iter().zip(&normal).map(|(g, x)| g * x));
            g.iter().zip(&normal).map(|(g, x)| scale * (g - sum - x * product)).collect()
        };
        (0..rows).flat_map(row).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [rows, n] = [awkward_size(rng, 60), awkward_size(rng, 300)];
        TestCase::forward_only(LayerNormGrad { eps: 1e-3 })
            .normal(rng, [rows, n])
            .normal(rng, [n])
            .normal(rng, [rows, n])
            .uniform(rng, [2, rows], 0.2, 1.0)
    }
}

impl Op for LayerNormSums {
    fn name(&self) -> &'static str {
        "layer_norm_sums"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if let [x, dy, row_stats] = inputs
            && let Some([rows, n]) = rows_of(x)
            && x == dy
            && **row_stats == TensorType::f32([2, rows])
        {
            return Ok(TensorType::f32([2, n]));
        }
        Err(format!("takes x and dy f32[…, n] and row_stats f32[2, rows], not {inputs:?}"))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, n] = checked_rows(inputs[0]);
        let lanes = match rows {
            _ if caps.software => software_lanes(rows),
            0..32 => 1,
            _ => 16,
        };
        let groups = n.div_ceil(256 / lanes);
        // A GPU wants some 500 workgroups, each with 256 rows at least.
        let parts = if caps.software { 1 } else { (528 / groups.max(1)).min(rows / 256).max(1) };
        let out = if parts > 1 { Arg::Scratch(0) } else { Arg::Output };
        let launch = Dispatch::per_group(kernel!("norm/layer_norm_sums"), parts * groups)
            .lanes(caps, lanes)
            .constant("PARTS", parts as u32)
            .iterations(rows.div_ceil(lanes))
            .dims(&[rows, n])
            .floats(&[self.eps])
            .args([Arg::Input(0), Arg::Input(1), Arg::Input(2), out])
            .flops(7 * rows * n);
        if parts == 1 {
            return launch.into();
        }
        let unused = Arg::Unused;
        let sum = sum_parts(parts, [1, 2 * n]).args([out, unused, unused, unused, Arg::Output]);
        Lowered { dispatches: vec![launch, sum], scratch: vec![4 * parts * 2 * n] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [rows, n] = checked_rows(types[0]);
        let mut sums = vec![0.0; 2 * n];
        for r in 0..rows {
            let (normal, _) = normalized(&inputs[0][r * n..][..n], inputs[2][r], inputs[2][rows + r], self.eps);
            for (i, dy) in inputs[1][r * n..][..n].iter().enumerate() {
                sums[i] += dy * normal[i];
                sums[n + i] += dy;
            }
        }
        sums
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [rows, n] = [awkward_size(rng, 100), awkward_size(rng, 140)];
        // Rows enough for several workgroups a column, now and then.
        let rows = if rng.below(4) == 0 { 800 + rows } else { rows };
        TestCase::forward_only(LayerNormSums { eps: 1e-3 }).normal(rng, [rows, n]).normal(rng, [rows, n]).uniform(
            rng,
            [2, rows],
            0.2,
            1.0,
        )
    }
}

impl<'g> Var<'g> {
    /// Normalizes each row, the last axis, by its own statistics: `γ (x − mean) / √(variance + ε) + β`, with the biased
    /// variance. Shapes: x `[…, n]`, gamma and beta `[n]`.
    ///
    /// *Source:* Ba, Kiros and Hinton 2016, arXiv:1607.06450, section 3.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes.
    pub fn layer_norm(self, gamma: Var<'g>, beta: Var<'g>, eps: f32) -> Result<Var<'g>> {
        self.graph().push(LayerNorm { eps }, &[self, gamma, beta])
    }
}
