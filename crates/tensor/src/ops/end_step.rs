//! The end of a step: metrics into the ring, the clock forward.

use crate::error::Result;
use crate::gpu::Caps;
use crate::graph::Var;
use crate::kernel;
use crate::op::{Arg, Dispatch, Lowered, Op, Sample};
use crate::rng::Rng;
use crate::shape::{DType, TensorType};

/// Writes the first element of each metric into row (step mod capacity) of a ring `f32[capacity, columns]`, and with
/// `advance` the clock's failure word into column 0, then advances the clock. Inputs: clock, ring, up to five metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndStep {
    /// Column of the first metric.
    pub first: usize,
    /// Whether these are the step's last metrics.
    pub advance: bool,
}

impl EndStep {
    /// Metrics that one dispatch takes: WebGPU grants eight storage bindings at least.
    pub const METRICS: usize = 5;
}

impl Op for EndStep {
    fn name(&self) -> &'static str {
        "end_step"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [clock, ring, metrics @ ..] = inputs else { return Err("takes a clock and a ring".to_string()) };
        let fits = ring.shape.rank() == 2 && self.first + metrics.len() <= ring.shape[1];
        let floats = metrics.iter().all(|m| m.dtype == DType::F32 && m.elements() > 0);
        if **clock != TensorType::u32([4]) || !fits || !floats || metrics.len() > Self::METRICS {
            return Err(format!("takes u32[4], f32[capacity, columns] and up to five f32 metrics, not {inputs:?}"));
        }
        Ok(TensorType::nothing())
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let metrics = inputs.len() - 2;
        let ring = &inputs[1].shape;
        Dispatch::grid(kernel!("end_step"), [1, 1, 1])
            .dims(&[ring[1], ring[0], self.first, metrics, usize::from(self.advance)])
            .args((0..2 + Self::METRICS).map(|i| if i < 2 + metrics { Arg::Input(i) } else { Arg::Unused }))
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [capacity, columns] = types[1].shape[..] else { return Vec::new() };
        let row = inputs[0][0] as usize % capacity * columns;
        for i in 2..inputs.len() {
            inputs[1][row + self.first + i - 2] = inputs[i][0];
        }
        if self.advance {
            inputs[1][row] = inputs[0][1];
            inputs[0][0] += 1.0;
        }
        Vec::new()
    }

    fn sample(rng: &mut Rng) -> Sample {
        let metrics = rng.below(6);
        let (first, advance) = (1 + rng.below(3), rng.below(2) == 0);
        let step = rng.below(9) as f64;
        let mut sample = Sample::forward_only(EndStep { first, advance })
            .input(TensorType::u32([4]), vec![step, 3.0, 0.0, 0.0])
            .normal(rng, [4, first + metrics]);
        for _ in 0..metrics {
            sample = sample.normal(rng, [2]);
        }
        sample
    }

    fn updates(&self) -> &'static [usize] {
        &[0, 1]
    }
}
