//! Sums, means and maxima over axes.

use crate::device::caps::Caps;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// Reduces the middle axis of `[outer, n, inner]` to `[outer, inner]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduce {
    /// Sum, mean or maximum.
    pub reduction: Reduction,
}

/// Function that reduces an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Σ x
    Sum,
    /// Σ x / n
    Mean,
    /// max x; NaN if any is
    Max,
    /// Σ x²
    SumOfSquares,
}

use Reduction::{Max, Mean, Sum, SumOfSquares};

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.reduction {
            Sum => "sum",
            Mean => "mean",
            Max => "max",
            SumOfSquares => "sum_of_squares",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if x.dtype == DType::F32 && x.shape.rank() == 3 && x.shape[1] > 0 => {
                Ok(TensorType::f32([x.shape[0], x.shape[2]]))
            }
            _ => Err(format!("takes one f32[outer, n > 0, inner], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let x = x[0];
        let shape = x.shape();
        let dy = dy.reshape([shape[0], 1, shape[2]])?;
        let dx = match self.reduction {
            Sum => dy.expand(shape)?,
            Mean => dy.affine(1.0 / shape[1] as f32, 0.0)?.expand(shape)?,
            SumOfSquares => x.mul(dy.affine(2.0, 0.0)?)?,
            // Shared evenly among equal maxima, as in PyTorch.
            Max => {
                let at_max = x.equal(y.reshape([shape[0], 1, shape[2]])?)?;
                let share = dy.div(at_max.sum(&[1], true)?)?;
                at_max.mul(share)?
            }
        };
        Ok(vec![Some(dx)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let [n, inner] = [inputs[0].shape[1], inputs[0].shape[2]];
        let (function, scale) = match self.reduction {
            Sum => (0u32, 1.0),
            Mean => (0, 1.0 / n as f32),
            Max => (1, 1.0),
            SumOfSquares => (2, 1.0),
        };
        let launch = |function: u32, outputs: usize, n: usize, scale: f32| {
            let lanes = lanes_of_few(caps, outputs, n, inner);
            Dispatch::per_group(kernel!("movement/reduce"), outputs.div_ceil(256 / lanes))
                .constant("FUNCTION", function)
                .lanes(caps, lanes)
                .iterations(n.div_ceil(lanes))
                .dims(&[outputs, n, inner])
                .floats(&[scale])
                .flops(outputs * n)
        };
        let parts = parts(caps, output.elements(), n, inner);
        if parts == 1 {
            return launch(function, output.elements(), n, scale).bind(1).into();
        }
        // The second pass of a sum of squares adds up sums.
        let outputs = parts * output.elements();
        let first = launch(function, outputs, n / parts, 1.0).args([Arg::Input(0), Arg::Scratch(0)]);
        let last = launch(function % 2, output.elements(), parts, scale).args([Arg::Scratch(0), Arg::Output]);
        Lowered { dispatches: vec![first, last], scratch: vec![4 * outputs] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let [n, inner] = [types[0].shape[1], types[0].shape[2]];
        (0..output.elements())
            .map(|o| {
                let start = o / inner * n * inner + o % inner;
                let column = (0..n).map(|r| inputs[0][start + r * inner]);
                match self.reduction {
                    Sum => column.sum(),
                    Mean => column.sum::<f64>() / n as f64,
                    Max => column.fold(f64::NEG_INFINITY, f64::max),
                    SumOfSquares => column.map(|v| v * v).sum(),
                }
            })
            .collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let reduction = [Sum, Mean, Max, SumOfSquares][rng.below(4)];
        let inner = if rng.below(2) == 0 { 1 } else { awkward_size(rng, 40) };
        let shape = [awkward_size(rng, 10), awkward_size(rng, 300), inner];
        // Long enough for several workgroups an output, now and then.
        let shape = if rng.below(4) == 0 { [2, [16_384, 1290][usize::from(inner > 1)], inner] } else { shape };
        TestCase::new(move |x| x[0].graph().push(Reduce { reduction }, x)).normal(rng, shape)
    }
}

/// Number of invocations that share one output. On software adapters, where each barrier is a switch of coroutines, it is as
/// small as their loops allow.
pub(crate) fn lanes(caps: &Caps, n: usize, inner: usize) -> usize {
    match (caps.software, inner) {
        (true, _) => software_lanes(n),
        (false, _) if n < 32 => 1,
        (false, 1) => 256.min(n.next_power_of_two()),
        (false, _) => 8,
    }
}

/// The same where outputs may be few. On software adapters the lanes of a workgroup that has no output of its own for them share one:
/// they would compute it again.
fn lanes_of_few(caps: &Caps, outputs: usize, n: usize, inner: usize) -> usize {
    let usual = lanes(caps, n, inner);
    let idle = caps.software && n >= 2048;
    if idle { usual.max(256 / outputs.next_power_of_two().min(256)) } else { usual }
}

/// Number of parts of n, a divisor of it, that workgroups of their own reduce; a second pass reduces the parts. Few outputs
/// alone would keep few of a GPU's multiprocessors busy.
fn parts(caps: &Caps, outputs: usize, n: usize, inner: usize) -> usize {
    let groups = outputs.div_ceil(256 / lanes(caps, n, inner)).max(1);
    let shortest = if inner == 1 { 8192 } else { 128 };
    let most = (1056 / groups).min(n / shortest);
    if caps.software { 1 } else { (2..=most).rev().find(|parts| n.is_multiple_of(*parts)).unwrap_or(1) }
}

/// Greatest number of passes over a row that a kernel makes.
pub(crate) const MOST_PASSES: usize = 4;

/// Invocations that share `n` elements on a software adapter: one for each 4096, so that sums stay accurate and loops short.
/// Mesa's llvmpipe silently leaves a loop after 65,535 iterations, counted over all loops of an invocation. With four passes
/// over `n` that is reached at 4.2 million elements, which a plan for such an adapter refuses.
pub(crate) fn software_lanes(n: usize) -> usize {
    256.min(n.div_ceil(4096).next_power_of_two())
}

impl<'g> Var<'g> {
    /// Reduces over `axes`, neighbors at once, others one after the other.
    fn reduce(self, reduction: Reduction, axes: &[usize], keep_axes: bool) -> Result<Var<'g>> {
        let shape = self.shape();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != axes.len() || sorted.iter().any(|&axis| axis >= shape.rank()) {
            let problem = format!("axes {axes:?} of {shape}: each axis once, below {}", shape.rank());
            return Err(Error::Shape { op: "reduce", layer: self.graph().layer(), problem });
        }
        let neighbors = sorted.windows(2).all(|pair| pair[1] == pair[0] + 1);
        if reduction == Max && !neighbors {
            // In one reduction, so that equal maxima share the gradient among all of them.
            let kept = (0..shape.rank()).filter(|axis| !sorted.contains(axis));
            let order: Vec<usize> = kept.chain(sorted.iter().copied()).collect();
            let last: Vec<usize> = (shape.rank() - sorted.len()..shape.rank()).collect();
            let value = self.permute(&order)?.reduce(Max, &last, false)?;
            let size = |axis: usize| if sorted.contains(&axis) { 1 } else { shape[axis] };
            let with_ones: Vec<usize> = (0..shape.rank()).map(size).collect();
            return if keep_axes { value.reshape(with_ones) } else { Ok(value) };
        }
        let mut value = self;
        let mut sizes = shape.to_vec();
        while let Some(last) = sorted.pop() {
            let mut first = last;
            while sorted.last().is_some_and(|&axis| axis + 1 == first) {
                first -= 1;
                sorted.pop();
            }
            let outer: usize = sizes[..first].iter().product();
            let inner: usize = sizes[last + 1..].iter().product();
            let n: usize = sizes[first..=last].iter().product();
            value = value.reshape([outer, n, inner])?;
            value = match value.as_constant() {
                Some(v) if reduction == Sum => self.graph().constant(v * n as f32, [outer, inner]),
                _ => self.graph().push(Reduce { reduction }, &[value])?,
            };
            sizes[first..=last].fill(1);
        }
        if keep_axes {
            return value.reshape(sizes);
        }
        let left: Vec<usize> = (0..shape.rank()).filter(|axis| !axes.contains(axis)).map(|axis| shape[axis]).collect();
        value.reshape(left)
    }

    /// Σ over `axes`; with `keep_axes` they stay, with size 1.
    ///
    /// # Errors
    /// [`Error::Shape`] when an axis does not exist or is named twice.
    pub fn sum(self, axes: &[usize], keep_axes: bool) -> Result<Var<'g>> {
        self.reduce(Sum, axes, keep_axes)
    }

    /// Mean over `axes`. Errors as [`Var::sum`].
    pub fn mean(self, axes: &[usize], keep_axes: bool) -> Result<Var<'g>> {
        self.reduce(Mean, axes, keep_axes)
    }

    /// Maximum over `axes`; equal maxima share the gradient evenly. Errors as [`Var::sum`].
    pub fn max(self, axes: &[usize], keep_axes: bool) -> Result<Var<'g>> {
        self.reduce(Max, axes, keep_axes)
    }

    /// Σ over everything: a scalar `[]`. Errors as [`Var::sum`].
    pub fn sum_all(self) -> Result<Var<'g>> {
        self.flat_reduce(Sum)
    }

    /// Mean over everything: a scalar `[]`. Errors as [`Var::sum`].
    pub fn mean_all(self) -> Result<Var<'g>> {
        self.flat_reduce(Mean)
    }

    fn flat_reduce(self, reduction: Reduction) -> Result<Var<'g>> {
        let n = self.ty().elements();
        self.reshape([n])?.reduce(reduction, &[0], false)
    }

    /// Undoes broadcasting: sums over the axes along which `shape` was stretched to this one's shape.
    pub(crate) fn sum_to(self, shape: Shape) -> Result<Var<'g>> {
        let own = self.shape();
        if own == shape {
            return Ok(self);
        }
        let missing = own.rank() - shape.rank();
        let axes: Vec<usize> =
            (0..own.rank()).filter(|&axis| axis < missing || (shape[axis - missing] == 1 && own[axis] != 1)).collect();
        self.sum(&axes, true)?.reshape(shape)
    }
}
