//! Rows scaled to length 1, so that their products are cosines, or with their means subtracted, correlations.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::center::activations;
use crate::ops::loss::softmax::row_launch;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// `u_i = v_i / |v_i|` for every row of `[n, p]`, where v is x, or x less its row mean. A zero row stays zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2Normalize {
    /// True if the row's mean is subtracted first.
    pub center: bool,
}

/// The gradient of [`L2Normalize`]. Inputs: x, u, gradient of u.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2NormalizeGrad {
    /// True if the row's mean was subtracted.
    pub center: bool,
}

fn mean(row: &[f64], center: bool) -> f64 {
    if center { row.iter().sum::<f64>() / row.len() as f64 } else { 0.0 }
}

impl Op for L2Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = inputs else { return Err("takes activations".to_string()) };
        activations(x).map(TensorType::f32)
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(y.graph().push(L2NormalizeGrad { center: self.center }, &[x[0], y, dy])?)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [n, p] = [inputs[0].shape[0], inputs[0].shape[1]];
        let dispatch =
            row_launch(kernel!("measures/l2_normalize"), caps, n, p).constant("CENTER", u32::from(self.center));
        dispatch.bind(1).flops(5 * n * p).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let unit = |row: &[f64]| -> Vec<f64> {
            let mean = mean(row, self.center);
            let length = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|x| if length > 0.0 { (x - mean) / length } else { 0.0 }).collect()
        };
        inputs[0].chunks(types[0].shape[1]).flat_map(unit).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let center = rng.below(2) == 0;
        // A centered row of one is zero up to rounding, and of two is ±1: neither has a gradient worth checking.
        let shape = [awkward_size(rng, 65), 2 + awkward_size(rng, 300)];
        let zero_row = rng.below(shape[0]) * shape[1];
        let mut at = 0;
        let sample = TestCase::new(move |x| x[0].l2_normalize(center)).values(shape, || {
            at += 1;
            if zero_row > 0 && (zero_row + 1..=zero_row + shape[1]).contains(&at) {
                0.0
            } else {
                f64::from(rng.normal())
            }
        });
        // The op has a kink at a row of zeros.
        TestCase { differentiable: zero_row == 0, ..sample }
    }
}

impl Op for L2NormalizeGrad {
    fn name(&self) -> &'static str {
        "l2_normalize_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x, u, du] if x == u && u == du => activations(x).map(TensorType::f32),
            _ => Err("takes three matrices of equal shape".to_string()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [n, p] = [inputs[0].shape[0], inputs[0].shape[1]];
        let dispatch =
            row_launch(kernel!("measures/l2_normalize_grad"), caps, n, p).constant("CENTER", u32::from(self.center));
        dispatch.bind(3).flops(9 * n * p).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let p = types[0].shape[1];
        let mut dx = Vec::with_capacity(inputs[0].len());
        for ((x, u), du) in inputs[0].chunks(p).zip(inputs[1].chunks(p)).zip(inputs[2].chunks(p)) {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let (length, along, mean) = (dot(x, u), dot(du, u), mean(du, self.center));
            let row =
                du.iter().zip(u).map(|(du, u)| if length == 0.0 { 0.0 } else { (du - mean - along * u) / length });
            dx.extend(row);
        }
        dx
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let op = L2NormalizeGrad { center: rng.below(2) == 0 };
        let (n, p) = (awkward_size(rng, 65), 2 + awkward_size(rng, 300));
        let x: Vec<f64> = (0..n * p).map(|_| f64::from(rng.normal())).collect();
        let ty = TensorType::f32([n, p]);
        let u = L2Normalize { center: op.center }.reference(&mut [x.clone()], &[&ty], &ty);
        TestCase::forward_only(op).input(ty.clone(), x).input(ty, u).normal(rng, [n, p])
    }
}

impl<'g> Var<'g> {
    /// Every row of `[n, …]` (all axes but the first taken as features) divided by its length, with `center` after subtracting
    /// its mean. A zero row stays zero. Products of such rows are cosines, with `center` correlations.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) without a batch axis.
    pub fn l2_normalize(self, center: bool) -> Result<Var<'g>> {
        self.graph().push(L2Normalize { center }, &[self.flatten()?])
    }
}
