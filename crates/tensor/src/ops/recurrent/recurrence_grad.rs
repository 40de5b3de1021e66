//! Gradients of a recurrent layer: backward through time.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Lowered, Op, TestCase};
use crate::ops::attention::mask::Keys;
use crate::ops::recurrent::cell::{Cell, Recurrence};
use crate::ops::recurrent::form::{Direction, Sizes, launches};
use crate::shape::TensorType;
use trellis_rng::Rng;

/// dz of [`Recurrence`] `[batch, time, gates · hidden]`; of a GRU also the gradient of `W h + b`, which for the others is dz;
/// then dh0 and an LSTM's dc0 `[batch, hidden]`. Each lies at an offset that an adapter can bind. Inputs: w, the recurrence's
/// output, the gradient of its states, h0, an LSTM's c0, and the mask of real steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecurrenceGrad {
    /// The recurrence whose gradient it is.
    pub of: Recurrence,
}

impl RecurrenceGrad {
    fn sizes(&self, inputs: &[&TensorType]) -> Result<Sizes, String> {
        let [w, y, dy, states @ ..] = inputs else { return Err("takes w, y, dy and first states".to_string()) };
        let (&[columns, hidden], &[batch, time, _]) = (&w.shape[..], &dy.shape[..]) else {
            return Err(format!("takes w[gates · hidden, hidden] and dy[batch, time, hidden], not {w} and {dy}"));
        };
        let (z, bias) = (TensorType::f32([batch, time, columns]), TensorType::f32([columns]));
        let forward: Vec<&TensorType> = [&z, *w, &bias].into_iter().chain(states.iter().copied()).collect();
        let wanted = self.of.infer(&forward)?;
        if **y != wanted || **dy != TensorType::f32([batch, time, hidden]) {
            return Err(format!("takes {wanted} and f32[{batch}, {time}, {hidden}], not {y} and {dy}"));
        }
        self.of.sizes(&forward)
    }

    fn mask(&self) -> usize {
        self.of.sources()
    }
}

impl Op for RecurrenceGrad {
    fn name(&self) -> &'static str {
        match self.of.cell {
            Cell::Tanh => "rnn_grad",
            Cell::Lstm => "lstm_grad",
            Cell::Gru => "gru_grad",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let s = self.sizes(inputs)?;
        let [.., dh, dc] = s.grad_starts(self.of.cell);
        let last = if self.of.cell == Cell::Lstm { dc } else { dh };
        Ok(TensorType::f32([last + s.batch * s.hidden]))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let s = self.sizes(inputs).expect("checked while recording");
        let [h0, c0, mask] = self.of.args(3, self.mask());
        let args = [Arg::Input(0), Arg::Input(1), Arg::Input(2), h0, c0, mask, Arg::Output];
        let launches = launches(&self.of, caps, &s, Direction::Backward);
        let dispatches = launches.into_iter().map(|launch| launch.args(args)).collect();
        Lowered { dispatches, scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let s = self.sizes(types).expect("checked while recording");
        let (n, gates, cell) = (s.hidden, s.gates, self.of.cell);
        let (w, y, dy, h0) = (&inputs[0], &inputs[1], &inputs[2], &inputs[3]);
        let mask = if self.of.steps == Keys::All { None } else { inputs.get(self.mask()) };
        let [_, recurrent, dh_at, dc_at] = s.grad_starts(cell);
        let mut out = vec![0.0; output.elements()];
        for row in 0..s.batch {
            let (mut dh, mut dc) = (vec![0.0; n], vec![0.0; n]);
            for t in (0..s.time).rev() {
                let at = row * s.time + t;
                (0..n).for_each(|unit| dh[unit] += dy[at * n + unit]);
                if !self.of.is_real(&s, mask, row, t) {
                    continue;
                }
                let before = |unit: usize| if t > 0 { y[(at - 1) * n + unit] } else { h0[row * n + unit] };
                let saved = |gate: usize, unit: usize| y[s.states() + (4 * at + gate) * n + unit];
                let mut direct = vec![0.0; n];
                // Gradients of z and of W h + b, by gate.
                let mut set = |unit: usize, dz: &[f64], own: &[f64]| {
                    for gate in 0..gates {
                        out[(at * gates + gate) * n + unit] = dz[gate];
                        out[recurrent + (at * gates + gate) * n + unit] = own[gate];
                    }
                };
                for unit in 0..n {
                    let g = dh[unit];
                    match cell {
                        Cell::Tanh => {
                            let dz = [g * (1.0 - y[at * n + unit].powi(2))];
                            set(unit, &dz, &dz);
                        }
                        Cell::Lstm => {
                            let [i, f, c_new, o] = [0, 1, 2, 3].map(|gate| saved(gate, unit));
                            let cells = |at: usize| y[s.cells() + at * n + unit];
                            let earlier = if t > 0 { cells(at - 1) } else { inputs[4][row * n + unit] };
                            let c = cells(at).tanh();
                            let through = dc[unit] + g * o * (1.0 - c * c);
                            let dz = [
                                through * c_new * i * (1.0 - i),
                                through * earlier * f * (1.0 - f),
                                through * i * (1.0 - c_new * c_new),
                                g * c * o * (1.0 - o),
                            ];
                            dc[unit] = through * f;
                            set(unit, &dz, &dz);
                        }
                        Cell::Gru => {
                            let [r, u, new, candidate] = [0, 1, 2, 3].map(|gate| saved(gate, unit));
                            let dn = g * (1.0 - u) * (1.0 - new * new);
                            let dr = dn * candidate * r * (1.0 - r);
                            let du = g * (before(unit) - new) * u * (1.0 - u);
                            direct[unit] = g * u;
                            set(unit, &[dr, du, dn], &[dr, du, dn * r]);
                        }
                    }
                }
                let own = &out[recurrent + at * gates * n..][..gates * n];
                for unit in 0..n {
                    dh[unit] = direct[unit] + own.iter().enumerate().map(|(k, d)| d * w[k * n + unit]).sum::<f64>();
                }
            }
            out[dh_at + row * n..][..n].copy_from_slice(&dh);
            if cell == Cell::Lstm {
                out[dc_at + row * n..][..n].copy_from_slice(&dc);
            }
        }
        out
    }

    /// A case with the output of a recurrence, that takes one of the four parts: gaps between them are not written.
    fn sample(rng: &mut Rng) -> TestCase {
        let which = rng.below(4);
        let mut shape = [0; 3];
        let mut sample = Recurrence::sample_inputs(rng, |of, s| {
            shape = [s.batch, s.time, s.hidden];
            let (op, sources) = (RecurrenceGrad { of }, of.sources());
            let masked = usize::from(of.steps != Keys::All);
            let state = s.batch * s.hidden;
            let sizes = [s.gates * s.states(), s.gates * s.states(), state, state];
            let which = if of.cell == Cell::Lstm { which } else { which.min(2) };
            let mut sample = TestCase::new(move |x| {
                let y = x[0].graph().push(of, &x[..sources + masked])?;
                let mut inputs = vec![x[1], y, x[sources + masked]];
                inputs.extend(&x[3..sources + masked]);
                x[0].graph().push(op, &inputs)?.slice(0, s.grad_starts(of.cell)[which], sizes[which])
            });
            sample.differentiable = false;
            sample
        });
        sample = sample.normal(rng, shape);
        sample
    }
}
