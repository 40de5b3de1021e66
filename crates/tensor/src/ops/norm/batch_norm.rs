//! Batch normalization: the forward op and the calls that record it.

use std::any::Any;
use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::elementwise::unary::{Unary, UnaryFunction};
use crate::ops::norm::batch_norm_grad::{BatchNormGrad, BatchNormSums};
use crate::ops::norm::batch_stats::{BatchStats, RunningStatistics};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `y = γ (x − mean) / √(variance + ε) + β` per channel (axis 1) of `x [batch, channels, …]`.
/// Inputs: x, gamma, beta, then those that [`Statistics`] names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNorm {
    /// Summand under the root.
    pub eps: f32,
    /// Source of mean and variance.
    pub statistics: Statistics,
    /// True if `max(·, 0)` follows. Only fusion sets it.
    pub relu: bool,
}

/// Source of the mean and variance of batch normalization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// The batch's own: one input `[2, channels]` of [`BatchStats`]. The gradient of `x` includes the paths through it.
    Batch,
    /// Stored ones: two inputs `[channels]`, mean and variance. They get no gradient.
    Running,
}

impl Statistics {
    /// Shapes of the inputs.
    pub(crate) fn types(self, channels: usize) -> Vec<TensorType> {
        match self {
            Statistics::Batch => vec![TensorType::f32([2, channels])],
            Statistics::Running => vec![TensorType::f32([channels]); 2],
        }
    }

    /// The kernels' two bindings, where the inputs start at `first`.
    pub(crate) fn args(self, first: usize) -> [Arg; 2] {
        match self {
            Statistics::Batch => [Arg::Input(first), Arg::Unused],
            Statistics::Running => [Arg::Input(first), Arg::Input(first + 1)],
        }
    }

    /// Value of the kernels' constant `RUNNING`.
    pub(crate) fn running(self) -> u32 {
        u32::from(self == Statistics::Running)
    }

    /// Mean and variance of channel `c` from the inputs' values.
    pub(crate) fn at(self, values: &[Vec<f64>], c: usize) -> (f64, f64) {
        match self {
            Statistics::Batch => (values[0][c], values[0][values[0].len() / 2 + c]),
            Statistics::Running => (values[0][c], values[1][c]),
        }
    }
}

/// Batch, channels, and elements of a channel in one example; `None` if the shape has none.
pub(crate) fn sizes(x: &TensorType) -> Option<[usize; 3]> {
    let [batch, channels, ref inner @ ..] = x.shape[..] else { return None };
    (x.dtype == DType::F32 && x.elements() > 0).then(|| [batch, channels, inner.iter().product()])
}

/// An elementwise launch over `[batch, channels, inner]`: `dims` are elements, channels, inner and ε.
pub(crate) fn elementwise(kernel: crate::Kernel, [batch, channels, inner]: [usize; 3], eps: f32) -> Dispatch {
    let vec4 = inner.is_multiple_of(4);
    let inner = if vec4 { inner / 4 } else { inner };
    let invocations = batch * channels * inner;
    Dispatch::linear(kernel, invocations).flag("VEC4", vec4).dims(&[invocations, channels, inner]).floats(&[eps])
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        if self.relu { "batch_norm_relu" } else { "batch_norm" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x, gamma, beta, statistics @ ..] = inputs else {
            return Err("takes x, gamma, beta and statistics".into());
        };
        let Some([_, channels, _]) = sizes(x) else {
            return Err(format!("takes x f32[batch, channels, …], not empty, not {x}"));
        };
        let one = TensorType::f32([channels]);
        if **gamma != one || **beta != one || !self.statistics.types(channels).iter().eq(statistics.iter().copied()) {
            return Err(format!("{x} needs gamma, beta and statistics of {channels} channels, not {:?}", &inputs[1..]));
        }
        Ok((*x).clone())
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        if self.relu {
            return Err(y.not_differentiable());
        }
        let (graph, channels) = (dy.graph(), x[1].ty().elements());
        let Self { eps, statistics, .. } = *self;
        let stats = &x[3..];
        let sums = graph.push(BatchNormSums { eps, statistics }, &[&[x[0], dy], stats].concat())?;
        let inputs = match statistics {
            Statistics::Batch => vec![dy, x[1], stats[0], x[0], sums],
            Statistics::Running => vec![dy, x[1], stats[1]],
        };
        let dx = graph.push(BatchNormGrad { eps, statistics }, &inputs)?;
        let part = |row| sums.slice(0, row, 1)?.reshape([channels]);
        let mut gradients = vec![Some(dx), Some(part(0)?), Some(part(1)?)];
        gradients.resize(x.len(), None);
        Ok(gradients)
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let [mean, variance] = self.statistics.args(3);
        elementwise(kernel!("norm/batch_norm"), sizes(inputs[0]).expect("checked while recording"), self.eps)
            .constant("RUNNING", self.statistics.running())
            .constant("RELU", u32::from(self.relu))
            .args([Arg::Input(0), Arg::Input(1), Arg::Input(2), mean, variance, Arg::Output])
            .flops(5 * output.elements())
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [_, channels, inner] = sizes(types[0]).expect("checked while recording");
        let value = |(i, x): (usize, &f64)| {
            let c = i / inner % channels;
            let (mean, variance) = self.statistics.at(&inputs[3..], c);
            let y = inputs[1][c] * (x - mean) / (variance + f64::from(self.eps)).sqrt() + inputs[2][c];
            if self.relu { UnaryFunction::Relu.apply(y) } else { y }
        };
        inputs[0].iter().enumerate().map(value).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape = sample_shape(rng);
        let channels = [shape[1]];
        let eps = rng.range(1e-3, 0.1);
        let sample = match rng.below(4) {
            0 => TestCase::forward_only(BatchNorm { eps, statistics: Statistics::Running, relu: true }),
            1 => TestCase::new(move |x| x[0].batch_norm_eval(x[1], x[2], x[3], x[4], eps)),
            // Whole: the gradient must include the paths through the batch's statistics.
            _ => {
                let sample = TestCase::new(move |x| x[0].batch_norm(x[1], x[2], eps));
                return sample.normal(rng, shape).normal(rng, channels).normal(rng, channels);
            }
        };
        let sample = sample.normal(rng, shape).normal(rng, channels).normal(rng, channels);
        let mut sample = sample.normal(rng, channels).uniform(rng, channels, 0.2, 2.0);
        if sample.differentiable {
            // The stored statistics are not parameters: differences would see them.
            let record = sample.record;
            let stored = sample.inputs.split_off(3);
            sample.record = Box::new(move |x| {
                let constant = |i: usize| x[0].graph().constant(stored[i].values[0] as f32, stored[i].ty.shape.clone());
                record(&[x[0], x[1], x[2], constant(0), constant(1)])
            });
        }
        sample
    }

    fn fuse_consumer(&self, consumer: &dyn Op, _: usize, _: &TensorType, _: &[&TensorType]) -> Option<Rc<dyn Op>> {
        let consumer: &dyn Any = consumer;
        let relu = consumer.downcast_ref::<Unary>()?.function == UnaryFunction::Relu;
        relu.then(|| Rc::new(BatchNorm { relu, ..*self }) as Rc<dyn Op>)
    }
}

/// `[batch, features]` or `[batch, channels, height, width]`.
pub(crate) fn sample_shape(rng: &mut Rng) -> Vec<usize> {
    if rng.below(2) == 0 {
        return vec![awkward_size(rng, 140), awkward_size(rng, 40)];
    }
    let side = 1 + rng.below(8);
    vec![1 + rng.below(9), awkward_size(rng, 18), side, 1 + rng.below(8)]
}

impl<'g> Var<'g> {
    /// Normalizes each channel by the batch's own statistics: `γ (x − mean) / √(variance + ε) + β`, with the biased
    /// variance. Shapes: x `[batch, channels, …]`, gamma and beta `[channels]`.
    ///
    /// Mean and variance are taken over all axes but the second. One element a channel gives `β`.
    /// *Source:* Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes.
    pub fn batch_norm(self, gamma: Var<'g>, beta: Var<'g>, eps: f32) -> Result<Var<'g>> {
        let batch_stats = self.channel_stats()?;
        self.graph()
            .push(BatchNorm { eps, statistics: Statistics::Batch, relu: false }, &[self, gamma, beta, batch_stats])
    }

    /// [`Var::batch_norm`] that also updates `running_mean` and `running_var` `[channels]`, two leaves, in place:
    /// `running += momentum (batch − running)`, with the batch's unbiased variance. Every step of a plan with it does,
    /// whether or not the result is read. PyTorch's rule.
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes, or `momentum` outside `[0, 1]`.
    pub fn batch_norm_train(
        self,
        gamma: Var<'g>,
        beta: Var<'g>,
        running_mean: Var<'g>,
        running_var: Var<'g>,
        momentum: f32,
        eps: f32,
    ) -> Result<Var<'g>> {
        let batch_stats = self.channel_stats()?;
        let count = self.ty().elements() / self.shape()[1];
        let normalize = BatchNorm { eps, statistics: Statistics::Batch, relu: false };
        let y = self.graph().push(normalize, &[self, gamma, beta, batch_stats])?;
        self.graph().push(RunningStatistics { momentum, count }, &[running_mean, running_var, batch_stats])?;
        Ok(y)
    }

    /// Normalizes each channel by stored statistics, with gradients for `x`, `gamma` and `beta`. Shapes as in
    /// [`Var::batch_norm_train`].
    ///
    /// # Errors
    /// [`Error::Shape`] for other shapes.
    pub fn batch_norm_eval(
        self,
        gamma: Var<'g>,
        beta: Var<'g>,
        running_mean: Var<'g>,
        running_var: Var<'g>,
        eps: f32,
    ) -> Result<Var<'g>> {
        let normalize = BatchNorm { eps, statistics: Statistics::Running, relu: false };
        self.graph().push(normalize, &[self, gamma, beta, running_mean, running_var])
    }

    fn channel_stats(self) -> Result<Var<'g>> {
        let Some(sizes) = sizes(&self.ty()) else {
            let problem = format!("takes x f32[batch, channels, …], not empty, not {}", self.ty());
            return Err(Error::Shape { op: "batch_norm", layer: self.graph().layer(), problem });
        };
        self.graph().push(BatchStats, &[self.reshape(sizes)?])
    }
}
