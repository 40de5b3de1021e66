//! A value as a constant of the backward pass.

use super::view::Permute;
use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Lowered, Op, TestCase};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// The input, through which no gradient flows: PyTorch's `detach`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detach;

impl Op for Detach {
    fn name(&self) -> &'static str {
        "detach"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if x.dtype == DType::F32 => Ok((*x).clone()),
            _ => Err(format!("takes one f32 tensor, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![None])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        Permute { order: (0..output.shape.rank()).collect() }.lower(caps, inputs, output)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0].clone()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape: Vec<usize> = (0..rng.below(4)).map(|_| 1 + rng.below(9)).collect();
        TestCase::forward_only(Detach).normal(rng, shape)
    }
}

impl<'g> Var<'g> {
    /// The same f32 values, through which no gradient flows. Cost: a copy.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other numbers than f32.
    pub fn detach(self) -> Result<Var<'g>> {
        self.graph().push(Detach, &[self])
    }
}
