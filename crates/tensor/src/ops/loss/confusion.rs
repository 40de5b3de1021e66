//! Confusion matrix: counts of predicted classes for each label.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::loss::cross_entropy::infer_per_row;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// Counts the rows of each label and greatest logit: adds 1 to element (label, class) of a table that it updates. Inputs: the
/// table u32 `[classes, classes]`, logits `[rows, classes]`, labels u32 `[rows]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Confusion;

impl Op for Confusion {
    fn name(&self) -> &'static str {
        "confusion"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [table, of_rows @ ..] = inputs else { return Err("takes a table, logits and labels".to_string()) };
        infer_per_row(of_rows)?;
        let classes = of_rows[0].shape[1];
        if **table != TensorType::u32([classes, classes]) {
            return Err(format!("counts {classes} classes in u32[{classes}, {classes}], not {table}"));
        }
        Ok(TensorType::nothing())
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, classes] = inputs[1].shape[..] else { unreachable!("checked while recording") };
        Dispatch::linear(kernel!("loss/confusion"), rows)
            .dims(&[rows, classes])
            .args([1, 2, 0].map(Arg::Input))
            .flops(rows * classes)
            .iterations(classes)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [table, logits, labels] = inputs else { unreachable!("checked while recording") };
        let classes = types[1].shape[1];
        for (row, &label) in logits.chunks(classes).zip(labels.iter()) {
            let greatest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let first = row.iter().position(|&x| x == greatest).unwrap_or(0);
            if (label as usize) < classes && row.iter().all(|x| !x.is_nan()) {
                table[label as usize * classes + first] += 1.0;
            }
        }
        Vec::new()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [rows, classes] = [awkward_size(rng, 300), awkward_size(rng, 40)];
        // Few different values, so that ties are common; now and then a NaN.
        let value = |rng: &mut Rng| if rng.below(400) == 0 { f64::NAN } else { rng.below(4) as f64 };
        TestCase::forward_only(Confusion)
            .index(rng, [classes, classes], 9)
            .values([rows, classes], || value(rng))
            .index(rng, [rows], classes + 1)
    }

    fn updates(&self) -> &'static [usize] {
        &[0]
    }
}

impl<'g> Var<'g> {
    /// Adds the rows of logits `[rows, classes]` (this value) to a confusion matrix `table`, u32 `[classes, classes]`. Element
    /// (label, class) counts how often the greatest logit of a row with that label is that of the class. The first of equal
    /// ones counts. Rows with a NaN, or whose label is no class, are left out.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes.
    pub fn count_confusion(self, labels: Var<'g>, table: Var<'g>) -> Result<()> {
        self.graph().push(Confusion, &[table, self, labels]).map(|_| ())
    }
}
