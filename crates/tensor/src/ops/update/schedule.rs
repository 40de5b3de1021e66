//! A schedule's value at the step state's step.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::shape::TensorType;
use crate::train::schedule::Schedule;
use trellis_rng::Rng;

/// Value of a schedule at the step state's step. Input: step state `u32[4]`; the output is a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduleValue {
    /// The schedule.
    pub schedule: Schedule,
}

impl Op for ScheduleValue {
    fn name(&self) -> &'static str {
        "schedule"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [step_state] if **step_state == TensorType::u32([4]) => Ok(TensorType::f32([])),
            _ => Err(format!("takes a step state u32[4], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![None])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let mut dispatch = Dispatch::grid(kernel!("update/schedule"), [1, 1, 1]).bind(1);
        dispatch.dims.extend(self.schedule.words());
        dispatch.into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        vec![self.schedule.at(inputs[0][0] as u32)]
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let any = [
            Schedule::Constant(0.5),
            Schedule::Cosine { base: 1.5, floor: 0.25, warmup: 20, total: 90 },
            Schedule::Steps { base: 2.0, factor: 0.5, every: 30 },
            Schedule::Linear { base: 1.25, total: 80 },
        ];
        let schedule = any[rng.below(any.len())];
        let step = rng.below(100) as f64;
        let step_state = (TensorType::u32([4]), vec![step, 0.0, 0.0, 0.0]);
        TestCase::forward_only(ScheduleValue { schedule }).input(step_state.0, step_state.1)
    }
}
