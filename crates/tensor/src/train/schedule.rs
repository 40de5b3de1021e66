//! The step counter on the GPU, and numbers that follow it: learning rates, guidance weights.

use crate::device::gpu::Gpu;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::ScheduleValue;
use crate::shape::TensorType;
use crate::tensor::Tensor;

/// The training step, counted on the GPU: samplers, dropout, schedules and metrics read it. A plan that updates parameters
/// advances it once, at its end. Two plans over one step state, a guided and an unguided one say, count on from each other.
#[derive(Clone, Debug)]
pub struct StepState {
    tensor: Tensor,
}

impl StepState {
    /// A step state at step 0.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn new(gpu: &Gpu) -> Result<Self> {
        Ok(Self { tensor: Tensor::zeros(gpu, "clock", TensorType::u32([4]))? })
    }

    /// The counter: `u32[4]` with the step, the failed step + 1 or 0, and two words of the loss scale
    /// (`shaders/lib/update/loss_scale.wgsl`).
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Sets the step, for a resumed run, clears the failure and begins with the first loss scale.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn set(&self, step: u32) -> Result<()> {
        self.tensor.write_u32(&[step, 0, 0, 0])
    }

    /// Records that a plan without an update of parameters, an evaluation say, advances the step at its end.
    ///
    /// # Errors
    /// [`Error::AdvancedTwice`](crate::Error::AdvancedTwice) at the second call. [`Plan::new`](crate::Plan::new) returns it if
    /// an update of parameters advances the step already.
    pub fn advance(&self, graph: &Graph) -> Result<()> {
        graph.request_advance(&self.tensor)
    }

    /// The step, read back.
    ///
    /// # Errors
    /// When the device is lost.
    pub fn step(&self) -> Result<u32> {
        Ok(self.tensor.read_u32()?[0])
    }

    /// The value of `schedule` at the current step: a scalar that follows the step state. A constant schedule costs nothing.
    ///
    /// # Errors
    /// None that a caller can cause.
    pub fn value<'g>(&self, graph: &'g Graph, schedule: Schedule) -> Result<Var<'g>> {
        match schedule {
            Schedule::Constant(value) => Ok(graph.constant(value, [])),
            _ => graph.push(ScheduleValue { schedule }, &[graph.leaf(&self.tensor)]),
        }
    }
}

/// A number as a function of the step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Schedule {
    /// The same at every step.
    Constant(f32),
    /// Linear warm-up to `base`, then half a cosine down to `floor` at step `total`
    /// (Loshchilov and Hutter 2017, arXiv:1608.03983).
    Cosine {
        /// Highest value.
        base: f32,
        /// Value from step `total` on.
        floor: f32,
        /// Steps of warm-up.
        warmup: u32,
        /// Step at which the floor is reached.
        total: u32,
    },
    /// `base · factorᵏ` where k = step / every, rounded down.
    Steps {
        /// First value.
        base: f32,
        /// Factor at each drop.
        factor: f32,
        /// Steps between drops.
        every: u32,
    },
    /// A straight line from `base` at step 0 to 0 at step `total`, 0 afterwards.
    Linear {
        /// First value.
        base: f32,
        /// Step at which 0 is reached.
        total: u32,
    },
}

impl Schedule {
    /// The value at `step`.
    ///
    /// ```
    /// use trellis_tensor::Schedule;
    /// let schedule = Schedule::Cosine { base: 1.0, floor: 0.0, warmup: 10, total: 110 };
    /// assert_eq!(schedule.at(0), 0.1);
    /// assert!((schedule.at(60) - 0.5).abs() < 1e-12);
    /// assert_eq!(schedule.at(500), 0.0);
    /// ```
    pub fn at(&self, step: u32) -> f64 {
        let t = f64::from(step);
        match *self {
            Schedule::Constant(value) => f64::from(value),
            Schedule::Cosine { base, warmup, .. } if step < warmup => f64::from(base) * (t + 1.0) / f64::from(warmup),
            Schedule::Cosine { base, floor, warmup, total } => {
                let span = f64::from(total.saturating_sub(warmup).max(1));
                let progress = ((t - f64::from(warmup)) / span).clamp(0.0, 1.0);
                let (base, floor) = (f64::from(base), f64::from(floor));
                floor + (base - floor) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
            }
            Schedule::Steps { base, factor, every } => {
                f64::from(base) * f64::from(factor).powf((t / f64::from(every.max(1))).floor())
            }
            Schedule::Linear { base, total } => f64::from(base) * (1.0 - t / f64::from(total)).max(0.0),
        }
    }

    /// The six words of a kernel's `Schedule`: kind, base, floor, factor, warm-up, total.
    pub(crate) fn words(&self) -> [u32; 6] {
        let (kind, floats) = match *self {
            Schedule::Constant(value) => (0, [value, 0.0, 1.0, 0.0, 0.0]),
            Schedule::Cosine { base, floor, warmup, total } => (1, [base, floor, 1.0, warmup as f32, total as f32]),
            Schedule::Steps { base, factor, every } => (2, [base, 0.0, factor, 0.0, every.max(1) as f32]),
            Schedule::Linear { base, total } => (3, [base, 0.0, 1.0, 0.0, total as f32]),
        };
        let mut words = [kind, 0, 0, 0, 0, 0];
        words[1..].iter_mut().zip(floats).for_each(|(word, value): (&mut u32, f32)| *word = value.to_bits());
        words
    }
}
