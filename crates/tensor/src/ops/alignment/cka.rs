//! CKA (centered kernel alignment) of two centered Gram matrices, with its analytic gradient.

use std::any::Any;
use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Centering;
use crate::graph::facts::Facts;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::center_gram::{Squares, squares};
use crate::ops::alignment::cka_gram_grad::CkaGramGrad;
use crate::ops::alignment::gram_grad::GramGrad;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// CKA and the terms of its gradient (see `shaders/alignment/cka.wgsl`): from centered Gram matrices K and L `[n, n]` to `[8]`,
/// or from `[time, n, n]` to `[time, 8]`. Word 0 is the CKA value. A zero matrix gives 0 and a zero gradient, and sets word 6.
///
/// Whatever the matrices hold, the value is the cosine of the angle between them. How they were made and centered decides which
/// measure this is: see [`Var::centered_gram`] and [`Var::center_gram`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaStats;

/// The value in [`CkaStats`], its mean over time steps, as a differentiable scalar. Inputs: K, L, statistics, their mean over
/// time `[8]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaValue {
    /// Centering of both matrices, if known.
    pub centering: Option<Centering>,
}

/// The gradient of CKA with respect to one Gram matrix, centered as the two are. Inputs: that matrix, the other one,
/// statistics, gradient of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaGrad {
    /// The gradient is for CKA's second argument.
    pub right: bool,
    /// Centering of both matrices, if known.
    pub centering: Option<Centering>,
}

/// Similarity of two layers, in a graph.
#[derive(Clone, Copy, Debug)]
pub struct Similarity<'g> {
    /// The value, a scalar: at most 1.
    pub value: Var<'g>,
    /// `[8]`: the value first; word 6 is 1 where a layer is constant (for time steps: the share of such steps). Logging this
    /// instead of the value saves a dispatch.
    pub stats: Var<'g>,
    /// The same for each time step or layer, `[entries, 8]`; equal to `stats` for a single comparison.
    pub each: Var<'g>,
}

fn two_squares(k: &TensorType, l: &TensorType) -> Result<(), String> {
    squares(k)?;
    if k == l { Ok(()) } else { Err(format!("takes two Gram matrices of the same examples, not {k} and {l}")) }
}

/// The statistics of Gram matrices of this type.
fn stats_type(k: &TensorType) -> TensorType {
    match k.shape[..] {
        [time, _, _] => TensorType::f32([time, 8]),
        _ => TensorType::f32([8]),
    }
}

impl Op for CkaStats {
    fn name(&self) -> &'static str {
        "cka"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [k, l] = inputs else { return Err("takes two Gram matrices".to_string()) };
        two_squares(k, l).map(|()| stats_type(k))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let Squares { count, n } = squares(inputs[0]).expect("checked while recording");
        let elements = n * n;
        // A CPU has no use for many workgroups, but its loops must stay short.
        let most = if caps.software { 4096 * 256 } else { 16 * 256 };
        let groups = elements.div_ceil(most);
        let vec4 = elements.is_multiple_of(4);
        let units = if vec4 { elements / 4 } else { elements };
        let mut sums = Dispatch::per_group(kernel!("alignment/cka"), groups)
            .flag("VEC4", vec4)
            .lanes(caps, 256)
            .dims(&[units, units.div_ceil(groups), groups])
            .flops(6 * count * elements);
        sums.groups[2] = count as u32;
        if groups == 1 {
            return sums.bind(2).into();
        }
        let sums = sums.constant("PARTIAL", 1).args([Arg::Input(0), Arg::Input(1), Arg::Scratch(0)]);
        let combine = Dispatch::grid(kernel!("alignment/cka_combine"), [1, 1, count])
            .lanes(caps, 256)
            .dims(&[groups])
            .args([Arg::Scratch(0), Arg::Output]);
        Lowered { dispatches: vec![sums, combine], scratch: vec![20 * groups * count] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let Squares { n, .. } = squares(types[0]).expect("checked while recording");
        inputs[0].chunks(n * n).zip(inputs[1].chunks(n * n)).flat_map(|(k, l)| statistics(k, l)).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = awkward_size(rng, 80);
        let shape = if rng.below(2) == 0 { vec![n, n] } else { vec![1 + rng.below(4), n, n] };
        TestCase::forward_only(CkaStats).uniform(rng, shape.clone(), -0.5, 1.0).uniform(rng, shape, -0.5, 1.0)
    }
}

/// [`CkaStats`] of one pair.
fn statistics(k: &[f64], l: &[f64]) -> [f64; 8] {
    let scale = |k: &[f64]| 1.0 / k.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
    let (p, q) = (scale(k), scale(l));
    if p.is_infinite() || q.is_infinite() {
        return [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    }
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let kk = dot(k, k) * p * p;
    let ll = dot(l, l) * q * q;
    let c = dot(k, l) * p * q / (kk * ll).sqrt();
    [c, p, q, 1.0 / (kk * ll).sqrt(), c / kk, c / ll, 0.0, 0.0]
}

/// The Gram matrix of one of the measures that [`Var::cka`] lists.
fn sample_gram<'g>(measure: usize, x: Var<'g>, variance: Var<'g>) -> Result<Var<'g>> {
    match measure {
        0 => x.centered_gram(),
        1 => x.centered_gram()?.center_gram(Centering::Unbiased),
        2 => x.centered_gram()?.rbf_kernel(variance)?.center_gram(Centering::Double),
        3 => x.centered_token_grams(),
        _ => x.l2_normalize(false)?.gram()?.center_gram(Centering::OffDiagonal),
    }
}

impl Op for CkaValue {
    fn name(&self) -> &'static str {
        "cka_value"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [k, l, stats, mean] if **stats == stats_type(k) && **mean == TensorType::f32([8]) => {
                two_squares(k, l).map(|()| TensorType::f32([]))
            }
            _ => Err("takes two Gram matrices, their statistics and the mean of those".to_string()),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dc: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let [k, l, stats, _] = x[..] else { return Ok(Vec::new()) };
        let dk = dc.graph().push(CkaGrad { right: false, centering: self.centering }, &[k, l, stats, dc])?;
        let dl = dc.graph().push(CkaGrad { right: true, centering: self.centering }, &[l, k, stats, dc])?;
        Ok(vec![Some(dk), Some(dl), None, None])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        Dispatch::linear(kernel!("movement/copy"), 1).dims(&[1, 1, 1, 0]).args([Arg::Input(3), Arg::Output]).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        vec![inputs[3][0]]
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [n, p, q] = [4 + rng.below(60), awkward_size(rng, 200), awkward_size(rng, 200)];
        let offset = [0.0, 3.0][rng.below(2)];
        let measure = rng.below(5);
        let time = if measure == 3 { vec![1 + rng.below(3)] } else { vec![] };
        let shape = |width: usize| [vec![n], time.clone(), vec![width]].concat();
        TestCase::new(move |x| {
            // The bandwidth is fixed: the chosen one takes no gradient.
            let variance = |width: usize| x[0].graph().constant(2.0 * width as f32, []);
            let grams = (sample_gram(measure, x[0], variance(p))?, sample_gram(measure, x[1], variance(q))?);
            Ok(Var::cka(grams.0, grams.1)?.value)
        })
        // The debiased estimator may be near 0.
        .differences_of(1.0)
        .values(shape(p), || f64::from(rng.normal()) + offset)
        .normal(rng, shape(q))
    }
}

impl Op for CkaGrad {
    fn name(&self) -> &'static str {
        "cka_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [own, other, stats, dc] if **stats == stats_type(own) && dc.elements() == 1 => {
                two_squares(own, other).map(|()| (*own).clone())
            }
            _ => Err("takes two Gram matrices, their statistics and a scalar".to_string()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn facts(&self, _: &[Facts]) -> Facts {
        let rows_sum_to_zero = matches!(self.centering, Some(Centering::Double | Centering::Unbiased));
        Facts { symmetric: true, rows_sum_to_zero, centering: self.centering, ..Facts::default() }
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let Squares { count, n } = squares(inputs[0]).expect("checked while recording");
        let elements = count * n * n;
        Dispatch::linear(kernel!("alignment/cka_grad"), elements)
            .constant("RIGHT", u32::from(self.right))
            .dims(&[elements, n * n])
            .floats(&[1.0 / count as f32])
            .bind(4)
            .flops(6 * elements)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let Squares { count, n } = squares(types[0]).expect("checked while recording");
        let dc = inputs[3][0] / count as f64;
        let element = |at: usize| {
            let stats = &inputs[2][8 * (at / (n * n))..];
            let (own, other, v) =
                if self.right { (stats[2], stats[1], stats[5]) } else { (stats[1], stats[2], stats[4]) };
            dc * own * (inputs[1][at] * other * stats[3] - inputs[0][at] * own * v)
        };
        (0..inputs[0].len()).map(element).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = awkward_size(rng, 80);
        let time = if rng.below(2) == 0 { vec![] } else { vec![1 + rng.below(4)] };
        let shape = |last: &[usize]| [&time, last].concat();
        TestCase::forward_only(CkaGrad { right: rng.below(2) == 0, centering: None })
            .normal(rng, shape(&[n, n]))
            .normal(rng, shape(&[n, n]))
            .uniform(rng, shape(&[8]), 0.5, 2.0)
            .normal(rng, [])
    }

    fn fuse_consumer(
        &self,
        consumer: &dyn Op,
        position: usize,
        own: &TensorType,
        inputs: &[&TensorType],
    ) -> Option<Rc<dyn Op>> {
        let any: &dyn Any = consumer;
        // M costs no dispatch if it is computed while it is loaded; but it is loaded once for every 32 or 64 features.
        let product = any.downcast_ref::<GramGrad>()?;
        let fits = position == 0 && inputs[1].elements() <= 8 * own.elements();
        fits.then(|| Rc::new(CkaGramGrad { right: self.right, stored: product.stored }) as Rc<dyn Op>)
    }
}

impl<'g> Var<'g> {
    /// CKA of two centered Gram matrices of the same examples: `<K, L> / (|K| |L|)` (Kornblith et al. 2019,
    /// arXiv:1905.00414, section 3). A constant layer gives 0 and no gradient, never NaN.
    ///
    /// The measure is the way the matrices were made:
    ///
    /// | measure | Gram matrix of each layer x |
    /// |---|---|
    /// | linear CKA, biased: in [0, 1], well above 0 for independent layers wider than the batch | `x.centered_gram()` |
    /// | linear CKA, debiased: 0 on average for independent layers | `x.centered_gram()` then [`Centering::Unbiased`] |
    /// | RBF CKA | `x.centered_gram()`, [`Var::rbf_kernel`], then [`Centering::Double`] or `Unbiased` |
    /// | RSA, Pearson correlation of cosine similarities | `x.l2_normalize(false)`, `gram()`, then [`Centering::OffDiagonal`] |
    ///
    /// For `[time, n, n]` the value is the mean over time steps.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless both are `[n, n]`, or `[time, n, n]`.
    pub fn cka(k: Var<'g>, l: Var<'g>) -> Result<Similarity<'g>> {
        let known = k.facts().centering.filter(|&centering| l.facts().centering == Some(centering));
        similarity(k, l, known)
    }

    /// [`Var::cka`] of matrices that the caller promises to be centered in this way ([`Var::centered_gram`] is
    /// [`Centering::Double`]), such as precomputed ones from a table. The gradient then needs no centering. Errors as there.
    pub fn cka_of_centered(k: Var<'g>, l: Var<'g>, centering: Centering) -> Result<Similarity<'g>> {
        similarity(k, l, Some(centering))
    }
}

fn similarity<'g>(k: Var<'g>, l: Var<'g>, centering: Option<Centering>) -> Result<Similarity<'g>> {
    let stats = k.graph().push(CkaStats, &[k, l])?;
    let mean = if stats.shape().rank() == 1 { stats } else { stats.mean(&[0], false)? };
    let value = k.graph().push(CkaValue { centering }, &[k, l, stats, mean])?;
    Ok(Similarity { value, stats: mean, each: stats })
}
