//! Matrix products, batched, with the ops that usually follow fused in.

use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::elementwise::cast::{Stored, cast_dispatch};
use crate::ops::elementwise::unary::UnaryFunction;
use crate::ops::gemm::epilogue::Epilogue;
use crate::ops::gemm::members::Block;
use crate::ops::gemm::members::GemmVariant::{self, Naive, Registers};
use crate::ops::gemm::members::Layout;
use crate::ops::gemm::variant::{k_ranges, on_units, sum_parts};
use crate::ops::movement::concat::copy_runs;
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// `out[b] = epilogue(op(lhs[b]) · op(rhs[b]))`, row-major. Inputs: lhs, rhs, then those that the epilogue names. Each side is
/// f32 or f16; sums are f32, and so is the output unless a cast was fused.
///
/// A batch axis is any axis before the last two; a side without them is shared by the whole batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatMul {
    /// Side that is transposed.
    pub layout: Layout,
    /// Operations on each element before it is stored.
    pub epilogue: Epilogue,
    /// Storage type of the output.
    pub stored: Stored,
    /// Loop that computes it. `None`: the one for the adapter and the sizes. The naive one takes f32 only.
    pub gemm_variant: Option<GemmVariant>,
}

/// Greatest number of bytes of all parts of an output.
const PARTS: usize = 256 << 20;

/// Sizes of a product.
struct Sizes {
    batch: usize,
    m: usize,
    n: usize,
    k: usize,
    /// Elements from one batch entry to the next, 0 when shared.
    lhs_batch: usize,
    rhs_batch: usize,
    /// Elements from one row of rhs to the next, unless it is transposed.
    rhs_row: usize,
}

impl MatMul {
    /// A bare product, on the loop for the adapter and the sizes.
    fn new(layout: Layout) -> Self {
        Self { layout, epilogue: Epilogue::default(), stored: Stored::default(), gemm_variant: None }
    }

    fn sizes(&self, lhs: &Shape, rhs: &Shape) -> Option<Sizes> {
        let [.., l0, l1] = lhs[..] else { return None };
        let [.., r0, r1] = rhs[..] else { return None };
        let (m, k, k_rhs, n) = match self.layout {
            Layout::NN => (l0, l1, r0, r1),
            Layout::NT => (l0, l1, r1, r0),
            Layout::TN => (l1, l0, r0, r1),
        };
        let (lhs_outer, rhs_outer) = (&lhs[..lhs.rank() - 2], &rhs[..rhs.rank() - 2]);
        let outer = match (lhs_outer, rhs_outer) {
            (a, []) => a,
            ([], b) => b,
            (a, b) if a == b => a,
            _ => return None,
        };
        let stride = |own: &[usize], elements| if own.is_empty() { 0 } else { elements };
        (k == k_rhs).then(|| Sizes {
            batch: outer.iter().product(),
            m,
            n,
            k,
            lhs_batch: stride(lhs_outer, m * k),
            rhs_batch: stride(rhs_outer, k * n),
            rhs_row: n,
        })
    }
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [lhs, rhs, extra @ ..] = inputs else { return Err("takes two matrices".to_string()) };
        let floats = [lhs, rhs].iter().all(|x| matches!(x.dtype, DType::F32 | DType::F16));
        if !floats || extra.iter().any(|x| x.dtype != DType::F32) || extra.len() != self.epilogue.inputs() {
            return Err(format!("takes f32 tensors, or two sides of f16, not {inputs:?}"));
        }
        let Some(sizes) = self.sizes(&lhs.shape, &rhs.shape) else {
            return Err(format!(
                "{} and {} ({:?}) break the rule: equal inner axis, equal batch axes or none",
                lhs.shape, rhs.shape, self.layout
            ));
        };
        let longer = if lhs.shape.rank() >= rhs.shape.rank() { &lhs.shape } else { &rhs.shape };
        let mut out = longer[..longer.rank() - 2].to_vec();
        out.extend([sizes.m, sizes.n]);
        Ok(TensorType { shape: out.into(), dtype: self.stored.dtype() })
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        if self.epilogue != Epilogue::default() || self.stored != Stored::default() {
            return Err(y.not_differentiable());
        }
        let (lhs, rhs) = (x[0], x[1]);
        let types = [lhs.ty().dtype, rhs.ty().dtype];
        // A product of f16 is one in the backward pass too.
        let dy = if types == [DType::F16; 2] { dy.cast(DType::F16)? } else { dy };
        let (dl, dr) = match self.layout {
            Layout::NN => (dy.matmul(rhs, Layout::NT)?, lhs.matmul(dy, Layout::TN)?),
            Layout::NT => (dy.matmul(rhs, Layout::NN)?, dy.matmul(lhs, Layout::TN)?),
            Layout::TN => (rhs.matmul(dy, Layout::NT)?, lhs.matmul(dy, Layout::NN)?),
        };
        // A side that the batch shares gets the sum over the batch.
        Ok(vec![Some(dl.sum_to(lhs.shape())?.cast(types[0])?), Some(dr.sum_to(rhs.shape())?.cast(types[1])?)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let mut s = self.sizes(&inputs[0].shape, &inputs[1].shape).expect("checked while recording");
        let [lhs_half, rhs_half] = [0, 1].map(|side| inputs[side].dtype == DType::F16);
        let forced = self.gemm_variant.filter(|&forced| forced != Naive || !(lhs_half || rhs_half));
        // Matrix units would round sides of f32, so a caller cannot force them there.
        let rounds = |forced: &GemmVariant| forced.on_units() && !(lhs_half && rhs_half);
        let forced = forced.filter(|forced| forced.runs_on(caps) && !rounds(forced));
        let chosen = forced
            .or_else(|| on_units(caps, lhs_half && rhs_half, [s.batch * s.m, s.n, s.k]))
            .unwrap_or_else(|| caps.matmul_variant(self.layout, [s.batch * s.m, s.n, s.k]));
        let registers = chosen.in_registers();
        if chosen == GemmVariant::Naive {
            let [bias, residual, saved] = self.epilogue.args(2);
            let dispatch = chosen
                .dispatch(kernel!("gemm/matmul_naive"), [s.m, s.n], s.batch)
                .iterations(s.k)
                .constant("LAYOUT", self.layout as u32)
                .dims(&[s.m, s.n, s.k, s.lhs_batch, s.rhs_batch])
                .args([Arg::Input(0), Arg::Input(1), bias, residual, saved, Arg::Output])
                .flops(2 * s.batch * s.m * s.n * s.k);
            return self.epilogue.constants(dispatch).into();
        }
        let (mut dispatches, mut scratch, mut rhs) = (Vec::new(), Vec::new(), Arg::Input(1));
        // Rows a multiple of 4 KiB apart share few sets of a CPU's cache: a copy with longer rows soon pays off.
        let per_word = if rhs_half { 2 } else { 1 };
        let far = self.layout != Layout::NT && s.n.is_multiple_of(1024 * per_word);
        if registers && far && s.k >= 512 && s.m >= 128 {
            let (rows, words) = (inputs[1].elements() / s.n, s.n / per_word);
            s.rhs_row = per_word * (words + 16);
            s.rhs_batch = s.rhs_batch / s.n * s.rhs_row;
            rhs = Arg::Scratch(0);
            scratch.push(4 * rows * (words + 16));
            dispatches.push(copy_runs(rows * words, words, words + 16, 0).args([Arg::Input(1), rhs]));
        }
        // The sums of several parts are f32: they become f16 at the end.
        let later = self.stored.half && k_ranges(caps, s.k).count() > 1;
        let fours_out = s.n.is_multiple_of(4);
        // Few blocks and a long inner axis: parts of it are summed side by side.
        let [rows, columns] = chosen.block();
        let groups = s.batch * s.m.div_ceil(rows) * s.n.div_ceil(columns);
        let most = (PARTS.min(caps.max_binding as usize) / (4 * output.elements()).max(1)).max(1);
        let parts = if k_ranges(caps, s.k).count() == 1 { chosen.parts(groups, s.k).min(most) } else { 1 };
        // A whole number of iterations for any member.
        let length = s.k.div_ceil(parts).next_multiple_of(64);
        let parts = if parts > 1 { s.k.div_ceil(length) } else { 1 };
        let out = if later || parts > 1 { Arg::Scratch(scratch.len()) } else { Arg::Output };
        if later || parts > 1 {
            scratch.push(4 * parts * output.elements());
        }
        let part = |(start, end): (usize, usize)| {
            let fours = chosen.reads_vec4() && s.k.is_multiple_of(4);
            let rows4 = (fours || !registers) && self.layout == Layout::TN && s.m.is_multiple_of(4);
            let rhs4 = self.layout != Layout::NT && s.n.is_multiple_of(4);
            let lhs4 = rows4 || (fours && self.layout != Layout::TN);
            let rhs_fours = rhs4 || (fours && self.layout == Layout::NT);
            let native = chosen.on_units() && lhs4 && rhs_fours;
            let whole = chosen.whole_turns(end - start) && (parts == 1 || chosen.whole_turns(length));
            let steady = matches!(chosen, GemmVariant::Block(block) if block.is_steady());
            // The epilogue waits for the last part.
            let (epilogue, rounded) =
                if end == s.k && parts == 1 { (self.epilogue, self.stored.rounded) } else { Default::default() };
            let [bias, residual, saved] = epilogue.args(2);
            let dispatch = chosen
                .dispatch(kernel!("gemm/matmul"), [s.m, s.n], parts * s.batch)
                .flag("NEAR", chosen.for_gpus())
                .flag("WHOLE", whole)
                .flag("STEADY", steady && whole && lhs4 && rhs_fours)
                .flag("K4", fours && self.layout == Layout::NT)
                .flag("RHS_K", self.layout == Layout::NT)
                .flag("LHS_K4", fours && self.layout != Layout::TN)
                .flag("LHS_R4", rows4)
                .flag("LHS4", lhs4)
                .flag("EMULATED", chosen.emulated(caps))
                .flag("NATIVE", native)
                .flag("LHS_HALF4", lhs_half && lhs4)
                .flag("LHS_HALF", lhs_half && !lhs4)
                .flag("RHS4", rhs4)
                .flag("RHS_HALF4", rhs_half && rhs_fours)
                .flag("RHS_HALF", rhs_half && !rhs_fours)
                .flag("OUT4", fours_out)
                .constant("LAYOUT", self.layout as u32)
                .constant("CONTINUE", u32::from(start > 0))
                .dims(&[s.m, s.n, s.k, s.lhs_batch, s.rhs_batch, s.rhs_row, start, end])
                .dims(&[s.batch, if parts > 1 { length } else { end - start }])
                .args([Arg::Input(0), rhs, bias, residual, saved, out])
                .flops(2 * s.batch * s.m * s.n * (end - start));
            Stored { rounded, half: self.stored.half && !later && parts == 1 }.on(epilogue.constants(dispatch))
        };
        dispatches.extend(k_ranges(caps, s.k).map(part));
        if parts > 1 {
            let [bias, residual, saved] = self.epilogue.args(2);
            let sum = sum_parts(parts, [s.batch * s.m, s.n]).args([out, bias, residual, saved, Arg::Output]);
            dispatches.push(self.stored.on(self.epilogue.constants(sum)));
        }
        if later {
            dispatches.push(cast_dispatch(output.elements(), true).args([out, Arg::Output]));
        }
        Lowered { dispatches, scratch }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let s = self.sizes(&types[0].shape, &types[1].shape).expect("checked while recording");
        let (lhs, rhs, extra) = (&inputs[0], &inputs[1], &inputs[2..]);
        (0..output.elements())
            .map(|at| {
                let (b, row, column) = (at / (s.m * s.n), at / s.n % s.m, at % s.n);
                let product: f64 = (0..s.k)
                    .map(|i| {
                        let l = if self.layout == Layout::TN { i * s.m + row } else { row * s.k + i };
                        let r = if self.layout == Layout::NT { column * s.k + i } else { i * s.n + column };
                        lhs[b * s.lhs_batch + l] * rhs[b * s.rhs_batch + r]
                    })
                    .sum();
                self.epilogue.reference(product, at, column, extra)
            })
            .collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let layout = [Layout::NN, Layout::NT, Layout::TN][rng.below(3)];
        let whole_blocks = [64 * (1 + rng.below(2)), 32 * (1 + rng.below(3)), 16 * (1 + rng.below(4))];
        let [m, n, k] = match rng.below(5) {
            0 => whole_blocks,
            _ => [awkward_size(rng, 140), awkward_size(rng, 140), awkward_size(rng, 300)],
        };
        let batch = if rng.below(2) == 0 { vec![] } else { vec![1 + rng.below(3)] };
        let shared = rng.below(3); // 0: the left side has no batch axis, 1: the right side, 2: both have it
        let shape = |rows: usize, columns: usize, side: usize| -> Vec<usize> {
            let outer = if shared == side { vec![] } else { batch.clone() };
            [outer, vec![rows, columns]].concat()
        };
        let lhs = if layout == Layout::TN { shape(k, m, 0) } else { shape(m, k, 0) };
        let rhs = if layout == Layout::NT { shape(n, k, 1) } else { shape(k, n, 1) };
        let out = [batch, vec![m, n]].concat();
        let epilogue = Epilogue {
            norm: None,
            bias: rng.below(2) == 0,
            residual: rng.below(2) == 0,
            activation: [None, Some(UnaryFunction::Relu), Some(UnaryFunction::Gelu), Some(UnaryFunction::Tanh)]
                [rng.below(4)],
            gradient: [None, Some(UnaryFunction::Relu), Some(UnaryFunction::Tanh)][rng.below(3)],
        };
        let mut side = || [DType::F32, DType::F16][rng.below(2)];
        let sides = [side(), side()];
        if rng.below(2) == 0 {
            // With casts that are fused: none, to f16, to f16 and back, and what may follow.
            let casts = rng.below(5);
            let record = TestCase::new(move |x| {
                let product = x[0].matmul(x[1], layout)?;
                let half = if casts > 1 { product.cast(DType::F16)? } else { product };
                let back = if casts > 2 { half.cast(DType::F32)? } else { half };
                if casts > 3 { back.tanh()?.cast(DType::F16) } else { Ok(back) }
            });
            let sample = record.normal_of(rng, sides[0], lhs).normal_of(rng, sides[1], rhs);
            return if casts > 1 { sample.rounds_to_f16() } else { sample };
        }
        let block = Block::FAMILY[rng.below(Block::FAMILY.len())];
        let gemm_variant = [None, Some(Naive), Some(Registers), Some(GemmVariant::Block(block))][rng.below(4)];
        let op = MatMul { layout, epilogue, stored: Stored::default(), gemm_variant };
        let mut sample = TestCase::forward_only(op).normal_of(rng, sides[0], lhs).normal_of(rng, sides[1], rhs);
        if epilogue.bias {
            sample = sample.normal(rng, [n]);
        }
        if epilogue.residual {
            sample = sample.normal(rng, out.clone());
        }
        if epilogue.gradient.is_some() {
            sample = sample.normal(rng, out);
        }
        sample
    }

    fn fuse_consumer(
        &self,
        consumer: &dyn Op,
        position: usize,
        own: &TensorType,
        inputs: &[&TensorType],
    ) -> Option<Rc<dyn Op>> {
        let bare = self.epilogue == Epilogue::default();
        if let Some(stored) =
            self.stored.then(consumer, own.shape.last_axis(), bare).filter(|_| self.gemm_variant != Some(Naive))
        {
            return Some(Rc::new(MatMul { stored, ..*self }));
        }
        let epilogue = self.epilogue.then(consumer, position, own, inputs)?;
        Some(Rc::new(MatMul { epilogue, ..*self }))
    }
}

impl<'g> Var<'g> {
    /// [`Var::matmul`] on a given loop, for comparison. If the adapter cannot run it, or the naive one meets f16, the usual
    /// loop is used. Errors as there.
    pub fn matmul_on(self, rhs: Var<'g>, layout: Layout, gemm_variant: GemmVariant) -> Result<Var<'g>> {
        self.graph().push(MatMul { gemm_variant: Some(gemm_variant), ..MatMul::new(layout) }, &[self, rhs])
    }

    /// Matrix product of the last two axes, batched over the ones before: f32, whether the sides are f32 or f16. The gradient
    /// of an f16 side is f16.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless the inner axes are equal and the batch axes equal or missing.
    pub fn matmul(self, rhs: Var<'g>, layout: Layout) -> Result<Var<'g>> {
        self.graph().push(MatMul::new(layout), &[self, rhs])
    }
}
