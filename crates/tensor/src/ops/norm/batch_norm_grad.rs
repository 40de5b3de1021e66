//! Gradients of batch normalization.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::gemm::variant::sum_parts;
use crate::ops::norm::batch_norm::{Statistics, elementwise, sample_shape, sizes};
use crate::ops::norm::batch_stats::{channel, channel_launch, channel_parts};
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `[2, channels]`: dγ = Σ dy x̂ and dβ = Σ dy per channel. Inputs: x, dy, then the statistics.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormSums {
    /// Summand under the root.
    pub eps: f32,
    /// Source of mean and variance.
    pub statistics: Statistics,
}

/// `dx = γ / √(variance + ε) · (dy − (dβ + x̂ dγ) / n)`, inputs dy, gamma, batch_stats, x, sums; or with running statistics
/// `γ / √(variance + ε) · dy`, inputs dy, gamma, variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormGrad {
    /// Summand under the root.
    pub eps: f32,
    /// Source of mean and variance.
    pub statistics: Statistics,
}

impl Op for BatchNormSums {
    fn name(&self) -> &'static str {
        "batch_norm_sums"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if let [x, dy, statistics @ ..] = inputs
            && let Some([_, channels, _]) = sizes(x)
            && x == dy
            && self.statistics.types(channels).iter().eq(statistics.iter().copied())
        {
            return Ok(TensorType::f32([2, channels]));
        }
        Err(format!("takes x and dy f32[batch, channels, …] and statistics, not {inputs:?}"))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [mean, variance] = self.statistics.args(2);
        let sizes = sizes(inputs[0]).expect("checked while recording");
        let (channels, parts) = (sizes[1], channel_parts(caps, sizes));
        let out = if parts > 1 { Arg::Scratch(0) } else { Arg::Output };
        let launch = channel_launch(kernel!("norm/batch_norm_sums"), caps, sizes, parts)
            .constant("RUNNING", self.statistics.running())
            .floats(&[self.eps])
            .args([Arg::Input(0), Arg::Input(1), mean, variance, out])
            .flops(4 * inputs[0].elements());
        if parts == 1 {
            return launch.into();
        }
        let unused = Arg::Unused;
        let sum = sum_parts(parts, [1, 2 * channels]).args([out, unused, unused, unused, Arg::Output]);
        Lowered { dispatches: vec![launch, sum], scratch: vec![4 * parts * 2 * channels] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let sizes = sizes(types[0]).expect("checked while recording");
        let mut sums = vec![0.0; output.elements()];
        for c in 0..sizes[1] {
            let (mean, variance) = self.statistics.at(&inputs[2..], c);
            let deviation = (variance + f64::from(self.eps)).sqrt();
            let (x, dy) = (channel(&inputs[0], sizes, c), channel(&inputs[1], sizes, c));
            sums[c] = x.zip(dy.clone()).map(|(x, dy)| dy * (x - mean) / deviation).sum();
            sums[sizes[1] + c] = dy.sum();
        }
        sums
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let statistics = [Statistics::Batch, Statistics::Running][rng.below(2)];
        // Large enough for several workgroups a channel, now and then.
        let shape = if rng.below(4) == 0 { vec![5, 3, 40, 45] } else { sample_shape(rng) };
        let op = BatchNormSums { eps: 1e-3, statistics };
        let mut sample = TestCase::forward_only(op).normal(rng, shape.clone()).normal(rng, shape.clone());
        for ty in statistics.types(shape[1]) {
            sample = sample.uniform(rng, ty.shape, 0.2, 1.0);
        }
        sample
    }
}

impl Op for BatchNormGrad {
    fn name(&self) -> &'static str {
        "batch_norm_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if let [dy, rest @ ..] = inputs
            && let Some([_, channels, _]) = sizes(dy)
        {
            let (one, two) = (TensorType::f32([channels]), TensorType::f32([2, channels]));
            let expected = match self.statistics {
                Statistics::Batch => vec![one, two.clone(), (*dy).clone(), two],
                Statistics::Running => vec![one; 2],
            };
            if expected.iter().eq(rest.iter().copied()) {
                return Ok((*dy).clone());
            }
        }
        Err(format!("takes dy f32[batch, channels, …], gamma and statistics, not {inputs:?}"))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let sizes = sizes(output).expect("checked while recording");
        let used = |i| if i < inputs.len() { Arg::Input(i) } else { Arg::Unused };
        elementwise(kernel!("norm/batch_norm_grad"), sizes, self.eps)
            .floats(&[1.0 / (sizes[0] * sizes[2]) as f32])
            .constant("RUNNING", self.statistics.running())
            .args([used(0), used(1), used(2), used(3), used(4), Arg::Output])
            .flops(10 * output.elements())
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [batch, channels, inner] = sizes(types[0]).expect("checked while recording");
        let (gamma, statistics, n) = (&inputs[1], &inputs[2], (batch * inner) as f64);
        let value = |(i, dy): (usize, &f64)| {
            let c = i / inner % channels;
            let variance = if self.statistics == Statistics::Batch { statistics[channels + c] } else { statistics[c] };
            let deviation = (variance + f64::from(self.eps)).sqrt();
            let through_statistics = match self.statistics {
                Statistics::Running => 0.0,
                Statistics::Batch => {
                    let normal = (inputs[3][i] - statistics[c]) / deviation;
                    (inputs[4][channels + c] + normal * inputs[4][c]) / n
                }
            };
            gamma[c] / deviation * (dy - through_statistics)
        };
        inputs[0].iter().enumerate().map(value).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let statistics = [Statistics::Batch, Statistics::Running][rng.below(2)];
        let shape = sample_shape(rng);
        let (one, two) = ([shape[1]], [2, shape[1]]);
        let op = BatchNormGrad { eps: 1e-3, statistics };
        let sample = TestCase::forward_only(op).normal(rng, shape.clone()).normal(rng, one);
        match statistics {
            Statistics::Batch => sample.uniform(rng, two, 0.2, 1.0).normal(rng, shape).normal(rng, two),
            Statistics::Running => sample.uniform(rng, one, 0.2, 1.0),
        }
    }
}
