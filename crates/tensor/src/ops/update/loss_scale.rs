//! Dynamic loss scaling: gradients that f16 would lose are computed times a power of two.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// Settings of loss scaling. If the scaled gradient is not finite, the step changes nothing and the scale is divided by two.
/// After `growth_interval` good steps in a row it is doubled. A gradient that is not finite at scale 1 ends the training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossScale {
    /// Logarithm to base 2 of the first scale, 0 to 30.
    pub log2: u32,
    /// Good steps in a row before the scale is doubled, 1 to 65,535.
    pub growth_interval: u32,
}

impl Default for LossScale {
    /// 65,536 and 2,000: those of PyTorch's `GradScaler`.
    fn default() -> Self {
        Self { log2: 16, growth_interval: 2000 }
    }
}

impl LossScale {
    /// Greatest logarithm of a scale.
    const MOST: u32 = 30;

    /// The step state's word 2 for the first scale.
    pub(crate) fn first(this: Option<Self>) -> u32 {
        1 + this.map_or(0, |scale| scale.log2)
    }

    fn check(self) -> Result<(), String> {
        if self.log2 <= Self::MOST && (1..=0xffff).contains(&self.growth_interval) {
            return Ok(());
        }
        Err(format!("takes a scale from 1 to 2^{} and an interval from 1 to 65,535, not {self:?}", Self::MOST))
    }

    /// Logarithm of the scale that a step state holds; without loss scaling it is 0.
    pub(crate) fn log2_of(step_state: &[f64], first: u32) -> i32 {
        (if step_state[2] == 0.0 { first as i32 } else { step_state[2] as i32 }) - 1
    }

    /// Number of skipped steps in a step state.
    pub(crate) fn skipped(step_state: &[f64]) -> u32 {
        step_state[3] as u32 >> 16
    }
}

/// The scale of the current step, a scalar. Input: the step state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossScaleValue {
    /// Settings of loss scaling.
    pub scale: LossScale,
}

/// Sets the next step's scale; the output is the number of steps skipped so far, a scalar. Inputs: step state, partial sums of
/// squared scaled gradients, which the updates have read before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossScaleStep {
    /// Settings of loss scaling.
    pub scale: LossScale,
}

impl Op for LossScaleValue {
    fn name(&self) -> &'static str {
        "loss_scale"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        self.scale.check()?;
        match inputs {
            [step_state] if **step_state == TensorType::u32([4]) => Ok(TensorType::f32([])),
            _ => Err(format!("takes a step state u32[4], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let mut dispatch = Dispatch::grid(kernel!("update/loss_scale"), [1, 1, 1]).bind(1);
        dispatch.dims.push(LossScale::first(Some(self.scale)));
        dispatch.into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        vec![2f64.powi(LossScale::log2_of(&inputs[0], LossScale::first(Some(self.scale))))]
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let scale = LossScale { log2: rng.below(31) as u32, growth_interval: 1 };
        let word = [0, 1, 7, 31][rng.below(4)];
        TestCase::forward_only(LossScaleValue { scale })
            .input(TensorType::u32([4]), vec![3.0, 0.0, f64::from(word), 5.0])
    }
}

impl Op for LossScaleStep {
    fn name(&self) -> &'static str {
        "loss_scale_step"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        self.scale.check()?;
        match inputs {
            [step_state, squares]
                if **step_state == TensorType::u32([4]) && **squares == TensorType::f32([squares.elements()]) =>
            {
                Ok(TensorType::f32([]))
            }
            _ => Err(format!("takes a step state u32[4] and partial sums f32[n], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let sizes = [self.scale.growth_interval as usize, inputs[1].elements()];
        Dispatch::grid(kernel!("update/loss_scale_step"), [1, 1, 1])
            .dims(&[LossScale::first(Some(self.scale)) as usize])
            .dims(&sizes)
            .args([Arg::Input(0), Arg::Input(1), Arg::Output])
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let finite = inputs[1].iter().sum::<f64>().is_finite();
        let step_state = &mut inputs[0];
        let mut scale = LossScale::log2_of(step_state, LossScale::first(Some(self.scale)));
        let (mut good, mut skipped) = (step_state[3] as u32 & 0xffff, LossScale::skipped(step_state));
        if step_state[1] == 0.0 && finite {
            good += 1;
            if good >= self.scale.growth_interval {
                (good, scale) = (0, (scale + 1).min(LossScale::MOST as i32));
            }
        } else if step_state[1] == 0.0 {
            (good, scale, skipped) = (0, scale - 1, (skipped + 1).min(0xffff));
        }
        step_state[2] = f64::from(scale + 1);
        step_state[3] = f64::from(good | skipped << 16);
        vec![f64::from(skipped)]
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let scale = LossScale { log2: 1 + rng.below(30) as u32, growth_interval: 1 + rng.below(4) as u32 };
        let word = [0, 2, 7, 31][rng.below(4)];
        let (failed, good) = (f64::from(u8::from(rng.below(6) == 0)), rng.below(4) as f64);
        let mut squares = vec![1.0; 64];
        squares[rng.below(64)] = [1.0, f64::NAN, f64::INFINITY][rng.below(3)];
        TestCase::forward_only(LossScaleStep { scale })
            .input(TensorType::u32([4]), vec![9.0, 9.0 * failed, f64::from(word), good])
            .input(TensorType::f32([64]), squares)
    }

    fn updates(&self) -> &'static [usize] {
        &[0]
    }
}
