//! Elementwise functions of two tensors, with NumPy's broadcasting.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::movement::view::{MAX_AXES, axes};
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// `out = f(x, y)`, elementwise; axes of size 1 and missing leading axes stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binary {
    /// The function.
    pub function: BinaryFunction,
}

/// A function of two numbers. The order is that of `shaders/elementwise/binary.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryFunction {
    /// `x + y`
    Add,
    /// `x − y`
    Sub,
    /// `x · y`
    Mul,
    /// `x / y`
    Div,
    /// 1 where `x = y`, else 0. Its gradient is zero.
    Equal,
}

use BinaryFunction::{Add, Div, Equal, Mul, Sub};

impl BinaryFunction {
    fn apply(self, x: f64, y: f64) -> f64 {
        match self {
            Add => x + y,
            Sub => x - y,
            Mul => x * y,
            Div => x / y,
            Equal => f64::from(u8::from(x == y)),
        }
    }
}

impl Op for Binary {
    fn name(&self) -> &'static str {
        match self.function {
            Add => "add",
            Sub => "sub",
            Mul => "mul",
            Div => "div",
            Equal => "equal",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x, y] = inputs else { return Err(format!("takes two tensors, not {}", inputs.len())) };
        if x.dtype != DType::F32 || y.dtype != DType::F32 {
            return Err(format!("takes f32 tensors, not {x} and {y}"));
        }
        match x.shape.broadcast(&y.shape) {
            Some(shape) if shape.rank() <= MAX_AXES => Ok(TensorType::f32(shape)),
            Some(shape) => Err(format!("{shape} has more than {MAX_AXES} axes")),
            None => Err(format!(
                "{} and {} do not broadcast: aligned at the right, each axis must be equal or 1",
                x.shape, y.shape
            )),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], out: Var<'g>, dout: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let (p, q) = (x[0], x[1]);
        let (dp, dq) = match self.function {
            Add => (dout, dout),
            Sub => (dout, dout.neg()?),
            Mul => (dout.mul(q)?, dout.mul(p)?),
            Div => {
                let dp = dout.div(q)?;
                (dp, dp.mul(out)?.neg()?)
            }
            Equal => return Ok(vec![None, None]),
        };
        Ok(vec![Some(dp.sum_to(p.shape())?), Some(dq.sum_to(q.shape())?)])
    }

    fn facts(&self, inputs: &[Facts]) -> Facts {
        let all = |fact: fn(&Facts) -> bool| self.function == Add && inputs.iter().all(fact);
        Facts {
            symmetric: all(|facts| facts.symmetric),
            rows_sum_to_zero: all(|facts| facts.rows_sum_to_zero),
            ..Facts::default()
        }
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let shape = &output.shape;
        let n = output.elements();
        // A side is a single number, or repeats after so many elements, or stretches along inner axes.
        let one = [0, 1].map(|side| inputs[side].elements() == 1 && n > 1);
        let repeats = |side: &Shape| {
            let own = side.iter().position(|&size| size > 1).map_or(&[][..], |first| &side[first..]);
            shape.ends_with(own).then(|| side.elements())
        };
        let periods = [0, 1].map(|side| repeats(&inputs[side].shape));
        let stretch = periods.contains(&None);
        let whole = |side: usize| one[side] || periods[side].is_some_and(|period| period.is_multiple_of(4));
        let vec4 = !stretch && n.is_multiple_of(4) && whole(0) && whole(1);
        let unit = if vec4 { 4 } else { 1 };
        let invocations = n / unit;
        let [x_period, y_period] = periods.map(|period| (period.unwrap_or(n) / unit).max(1));
        let repeat = [0, 1].iter().any(|&side| !one[side] && periods[side].is_some_and(|period| period != n));
        Dispatch::linear(kernel!("elementwise/binary"), invocations)
            .flag("VEC4", vec4)
            .flag("X_ONE", one[0])
            .flag("Y_ONE", one[1])
            .constant("REPEAT", u32::from(repeat && !stretch))
            .constant("FUNCTION", self.function as u32)
            .constant("STRETCH", u32::from(stretch))
            .dims(&[invocations, x_period, y_period, 0])
            .dims(&axes(shape, 1))
            .dims(&axes(&inputs[0].shape.broadcast_strides(shape), 0))
            .dims(&axes(&inputs[1].shape.broadcast_strides(shape), 0))
            .bind(2)
            .flops(output.elements())
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let from: Vec<Vec<usize>> = types.iter().map(|ty| ty.shape.broadcast_strides(&output.shape)).collect();
        let at = |flat: usize, strides: &[usize]| -> usize {
            let position = output.shape.strides();
            (0..output.shape.rank()).map(|a| flat / position[a] % output.shape[a] * strides[a]).sum()
        };
        (0..output.elements())
            .map(|i| self.function.apply(inputs[0][at(i, &from[0])], inputs[1][at(i, &from[1])]))
            .collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let function = [Add, Sub, Mul, Div, Equal][rng.below(5)];
        let full = [1 + rng.below(4), awkward_size(rng, 20), awkward_size(rng, 70)];
        let mut stretched = |keep: bool| -> Shape {
            let first = if keep { 0 } else { rng.below(4) };
            full[first..].iter().map(|&size| if keep || rng.below(3) > 0 { size } else { 1 }).collect::<Vec<_>>().into()
        };
        let (x, y) = match (stretched(true), stretched(false)) {
            (x, y) if y.elements() % 2 == 0 => (y, x),
            pair => pair,
        };
        TestCase::new(move |inputs| inputs[0].graph().push(Binary { function }, inputs))
            .uniform(rng, x, -2.0, 2.0)
            .uniform(rng, y, 0.5, 2.0)
    }
}

impl<'g> Var<'g> {
    fn binary(self, function: BinaryFunction, other: Var<'g>) -> Result<Var<'g>> {
        if let (Some(x), Some(y)) = (self.as_constant(), other.as_constant())
            && let Some(shape) = self.shape().broadcast(&other.shape())
        {
            return Ok(self.graph().constant(function.apply(f64::from(x), f64::from(y)) as f32, shape));
        }
        // A product with a constant is a scaling: it reads one tensor, not two.
        if function == Mul
            && other.as_constant().is_some()
            && other.ty().elements() == 1
            && self.shape().rank() >= other.shape().rank()
        {
            return self.affine(other.as_constant().unwrap_or(1.0), 0.0);
        }
        self.graph().push(Binary { function }, &[self, other])
    }

    /// `x + y`, broadcasting.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) when the shapes do not broadcast.
    #[expect(clippy::should_implement_trait, reason = "every op returns a Result")]
    pub fn add(self, other: Var<'g>) -> Result<Var<'g>> {
        self.binary(Add, other)
    }

    /// `x − y`, broadcasting. Errors as [`Var::add`].
    #[expect(clippy::should_implement_trait, reason = "every op returns a Result")]
    pub fn sub(self, other: Var<'g>) -> Result<Var<'g>> {
        self.binary(Sub, other)
    }

    /// `x · y`, elementwise and broadcasting. Errors as [`Var::add`].
    #[expect(clippy::should_implement_trait, reason = "every op returns a Result")]
    pub fn mul(self, other: Var<'g>) -> Result<Var<'g>> {
        self.binary(Mul, other)
    }

    /// `x / y`, broadcasting. Errors as [`Var::add`].
    #[expect(clippy::should_implement_trait, reason = "every op returns a Result")]
    pub fn div(self, other: Var<'g>) -> Result<Var<'g>> {
        self.binary(Div, other)
    }

    /// 1 where `x = y`, else 0, broadcasting. Its gradient is zero. Errors as [`Var::add`].
    pub fn equal(self, other: Var<'g>) -> Result<Var<'g>> {
        self.binary(Equal, other)
    }
}
