//! Masks: the pairs of query and key that take part in attention, and the steps of a sequence in a recurrence.

use crate::graph::Var;
use trellis_rng::philox;

/// Mask of the keys that a query sees.
#[derive(Clone, Copy, Debug, Default)]
pub struct AttentionMask<'g> {
    /// Query i sees keys 0 to i.
    pub causal: bool,
    /// Keys that take part; all without it.
    pub keys: Option<KeyMask<'g>>,
    /// Dropout of the probabilities.
    pub dropout: Option<AttentionDropout<'g>>,
}

/// Keys that take part, per example. A query that sees none gets 0.
#[derive(Clone, Copy, Debug)]
pub enum KeyMask<'g> {
    /// The first keys of each example, this many: u32 `[batch]`.
    Lengths(Var<'g>),
    /// The keys whose id, u32 `[batch, keys]`, is not `padding`.
    Ids {
        /// Token ids.
        ids: Var<'g>,
        /// The id of padding.
        padding: u32,
    },
}

impl<'g> KeyMask<'g> {
    /// The op's part of a mask, and the input that holds the rest.
    pub(crate) fn parts(mask: Option<Self>) -> (Keys, Option<Var<'g>>) {
        match mask {
            None => (Keys::All, None),
            Some(Self::Lengths(lengths)) => (Keys::Lengths, Some(lengths)),
            Some(Self::Ids { ids, padding }) => (Keys::Ids { padding }, Some(ids)),
        }
    }
}

/// Keys of a batch that take part in attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// All.
    All,
    /// The first keys of each example.
    Lengths,
    /// The keys whose id is not this one.
    Ids {
        /// The id of padding.
        padding: u32,
    },
}

/// Dropout of attention's probabilities, as in `torch.nn.MultiheadAttention`. Each becomes 0 with probability `p`, rounded to a
/// multiple of 1 / 65,536, and the others are divided by 1 − `p`. See [`Var::dropout`] for the other fields.
#[derive(Clone, Copy, Debug)]
pub struct AttentionDropout<'g> {
    /// A u32 `[4]` leaf whose word 0 counts the steps.
    pub step_state: Var<'g>,
    /// Probability of a zero, in `[0, 1)`.
    pub p: f32,
    /// Seed of the run.
    pub seed: u64,
    /// Tells the dropout layers of a run apart.
    pub stream: u32,
}

impl AttentionDropout<'_> {
    /// The op's own part of dropout; `None` if nothing is dropped.
    pub(crate) fn pairs(&self) -> Result<Option<PairDropout>, String> {
        let Self { p, seed, stream, .. } = *self;
        if !(0.0..1.0).contains(&p) {
            return Err(format!("dropout of {p} is not in [0, 1)"));
        }
        let dropped = (p * 65_536.0).round().min(65_535.0) as u16;
        Ok((dropped > 0).then_some(PairDropout { dropped, seed, stream }))
    }
}

/// Dropout of pairs of query and key: the probability of some becomes 0, and the others are scaled up. The mask is a pure
/// function of seed, stream, step and pair, so the gradient draws it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairDropout {
    /// Number of pairs out of 65,536 that are dropped.
    pub dropped: u16,
    /// Seed of the run.
    pub seed: u64,
    /// Tells the dropout layers of a run apart.
    pub stream: u32,
}

impl PairDropout {
    /// Half of the key of Philox, "ATTN": it keeps the random bits apart from others under the same seed.
    const DOMAIN: u32 = 0x4154_544e;

    pub(crate) fn key(self) -> [u32; 2] {
        [self.seed as u32 ^ Self::DOMAIN, (self.seed >> 32) as u32]
    }

    /// Factor of a probability that is not dropped.
    pub(crate) fn kept(self) -> f64 {
        65_536.0 / (65_536.0 - f64::from(self.dropped))
    }

    /// Factor of the probability of `key` for query `row`, of `queries`, of head number `head`.
    pub(crate) fn factor(self, step: u32, queries: usize, head: usize, row: usize, key: usize) -> f64 {
        let pair_of_rows = head * queries.div_ceil(2) + row / 2;
        let words = philox([(key / 4) as u32, pair_of_rows as u32, step, self.stream], self.key());
        let half = words[key % 4] >> (16 * (row % 2)) & 0xffff;
        if half < u32::from(self.dropped) { 0.0 } else { self.kept() }
    }
}
