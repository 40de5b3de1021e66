//! Whether the greatest logit is the label's.

use crate::error::Result;
use crate::gpu::Caps;
use crate::graph::Var;
use crate::kernel;
use crate::op::{Lowered, Op, Sample, awkward_size};
use crate::ops::cross_entropy::infer_per_row;
use crate::ops::softmax::{checked_rows, row_launch};
use crate::rng::Rng;
use crate::shape::TensorType;

/// 1 where the first greatest logit of a row is its label's, else 0. Inputs: logits `[rows, classes]`, labels u32
/// `[rows]`. Its gradient is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Top1;

impl Op for Top1 {
    fn name(&self) -> &'static str {
        "top1"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        infer_per_row(inputs)
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![None, None])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, classes] = checked_rows(inputs[0]);
        row_launch(kernel!("top1"), caps, rows, classes).bind(2).flops(rows * classes).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let correct = |(logits, &label): (&[f64], &f64)| {
            let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let first = logits.iter().position(|&x| x == greatest);
            let hit = first == Some(label as usize) && logits.iter().all(|x| !x.is_nan());
            f64::from(u8::from(hit))
        };
        inputs[0].chunks(types[0].shape[1]).zip(&inputs[1]).map(correct).collect()
    }

    fn sample(rng: &mut Rng) -> Sample {
        let [rows, classes] = [awkward_size(rng, 300), awkward_size(rng, 70)];
        // Few different values, so that ties are common; now and then a NaN.
        let value = |rng: &mut Rng| if rng.below(400) == 0 { f64::NAN } else { rng.below(4) as f64 };
        let sample = Sample::new(|x| x[0].top1(x[1])).values([rows, classes], || value(rng));
        // At a tie it jumps, so differences do not see the zero gradient.
        Sample { differentiable: false, ..sample }.index(rng, [rows], classes + 1)
    }
}

impl<'g> Var<'g> {
    /// 1 where the greatest of a row's logits `[rows, classes]` is that of its label (u32 `[rows]`), else 0: `[rows]`.
    ///
    /// The first of equal maxima wins. A row with a NaN, or whose label is not a class, is 0. The gradient is zero.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes.
    pub fn top1(self, labels: Var<'g>) -> Result<Var<'g>> {
        self.graph().push(Top1, &[self, labels])
    }
}
