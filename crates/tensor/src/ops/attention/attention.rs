//! Multi-head attention in one kernel, without a matrix of queries and keys in memory.

use std::any::Any;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::attention::attention_grad::AttentionGrad;
use crate::ops::attention::form::{AttentionForm, AttentionTile, TiledKernel};
use crate::ops::attention::mask::{Keys, PairDropout};
use crate::ops::attention::pair_loops::PairLoops;
use crate::ops::attention::sizes::AttentionSizes;
use crate::ops::movement::view::Pad;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `softmax(q kᵀ / √d) v` of every head, then the logarithm of each softmax's divisor: f32, the output's elements
/// `[batch, queries, heads · d]`, then `[batch, heads, queries]`.
///
/// Inputs: q, k and v `[batch, time, heads · d]`, or one tensor `[batch, time, 3 · heads · d]` with all three as columns.
/// Unless all keys take part, lengths u32 `[batch]` or ids u32 `[batch, keys]` follow. With dropout, `step_state` u32 `[4]` follows,
/// whose word 0 is the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Number of heads.
    pub heads: usize,
    /// Query i sees keys 0 to i.
    pub causal: bool,
    /// q, k and v are columns of one tensor.
    pub packed: bool,
    /// Keys that take part.
    pub keys: Keys,
    /// Dropout of the probabilities.
    pub dropout: Option<PairDropout>,
    /// Form of the computation, and of its gradient; `None` leaves it to the adapter and the sizes. A form that an adapter
    /// cannot run counts as `None`.
    pub form: Option<AttentionForm>,
    /// Products may round their sides to f16, with sums of f32: they do where that is faster, on matrix units.
    pub half: bool,
}

/// Largest head size of attention: a row of it has to fit the registers of an invocation.
pub const MAX_HEAD: usize = 128;

impl Attention {
    /// Number of inputs that hold q, k and v.
    pub(crate) fn sources(&self) -> usize {
        if self.packed { 1 } else { 3 }
    }

    /// Number of inputs that tell which keys take part.
    pub(crate) fn masks(&self) -> usize {
        usize::from(self.keys != Keys::All)
    }

    /// Number of inputs without gradients and what those need: q, k, v, keys that take part, and the step state.
    pub(crate) fn inputs(&self) -> usize {
        self.sources() + self.masks() + usize::from(self.dropout.is_some())
    }

    /// The sizes, or the rule that the inputs (q, k, v, the keys that take part, and the step state) break.
    pub(crate) fn sizes(&self, inputs: &[&TensorType]) -> Result<AttentionSizes, String> {
        let sources = inputs.get(..self.sources()).ok_or("takes q, k and v")?;
        let heads = self.heads;
        let shapes = sources.iter().map(|source| match (source.dtype, &source.shape[..]) {
            (DType::F32, &[batch, time, width]) if source.elements() > 0 => Ok([batch, time, width]),
            _ => Err(format!("takes f32[batch, time, heads · head size], not empty, not {source}")),
        });
        let shapes = shapes.collect::<Result<Vec<_>, String>>()?;
        let [batch, queries, columns] = shapes[0];
        let (keys, width) = match *shapes {
            [_, k, v] if k != v || k[0] != batch || k[2] != columns => {
                return Err(format!("q {:?}, k {k:?} and v {v:?} differ in more than the time of q", shapes[0]));
            }
            [_, k, _] => (k[1], columns),
            _ if columns.is_multiple_of(3) => (queries, columns / 3),
            _ => return Err(format!("{columns} columns are not q, k and v side by side")),
        };
        if heads == 0 || !width.is_multiple_of(heads) || width / heads > MAX_HEAD {
            return Err(format!("{width} columns do not make {heads} heads of up to {MAX_HEAD}"));
        }
        let (mask, step_state) = inputs[self.sources()..].split_at(self.masks().min(inputs.len() - self.sources()));
        match (self.dropout, step_state) {
            (None, []) => {}
            (Some(_), [step_state]) if **step_state == TensorType::u32([4]) => {}
            _ => return Err(format!("dropout wants a step state u32[4], and nothing else does, not {step_state:?}")),
        }
        let fits = match (self.keys, mask) {
            (Keys::All, []) => true,
            (Keys::Lengths, [lengths]) => **lengths == TensorType::u32([batch]),
            (Keys::Ids { .. }, [ids]) => **ids == TensorType::u32([batch, keys]),
            _ => false,
        };
        if !fits {
            return Err(format!("lengths are u32[{batch}], ids u32[{batch}, {keys}], not {mask:?}"));
        }
        let starts = if self.packed { [0, width, 2 * width] } else { [0; 3] };
        Ok(AttentionSizes { batch, heads, queries, keys, head: width / heads, rows: [columns; 3], starts })
    }

    /// [`Attention::sizes`] of types that the shape rule has accepted.
    pub(crate) fn checked_sizes(&self, inputs: &[&TensorType]) -> AttentionSizes {
        self.sizes(inputs).expect("checked while recording")
    }

    /// Bindings of q, k and v, and of mask and step state; the latter are inputs from number `next` on.
    pub(crate) fn args(&self, next: usize) -> ([Arg; 3], [Arg; 2]) {
        let sources = if self.packed { [Arg::Input(0); 3] } else { [0, 1, 2].map(Arg::Input) };
        let mask = if self.keys == Keys::All { Arg::Unused } else { Arg::Input(next) };
        let step_state = if self.dropout.is_some() { Arg::Input(next + self.masks()) } else { Arg::Unused };
        (sources, [mask, step_state])
    }

    /// A launch of an attention kernel over `rows` rows. `grads` are the rows and starts of dq, dk and dv.
    pub(crate) fn launch(
        &self,
        caps: &Caps,
        kernel: crate::Kernel,
        s: &AttentionSizes,
        rows: usize,
        grads: ([usize; 3], [usize; 3]),
    ) -> Dispatch {
        let units = s.head / s.unit();
        let flag = ["UNITS_8", "UNITS_16", "UNITS_32"].into_iter().zip([8, 16, 32]).find(|&(_, most)| units <= most);
        // Each of up to four draws for eight rows takes ten rounds.
        let draws = if self.dropout.is_some() { 48 } else { 0 };
        let dispatch = Dispatch::linear(kernel, s.batch * s.heads * rows.next_multiple_of(8))
            .flag("SUBGROUP8", caps.subgroup == 8 && caps.shuffle == 8)
            .iterations(s.queries.max(s.keys).div_ceil(8) * (2 * units + 3 + draws) + units);
        let dispatch = flag.into_iter().fold(dispatch, |dispatch, (flag, _)| dispatch.flag(flag, true));
        self.dims(dispatch, s, grads, [1, s.keys], [0, 0])
    }

    /// A launch of a tiled kernel in `groups` workgroups, of which `parts` share the keys of a query.
    pub(crate) fn launch_tiled(
        &self,
        caps: &Caps,
        (kernel, kind): (crate::Kernel, TiledKernel),
        tile: AttentionTile,
        s: &AttentionSizes,
        (groups, parts): (usize, usize),
        grads: ([usize; 3], [usize; 3]),
    ) -> Dispatch {
        let dispatch = tile.specialize(caps, kind, s.head, Dispatch::per_group(kernel, groups));
        // Per iteration: rows loaded, units of scores, lanes to add up over, and draws.
        let turn = 2 * s.head.div_ceil(4).next_multiple_of(8) * tile.met().max(tile.own()) / tile.invocations()
            + s.head.div_ceil(4)
            + 3 * tile.lanes
            + if self.dropout.is_some() { 22 } else { 0 };
        let dispatch = dispatch.iterations((s.queries.max(s.keys).div_ceil(tile.met()) + 2) * turn);
        self.dims(dispatch, s, grads, [parts, s.keys.div_ceil(parts).next_multiple_of(tile.met())], [0, 0])
    }

    /// Appends the sizes in the kernel's units, masks and dropout: `shaders/lib/attention/attention_sizes.wgsl`.
    pub(crate) fn dims(
        &self,
        dispatch: Dispatch,
        s: &AttentionSizes,
        grads: ([usize; 3], [usize; 3]),
        [parts, part_keys]: [usize; 2],
        held_heads: [usize; 2],
    ) -> Dispatch {
        let unit = s.unit();
        let units = s.head / unit;
        let [(gq, _), (gk, gk_start), (gv, gv_start)] = [0, 1, 2].map(|part| (grads.0[part], grads.1[part]));
        let (kind, padding) = match self.keys {
            Keys::All => (0, 0),
            Keys::Lengths => (1, 0),
            Keys::Ids { padding } => (2, padding as usize),
        };
        let drawn = self.dropout.unwrap_or(PairDropout { dropped: 0, seed: 0, stream: 0 });
        let [low, high] = drawn.key().map(|word| word as usize);
        dispatch
            .flag("VEC4", unit == 4)
            .flag("DROPOUT", self.dropout.is_some())
            .constant("HEAD", units as u32)
            .dims(&[s.batch, s.heads, s.queries, s.keys])
            .dims(&[
                s.rows[0] / unit,
                s.rows[1] / unit,
                s.rows[2] / unit,
                s.starts[1] / unit,
                s.starts[2] / unit,
                padding,
            ])
            .floats(&[s.scale() as f32])
            .dims(&[s.heads * units, gq / unit, gk / unit, gv / unit, gk_start / unit, gv_start / unit])
            .dims(&[usize::from(self.causal), kind, low, high, drawn.stream as usize, drawn.dropped as usize])
            .floats(&[drawn.kept() as f32])
            .dims(&[parts, part_keys])
            .dims(&held_heads)
    }

    /// The output with one invocation for each row.
    fn lower_rows(&self, caps: &Caps, s: &AttentionSizes) -> Lowered {
        let ([q, k, v], [mask, step_state]) = self.args(self.sources());
        self.launch(caps, kernel!("attention/attention"), s, s.queries, Default::default())
            .args([q, k, v, mask, step_state, Arg::Output])
            .flops((4 * s.head + 5) * s.pairs(self.causal))
            .into()
    }

    /// The output through tiles, with keys in `parts` parts.
    fn lower_tiled(&self, caps: &Caps, tile: AttentionTile, s: &AttentionSizes, parts: usize) -> Lowered {
        let ([q, k, v], [mask, step_state]) = self.args(self.sources());
        let queries = s.batch * s.heads * s.queries;
        let groups = s.batch * s.heads * s.queries.div_ceil(tile.own()) * parts;
        let kernel = (kernel!("attention/attention_tiled"), TiledKernel::Forward);
        let split = parts > 1;
        // A binding for writing must be bound: without parts there are no sums, and a few bytes stand in for them.
        let (known, sums) = if split { (Arg::Scratch(0), Arg::Scratch(1)) } else { (Arg::Output, Arg::Scratch(0)) };
        let tiles = self
            .launch_tiled(caps, kernel, tile, s, (groups, parts), Default::default())
            .flag("SPLIT", split)
            .args([q, k, v, mask, step_state, known, sums])
            .flops((4 * s.head + 5) * s.pairs(self.causal));
        if !split {
            return Lowered { dispatches: vec![tiles], scratch: vec![16] };
        }
        let join = Dispatch::linear(kernel!("attention/attention_join"), s.outputs() / s.unit())
            .flag("VEC4", s.unit() == 4)
            .dims(&[s.batch, s.heads, s.queries, s.head / s.unit(), parts])
            .args([known, sums, Arg::Output])
            .flops(2 * parts * s.outputs());
        Lowered { dispatches: vec![tiles, join], scratch: vec![8 * parts * queries, 4 * parts * s.outputs()] }
    }

    /// Keys that query `row` of example `batch` sees, in f64; `mask` as the op has it.
    pub(crate) fn seen(&self, s: &AttentionSizes, mask: Option<&Vec<f64>>, batch: usize, row: usize) -> Vec<usize> {
        let takes_part = |key: usize| match (self.keys, mask) {
            (Keys::Lengths, Some(lengths)) => (key as f64) < lengths[batch],
            (Keys::Ids { padding }, Some(ids)) => ids[batch * s.keys + key] != f64::from(padding),
            _ => true,
        };
        (0..s.keys).filter(|&key| (!self.causal || key <= row) && takes_part(key)).collect()
    }

    /// Dropout's factor of the probability of each key, in f64, for query `row` of head number `head`. The step state is the last of
    /// `inputs`.
    pub(crate) fn factors(
        &self,
        s: &AttentionSizes,
        inputs: &[Vec<f64>],
        head: usize,
        row: usize,
    ) -> impl Fn(usize) -> f64 {
        let (dropout, queries) = (self.dropout, s.queries);
        let step = if dropout.is_some() { inputs[inputs.len() - 1][0] as u32 } else { 0 };
        move |key| dropout.map_or(1.0, |dropout| dropout.factor(step, queries, head, row, key))
    }

    /// Random inputs: sizes, then q, k and v, or all in one, and the mask.
    pub(crate) fn sample_inputs(rng: &mut Rng, sample: impl FnOnce(Self, AttentionSizes) -> TestCase) -> TestCase {
        let keys = [Keys::All, Keys::Lengths, Keys::Ids { padding: 2 }][rng.below(3)];
        let mut op = Self {
            heads: 1 + rng.below(3),
            causal: rng.below(2) == 0,
            packed: rng.below(2) == 0,
            keys,
            dropout: None,
            form: None,
            half: false,
        };
        // Any form, on tiles that are small beside the sizes; a form that does not fit counts as none.
        let tile = [AttentionTile { lanes: 4, groups: 4 }, AttentionTile::SMALL, AttentionTile::TALL][rng.below(3)];
        op.form = [
            None,
            Some(AttentionForm::Rows),
            Some(AttentionForm::Tiled(tile)),
            Some(AttentionForm::Split(tile, 1 + rng.below(4))),
            Some(AttentionForm::Stored(PairLoops::sample(rng))),
        ][rng.below(5)];
        if rng.below(2) == 0 {
            let dropped = 1 + rng.below(60_000) as u16;
            op.dropout = Some(PairDropout { dropped, seed: u64::from(rng.next_u32()) << 20, stream: rng.next_u32() });
        }
        let head = [3, 8, 33, 36, 128][rng.below(5)]; // each has kernels of its own
        let (batch, queries) = (1 + rng.below(3), awkward_size(rng, 20));
        let time = if op.packed { queries } else { awkward_size(rng, 40) };
        let width = op.heads * head;
        let (shapes, mask) = if op.packed {
            (vec![[batch, queries, 3 * width]], [batch, queries])
        } else {
            (vec![[batch, queries, width], [batch, time, width], [batch, time, width]], [batch, time])
        };
        let types: Vec<TensorType> = shapes.iter().map(|&shape| TensorType::f32(shape)).collect();
        let mask_type = match keys {
            Keys::All => None,
            Keys::Lengths => Some(TensorType::u32([batch])),
            Keys::Ids { .. } => Some(TensorType::u32(mask)),
        };
        let step_state = op.dropout.is_some().then(|| TensorType::u32([4]));
        let sizes = op.checked_sizes(&types.iter().chain(&mask_type).chain(&step_state).collect::<Vec<_>>());
        let mut sample = shapes.into_iter().fold(sample(op, sizes), |sample, shape| sample.normal(rng, shape));
        match keys {
            Keys::All => {}
            Keys::Lengths => sample = sample.index(rng, [batch], time + 2), // 0, and more than there are
            Keys::Ids { .. } => sample = sample.index(rng, mask, 4),
        }
        // The gradients of q and k are 0 but for rounding where no query sees two keys.
        let mask = sample.inputs.get(op.sources()).map(|input| &input.values);
        let of_two = |row: usize| op.seen(&sizes, mask, row / queries, row % queries).len() > 1;
        sample.differentiable &= (0..batch * queries).any(of_two);
        match step_state {
            Some(step_state) => sample.input(step_state, vec![f64::from(rng.next_u32()), 0.0, 0.0, 0.0]),
            None => sample,
        }
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let sizes = self.sizes(inputs)?;
        Ok(TensorType::f32([sizes.outputs() + sizes.batch * sizes.heads * sizes.queries]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let types: Vec<TensorType> = x.iter().map(|x| x.ty()).collect();
        let sizes = self.checked_sizes(&types.iter().collect::<Vec<_>>());
        // `Var::attention` slices the output off; its gradient comes back padded with zeros.
        let padded =
            dy.op().filter(|op| (op.as_ref() as &dyn Any).downcast_ref::<Pad>().is_some_and(|pad| pad.start == 0));
        let dout = match padded {
            Some(_) if dy.inputs()[0].ty().elements() == sizes.outputs() => dy.inputs()[0],
            _ => return Err(y.not_differentiable()),
        };
        let mut inputs = x[..self.sources()].to_vec();
        inputs.extend([y, dout.reshape([sizes.batch, sizes.queries, sizes.heads * sizes.head])?]);
        inputs.extend(&x[self.sources()..]);
        let op = AttentionGrad { of: *self };
        let gradients = dy.graph().push(op, &inputs)?;
        let mut parts: Vec<Option<Var<'g>>> = if self.packed {
            vec![Some(gradients)]
        } else {
            let (_, starts) = op.rows_and_starts(&sizes);
            let part = |part: usize| {
                let shape = x[part].shape();
                gradients.slice(0, starts[part], shape.elements())?.reshape(shape)
            };
            vec![Some(part(0)?), Some(part(1)?), Some(part(2)?)]
        };
        parts.resize(x.len(), None);
        Ok(parts)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let sizes = self.checked_sizes(inputs);
        let forced = self.form.filter(|form| form.runs_on(caps, sizes.head, false));
        match forced.unwrap_or_else(|| caps.attention_form(&sizes, self.causal, self.half)) {
            AttentionForm::Rows => self.lower_rows(caps, &sizes),
            AttentionForm::Tiled(tile) => self.lower_tiled(caps, tile, &sizes, 1),
            AttentionForm::Split(tile, parts) => self.lower_tiled(caps, tile, &sizes, parts),
            AttentionForm::Stored(loops) => self.lower_stored(caps, loops, &sizes),
        }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let s = self.checked_sizes(types);
        let source = |part: usize| &inputs[if self.packed { 0 } else { part }];
        let (q, k, v, mask) = (source(0), source(1), source(2), inputs.get(self.sources()));
        let mut y = vec![0.0; output.elements()];
        for index in 0..s.batch * s.heads * s.queries {
            let (batch, head, row) = (index / s.queries / s.heads, index / s.queries % s.heads, index % s.queries);
            let seen = self.seen(&s, mask, batch, row);
            let query = &q[s.at(0, batch, head, row)..][..s.head];
            let score = |&key: &usize| -> f64 {
                let key = &k[s.at(1, batch, head, key)..][..s.head];
                s.scale() * query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>()
            };
            let scores: Vec<f64> = seen.iter().map(score).collect();
            let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let factor = self.factors(&s, inputs, batch * s.heads + head, row);
            let total: f64 = scores.iter().map(|score| (score - greatest).exp()).sum();
            let at = ((batch * s.queries + row) * s.heads + head) * s.head;
            for (score, &key) in scores.iter().zip(&seen) {
                let value = &v[s.at(2, batch, head, key)..][..s.head];
                let p = factor(key) * (score - greatest).exp() / total;
                y[at..at + s.head].iter_mut().zip(value).for_each(|(y, v)| *y += p * v);
            }
            y[s.outputs() + index] = if seen.is_empty() { 0.0 } else { greatest + total.ln() };
        }
        y
    }

    fn sample(rng: &mut Rng) -> TestCase {
        Self::sample_inputs(rng, |op, sizes| {
            TestCase::new(move |x| x[0].graph().push(op, x)?.slice(0, 0, sizes.outputs()))
        })
    }
}
