//! Casts: values in another element type, f32 to f16 and back.

use std::any::Any;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// The same values as `f32` or `f16`. To f16 they are rounded to the nearest, ties to even; from 65,520 on they are
/// infinite, NaN stays NaN, denormals are kept. To f32 nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Type of the result.
    pub to: DType,
}

impl Op for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if matches!((x.dtype, self.to), (DType::F32, DType::F16) | (DType::F16, DType::F32)) => {
                Ok(TensorType { shape: x.shape.clone(), dtype: self.to })
            }
            _ => Err(format!("takes one tensor, f32 to f16 or f16 to f32, not {inputs:?} to {}", self.to)),
        }
    }

    /// The gradient of an f16 value is f16, as in PyTorch.
    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.cast(x[0].ty().dtype)?)])
    }

    fn facts(&self, inputs: &[Facts]) -> Facts {
        inputs[0]
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        cast_dispatch(inputs[0].elements(), self.to == DType::F16).bind(1).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0].clone()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = 1 + rng.below(1200);
        let (from, to) = if rng.below(2) == 0 { (DType::F16, DType::F32) } else { (DType::F32, DType::F16) };
        let sample = TestCase::new(move |x| x[0].cast(to)).normal_of(rng, from, [n]);
        if to == DType::F16 { sample.rounds_to_f16() } else { sample }
    }
}

/// Storage type of a product. Only fusion with casts sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The product is rounded to f16, before anything else happens to it.
    pub rounded: bool,
    /// The result is stored as f16.
    pub half: bool,
}

impl Stored {
    /// Adds the cast `consumer` of a result whose last axis has `columns`. `bare`: no operation comes between the product and
    /// its storage.
    pub(crate) fn then(self, consumer: &dyn Op, columns: usize, bare: bool) -> Option<Self> {
        let any: &dyn Any = consumer;
        match (any.downcast_ref::<Cast>()?.to, self.half) {
            // Kernels store f16 as vec4.
            (DType::F16, false) if columns.is_multiple_of(4) => Some(Self { half: true, ..self }),
            (DType::F32, true) if bare => Some(Self { rounded: true, half: false }),
            _ => None,
        }
    }

    pub(crate) fn dtype(self) -> DType {
        if self.half { DType::F16 } else { DType::F32 }
    }

    /// Sets the flag and the constant of the kernels.
    pub(crate) fn on(self, dispatch: Dispatch) -> Dispatch {
        dispatch.flag("OUT_HALF", self.half).constant("ROUND", u32::from(self.rounded))
    }
}

/// A launch that converts `n` elements, to f16 or from it.
pub(crate) fn cast_dispatch(n: usize, to_half: bool) -> Dispatch {
    let words = n.div_ceil(2);
    Dispatch::linear(kernel!("elementwise/cast_half"), words).flag("HALF", to_half).dims(&[n, words])
}

impl<'g> Var<'g> {
    /// The same values in another type, f32 or f16; a value that has it already is given back. See [`Cast`].
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for integers.
    pub fn cast(self, to: DType) -> Result<Var<'g>> {
        if self.ty().dtype == to {
            return Ok(self);
        }
        self.graph().push(Cast { to }, &[self])
    }
}
