//! The end of a step: writes metrics into the ring and advances the step counter.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// Writes metrics into row (step mod capacity) of a ring `f32[capacity, columns]`. With the first metrics it writes the step state's
/// failure word into column 0; with `advance` it advances the step state. Inputs: step state, ring, up to five tensors. The first element
/// of a tensor is a metric; of a tensor `[rows, …]` of two axes the first element of each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndStep {
    /// Column of the first metric.
    pub first: usize,
    /// The step ends here: [`Plan::new`](crate::Plan::new) sets it.
    pub(crate) advance: bool,
}

/// Advances the step of a step state `u32[4]`, if no metrics are the last to read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advance;

impl EndStep {
    /// Greatest number of tensors in one dispatch: WebGPU grants eight storage bindings at least.
    pub(crate) const TENSORS: usize = 5;

    /// Number of metrics that a tensor holds.
    pub(crate) fn metrics(ty: &TensorType) -> usize {
        if ty.shape.rank() == 2 { ty.shape[0] } else { 1 }
    }
}

impl Op for EndStep {
    fn name(&self) -> &'static str {
        "end_step"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [step_state, ring, tensors @ ..] = inputs else { return Err("takes a step state and a ring".to_string()) };
        let metrics: usize = tensors.iter().map(|ty| Self::metrics(ty)).sum();
        let fits = ring.shape.rank() == 2 && self.first + metrics <= ring.shape[1];
        let floats = tensors.iter().all(|m| m.dtype == DType::F32 && m.elements() > 0);
        if **step_state != TensorType::u32([4]) || !fits || !floats || tensors.len() > Self::TENSORS {
            return Err(format!("takes u32[4], f32[capacity, columns] and up to five f32 tensors, not {inputs:?}"));
        }
        Ok(TensorType::nothing())
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let (ring, tensors) = (&inputs[1].shape, &inputs[2..]);
        let mut dispatch = Dispatch::grid(kernel!("update/end_step"), [1, 1, 1])
            .dims(&[ring[1], ring[0], self.first, usize::from(self.advance)])
            .args((0..2 + Self::TENSORS).map(|i| if i < inputs.len() { Arg::Input(i) } else { Arg::Unused }));
        for tensor in tensors {
            let rows = Self::metrics(tensor);
            dispatch = dispatch.dims(&[rows, tensor.elements() / rows]);
        }
        let unused = [0; 2 * Self::TENSORS];
        dispatch.dims(&unused[2 * tensors.len()..]).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [capacity, columns] = types[1].shape[..] else { return Vec::new() };
        let row = inputs[0][0] as usize % capacity * columns;
        let mut at = row + self.first;
        for i in 2..inputs.len() {
            let rows = Self::metrics(types[i]);
            for metric in 0..rows {
                inputs[1][at] = inputs[i][metric * (types[i].elements() / rows)];
                at += 1;
            }
        }
        if self.first == 1 {
            inputs[1][row] = inputs[0][1];
        }
        if self.advance {
            inputs[0][0] += 1.0;
        }
        Vec::new()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let first = 1 + rng.below(3);
        let step = rng.below(9) as f64;
        let shapes: Vec<Vec<usize>> = (0..rng.below(6))
            .map(|_| match rng.below(3) {
                0 => vec![],
                1 => vec![1 + rng.below(9)],
                _ => vec![1 + rng.below(4), 1 + rng.below(9)],
            })
            .collect();
        let metrics: usize = shapes.iter().map(|shape| if shape.len() == 2 { shape[0] } else { 1 }).sum();
        // All at once, or the first half before the second, which ends the step.
        let half = if rng.below(2) == 0 { 0 } else { shapes.len() / 2 };
        let counts: Vec<usize> = shapes.iter().map(|shape| if shape.len() == 2 { shape[0] } else { 1 }).collect();
        let second = first + counts[..half].iter().sum::<usize>();
        let sample = TestCase {
            differentiable: false,
            ..TestCase::new(move |x| {
                let graph = x[0].graph();
                if half > 0 {
                    graph.push(EndStep { first, advance: false }, &x[..2 + half])?;
                }
                graph.push(EndStep { first: second, advance: true }, &[&x[..2], &x[2 + half..]].concat())
            })
        }
        .input(TensorType::u32([4]), vec![step, 3.0, 0.0, 0.0])
        .normal(rng, [4, first + metrics]);
        shapes.into_iter().fold(sample, |sample, shape| sample.normal(rng, shape))
    }

    fn updates(&self) -> &'static [usize] {
        &[0, 1]
    }
}

impl Op for Advance {
    fn name(&self) -> &'static str {
        "advance"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [step_state] if **step_state == TensorType::u32([4]) => Ok(TensorType::nothing()),
            _ => Err(format!("takes u32[4], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        Dispatch::grid(kernel!("update/advance"), [1, 1, 1]).args([Arg::Input(0)]).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0][0] += 1.0;
        Vec::new()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        TestCase::forward_only(Advance).input(TensorType::u32([4]), vec![rng.below(9) as f64, 3.0, 1.0, 0.0])
    }

    fn updates(&self) -> &'static [usize] {
        &[0]
    }
}
