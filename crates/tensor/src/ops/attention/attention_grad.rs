//! Gradients of multi-head attention: probabilities are computed again, row by row.

use crate::device::caps::Caps;
use crate::device::gpu::ALIGNMENT;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::attention::attention::Attention;
use crate::ops::attention::form::{AttentionForm, TiledKernel};
use crate::ops::attention::sizes::AttentionSizes;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// dq, dk and dv of [`Attention`]. If one input holds q, k and v, they have its shape. Else they lie one after the other, each
/// at an offset that an adapter can bind. Inputs: q, k and v as there, its output, `[batch, queries, heads · d]` of its
/// output's gradient, the keys that take part, and the step state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionGrad {
    /// The attention whose gradient it is.
    pub of: Attention,
}

impl AttentionGrad {
    /// Types of q, k, v, mask and step state.
    fn attention_types<'t>(&self, inputs: &[&'t TensorType]) -> Vec<&'t TensorType> {
        let sources = self.of.sources().min(inputs.len());
        let mask = inputs.get(sources + 2..).unwrap_or_default();
        [&inputs[..sources], mask].concat()
    }

    /// Elements from one row of dq, dk, dv to the next, and the start of each.
    pub(crate) fn rows_and_starts(&self, s: &AttentionSizes) -> ([usize; 3], [usize; 3]) {
        if self.of.packed {
            return (s.rows, s.starts);
        }
        let width = s.heads * s.head;
        let dk = (s.batch * s.queries * width).next_multiple_of(ALIGNMENT / 4);
        let dv = (dk + s.batch * s.keys * width).next_multiple_of(ALIGNMENT / 4);
        ([width; 3], [0, dk, dv])
    }
}

impl Op for AttentionGrad {
    fn name(&self) -> &'static str {
        "attention_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let s = self.of.sizes(&self.attention_types(inputs))?;
        let logarithms = s.batch * s.heads * s.queries;
        let [y, dout] = [inputs[self.of.sources()], inputs[self.of.sources() + 1]];
        let width = s.heads * s.head;
        if *y != TensorType::f32([s.outputs() + logarithms]) || *dout != TensorType::f32([s.batch, s.queries, width]) {
            return Err(format!(
                "takes the output of attention and f32[{}, {}, {width}], not {y} and {dout}",
                s.batch, s.queries
            ));
        }
        if self.of.packed {
            return Ok(inputs[0].clone());
        }
        let (_, starts) = self.rows_and_starts(&s);
        Ok(TensorType::f32([starts[2] + s.batch * s.keys * width]))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let s = self.of.checked_sizes(&self.attention_types(inputs));
        let first = self.of.sources();
        let ([q, k, v], [mask, step_state]) = self.of.args(first + 2);
        let (y, dout, rows) = (Arg::Input(first), Arg::Input(first + 1), Arg::Scratch(0));
        let (queries, grads, pairs) =
            (s.batch * s.heads * s.queries, self.rows_and_starts(&s), s.pairs(self.of.causal));
        let lanes = if caps.software { 1 } else { 16 };
        let sums = Dispatch::per_group(kernel!("attention/attention_rows"), (lanes * queries).div_ceil(256))
            .lanes(caps, lanes)
            .dims(&[s.batch, s.heads, s.queries, s.head])
            .args([y, dout, rows])
            .flops(2 * s.outputs());
        let args = |out: Arg| [q, k, v, dout, rows, mask, step_state, out];
        let (query_flops, key_flops) = ((6 * s.head + 6) * pairs, (8 * s.head + 6) * pairs);
        let forced = self.of.form.filter(|form| form.runs_on(caps, s.head, true));
        let form = forced.unwrap_or_else(|| caps.attention_grad_form(&s, self.of.causal, self.of.half));
        let heads = s.batch * s.heads;
        let [first, second] = match form {
            AttentionForm::Rows => {
                let of_queries = self.of.launch(caps, kernel!("attention/attention_query_grad"), &s, s.queries, grads);
                let of_keys = self.of.launch(caps, kernel!("attention/attention_key_grad"), &s, s.keys, grads);
                [
                    of_queries.args(args(Arg::Output)).flops(query_flops),
                    of_keys.args(args(Arg::Output)).flops(key_flops),
                ]
            }
            AttentionForm::Tiled(tile) | AttentionForm::Split(tile, _) => {
                let launch = |kernel, rows: usize| {
                    self.of.launch_tiled(caps, kernel, tile, &s, (heads * rows.div_ceil(tile.own()), 1), grads)
                };
                let of_queries =
                    launch((kernel!("attention/attention_query_grad_tiled"), TiledKernel::QueryGrad), s.queries);
                let of_keys = launch((kernel!("attention/attention_key_grad_tiled"), TiledKernel::KeyGrad), s.keys);
                [
                    of_queries.args(args(Arg::Output)).flops(query_flops),
                    of_keys.args(args(Arg::Output)).flops(key_flops),
                ]
            }
            AttentionForm::Stored(loops) => {
                let (products, bytes) =
                    self.of.lower_stored_grad(caps, loops, &s, grads, [dout, rows, Arg::Scratch(1)]);
                let dispatches = [sums].into_iter().chain(products).collect();
                return Lowered { dispatches, scratch: vec![8 * queries, bytes] };
            }
        };
        Lowered { dispatches: vec![sums, first, second], scratch: vec![8 * queries] }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let s = self.of.checked_sizes(&self.attention_types(types));
        let first = self.of.sources();
        let source = |part: usize| &inputs[if self.of.packed { 0 } else { part }];
        let (q, k, v, y, dout, mask) =
            (source(0), source(1), source(2), &inputs[first], &inputs[first + 1], inputs.get(first + 2));
        let ([dq_row, dk_row, dv_row], [dq_start, dk_start, dv_start]) = self.rows_and_starts(&s);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut out = vec![0.0; output.elements()];
        for index in 0..s.batch * s.heads * s.queries {
            let (batch, head, row) = (index / s.queries / s.heads, index / s.queries % s.heads, index % s.queries);
            let at = ((batch * s.queries + row) * s.heads + head) * s.head;
            let (query, above) = (&q[s.at(0, batch, head, row)..][..s.head], &dout[at..at + s.head]);
            let total = dot(&y[at..at + s.head], above);
            let factor = self.of.factors(&s, inputs, batch * s.heads + head, row);
            for key in self.of.seen(&s, mask, batch, row) {
                let (k, v) = (&k[s.at(1, batch, head, key)..][..s.head], &v[s.at(2, batch, head, key)..][..s.head]);
                let p = (s.scale() * dot(query, k) - y[s.outputs() + index]).exp();
                let kept = factor(key);
                let ds = s.scale() * p * (kept * dot(above, v) - total);
                let (query_row, key_row) = (batch * s.queries + row, batch * s.keys + key);
                for c in 0..s.head {
                    out[dq_start + query_row * dq_row + head * s.head + c] += ds * k[c];
                    out[dk_start + key_row * dk_row + head * s.head + c] += ds * query[c];
                    out[dv_start + key_row * dv_row + head * s.head + c] += kept * p * above[c];
                }
            }
        }
        out
    }

    /// A case with the output of an attention. Its three parts are joined: gaps between them are not written, and one alone may
    /// be 0 but for rounding. dq is such where there is one key.
    fn sample(rng: &mut Rng) -> TestCase {
        let mut width = 0;
        let mut sample = Attention::sample_inputs(rng, |of, s| {
            width = s.heads * s.head;
            let op = AttentionGrad { of };
            let sources = of.sources();
            let own = of.inputs();
            let mut sample = TestCase::new(move |x| {
                let y = x[0].graph().push(of, &x[..own])?;
                let inputs = [&x[..sources], &[y, x[own]], &x[sources..own]].concat();
                let gradients = x[0].graph().push(op, &inputs)?;
                if of.packed {
                    return Ok(gradients);
                }
                let (_, starts) = op.rows_and_starts(&s);
                let part = |part: usize| {
                    let time = if part == 0 { s.queries } else { s.keys };
                    gradients.slice(0, starts[part], s.batch * time * width)
                };
                Var::concat(&[part(0)?, part(1)?, part(2)?], 0)
            });
            sample.differentiable = false;
            sample
        });
        let [batch, queries] = [sample.inputs[0].ty.shape[0], sample.inputs[0].ty.shape[1]];
        sample = sample.normal(rng, [batch, queries, width]);
        sample
    }
}
