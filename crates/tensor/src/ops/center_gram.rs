//! Gram matrices with what is common to all examples taken off.

use std::any::Any;

use crate::error::Result;
use crate::gpu::Caps;
use crate::graph::Var;
use crate::kernel;
use crate::op::{Arg, Dispatch, Lowered, Op, Sample, awkward_size};
use crate::ops::center::Center;
use crate::ops::cka::CkaGrad;
use crate::ops::gram::{Gram, symmetric};
use crate::ops::reduce::lanes;
use crate::rng::Rng;
use crate::shape::{DType, TensorType};

/// From a symmetric Gram matrix `[n, n]` to the same, centred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CenterGram {
    /// How.
    pub centering: Centering,
}

/// What is taken off a Gram matrix before two are compared. Each is an orthogonal projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Centering {
    /// Row and column means: `H K H`. With it CKA is the biased estimator.
    Double,
    /// U-centring: the diagonal is 0, and so is every row sum. With it CKA is the debiased estimator (Song et al. 2012;
    /// Székely and Rizzo 2014). Needs n ≥ 4: for 3 examples nothing is left.
    Unbiased,
    /// The mean off the diagonal, and the diagonal: what a correlation of dissimilarities compares (RSA). Needs n ≥ 3.
    OffDiagonal,
}

use Centering::{Double, OffDiagonal, Unbiased};

/// n of a square f32 matrix.
pub(crate) fn square(k: &TensorType) -> Result<usize, String> {
    match k.shape[..] {
        [n, m] if n == m && n > 0 && k.dtype == DType::F32 => Ok(n),
        _ => Err(format!("takes a Gram matrix f32[n, n], not {k}")),
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
        match square(k)? {
            n if n < least => Err(format!("{:?} centring needs at least {least} examples, not {n}", self.centering)),
            _ => Ok((*k).clone()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let dy = symmetric(dy)?;
        // A projection leaves what it has made alone, and the gradient of CKA is made of two such.
        let projected = dy.op().is_some_and(|op| {
            let any: &dyn Any = op.as_ref();
            any.downcast_ref::<CkaGrad>().is_some_and(|grad| grad.centering == Some(self.centering))
        });
        Ok(vec![Some(if projected { dy } else { dy.graph().push(*self, &[dy])? })])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].shape[0];
        let lanes = lanes(caps, n, 1);
        let row_sums = Dispatch::per_group(kernel!("reduce"), n.div_ceil(256 / lanes))
            .constant("LANES", lanes as u32)
            .dims(&[n, n, 1])
            .floats(&[1.0])
            .args([Arg::Input(0), Arg::Scratch(0)])
            .flops(n * n);
        // Every workgroup adds up all row sums: few with much to do on a CPU.
        let elements = if caps.software { 64 * 256 } else { 4 * 256 };
        let apply = Dispatch::per_group(kernel!("center_gram"), (n * n).div_ceil(elements))
            .constant("LANES", 256)
            .constant("CENTERING", self.centering as u32)
            .dims(&[n])
            .args([Arg::Input(0), Arg::Scratch(0), Arg::Output])
            .flops(5 * n * n);
        Lowered { dispatches: vec![row_sums, apply], scratch: vec![4 * n] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let (k, n) = (&inputs[0], types[0].shape[0]);
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

    fn sample(rng: &mut Rng) -> Sample {
        let centering = [Double, Unbiased, OffDiagonal][rng.below(3)];
        let shape = [3 + awkward_size(rng, 65), awkward_size(rng, 30)];
        Sample::new(move |x| x[0].gram()?.center_gram(centering)).values(shape, || f64::from(rng.normal()) + 0.5)
    }
}

/// How a Gram matrix is known to be centred.
pub(crate) fn centering_of(k: Var<'_>) -> Option<Centering> {
    let op = k.op()?;
    let any: &dyn Any = op.as_ref();
    let is_center = |x: Var<'_>| x.op().is_some_and(|op| (op.as_ref() as &dyn Any).is::<Center>());
    if any.is::<Gram>() && is_center(k.inputs()[0]) {
        return Some(Double);
    }
    any.downcast_ref::<CenterGram>().map(|op| op.centering)
}

impl<'g> Var<'g> {
    /// Takes off a symmetric Gram matrix `[n, n]` what is common to all examples.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another shape, or too few examples.
    pub fn center_gram(self, centering: Centering) -> Result<Var<'g>> {
        self.graph().push(CenterGram { centering }, &[self])
    }
}
