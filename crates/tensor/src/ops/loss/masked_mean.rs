//! The mean over the rows that have a label.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::loss::softmax::row_launch;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// Mean of `rows [n]` over those whose label (u32 `[n]`) is below `classes`, a scalar; NaN if there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedMean {
    /// Labels from here on are ignored.
    pub classes: usize,
}

/// `drows[r] = dy / count` where the label is below `classes`, else 0. Inputs: labels `[n]`, dy `[]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaskedMeanGrad {
    /// Labels from here on are ignored.
    pub classes: usize,
}

impl Op for MaskedMean {
    fn name(&self) -> &'static str {
        "masked_mean"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [rows, labels]
                if rows.dtype == DType::F32
                    && rows.shape.rank() == 1
                    && rows.elements() > 0
                    && **labels == TensorType::u32(rows.shape.clone()) =>
            {
                Ok(TensorType::f32([]))
            }
            _ => Err(format!("takes f32[n > 0] and labels u32[n], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.graph().push(MaskedMeanGrad { classes: self.classes }, &[x[1], dy])?), None])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].elements();
        row_launch(kernel!("loss/masked_mean"), caps, 1, n).dims(&[self.classes]).bind(2).flops(2 * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let counted = |label: &f64| *label < self.classes as f64;
        let count = inputs[1].iter().filter(|label| counted(label)).count();
        let total: f64 = inputs[0].iter().zip(&inputs[1]).filter(|(_, label)| counted(label)).map(|(row, _)| row).sum();
        vec![total / count as f64]
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (n, classes) = (awkward_size(rng, 600), 1 + rng.below(10));
        let mut sample = TestCase::new(move |x| x[0].graph().push(MaskedMean { classes }, x));
        sample = sample.uniform(rng, [n], 0.0, 4.0).index(rng, [n], classes + 2);
        sample.inputs[1].values[0] = 0.0; // a mean of nothing is NaN, and has no gradient
        sample
    }
}

impl Op for MaskedMeanGrad {
    fn name(&self) -> &'static str {
        "masked_mean_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [labels, dy]
                if labels.dtype == DType::U32
                    && labels.shape.rank() == 1
                    && labels.elements() > 0
                    && **dy == TensorType::f32([]) =>
            {
                Ok(TensorType::f32(labels.shape.clone()))
            }
            _ => Err(format!("takes labels u32[n > 0] and f32[], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].elements();
        row_launch(kernel!("loss/masked_mean_grad"), caps, 1, n).dims(&[self.classes]).bind(2).flops(2 * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let counted = |label: f64| label < self.classes as f64;
        let count = inputs[0].iter().filter(|&&label| counted(label)).count();
        let share = inputs[1][0] / count as f64;
        inputs[0].iter().map(|&label| if counted(label) { share } else { 0.0 }).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (n, classes) = (awkward_size(rng, 600), 1 + rng.below(10));
        TestCase::forward_only(MaskedMeanGrad { classes }).index(rng, [n], classes + 2).normal(rng, [])
    }
}
