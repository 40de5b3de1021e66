//! Linear CKA (centred kernel alignment) of two centred Gram matrices, with its analytic gradient.

use std::any::Any;
use std::rc::Rc;

use crate::error::Result;
use crate::gpu::Caps;
use crate::graph::Var;
use crate::kernel;
use crate::op::{Arg, Dispatch, Lowered, Op, Sample, awkward_size};
use crate::ops::gram::{CkaGramGrad, GramGrad};
use crate::rng::Rng;
use crate::shape::TensorType;

/// From centred Gram matrices K and L `[n, n]` to `[8]`: the CKA value, then what its gradient needs
/// (see `shaders/cka.wgsl`). A zero matrix gives 0 and a zero gradient, and sets word 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaStats;

/// The value out of [`CkaStats`], as a differentiable scalar. Inputs: K, L, statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaValue;

/// The gradient of CKA with respect to one Gram matrix: symmetric, zero row sums. Inputs: that matrix, the other one,
/// statistics, gradient of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaGrad {
    /// The gradient is for CKA's second argument.
    pub right: bool,
}

/// CKA of two layers in a graph.
#[derive(Clone, Copy, Debug)]
pub struct Cka<'g> {
    /// The value, a scalar in [0, 1].
    pub value: Var<'g>,
    /// `[8]`: the value first, word 6 is 1 where a layer is constant. Logging this instead of the value saves a
    /// dispatch.
    pub stats: Var<'g>,
}

fn square(k: &TensorType, l: &TensorType) -> Result<usize, String> {
    match k.shape[..] {
        [n, m] if n == m && n > 0 && k == l => Ok(n),
        _ => Err(format!("takes two centred Gram matrices f32[n, n] of the same n, not {k} and {l}")),
    }
}

/// Largest batch: one workgroup walks over n² elements, and software adapters leave a loop after 65,535 turns.
const MAX_BATCH: usize = 4000;

impl Op for CkaStats {
    fn name(&self) -> &'static str {
        "cka"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [k, l] = inputs else { return Err("takes two Gram matrices".to_string()) };
        let n = square(k, l)?;
        if n > MAX_BATCH {
            return Err(format!("a batch of {n} examples is more than {MAX_BATCH}"));
        }
        Ok(TensorType::f32([8]))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].shape[0];
        Dispatch::grid(kernel!("cka"), [1, 1, 1]).constant("LANES", 256).dims(&[n]).bind(2).flops(8 * n * n).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let n = types[0].shape[0];
        let scale = |k: &[f64]| n as f64 / (0..n).map(|i| k[i * n + i]).sum::<f64>();
        let (p, q) = (scale(&inputs[0]), scale(&inputs[1]));
        if p.is_infinite() || q.is_infinite() {
            return vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        }
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let kk = dot(&inputs[0], &inputs[0]) * p * p;
        let ll = dot(&inputs[1], &inputs[1]) * q * q;
        let c = dot(&inputs[0], &inputs[1]) * p * q / (kk * ll).sqrt();
        vec![c, p, q, 1.0 / (kk * ll).sqrt(), c / kk, c / ll, 0.0, 0.0]
    }

    fn sample(rng: &mut Rng) -> Sample {
        // Any matrices with a positive trace do.
        let n = awkward_size(rng, 80);
        Sample::forward_only(CkaStats).uniform(rng, [n, n], 0.1, 1.0).uniform(rng, [n, n], 0.1, 1.0)
    }
}

impl Op for CkaValue {
    fn name(&self) -> &'static str {
        "cka_value"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [k, l, stats] if **stats == TensorType::f32([8]) => square(k, l).map(|_| TensorType::f32([])),
            _ => Err("takes two Gram matrices and their statistics".to_string()),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dc: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let [k, l, stats] = x[..] else { return Ok(Vec::new()) };
        let dk = dc.graph().push(CkaGrad { right: false }, &[k, l, stats, dc])?;
        let dl = dc.graph().push(CkaGrad { right: true }, &[l, k, stats, dc])?;
        Ok(vec![Some(dk), Some(dl), None])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        Dispatch::linear(kernel!("copy"), 1).dims(&[1, 1, 1, 0]).args([Arg::Input(2), Arg::Output]).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        vec![inputs[2][0]]
    }

    fn sample(rng: &mut Rng) -> Sample {
        let [n, p, q] = [2 + rng.below(60), awkward_size(rng, 200), awkward_size(rng, 200)];
        let offset = [0.0, 3.0][rng.below(2)];
        Sample::new(|x| Ok(Var::cka(x[0].centered_gram()?, x[1].centered_gram()?)?.value))
            .values([n, p], || f64::from(rng.normal()) + offset)
            .normal(rng, [n, q])
    }
}

impl Op for CkaGrad {
    fn name(&self) -> &'static str {
        "cka_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [own, other, stats, dc] if **stats == TensorType::f32([8]) && dc.elements() == 1 => {
                square(own, other).map(|n| TensorType::f32([n, n]))
            }
            _ => Err("takes two Gram matrices, their statistics and a scalar".to_string()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let elements = inputs[0].elements();
        Dispatch::linear(kernel!("cka_grad"), elements)
            .constant("RIGHT", u32::from(self.right))
            .dims(&[elements])
            .bind(4)
            .flops(6 * elements)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let (stats, dc) = (&inputs[2], inputs[3][0]);
        let (own, other, v) = if self.right { (stats[2], stats[1], stats[5]) } else { (stats[1], stats[2], stats[4]) };
        let element = |(k, l): (&f64, &f64)| dc * own * (l * other * stats[3] - k * own * v);
        inputs[0].iter().zip(&inputs[1]).map(element).collect()
    }

    fn sample(rng: &mut Rng) -> Sample {
        let n = awkward_size(rng, 80);
        Sample::forward_only(CkaGrad { right: rng.below(2) == 0 })
            .normal(rng, [n, n])
            .normal(rng, [n, n])
            .uniform(rng, [8], 0.5, 2.0)
            .normal(rng, [])
    }

    fn absorb(&self, consumer: &dyn Op, position: usize, _: &TensorType, _: &[&TensorType]) -> Option<Rc<dyn Op>> {
        let any: &dyn Any = consumer;
        let fits = any.is::<GramGrad>() && position == 0;
        fits.then(|| Rc::new(CkaGramGrad { right: self.right }) as Rc<dyn Op>)
    }
}

impl<'g> Var<'g> {
    /// Linear CKA of two centred Gram matrices of the same examples ([`Var::centered_gram`]): `<K, L> / (|K| |L|)`.
    ///
    /// The biased estimator of Kornblith et al. 2019 (arXiv:1905.00414, section 3): 1 for equal geometry, and well
    /// above 0 for independent layers wider than the batch. A constant layer gives 0 and no gradient, never NaN.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless both are `[n, n]`.
    pub fn cka(k: Var<'g>, l: Var<'g>) -> Result<Cka<'g>> {
        let stats = k.graph().push(CkaStats, &[k, l])?;
        let value = k.graph().push(CkaValue, &[k, l, stats])?;
        Ok(Cka { value, stats })
    }
}
