//! Mean and variance of channels, of one batch and running.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::movement::reduce::software_lanes;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// Mean and biased variance of each channel of `x [batch, channels, inner]`, as `[2, channels]`.
///
/// It has no gradient of its own: the ops that take these statistics count it in the gradient of their `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStats;

/// Updates a running mean and variance `[channels]` in place from a batch's statistics `[2, channels]`:
/// `mean += momentum (batch mean − mean)`, likewise the variance with the batch's unbiased one. PyTorch's rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RunningStatistics {
    /// Weight of the batch.
    pub momentum: f32,
    /// Elements that each moment was taken over.
    pub count: usize,
}

/// A launch over the channels of `[batch, channels, inner]` with the walk of `shaders/lib/channel.wgsl`; `dims` 0 to 2
/// are channels, inner and elements of a channel.
pub(crate) fn channel_launch(kernel: crate::Kernel, caps: &Caps, sizes: [usize; 3], parts: usize) -> Dispatch {
    let [batch, channels, inner] = sizes;
    let n = batch * inner;
    let lanes = match inner {
        _ if caps.software => software_lanes(n),
        _ if n < 32 => 1,
        1 => 16,
        _ => 256.min(n.next_power_of_two()),
    };
    Dispatch::per_group(kernel, parts * channels.div_ceil(256 / lanes))
        .lanes(caps, lanes)
        .constant("PARTS", parts as u32)
        .constant("ACROSS", u32::from(inner == 1))
        .iterations(2 * n.div_ceil(parts * lanes))
        .dims(&[channels, inner, n])
}

/// Number of workgroups that share a channel. A GPU wants some 500 in all, each with 4,096 elements at least. On a software
/// adapter it is one, as long as two passes in it are short enough.
pub(crate) fn channel_parts(caps: &Caps, [batch, channels, inner]: [usize; 3]) -> usize {
    if caps.software {
        return if inner == 1 { 1 } else { (batch * inner).div_ceil(1 << 22).max(1) };
    }
    if inner == 1 { 1 } else { (528 / channels.max(1)).min(batch * inner / 4096).max(1) }
}

/// The values of channel `c` of `[batch, channels, inner]`.
pub(crate) fn channel<'v>(
    x: &'v [f64],
    [_, channels, inner]: [usize; 3],
    c: usize,
) -> impl Iterator<Item = f64> + Clone + 'v {
    x.chunks(channels * inner).flat_map(move |example| example[c * inner..(c + 1) * inner].iter().copied())
}

impl BatchStats {
    fn sizes(x: &TensorType) -> Option<[usize; 3]> {
        let &[batch, channels, inner] = &x.shape[..] else { return None };
        (x.dtype == DType::F32 && x.elements() > 0).then_some([batch, channels, inner])
    }
}

impl Op for BatchStats {
    fn name(&self) -> &'static str {
        "batch_stats"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if Self::sizes(x).is_some() => Ok(TensorType::f32([2, x.shape[1]])),
            _ => Err(format!("takes one f32[batch, channels, inner], not empty, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let sizes = Self::sizes(inputs[0]).expect("checked while recording");
        let [batch, channels, inner] = sizes;
        let parts = channel_parts(caps, sizes);
        let launch = channel_launch(kernel!("norm/batch_stats"), caps, sizes, parts).flops(6 * inputs[0].elements());
        if parts == 1 {
            return launch.bind(1).into();
        }
        let combine = Dispatch::linear(kernel!("norm/batch_stats_combine"), channels)
            .dims(&[channels, parts, batch * inner])
            .args([Arg::Scratch(0), Arg::Output])
            .flops(6 * parts * channels);
        let dispatches = vec![launch.args([Arg::Input(0), Arg::Scratch(0)]), combine];
        Lowered { dispatches, scratch: vec![4 * parts * 2 * channels] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let sizes = Self::sizes(types[0]).expect("checked while recording");
        let n = (sizes[0] * sizes[2]) as f64;
        let means: Vec<f64> = (0..sizes[1]).map(|c| channel(&inputs[0], sizes, c).sum::<f64>() / n).collect();
        let variance =
            |(c, mean): (usize, &f64)| channel(&inputs[0], sizes, c).map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
        let variances: Vec<f64> = means.iter().enumerate().map(variance).collect();
        [means, variances].concat()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let inner = if rng.below(2) == 0 { 1 } else { awkward_size(rng, 70) };
        let shape = [awkward_size(rng, 40), awkward_size(rng, 20), inner];
        // Large enough for several workgroups a channel.
        let shape = if rng.below(4) == 0 { [9, 3, 1000 + rng.below(500)] } else { shape };
        TestCase::forward_only(BatchStats).normal(rng, shape)
    }
}

impl RunningStatistics {
    fn unbiased(&self) -> f32 {
        self.count as f32 / self.count.saturating_sub(1).max(1) as f32
    }
}

impl Op for RunningStatistics {
    fn name(&self) -> &'static str {
        "running_statistics"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        if !(0.0..=1.0).contains(&self.momentum) {
            return Err(format!("momentum {} is not in [0, 1]", self.momentum));
        }
        match inputs {
            [mean, variance, batch_stats]
                if mean == variance
                    && mean.shape.rank() == 1
                    && mean.elements() > 0
                    && **mean == TensorType::f32([mean.shape[0]])
                    && **batch_stats == TensorType::f32([2, mean.shape[0]]) =>
            {
                Ok(TensorType::nothing())
            }
            _ => Err(format!("takes running mean and variance f32[c] and batch_stats f32[2, c], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let channels = inputs[0].elements();
        Dispatch::linear(kernel!("norm/running_statistics"), channels)
            .dims(&[channels])
            .floats(&[self.momentum, self.unbiased()])
            .args([Arg::Input(2), Arg::Input(0), Arg::Input(1)])
            .flops(8 * channels)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [mean, variance, batch_stats] = inputs else { unreachable!("checked while recording") };
        let channels = mean.len();
        let momentum = f64::from(self.momentum);
        for c in 0..channels {
            mean[c] += momentum * (batch_stats[c] - mean[c]);
            variance[c] += momentum * (f64::from(self.unbiased()) * batch_stats[channels + c] - variance[c]);
        }
        Vec::new()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let channels = awkward_size(rng, 300);
        let op = RunningStatistics { momentum: 0.1, count: 1 + rng.below(20) };
        TestCase::forward_only(op).normal(rng, [channels]).uniform(rng, [channels], 0.5, 2.0).uniform(
            rng,
            [2, channels],
            0.5,
            2.0,
        )
    }

    fn updates(&self) -> &'static [usize] {
        &[0, 1]
    }
}
