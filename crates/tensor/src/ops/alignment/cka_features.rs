//! Linear CKA from products of features: `p × p`, `q × q` and `q × p` matrices in place of two `n × n` ones.
//!
//! `|XᵀY|² / (|XᵀX| |YᵀY|)` is the same number as `<X Xᵀ, Y Yᵀ> / (|X Xᵀ| |Y Yᵀ|)`, and cheaper where layers are narrower
//! than the batch ([`CkaForm`](crate::CkaForm)).

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::center::activations;
use crate::ops::alignment::cka::Similarity;
use crate::ops::gemm::members::Layout;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// CKA and the terms of its gradient (see `shaders/alignment/cka_features.wgsl`), `[8]`, of centered activations. Inputs:
/// `A = XᵀX [p, p]`, `B = YᵀY [q, q]` and `T = YᵀX [q, p]`. Word 0 is the CKA value. A zero A or B gives 0 and a zero gradient,
/// and sets word 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaFeaturesStats;

/// The value in [`CkaFeaturesStats`], as a differentiable scalar. Inputs: centered X and Y, A, B, T, statistics. The gradient
/// goes to X and Y directly, not through the products.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaFeaturesValue;

/// The gradient of [`CkaFeaturesValue`] for one layer. Inputs: its centered activations, those of the other, its product
/// (A, or B), T, statistics, gradient of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaFeaturesGrad {
    /// The gradient is for CKA's second argument.
    pub right: bool,
}

/// Widths p and q.
fn widths(a: &TensorType, b: &TensorType, t: &TensorType) -> Result<[usize; 2], String> {
    let [p, q] = [a.shape.last_axis(), b.shape.last_axis()];
    let wanted = [[p, p], [q, q], [q, p]].map(TensorType::f32);
    if [a, b, t] == [&wanted[0], &wanted[1], &wanted[2]] && p * q > 0 {
        return Ok([p, q]);
    }
    Err(format!("takes products of features f32[p, p], f32[q, q] and f32[q, p], not {a}, {b} and {t}"))
}

impl Op for CkaFeaturesStats {
    fn name(&self) -> &'static str {
        "cka_features"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [a, b, t] = inputs else { return Err("takes three products of features".to_string()) };
        widths(a, b, t).map(|_| TensorType::f32([8]))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let elements = [0, 1, 2].map(|i| inputs[i].elements());
        let total = elements.iter().sum::<usize>();
        // As many as for Gram matrices of this size: see CkaStats.
        let most = if caps.software { 4096 * 256 } else { 16 * 256 };
        let groups = total.div_ceil(most);
        let sums = Dispatch::per_group(kernel!("alignment/cka_features"), groups)
            .lanes(caps, 256)
            .dims(&elements)
            .dims(&elements.map(|elements| elements.div_ceil(groups)))
            .dims(&[groups])
            .flops(2 * total);
        if groups == 1 {
            return sums.bind(3).into();
        }
        let sums = sums.constant("PARTIAL", 1).args([Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Scratch(0)]);
        let combine = Dispatch::grid(kernel!("alignment/cka_features_combine"), [1, 1, 1])
            .lanes(caps, 256)
            .dims(&[groups])
            .args([Arg::Scratch(0), Arg::Output]);
        Lowered { dispatches: vec![sums, combine], scratch: vec![24 * groups] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let greatest = [0, 1, 2].map(|i: usize| inputs[i].iter().fold(0.0, |m: f64, v| m.max(v.abs())));
        let [a, b, t] = greatest;
        if a == 0.0 || b == 0.0 {
            return vec![0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0];
        }
        let scale = |greatest: f64| if greatest == 0.0 { 0.0 } else { 1.0 / greatest };
        let squares = |i: usize| inputs[i].iter().map(|v| (v * scale(greatest[i])).powi(2)).sum::<f64>();
        let (aa, bb, tt) = (squares(0), squares(1), squares(2));
        let c = tt * t * t / (a * b * (aa * bb).sqrt());
        vec![c, 1.0 / a, 1.0 / b, t / (a * b * (aa * bb).sqrt()), c / aa, c / bb, 0.0, scale(t)]
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [p, q] = [awkward_size(rng, 80), awkward_size(rng, 80)];
        TestCase::forward_only(CkaFeaturesStats)
            .uniform(rng, [p, p], -0.5, 1.0)
            .uniform(rng, [q, q], -0.5, 1.0)
            .uniform(rng, [q, p], -0.5, 1.0)
    }
}

impl Op for CkaFeaturesValue {
    fn name(&self) -> &'static str {
        "cka_features_value"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x, y, a, b, t, stats] if **stats == TensorType::f32([8]) => {
                let ([n, p], [m, q]) = (activations(x)?, activations(y)?);
                match widths(a, b, t)? {
                    widths if n == m && widths == [p, q] => Ok(TensorType::f32([])),
                    _ => Err(format!("takes two layers of the same examples and their products, not {inputs:?}")),
                }
            }
            _ => Err("takes two layers, three products of features and their statistics".to_string()),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dc: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let [x, y, a, b, t, stats] = x[..] else { return Ok(Vec::new()) };
        let dx = dc.graph().push(CkaFeaturesGrad { right: false }, &[x, y, a, t, stats, dc])?;
        let dy = dc.graph().push(CkaFeaturesGrad { right: true }, &[y, x, b, t, stats, dc])?;
        Ok(vec![Some(dx), Some(dy), None, None, None, None])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        Dispatch::linear(kernel!("movement/copy"), 1).dims(&[1, 1, 1, 0]).args([Arg::Input(5), Arg::Output]).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        vec![inputs[5][0]]
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [n, p, q] = [3 + awkward_size(rng, 140), awkward_size(rng, 70), awkward_size(rng, 70)];
        let offset = [0.0, 3.0][rng.below(2)];
        TestCase::new(|x| Ok(Var::cka_by_features(x[0], x[1])?.value))
            .values([n, p], || f64::from(rng.normal()) + offset)
            .normal(rng, [n, q])
    }
}

impl Op for CkaFeaturesGrad {
    fn name(&self) -> &'static str {
        "cka_features_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x, y, a, t, stats, dc] = inputs else { return Err("takes six inputs".to_string()) };
        let ([n, p], [m, q]) = (activations(x)?, activations(y)?);
        let cross = if self.right { [p, q] } else { [q, p] };
        let fits = n == m && **a == TensorType::f32([p, p]) && **t == TensorType::f32(cross);
        if fits && **stats == TensorType::f32([8]) && dc.elements() == 1 {
            return Ok((*x).clone());
        }
        Err(format!("takes two layers, products of their features, statistics and a scalar, not {inputs:?}"))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn facts(&self, _: &[Facts]) -> Facts {
        Facts { columns_sum_to_zero: true, ..Facts::default() }
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [n, p, q] = [inputs[0].shape[0], inputs[0].shape[1], inputs[1].shape[1]];
        let chosen = caps.gemm_variant(Layout::NN, [n, p, p + q]);
        let fours = p.is_multiple_of(4) && q.is_multiple_of(4);
        chosen
            .dispatch(kernel!("alignment/cka_features_grad"), [n, p], 1)
            .flag("LHS_K4", chosen.reads_vec4() && fours)
            .flag("R4", p.is_multiple_of(4) && !self.right)
            .constant("RIGHT", u32::from(self.right))
            .dims(&[n, p, q])
            .bind(6)
            .iterations(p + q)
            .flops(2 * n * p * (p + q))
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let [p, q] = [types[0].shape[1], types[1].shape[1]];
        let [x, y, a, t, stats, dc] = inputs else { unreachable!("six inputs") };
        let (scale, share) = if self.right { (stats[2], stats[5]) } else { (stats[1], stats[4]) };
        let element = |at: usize| {
            let (i, j) = (at / p, at % p);
            let cross = |k: usize| t[if self.right { j * q + k } else { k * p + j }] * stats[7];
            let towards: f64 = (0..q).map(|k| y[i * q + k] * stats[3] * cross(k)).sum();
            let own: f64 = (0..p).map(|k| x[i * p + k] * share * scale * a[k * p + j] * scale).sum();
            2.0 * dc[0] * (towards - own)
        };
        (0..output.elements()).map(element).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let right = rng.below(2) == 0;
        let [n, p, q] = [awkward_size(rng, 140), awkward_size(rng, 70), awkward_size(rng, 70)];
        TestCase::forward_only(CkaFeaturesGrad { right })
            .normal(rng, [n, p])
            .normal(rng, [n, q])
            .normal(rng, [p, p])
            .normal(rng, if right { [p, q] } else { [q, p] })
            .uniform(rng, [8], 0.5, 2.0)
            .normal(rng, [])
    }
}

impl<'g> Var<'g> {
    /// Linear CKA, biased, of activations `x [n, …]` and `y [n, …]`, from products of features: the same number as [`Var::cka`]
    /// of their centered Gram matrices. Memory p² + q² + p·q in place of 2 n².
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless both have the same number of examples.
    pub fn cka_by_features(x: Var<'g>, y: Var<'g>) -> Result<Similarity<'g>> {
        let (x, y) = (x.center()?, y.center()?);
        let (a, b, t) = (x.feature_gram()?, y.feature_gram()?, y.matmul(x, Layout::TN)?);
        let stats = x.graph().push(CkaFeaturesStats, &[a, b, t])?;
        let value = x.graph().push(CkaFeaturesValue, &[x, y, a, b, t, stats])?;
        Ok(Similarity { value, stats, each: stats })
    }
}
