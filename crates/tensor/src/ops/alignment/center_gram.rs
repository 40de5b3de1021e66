//! Centering of Gram matrices.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::{Centering, Facts};
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::loss::softmax::row_launch;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// Centers symmetric Gram matrices `[n, n]` or `[time, n, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CenterGram {
    /// The kind of centering.
    pub centering: Centering,
    /// The elements have a constant in common, such as those of an RBF kernel: it is taken off first, so that it costs no digits.
    pub offset: bool,
}

use Centering::{Double, OffDiagonal, Unbiased};

/// Square f32 matrices: one, or one for each time step.
#[derive(Clone, Copy)]
pub(crate) struct Squares {
    pub(crate) count: usize,
    pub(crate) n: usize,
}

/// Number and size of Gram matrices `[n, n]` or `[time, n, n]`.
pub(crate) fn squares(k: &TensorType) -> Result<Squares, String> {
    match k.shape[..] {
        [n, m] if n == m && n > 0 && k.dtype == DType::F32 => Ok(Squares { count: 1, n }),
        [count, n, m] if n == m && k.elements() > 0 && k.dtype == DType::F32 => Ok(Squares { count, n }),
        _ => Err(format!("takes a Gram matrix f32[n, n], or f32[time, n, n], not {k}")),
    }
}

impl Op for CenterGram {
    fn name(&self) -> &'static str {
        "center_gram"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [k] = inputs else { return Err("takes a Gram matrix".to_string()) };
        let least = match self.centering {
            Double => 1,
            Unbiased => 4,
            OffDiagonal => 3,
        };
        match squares(k)?.n {
            n if n < least => Err(format!("{:?} centering needs at least {least} examples, not {n}", self.centering)),
            _ => Ok((*k).clone()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let dy = dy.symmetrized()?;
        // A projection leaves its own output unchanged, and the gradient of CKA is made of two such outputs.
        let projected = dy.facts().centering == Some(self.centering);
        Ok(vec![Some(if projected { dy } else { dy.graph().push(CenterGram { offset: false, ..*self }, &[dy])? })])
    }

    fn facts(&self, inputs: &[Facts]) -> Facts {
        let rows_sum_to_zero = self.centering != OffDiagonal;
        let symmetric = inputs[0].symmetric;
        Facts { symmetric, rows_sum_to_zero, centering: Some(self.centering), ..Facts::default() }
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let Squares { count, n } = squares(inputs[0]).expect("checked while recording");
        let rows = count * n;
        let row_sums = row_launch(kernel!("alignment/center_gram_sums"), caps, rows, n)
            .constant("DIAGONAL", u32::from(self.centering == Double))
            .constant("OFFSET", u32::from(self.offset))
            .args([Arg::Input(0), Arg::Scratch(0)])
            .flops(2 * rows * n);
        // Every workgroup adds up all row sums, so a CPU gets few workgroups with much work each.
        let elements = if caps.software { 64 * 256 } else { 4 * 256 };
        let mut apply = Dispatch::per_group(kernel!("alignment/center_gram"), (n * n).div_ceil(elements))
            .lanes(caps, 256)
            .constant("CENTERING", self.centering as u32)
            .constant("OFFSET", u32::from(self.offset))
            .dims(&[n])
            .args([Arg::Input(0), Arg::Scratch(0), Arg::Output])
            .flops(5 * rows * n);
        apply.groups[2] = count as u32;
        Lowered { dispatches: vec![row_sums, apply], scratch: vec![4 * rows] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = squares(types[0]).expect("checked while recording").n;
        inputs[0].chunks(n * n).flat_map(|k| self.centered(k, n)).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let centering = [Double, Unbiased, OffDiagonal][rng.below(3)];
        let (n, p) = (3 + awkward_size(rng, 65), awkward_size(rng, 30));
        if rng.below(2) == 0 {
            let sample = TestCase::new(move |x| x[0].gram()?.center_gram(centering));
            return sample.values([n, p], || f64::from(rng.normal()) + 0.5);
        }
        let shape = [n, 1 + rng.below(3), p];
        TestCase::new(move |x| x[0].centered_token_grams()?.center_gram(centering))
            .values(shape, || f64::from(rng.normal()) + 0.5)
    }
}

impl CenterGram {
    fn centered(self, k: &[f64], n: usize) -> Vec<f64> {
        let count = n as f64;
        let skipped = |i: usize| if self.centering == Double { 0.0 } else { k[i * n + i] };
        let r: Vec<f64> = (0..n).map(|i| k[i * n..][..n].iter().sum::<f64>() - skipped(i)).collect();
        let t: f64 = r.iter().sum();
        let element = |at: usize| match (self.centering, at / n, at % n) {
            (Double, i, j) => k[at] - r[i] / count - r[j] / count + t / (count * count),
            (_, i, j) if i == j => 0.0,
            (Unbiased, i, j) => k[at] - (r[i] + r[j]) / (count - 2.0) + t / ((count - 1.0) * (count - 2.0)),
            (OffDiagonal, ..) => k[at] - t / (count * (count - 1.0)),
        };
        (0..n * n).map(element).collect()
    }
}

impl<'g> Var<'g> {
    /// Centers a symmetric Gram matrix `[n, n]`, or each of `[time, n, n]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another shape, or too few examples.
    pub fn center_gram(self, centering: Centering) -> Result<Var<'g>> {
        // Gram matrices of centered activations are 0 on average already.
        let offset = self.facts().centering.is_none();
        self.graph().push(CenterGram { centering, offset }, &[self])
    }
}
