//! The Gram matrix of a layer's activations.

use crate::device::caps::Caps;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::facts::{Centering, Facts};
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::gram_grad::GramGrad;
use crate::ops::gemm::members::GemmVariant;
use crate::ops::gemm::members::Layout;
use crate::ops::gemm::variant::{on_units, sum_parts};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

use GramOf::{Examples, Features};

/// Element types of activations of a Gram matrix. Sums are f32 in either case.
pub(super) const FLOATS: [DType; 2] = [DType::F32, DType::F16];

/// `K = X Xᵀ` or `A = Xᵀ X` of activations `[n, p]`, f32 or f16: symmetric; of centered ones ([`Var::center`]) every row of K
/// sums to 0. Of activations `[n, time, p]` K for each time step: `[time, n, n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gram {
    /// Examples or features.
    pub of: GramOf,
}

/// Vectors whose products make up a Gram matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GramOf {
    /// Examples: `K = X Xᵀ`, `[n, n]`.
    Examples,
    /// Features: `A = Xᵀ X`, `[p, p]`.
    Features,
}

impl Op for Gram {
    fn name(&self) -> &'static str {
        "gram"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = inputs else { return Err("takes activations".to_string()) };
        let Layer { n, time, p } = layer(x)?;
        match (self.of, x.shape.rank()) {
            (Examples, 2) => Ok(TensorType::f32([n, n])),
            (Examples, _) => Ok(TensorType::f32([time, n, n])),
            (Features, 2) => Ok(TensorType::f32([p, p])),
            (Features, _) => Err(format!("compares the features of {}[batch, features], not of {x}", x.dtype)),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dk: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let m = dk.symmetrized()?;
        let dx = match self.of {
            Examples => dk.graph().push(GramGrad::default(), &[m, x[0]])?,
            Features => x[0].matmul(m, Layout::NN)?.affine(2.0, 0.0)?,
        };
        Ok(vec![Some(dx.cast(x[0].ty().dtype)?)])
    }

    fn facts(&self, inputs: &[Facts]) -> Facts {
        let centered = self.of == GramOf::Examples && inputs[0].columns_sum_to_zero;
        Facts { symmetric: true, centering: centered.then_some(Centering::Double), ..Facts::default() }
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let Layer { n, time, p } = layer(inputs[0]).expect("checked while recording");
        // Rows, length of the inner axis, and the steps in memory along both.
        let (layout, rows, length, row, inner) = match self.of {
            Examples => (Layout::NT, n, p, time * p, 1),
            Features => (Layout::TN, p, n, 1, p),
        };
        let half = inputs[0].dtype == DType::F16;
        let chosen = on_units(caps, half, [rows, rows, 0])
            .unwrap_or_else(|| caps.gemm_variant(layout, [rows, rows, length]).for_triangle());
        let fours = chosen.reads_vec4() && length.is_multiple_of(4) && p.is_multiple_of(4);
        products(caps, chosen, Products { n: rows, entries: time, length }, |dispatch| {
            dispatch
                .flag("X4", fours && !half)
                .flag("EMULATED", chosen.emulated(caps))
                .flag("NATIVE", fours && chosen.on_units())
                .flag("HALF4", fours && half)
                .flag("HALF", half && !fours)
                .flag("K4", fours && self.of == Examples)
                .flag("LHS_K4", fours && self.of == Examples)
                .flag("RHS_K", self.of == Examples)
                .flag("LHS_R4", fours && self.of == Features)
                .dims(&[p, row, inner])
                .flops(time * rows * (rows + 1) * length)
        })
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let Layer { n, time, p } = layer(types[0]).expect("checked while recording");
        let x = |t: usize, i: usize, k: usize| inputs[0][(i * time + t) * p + k];
        let (rows, length) = if self.of == Examples { (n, p) } else { (p, n) };
        let element = |at: usize| -> f64 {
            let (t, i, j) = (at / (rows * rows), at / rows % rows, at % rows);
            match self.of {
                Examples => (0..length).map(|k| x(t, i, k) * x(t, j, k)).sum(),
                Features => (0..length).map(|k| x(t, k, i) * x(t, k, j)).sum(),
            }
        };
        (0..output.elements()).map(element).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape = [awkward_size(rng, 70), awkward_size(rng, 300)];
        let token_shape = [shape[0], 1 + rng.below(4), shape[1]];
        let whole_tiles = [64 * (1 + rng.below(2)), 16 * (1 + rng.below(4))];
        let long = [1 + rng.below(20), 500 + rng.below(1000)];
        let dtype = FLOATS[rng.below(2)];
        match rng.below(7) {
            0 => TestCase::new(|x| x[0].centered_gram()).normal(rng, shape),
            6 => TestCase::new(|x| x[0].centered_gram()).normal(rng, long),
            1 => TestCase::new(|x| x[0].centered_token_grams()).normal(rng, token_shape),
            2 => TestCase::new(|x| x[0].gram()).normal_of(rng, dtype, shape),
            3 => TestCase::new(|x| x[0].gram()).normal_of(rng, DType::F16, whole_tiles),
            4 => TestCase::new(|x| x[0].feature_gram()).normal_of(rng, dtype, [shape[1], shape[0]]),
            _ => TestCase::new(|x| x[0].graph().push(Gram { of: Examples }, x)).normal_of(rng, dtype, token_shape),
        }
    }
}

/// Sizes of activations `[n, p]` or `[n, time, p]`.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) n: usize,
    pub(super) time: usize,
    pub(super) p: usize,
}

pub(super) fn layer(x: &TensorType) -> Result<Layer, String> {
    match x.shape[..] {
        [n, p] if FLOATS.contains(&x.dtype) && x.elements() > 0 => Ok(Layer { n, time: 1, p }),
        [n, time, p] if FLOATS.contains(&x.dtype) && x.elements() > 0 => Ok(Layer { n, time, p }),
        _ => Err(format!("takes activations [batch, features] or [batch, time, features], f32 or f16, not {x}")),
    }
}

/// The Gram matrices of these activations: one, or one for each time step.
pub(super) fn gram_type(x: &TensorType) -> Result<TensorType, String> {
    Gram { of: Examples }.infer(&[x])
}

/// Products of rows with rows: `[entries, n, n]` over an inner axis of `length`, the longest if they differ.
pub(super) struct Products {
    pub(super) n: usize,
    pub(super) entries: usize,
    pub(super) length: usize,
}

/// Launches over the blocks that are not wholly above the diagonal. Where these alone would leave the adapter idle the inner
/// axis is cut into parts (split-K), which a second pass adds up in order. `set` states how activations are read; it appends to
/// the dims n, parts, entries, length.
pub(super) fn products(
    caps: &Caps,
    chosen: GemmVariant,
    Products { n, entries, length }: Products,
    set: impl FnOnce(Dispatch) -> Dispatch,
) -> Lowered {
    let [rows, columns] = chosen.block();
    let blocks = n.div_ceil(rows);
    let groups = rows / columns * blocks * (blocks + 1) / 2;
    let parts = parts(caps, groups * entries, length);
    let mut dispatch =
        chosen.flags(Dispatch::per_group(kernel!("alignment/gram"), groups)).dims(&[n, parts, entries, length]);
    dispatch.groups[2] = (parts * entries) as u32;
    let dispatch = set(dispatch);
    if parts == 1 {
        return dispatch.bind(1).into();
    }
    let size = entries * n * n;
    let sum = sum_parts(parts, [1, size]).args([Arg::Scratch(0), Arg::Unused, Arg::Unused, Arg::Unused, Arg::Output]);
    let dispatches = vec![dispatch.args([Arg::Input(0), Arg::Scratch(0)]), sum];
    Lowered { dispatches, scratch: vec![4 * parts * size] }
}

/// Workgroups that keep a large GPU busy, and the shortest part of the inner axis that is worth a workgroup.
const ENOUGH_GROUPS: usize = 256;
const SHORTEST_PART: usize = 256;

/// Number of parts of the inner axis. A choice by sizes alone, not measured: it decides in which order numbers are added up,
/// and so the bits of a run. A CPU has few threads, and loops that must stay short.
fn parts(caps: &Caps, groups: usize, length: usize) -> usize {
    if caps.software {
        return length.div_ceil(32_768).max(1);
    }
    (ENOUGH_GROUPS / groups).min(length / SHORTEST_PART).max(1)
}

impl<'g> Var<'g> {
    /// The centered Gram matrix of activations `[n, …]`, all axes but the first taken as features: `[n, n]`.
    ///
    /// Columns are centered before the product, not the product after it, so that a common offset costs no digits.
    /// Cost: n²·p flop, half of a matrix product.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) without a batch axis.
    pub fn centered_gram(self) -> Result<Var<'g>> {
        self.center()?.gram()
    }

    /// The centered Gram matrix of each time step of activations `[n, time, features]`: `[time, n, n]`. The steps are read in
    /// place, in one dispatch.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for another number of axes.
    pub fn centered_token_grams(self) -> Result<Var<'g>> {
        let shape = self.shape();
        if shape.rank() != 3 {
            let problem = format!("tokens are f32[batch, time, features], not {}", self.ty());
            return Err(Error::Shape { op: "gram", layer: self.graph().layer(), problem });
        }
        self.graph().push(Gram { of: Examples }, &[self.center()?.reshape(shape)?])
    }

    /// The Gram matrix `X Xᵀ` of activations `[n, …]`, f32 or f16, everything but the first axis taken as features:
    /// `[n, n]`, f32. Cost and errors as [`Var::centered_gram`].
    pub fn gram(self) -> Result<Var<'g>> {
        self.graph().push(Gram { of: Examples }, &[self.flatten()?])
    }

    /// `Xᵀ X` of activations `[n, …]`, everything but the first axis taken as features: `[p, p]`. Cost: n·p² flop. Errors
    /// as [`Var::centered_gram`].
    pub fn feature_gram(self) -> Result<Var<'g>> {
        self.graph().push(Gram { of: Features }, &[self.flatten()?])
    }
}
