//! Top-k hits: 1 where the label's logit is among the greatest.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::loss::cross_entropy::infer_per_row;
use crate::ops::loss::softmax::{checked_rows, row_launch};
use crate::shape::TensorType;
use trellis_rng::Rng;

/// 1 where fewer than `k` logits of a row come before its label's, else 0; of equal ones the first comes first. Inputs: logits
/// `[rows, classes]`, labels u32 `[rows]`. Its gradient is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// Number of greatest logits that count.
    pub k: usize,
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        if self.k == 1 { "top1" } else { "top_k" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        infer_per_row(inputs)
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![None, None])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, classes] = checked_rows(inputs[0]);
        row_launch(kernel!("loss/top_k"), caps, rows, classes)
            .dims(&[self.k.min(classes)])
            .bind(2)
            .flops(rows * classes)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let correct = |(logits, &label): (&[f64], &f64)| {
            let label = label as usize;
            let hit = logits.get(label).is_some_and(|&own| {
                let before = |&(at, x): &(usize, f64)| x > own || (x == own && at < label);
                logits.iter().copied().enumerate().filter(before).count() < self.k && logits.iter().all(|x| !x.is_nan())
            });
            f64::from(u8::from(hit))
        };
        inputs[0].chunks(types[0].shape[1]).zip(&inputs[1]).map(correct).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [rows, classes] = [awkward_size(rng, 300), awkward_size(rng, 70)];
        // Few different values, so that ties are common; now and then a NaN.
        let value = |rng: &mut Rng| if rng.below(400) == 0 { f64::NAN } else { rng.below(4) as f64 };
        let k = 1 + rng.below(6);
        let sample = TestCase::new(move |x| x[0].top_k(x[1], k)).values([rows, classes], || value(rng));
        // The output jumps at a tie, so differences do not see the zero gradient.
        TestCase { differentiable: false, ..sample }.index(rng, [rows], classes + 1)
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
        self.top_k(labels, 1)
    }

    /// [`Var::top1`] where the label's logit may be among the `k` greatest: top-5 accuracy is the mean of k = 5. Errors as
    /// there.
    pub fn top_k(self, labels: Var<'g>, k: usize) -> Result<Var<'g>> {
        self.graph().push(TopK { k }, &[self, labels])
    }
}
