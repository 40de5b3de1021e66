//! Optimizer steps, each one dispatch over all parameters.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::update::loss_scale::LossScale;
use crate::shape::TensorType;
use crate::train::schedule::Schedule;
use trellis_rng::Rng;

/// Adam or AdamW. Inputs: parameters, gradients, first moments, second moments (all `f32[n]`), step state, partial sums of squared
/// gradients. Gradients are divided by the loss scale. If their sum is not finite nothing changes: in this step, and at a scale
/// of 1 in no later one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub rate: Schedule,
    /// Decay of the first moments.
    pub beta1: f64,
    /// Decay of the second moments.
    pub beta2: f64,
    /// Added to the denominator.
    pub epsilon: f32,
    /// L2 penalty (Adam) or decoupled decay (AdamW).
    pub weight_decay: f32,
    /// AdamW.
    pub decoupled: bool,
    /// Step before whose update the moments were 0: the corrections count updates from there on.
    pub first: u32,
    /// Largest global gradient norm; 0 for no clipping.
    pub max_norm: f32,
    /// Loss scaling of the gradients.
    pub scale: Option<LossScale>,
}

/// Gradient descent with momentum. Inputs: parameters, gradients, momentum (all `f32[n]`), step state, partial sums of squared
/// gradients. Gradients are divided by the loss scale. If their sum is not finite nothing changes: in this step, and at a scale
/// of 1 in no later one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub rate: Schedule,
    /// Factor of the old momentum.
    pub momentum: f32,
    /// Nesterov's form.
    pub nesterov: bool,
    /// L2 penalty.
    pub weight_decay: f32,
    /// Largest global gradient norm; 0 for no clipping.
    pub max_norm: f32,
    /// Loss scaling of the gradients.
    pub scale: Option<LossScale>,
}

/// Checks `arenas` equal tensors (parameters, gradients, …), a step state, and partial sums.
fn infer(arenas: usize, inputs: &[&TensorType]) -> Result<TensorType, String> {
    let [first, ..] = inputs else { return Err("takes parameters and gradients".to_string()) };
    let equal = inputs.len() > arenas
        && inputs[..arenas].iter().all(|x| x == first)
        && **first == TensorType::f32([first.elements()]);
    if !equal || inputs.len() != arenas + 2 || *inputs[arenas] != TensorType::u32([4]) {
        return Err(format!("takes {arenas} equal f32[n], a step state u32[4] and partial sums, not {inputs:?}"));
    }
    Ok(TensorType::nothing())
}

/// The factor that unscales and clips gradients, and the step; `None` if nothing may change.
fn clip_and_step(
    inputs: &mut [Vec<f64>],
    step_state: usize,
    max_norm: f32,
    scale: Option<LossScale>,
) -> Option<(f64, u32)> {
    let (squares, step) = (inputs[step_state + 1].iter().sum::<f64>(), inputs[step_state][0]);
    let log2 = LossScale::log2_of(&inputs[step_state], LossScale::first(scale));
    if !squares.is_finite() {
        if log2 == 0 && inputs[step_state][1] == 0.0 {
            inputs[step_state][1] = step + 1.0;
        }
        return None;
    }
    let (norm, max_norm) = (squares.sqrt() / 2f64.powi(log2), f64::from(max_norm));
    let clip = if max_norm > 0.0 && norm > max_norm { max_norm / (norm + 1e-6) } else { 1.0 };
    (inputs[step_state][1] == 0.0).then_some((clip / 2f64.powi(log2), step as u32))
}

/// Partial sums and a step state for random cases: now and then a gradient that is not finite, or a run that has failed.
fn sample_end(sample: TestCase, rng: &mut Rng) -> TestCase {
    let (step, kind) = (rng.below(60) as f64, rng.below(6));
    let failed = if kind == 0 { 3.0 } else { 0.0 };
    // No scale yet, or one between 1 and 8.
    let (scale, skipped) = (rng.below(5) as f64, rng.below(1 + step as usize) as u32);
    let bad = if kind == 1 { f64::NAN } else { 0.0 };
    let high = if rng.below(2) == 0 { 0.1 } else { 0.001 };
    let mut squares: Vec<f64> = (0..64).map(|_| f64::from(rng.range(0.0, high))).collect();
    squares[rng.below(64)] += bad;
    sample
        .input(TensorType::u32([4]), vec![step, failed, scale, f64::from(skipped << 16)])
        .input(TensorType::f32([64]), squares.iter().map(|&v| f64::from(v as f32)).collect())
}

fn sample_scale(rng: &mut Rng) -> Option<LossScale> {
    [None, Some(LossScale { log2: 3, growth_interval: 1 })][rng.below(2)]
}

/// A launch over `n` parameters, as vec4 if that divides it; its first dimension is their number.
fn dispatch_vec4(kernel: crate::Kernel, n: usize) -> Dispatch {
    let vec4 = n.is_multiple_of(4);
    let units = if vec4 { n / 4 } else { n };
    Dispatch::linear(kernel, units).flag("VEC4", vec4).dims(&[units])
}

impl Op for AdamStep {
    fn name(&self) -> &'static str {
        if self.decoupled { "adamw" } else { "adam" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        infer(4, inputs)
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].elements();
        let partials = inputs[5].elements();
        // 1 − β in f32 of β in f32 would be wrong by 1e-5.
        let beta = |beta: f64| [beta as f32, beta.ln() as f32, (1.0 - beta) as f32];
        let ([beta1, log1, rest1], [beta2, log2, rest2]) = (beta(self.beta1), beta(self.beta2));
        let mut dispatch = dispatch_vec4(kernel!("update/adam"), n)
            .constant("DECOUPLED", u32::from(self.decoupled))
            .constant("FIRST", self.first)
            .dims(&[partials])
            .floats(&[self.max_norm, self.weight_decay])
            .floats(&[beta1, beta2, log1, log2])
            .floats(&[self.epsilon])
            .dims(&[LossScale::first(self.scale) as usize])
            .floats(&[rest1, rest2])
            .args((0..6).map(Arg::Input))
            .flops(15 * n);
        dispatch.dims.extend(self.rate.words());
        dispatch.into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let Some((clip, step)) = clip_and_step(inputs, 4, self.max_norm, self.scale) else { return Vec::new() };
        let rate = self.rate.at(step);
        let (beta1, beta2, decay) = (self.beta1, self.beta2, f64::from(self.weight_decay));
        let t = f64::from(step + 1 - LossScale::skipped(&inputs[4]) - self.first);
        for i in 0..inputs[0].len() {
            let mut g = clip * inputs[1][i];
            if self.decoupled {
                inputs[0][i] -= rate * decay * inputs[0][i];
            } else {
                g += decay * inputs[0][i];
            }
            inputs[2][i] = beta1 * inputs[2][i] + (1.0 - beta1) * g;
            inputs[3][i] = beta2 * inputs[3][i] + (1.0 - beta2) * g * g;
            let mean = inputs[2][i] / (1.0 - beta1.powf(t));
            let square = inputs[3][i] / (1.0 - beta2.powf(t));
            inputs[0][i] -= rate * mean / (square.sqrt() + f64::from(self.epsilon));
        }
        Vec::new()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = 1 + rng.below(700);
        let op = AdamStep {
            rate: Schedule::Cosine { base: 0.01, floor: 0.0, warmup: 5, total: 50 },
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.1,
            decoupled: rng.below(2) == 0,
            first: 0,
            max_norm: [0.0, 1.0][rng.below(2)],
            scale: sample_scale(rng),
        };
        let sample =
            TestCase::forward_only(op).normal(rng, [n]).normal(rng, [n]).normal(rng, [n]).uniform(rng, [n], 0.1, 1.0);
        sample_end(sample, rng)
    }

    fn updates(&self) -> &'static [usize] {
        &[0, 2, 3, 4]
    }

    fn step_state(&self) -> Option<usize> {
        Some(4)
    }
}

impl Op for SgdStep {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        infer(3, inputs)
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].elements();
        let partials = inputs[4].elements();
        let mut dispatch = dispatch_vec4(kernel!("update/sgd"), n)
            .constant("NESTEROV", u32::from(self.nesterov))
            .dims(&[partials])
            .floats(&[self.max_norm, self.weight_decay, self.momentum])
            .dims(&[LossScale::first(self.scale) as usize, 0, 0])
            .args((0..5).map(Arg::Input))
            .flops(6 * n);
        dispatch.dims.extend(self.rate.words());
        dispatch.into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let Some((clip, step)) = clip_and_step(inputs, 3, self.max_norm, self.scale) else { return Vec::new() };
        let (rate, momentum) = (self.rate.at(step), f64::from(self.momentum));
        for i in 0..inputs[0].len() {
            let g = clip * inputs[1][i] + f64::from(self.weight_decay) * inputs[0][i];
            let velocity = momentum * inputs[2][i] + g;
            inputs[2][i] = velocity;
            inputs[0][i] -= rate * if self.nesterov { g + momentum * velocity } else { velocity };
        }
        Vec::new()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = 1 + rng.below(700);
        let rate = Schedule::Steps { base: 0.1, factor: 0.1, every: 20 };
        let (nesterov, max_norm) = (rng.below(2) == 0, [0.0, 1.0][rng.below(2)]);
        let op = SgdStep { rate, momentum: 0.9, nesterov, weight_decay: 0.01, max_norm, scale: sample_scale(rng) };
        let sample = TestCase::forward_only(op).normal(rng, [n]).normal(rng, [n]).normal(rng, [n]);
        sample_end(sample, rng)
    }

    fn updates(&self) -> &'static [usize] {
        &[0, 2, 3]
    }

    fn step_state(&self) -> Option<usize> {
        Some(3)
    }
}
