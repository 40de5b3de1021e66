//! Cross-entropy from logits and labels, fused: one kernel forward, one backward.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::loss::masked_mean::MaskedMean;
use crate::ops::loss::softmax::{checked_rows, row_launch};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// Label of a row that does not count. Any label that is not a class does the same.
pub const IGNORE: u32 = u32::MAX;

/// `loss[r] = −Σ_c q[r, c] ln softmax(logits[r])[c]` with `q = (1 − ε) onehot(label) + ε / classes`; 0 for ignored
/// rows. Inputs: logits `[rows, classes]`, labels u32 `[rows]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropy {
    /// Label smoothing ε, in `[0, 1]`.
    pub smoothing: f32,
}

/// `dlogits[r] = dloss[r] (softmax(logits[r]) − q[r])`; 0 for ignored rows. Inputs: logits, labels, dloss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CrossEntropyGrad {
    /// Label smoothing ε of the forward op.
    pub smoothing: f32,
}

/// The shape rule of ops on logits and labels: one per row.
pub(crate) fn infer_per_row(inputs: &[&TensorType]) -> Result<TensorType, String> {
    match inputs {
        [logits, labels, ..]
            if logits.dtype == DType::F32
                && logits.shape.rank() == 2
                && logits.elements() > 0
                && **labels == TensorType::u32([logits.shape[0]]) =>
        {
            Ok(TensorType::f32([logits.shape[0]]))
        }
        _ => Err(format!("takes logits f32[rows, classes] and labels u32[rows], not {inputs:?}")),
    }
}

fn check_smoothing(smoothing: f32) -> Result<(), String> {
    if (0.0..=1.0).contains(&smoothing) { Ok(()) } else { Err(format!("label smoothing {smoothing} is not in [0, 1]")) }
}

/// `−ln softmax` of one row, and the row's `q` by class.
fn row_terms(logits: &[f64], label: f64, smoothing: f32) -> (Vec<f64>, Vec<f64>) {
    let greatest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let log_total = logits.iter().map(|x| (x - greatest).exp()).sum::<f64>().ln();
    let (smoothing, classes) = (f64::from(smoothing), logits.len());
    let q = |c: usize| smoothing / classes as f64 + if c as f64 == label { 1.0 - smoothing } else { 0.0 };
    (logits.iter().map(|x| log_total - (x - greatest)).collect(), (0..classes).map(q).collect())
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        check_smoothing(self.smoothing)?;
        infer_per_row(inputs)
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let grad = CrossEntropyGrad { smoothing: self.smoothing };
        Ok(vec![Some(dy.graph().push(grad, &[x[0], x[1], dy])?), None])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, classes] = checked_rows(inputs[0]);
        row_launch(kernel!("loss/cross_entropy"), caps, rows, classes)
            .floats(&[self.smoothing])
            .bind(2)
            .flops(5 * rows * classes)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let classes = types[0].shape[1];
        let row = |(logits, &label): (&[f64], &f64)| {
            let (terms, q) = row_terms(logits, label, self.smoothing);
            if label < classes as f64 { terms.iter().zip(q).map(|(t, q)| t * q).sum() } else { 0.0 }
        };
        inputs[0].chunks(classes).zip(&inputs[1]).map(row).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [rows, classes] = [awkward_size(rng, 300), awkward_size(rng, 130)];
        let smoothing = [0.0, 0.1][rng.below(2)];
        // One label past the classes: an ignored row.
        TestCase::new(move |x| x[0].cross_entropy_rows(x[1], smoothing)).uniform(rng, [rows, classes], -4.0, 4.0).index(
            rng,
            [rows],
            classes + 1,
        )
    }
}

impl Op for CrossEntropyGrad {
    fn name(&self) -> &'static str {
        "cross_entropy_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let per_row = infer_per_row(inputs)?;
        match inputs {
            [logits, _, dloss] if **dloss == per_row => Ok((*logits).clone()),
            _ => Err(format!("takes logits, labels and dloss {per_row}, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [rows, classes] = checked_rows(inputs[0]);
        row_launch(kernel!("loss/cross_entropy_grad"), caps, rows, classes)
            .floats(&[self.smoothing])
            .bind(3)
            .flops(8 * rows * classes)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let classes = types[0].shape[1];
        let labels_and_gradients = inputs[1].iter().zip(&inputs[2]);
        let row = |(logits, (&label, &dloss)): (&[f64], (&f64, &f64))| -> Vec<f64> {
            let (terms, q) = row_terms(logits, label, self.smoothing);
            let counts = if label < classes as f64 { dloss } else { 0.0 };
            terms.iter().zip(q).map(|(term, q)| counts * ((-term).exp() - q)).collect()
        };
        inputs[0].chunks(classes).zip(labels_and_gradients).flat_map(row).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [rows, classes] = [awkward_size(rng, 300), awkward_size(rng, 130)];
        let smoothing = [0.0, 0.1][rng.below(2)];
        TestCase::forward_only(CrossEntropyGrad { smoothing })
            .uniform(rng, [rows, classes], -4.0, 4.0)
            .index(rng, [rows], classes + 1)
            .normal(rng, [rows])
    }
}

impl<'g> Var<'g> {
    /// Cross-entropy of every row of logits `[rows, classes]` with labels u32 `[rows]`; the result is `[rows]`.
    ///
    /// `−Σ_c q_c ln softmax(x)_c` with `q = (1 − ε) onehot(label) + ε / classes`, ε being `smoothing`. Rows whose label
    /// is not a class ([`IGNORE`](crate::ops::IGNORE), say) have loss 0 and gradient 0.
    ///
    /// *Source:* Szegedy et al. 2016, arXiv:1512.00567, section 7 (smoothing); the definitions are PyTorch's.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes, or `smoothing` outside `[0, 1]`.
    pub fn cross_entropy_rows(self, labels: Var<'g>, smoothing: f32) -> Result<Var<'g>> {
        self.graph().push(CrossEntropy { smoothing }, &[self, labels])
    }

    /// Mean of [`Var::cross_entropy_rows`] over the rows that are not ignored: a scalar `[]`. NaN if there are none.
    /// Errors as there.
    pub fn cross_entropy(self, labels: Var<'g>, smoothing: f32) -> Result<Var<'g>> {
        let rows = self.cross_entropy_rows(labels, smoothing)?;
        self.graph().push(MaskedMean { classes: self.shape().last_axis() }, &[rows, labels])
    }
}
