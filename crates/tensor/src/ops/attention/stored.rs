//! Attention by way of pairs in memory: batched products on the loops of every other product ([`PairLoops`]).
//!
//! Heads are taken as many at a time as fit, so that memory does not grow with the batch.

use crate::device::caps::Caps;
use crate::graph::op::{Arg, Dispatch, Lowered};
use crate::kernel;
use crate::ops::attention::attention::Attention;
use crate::ops::attention::pair_loops::PairLoops;
use crate::ops::attention::sizes::AttentionSizes;
use crate::ops::gemm::members::GemmVariant;

/// Sum over pairs.
#[derive(Clone, Copy)]
struct PairSum {
    /// The output, and its start and row.
    out: (Arg, usize, usize),
    /// The other side, its start and row.
    met: (Arg, usize, usize),
    /// Number of the array of pairs.
    of: usize,
    /// Sums over queries, for each key.
    by_keys: bool,
}

impl Attention {
    /// The output.
    pub(crate) fn lower_stored(&self, caps: &Caps, loops: PairLoops, s: &AttentionSizes) -> Lowered {
        let ([q, k, v], [mask, step_state]) = self.args(self.sources());
        let (pairs, lanes) = (Arg::Scratch(0), if caps.software { 1 } else { 32 });
        let mut dispatches = Vec::new();
        for (first, heads) in loops.launches(caps, s, 1) {
            let held = [first, heads];
            dispatches.push(self.launch_pairs(caps, loops.pairs, s, held, "SCORES").args([
                q,
                k,
                Arg::Unused,
                mask,
                step_state,
                pairs,
            ]));
            let softmax =
                Dispatch::per_group(kernel!("attention/attention_softmax"), (lanes * heads * s.queries).div_ceil(256));
            let softmax = softmax.lanes(caps, lanes).iterations(3 * s.fours().div_ceil(lanes));
            dispatches.push(
                self.dims(softmax, s, Default::default(), [1, s.keys], held)
                    .args([mask, step_state, pairs, Arg::Output])
                    .flops(5 * s.pairs(self.causal) * heads / (s.batch * s.heads)),
            );
            let sum = PairSum {
                out: (Arg::Output, 0, s.heads * s.head),
                met: (v, s.starts[2], s.rows[2]),
                of: 0,
                by_keys: false,
            };
            dispatches.push(self.launch_sum(caps, loops.sums, s, held, pairs, sum));
        }
        Lowered { dispatches, scratch: vec![16 * loops.held_heads(caps, s, 1) * s.head_fours()] }
    }

    /// The gradients of q, k and v. `rows` and `starts` are theirs; `known` has two numbers for each query.
    pub(crate) fn lower_stored_grad(
        &self,
        caps: &Caps,
        loops: PairLoops,
        s: &AttentionSizes,
        (rows, starts): ([usize; 3], [usize; 3]),
        [dout, known, pairs]: [Arg; 3],
    ) -> (Vec<Dispatch>, usize) {
        let ([q, k, v], [mask, step_state]) = self.args(self.sources() + 2);
        let width = s.heads * s.head;
        let mut dispatches = Vec::new();
        for (first, heads) in loops.launches(caps, s, 2) {
            let held = [first, heads];
            for (sides, flag) in [([q, k], "PROBABILITIES"), ([dout, v], "SLOPES")] {
                let launch = self.launch_pairs(caps, loops.pairs, s, held, flag);
                dispatches.push(launch.args([sides[0], sides[1], known, mask, step_state, pairs]));
            }
            let of = [
                PairSum {
                    out: (Arg::Output, starts[0], rows[0]),
                    met: (k, s.starts[1], s.rows[1]),
                    of: 1,
                    by_keys: false,
                },
                PairSum {
                    out: (Arg::Output, starts[1], rows[1]),
                    met: (q, s.starts[0], s.rows[0]),
                    of: 1,
                    by_keys: true,
                },
                PairSum { out: (Arg::Output, starts[2], rows[2]), met: (dout, 0, width), of: 0, by_keys: true },
            ];
            dispatches.extend(of.into_iter().map(|sum| self.launch_sum(caps, loops.sums, s, held, pairs, sum)));
        }
        (dispatches, 2 * 16 * loops.held_heads(caps, s, 2) * s.head_fours())
    }

    /// A product whose output is pairs, of the heads from `first` on.
    fn launch_pairs(
        &self,
        caps: &Caps,
        variant: GemmVariant,
        s: &AttentionSizes,
        [first, heads]: [usize; 2],
        kind: &'static str,
    ) -> Dispatch {
        let dispatch = variant
            .dispatch(kernel!("attention/attention_pairs"), [s.queries, s.keys], heads)
            .flag(kind, true)
            .flag("EMULATED", variant.emulated(caps))
            .flag("LHS_K4", true)
            .flag("K4", true)
            .flag("RHS_K", true)
            .flag("WHOLE", variant.whole_turns(s.head))
            .flops(2 * s.head * s.pairs(self.causal) * heads / (s.batch * s.heads));
        self.dims(dispatch, s, Default::default(), [1, s.keys], [first, heads])
    }

    /// A sum over pairs, of the heads from `first` on.
    fn launch_sum(
        &self,
        caps: &Caps,
        variant: GemmVariant,
        s: &AttentionSizes,
        [first, heads]: [usize; 2],
        pairs: Arg,
        sum: PairSum,
    ) -> Dispatch {
        let PairSum { out: (out, out_start, out_row), met: (met, met_start, met_row), of, by_keys } = sum;
        let [time, count] = if by_keys { [s.keys, s.queries] } else { [s.queries, s.keys] };
        // Pairs of the last keys are filled up to fours.
        let [rows, inner] = if by_keys { [4 * s.fours(), count] } else { [time, 4 * s.fours()] };
        // Causal: it begins or ends at a multiple of the rows of a block.
        let whole = variant.whole_turns(inner) && (!self.causal || variant.whole_turns(variant.block()[0]));
        variant
            .dispatch(kernel!("attention/attention_pair_sums"), [rows, s.head], heads)
            .flag("BY_KEYS", by_keys)
            .flag("EMULATED", variant.emulated(caps))
            .flag(if by_keys { "LHS_R4" } else { "LHS_K4" }, true)
            .flag("WHOLE", whole)
            .dims(&[s.heads, s.head / 4, first, time, count, s.fours(), s.queries, usize::from(self.causal)])
            .dims(&[of * heads * s.head_fours(), met_start / 4, met_row / 4, out_start / 4, out_row / 4])
            .args([pairs, met, out])
            .flops(2 * s.head * s.pairs(self.causal) * heads / (s.batch * s.heads))
    }
}
