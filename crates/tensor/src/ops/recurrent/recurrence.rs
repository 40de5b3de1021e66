//! A recurrent layer: its states over all time steps, in one dispatch where it is not too large.

use std::any::Any;

use crate::device::caps::Caps;
use crate::device::gpu::ALIGNMENT;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Arg, Lowered, Op, TestCase, awkward_size};
use crate::ops::attention::mask::{KeyMask, Keys};
use crate::ops::gemm::members::Layout;
use crate::ops::movement::view::Pad;
use crate::ops::recurrent::cell::Cell;
pub use crate::ops::recurrent::cell::Recurrence;
use crate::ops::recurrent::form::{Direction, RecurrenceForm, Sizes, launches};
use crate::ops::recurrent::recurrence_grad::RecurrenceGrad;
use crate::shape::TensorType;
use trellis_rng::Rng;

impl Sizes {
    /// Number of states of all steps; the saved gates begin after them.
    pub(crate) fn states(&self) -> usize {
        self.batch * self.time * self.hidden
    }

    /// Offset of an LSTM's cells, in elements.
    pub(crate) fn cells(&self) -> usize {
        5 * self.states()
    }

    /// Offsets of [`RecurrenceGrad`]'s parts, in elements, that an adapter can bind: dz, the gradient of `W h + b`, dh, dc.
    pub(crate) fn grad_starts(&self, cell: Cell) -> [usize; 4] {
        let aligned = |elements: usize| elements.next_multiple_of(ALIGNMENT / 4);
        let projected = self.gates * self.states();
        let recurrent = if cell == Cell::Gru { aligned(projected) } else { 0 };
        let dh = aligned(recurrent + projected);
        [0, recurrent, dh, dh + aligned(self.batch * self.hidden)]
    }
}

impl Recurrence {
    /// Number of inputs before those that tell which steps are real.
    pub(crate) fn sources(&self) -> usize {
        if self.cell == Cell::Lstm { 5 } else { 4 }
    }

    /// The sizes, or the rule that the inputs break.
    pub(crate) fn sizes(&self, inputs: &[&TensorType]) -> Result<Sizes, String> {
        let (sources, mask) = inputs.split_at_checked(self.sources()).ok_or("takes z, w, bias and first states")?;
        let gates = self.cell.gates();
        let (&[batch, time, columns], &[_, hidden]) = (&sources[0].shape[..], &sources[1].shape[..]) else {
            return Err(format!("takes z[batch, time, gates · hidden] and w[gates · hidden, hidden], not {sources:?}"));
        };
        let shapes = [vec![batch, time, gates * hidden], vec![gates * hidden, hidden], vec![gates * hidden]];
        let wanted = shapes.into_iter().chain([vec![batch, hidden], vec![batch, hidden]]);
        let fits = sources.iter().zip(wanted).all(|(source, shape)| **source == TensorType::f32(shape));
        if !fits || sources[0].elements() == 0 {
            return Err(format!("{columns} columns of z do not go with {sources:?}: {gates} gates of {hidden} units"));
        }
        let fits = match (self.steps, mask) {
            (Keys::All, []) => true,
            (Keys::Lengths, [lengths]) => **lengths == TensorType::u32([batch]),
            (Keys::Ids { .. }, [ids]) => **ids == TensorType::u32([batch, time]),
            _ => false,
        };
        if !fits {
            return Err(format!("lengths are u32[{batch}], ids u32[{batch}, {time}], not {mask:?}"));
        }
        Ok(Sizes { batch, time, hidden, gates })
    }

    pub(crate) fn checked_sizes(&self, inputs: &[&TensorType]) -> Sizes {
        self.sizes(inputs).expect("checked while recording")
    }

    /// Bindings of h0, c0 and the mask; h0 is input number `first`, the mask number `mask`.
    pub(crate) fn args(&self, first: usize, mask: usize) -> [Arg; 3] {
        let c0 = if self.cell == Cell::Lstm { Arg::Input(first + 1) } else { Arg::Unused };
        [Arg::Input(first), c0, if self.steps == Keys::All { Arg::Unused } else { Arg::Input(mask) }]
    }

    /// True if step `t` of a sequence is real, in f64.
    pub(crate) fn is_real(&self, s: &Sizes, mask: Option<&Vec<f64>>, row: usize, t: usize) -> bool {
        match (self.steps, mask) {
            (Keys::Lengths, Some(lengths)) => (t as f64) < lengths[row],
            (Keys::Ids { padding }, Some(ids)) => ids[row * s.time + t] != f64::from(padding),
            _ => true,
        }
    }

    /// Random inputs for it, with weights that do not make it chaotic.
    pub(crate) fn sample_inputs(rng: &mut Rng, sample: impl FnOnce(Self, Sizes) -> TestCase) -> TestCase {
        let cell = [Cell::Tanh, Cell::Lstm, Cell::Gru][rng.below(3)];
        let steps = [Keys::All, Keys::Lengths, Keys::Ids { padding: 2 }][rng.below(3)];
        let op = Self { cell, steps, form: None };
        let (batch, time, hidden) = (awkward_size(rng, 70), 1 + rng.below(5), awkward_size(rng, 40));
        let s = Sizes { batch, time, hidden, gates: cell.gates() };
        let (columns, bound) = (s.gates * hidden, 1.0 / (hidden as f32).sqrt());
        let mut made = sample(op, s)
            .normal(rng, [batch, time, columns])
            .uniform(rng, [columns, hidden], -bound, bound)
            .uniform(rng, [columns], -bound, bound)
            .uniform(rng, [batch, hidden], -1.0, 1.0);
        if cell == Cell::Lstm {
            made = made.uniform(rng, [batch, hidden], -1.0, 1.0);
        }
        match op.steps {
            Keys::All => made,
            Keys::Lengths => made.index(rng, [batch], time + 2), // 0, and more than there are
            Keys::Ids { .. } => made.index(rng, [batch, time], 4),
        }
    }
}

pub(crate) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

impl Op for Recurrence {
    fn name(&self) -> &'static str {
        match self.cell {
            Cell::Tanh => "rnn",
            Cell::Lstm => "lstm",
            Cell::Gru => "gru",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let s = self.sizes(inputs)?;
        let saved = match self.cell {
            Cell::Tanh => 0,
            Cell::Lstm => 5,
            Cell::Gru => 4,
        };
        Ok(TensorType::f32([(1 + saved) * s.states()]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let types: Vec<TensorType> = x.iter().map(|x| x.ty()).collect();
        let s = self.checked_sizes(&types.iter().collect::<Vec<_>>());
        // `recurrent` slices the states off; their gradient comes back padded with zeros.
        let padded =
            dy.op().filter(|op| (op.as_ref() as &dyn Any).downcast_ref::<Pad>().is_some_and(|pad| pad.start == 0));
        let dy = if padded.is_some() { dy.inputs()[0] } else { dy };
        if dy.ty().elements() != s.states() {
            return Err(y.not_differentiable());
        }
        let (sources, steps) = (self.sources(), [s.batch, s.time, s.hidden]);
        let mut inputs = vec![x[1], y, dy.reshape(steps)?];
        inputs.extend(&x[3..]);
        let gradients = dy.graph().push(RecurrenceGrad { of: *self }, &inputs)?;
        let starts = s.grad_starts(self.cell);
        let part = |start: usize, shape: &[usize]| gradients.slice(0, start, shape.iter().product())?.reshape(shape);
        let (rows, columns) = (s.batch * s.time, s.gates * s.hidden);
        let dz = part(starts[0], &[s.batch, s.time, columns])?;
        let recurrent = part(starts[1], &[rows, columns])?;
        let first = x[3].reshape([s.batch, 1, s.hidden])?;
        let before = match s.time {
            1 => first,
            _ => {
                let states = y.slice(0, 0, s.states())?.reshape(steps)?;
                Var::concat(&[first, states.slice(1, 0, s.time - 1)?], 1)?
            }
        };
        let dw = recurrent.matmul(before.reshape([rows, s.hidden])?, Layout::TN)?;
        let state = [s.batch, s.hidden];
        let mut all = vec![Some(dz), Some(dw), Some(recurrent.sum(&[0], false)?), Some(part(starts[2], &state)?)];
        if self.cell == Cell::Lstm {
            all.push(Some(part(starts[3], &state)?));
        }
        debug_assert_eq!(all.len(), sources);
        all.resize(x.len(), None);
        Ok(all)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let s = self.checked_sizes(inputs);
        let [h0, c0, mask] = self.args(3, self.sources());
        let args = [Arg::Input(0), Arg::Input(1), Arg::Input(2), h0, c0, mask, Arg::Output];
        let launches = launches(self, caps, &s, Direction::Forward);
        Lowered { dispatches: launches.into_iter().map(|launch| launch.args(args)).collect(), scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let s = self.checked_sizes(types);
        let (n, gates) = (s.hidden, s.gates);
        let (z, w, bias) = (&inputs[0], &inputs[1], &inputs[2]);
        let mask = inputs.get(self.sources());
        let mut out = vec![0.0; output.elements()];
        for row in 0..s.batch {
            let mut h = inputs[3][row * n..][..n].to_vec();
            let mut c = if self.cell == Cell::Lstm { inputs[4][row * n..][..n].to_vec() } else { Vec::new() };
            for t in 0..s.time {
                let at = row * s.time + t;
                let real = self.is_real(&s, mask, row, t);
                let a =
                    |column: usize| bias[column] + w[column * n..][..n].iter().zip(&h).map(|(w, h)| w * h).sum::<f64>();
                let projected = |column: usize| z[at * gates * n + column];
                let sum = |gate: usize, unit: usize| projected(gate * n + unit) + a(gate * n + unit);
                let saved = s.states() + 4 * at * n;
                let mut next = h.clone();
                for unit in 0..n {
                    match self.cell {
                        Cell::Tanh => next[unit] = sum(0, unit).tanh(),
                        Cell::Lstm => {
                            let (i, f) = (sigmoid(sum(0, unit)), sigmoid(sum(1, unit)));
                            let (g, o) = (sum(2, unit).tanh(), sigmoid(sum(3, unit)));
                            c[unit] = if real { f * c[unit] + i * g } else { c[unit] };
                            next[unit] = o * c[unit].tanh();
                            for (gate, value) in [i, f, g, o].into_iter().enumerate() {
                                out[saved + gate * n + unit] = value;
                            }
                            out[s.cells() + at * n + unit] = c[unit];
                        }
                        Cell::Gru => {
                            let (r, u, candidate) = (sigmoid(sum(0, unit)), sigmoid(sum(1, unit)), a(2 * n + unit));
                            let new = (projected(2 * n + unit) + r * candidate).tanh();
                            next[unit] = (1.0 - u) * new + u * h[unit];
                            for (gate, value) in [r, u, new, candidate].into_iter().enumerate() {
                                out[saved + gate * n + unit] = value;
                            }
                        }
                    }
                }
                if real {
                    h = next;
                }
                out[at * n..][..n].copy_from_slice(&h);
            }
        }
        out
    }

    fn sample(rng: &mut Rng) -> TestCase {
        Self::sample_inputs(rng, |op, s| TestCase::new(move |x| x[0].graph().push(op, x)?.slice(0, 0, s.states())))
    }
}

/// A recurrent layer's weights and first states.
#[derive(Clone, Copy, Debug)]
pub struct RecurrentLayer<'g> {
    /// Computation of a step.
    pub cell: Cell,
    /// W, `[gates · hidden, hidden]`.
    pub w: Var<'g>,
    /// b, `[gates · hidden]`.
    pub bias: Var<'g>,
    /// The state before the first step, `[batch, hidden]`.
    pub h0: Var<'g>,
    /// An LSTM's cell before the first step, `[batch, hidden]`.
    pub c0: Option<Var<'g>>,
}

impl<'g> Var<'g> {
    /// The states of a recurrent layer `[batch, time, hidden]`; `self` is its projected input `[batch, time, gates · hidden]`.
    /// `steps` are the real ones; without it all are. The others, best at the end, keep the state, so that the last state is
    /// that of the last real step.
    ///
    /// Cost: 2 · batch · time · gates · hidden² flop, one dispatch, or one or two a step if there are many weights
    /// ([`RecurrenceForm`]). The gradient costs as much, and one product for that of W.
    ///
    /// # Errors
    /// [`Error::Shape`] when the types are not these.
    pub fn recurrent(self, layer: RecurrentLayer<'g>, steps: Option<KeyMask<'g>>) -> Result<Var<'g>> {
        self.recurrent_as(layer, steps, None)
    }

    /// [`Var::recurrent`], with its gradient, in a given form: for tests and benchmarks. If the adapter cannot run it, the
    /// chosen form is used.
    ///
    /// # Errors
    /// As [`Var::recurrent`].
    pub fn recurrent_as(
        self,
        layer: RecurrentLayer<'g>,
        steps: Option<KeyMask<'g>>,
        form: Option<RecurrenceForm>,
    ) -> Result<Var<'g>> {
        let (steps, mask) = KeyMask::parts(steps);
        let op = Recurrence { cell: layer.cell, steps, form };
        if (op.cell == Cell::Lstm) != layer.c0.is_some() {
            let problem = "an LSTM has a first cell, and no other recurrence has one".to_string();
            return Err(Error::Shape { op: op.name(), layer: self.graph().layer(), problem });
        }
        let inputs: Vec<Var<'g>> =
            [self, layer.w, layer.bias, layer.h0].into_iter().chain(layer.c0).chain(mask).collect();
        let y = self.graph().push(op, &inputs)?;
        let (shape, hidden) = (self.shape(), layer.w.shape().last_axis());
        y.slice(0, 0, shape[0] * shape[1] * hidden)?.reshape([shape[0], shape[1], hidden])
    }
}
