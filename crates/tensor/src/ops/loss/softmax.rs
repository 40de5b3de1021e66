//! Softmax and log-softmax over the last axis, each one kernel forward and one backward.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::movement::reduce::{MOST_PASSES, lanes};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `y = eˣ / Σ eˣ` over the last axis, or its logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    /// True if `y` is the logarithm.
    pub log: bool,
}

/// `dx` of [`Softmax`] from its output and its output's gradient: `y (dy − Σ dy y)`, or `dy − eʸ Σ dy` for the
/// logarithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoftmaxGrad {
    /// True if `y` is the logarithm.
    pub log: bool,
}

/// A launch over `rows` rows of `n` elements, which become `dims` 0 and 1: a row per invocation on software adapters,
/// neighboring invocations (`LANES` of them) on a row on GPUs.
pub(crate) fn row_launch(kernel: crate::Kernel, caps: &Caps, rows: usize, n: usize) -> Dispatch {
    let mut lanes = lanes(caps, n, 1);
    // A few long rows would be one workgroup, and that is one thread.
    while caps.software && lanes < 256 && rows * lanes < 512 && n >= 2048 * lanes {
        lanes *= 2;
    }
    let launch = Dispatch::per_group(kernel, rows.div_ceil(256 / lanes)).lanes(caps, lanes).dims(&[rows, n]);
    launch.iterations(MOST_PASSES * n.div_ceil(lanes))
}

/// Number of rows and of elements of a row, if the type fits.
pub(crate) fn rows_of(x: &TensorType) -> Option<[usize; 2]> {
    let n = x.shape.last_axis();
    (x.dtype == DType::F32 && x.shape.rank() > 0 && x.elements() > 0).then(|| [x.elements() / n, n])
}

/// [`rows_of`] a type that the shape rule has accepted.
pub(crate) fn checked_rows(x: &TensorType) -> [usize; 2] {
    rows_of(x).expect("checked while recording")
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax" } else { "softmax" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if rows_of(x).is_some() => Ok((*x).clone()),
            _ => Err(format!("takes one f32 tensor with a last axis, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.graph().push(SoftmaxGrad { log: self.log }, &[y, dy])?)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, n] = checked_rows(inputs[0]);
        row_launch(kernel!("loss/softmax"), caps, rows, n)
            .constant("LOG", u32::from(self.log))
            .bind(1)
            .flops(4 * rows * n)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let greatest = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let total: f64 = x.iter().map(|v| (v - greatest).exp()).sum();
            let log = x.iter().map(|v| v - greatest - total.ln());
            if self.log { log.collect() } else { log.map(f64::exp).collect() }
        };
        inputs[0].chunks(types[0].shape.last_axis()).flat_map(row).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let log = rng.below(2) == 0;
        let shape = [1 + rng.below(3), awkward_size(rng, 40), awkward_size(rng, 300)];
        TestCase::new(move |x| x[0].graph().push(Softmax { log }, x)).uniform(rng, shape, -6.0, 6.0)
    }
}

impl Op for SoftmaxGrad {
    fn name(&self) -> &'static str {
        if self.log { "log_softmax_grad" } else { "softmax_grad" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [y, dy] if y == dy && rows_of(y).is_some() => Ok((*y).clone()),
            _ => Err(format!("takes two equal f32 tensors with a last axis, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, n] = checked_rows(inputs[0]);
        row_launch(kernel!("loss/softmax_grad"), caps, rows, n)
            .constant("LOG", u32::from(self.log))
            .bind(2)
            .flops(4 * rows * n)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = types[0].shape.last_axis();
        let row = |(y, dy): (&[f64], &[f64])| -> Vec<f64> {
            let pairs = y.iter().zip(dy);
            if self.log {
                let total: f64 = dy.iter().sum();
                pairs.map(|(y, dy)| dy - y.exp() * total).collect()
            } else {
                let total: f64 = pairs.clone().map(|(y, dy)| y * dy).sum();
                pairs.map(|(y, dy)| y * (dy - total)).collect()
            }
        };
        inputs[0].chunks(n).zip(inputs[1].chunks(n)).flat_map(row).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let log = rng.below(2) == 0;
        let shape = [awkward_size(rng, 40), awkward_size(rng, 300)];
        let (low, high) = if log { (-6.0, -0.1) } else { (0.0, 1.0) };
        TestCase::forward_only(SoftmaxGrad { log }).uniform(rng, shape, low, high).normal(rng, shape)
    }
}

impl<'g> Var<'g> {
    /// `eˣ / Σ eˣ` over the last axis. Shapes: any with a last axis, kept.
    ///
    /// The greatest element is subtracted first, so no exponential overflows.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for a scalar, an empty tensor, or one that is not f32.
    pub fn softmax(self) -> Result<Var<'g>> {
        self.graph().push(Softmax { log: false }, &[self])
    }

    /// `x − ln Σ eˣ` over the last axis: the logarithm of [`Var::softmax`] without its underflow. Errors as there.
    pub fn log_softmax(self) -> Result<Var<'g>> {
        self.graph().push(Softmax { log: true }, &[self])
    }
}
