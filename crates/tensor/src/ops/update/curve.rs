//! A curve's value at the clock's step.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, Sample};
use crate::kernel;
use crate::rng::Rng;
use crate::shape::TensorType;
use crate::train::schedule::Curve;

/// Value of a curve at the clock's step. Input: clock `u32[4]`; the output is a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurveValue {
    /// The curve.
    pub curve: Curve,
}

impl Op for CurveValue {
    fn name(&self) -> &'static str {
        "curve"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [clock] if **clock == TensorType::u32([4]) => Ok(TensorType::f32([])),
            _ => Err(format!("takes a clock u32[4], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![None])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let mut dispatch = Dispatch::grid(kernel!("update/curve"), [1, 1, 1]).bind(1);
        dispatch.dims.extend(self.curve.words());
        dispatch.into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        vec![self.curve.at(inputs[0][0] as u32)]
    }

    fn sample(rng: &mut Rng) -> Sample {
        let any = [
            Curve::Constant(0.5),
            Curve::Cosine { base: 1.5, floor: 0.25, warmup: 20, total: 90 },
            Curve::Steps { base: 2.0, factor: 0.5, every: 30 },
            Curve::Linear { base: 1.25, total: 80 },
        ];
        let curve = any[rng.below(any.len())];
        let step = rng.below(100) as f64;
        let clock = (TensorType::u32([4]), vec![step, 0.0, 0.0, 0.0]);
        Sample::forward_only(CurveValue { curve }).input(clock.0, clock.1)
    }
}
