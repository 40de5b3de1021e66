//! Loops of the batched products that attention's pairs in memory are, and the heads whose pairs are there together.

use crate::device::caps::Caps;
use crate::ops::attention::sizes::AttentionSizes;
use crate::ops::gemm::members::{Block, GemmVariant, Units};
use trellis_rng::Rng;

/// Loops of the products over pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PairLoops {
    /// Loop of the products that have pairs as their output. Loops on matrix units round their sides to f16.
    pub pairs: GemmVariant,
    /// Loop of the products that sum over pairs.
    pub sums: GemmVariant,
    /// Heads of all examples whose pairs are in memory together. `None`: as many as 256 MiB hold.
    pub heads: Option<usize>,
}

/// Greatest number of bytes of pairs, unless one head has more. 64 × 12 heads of 197 with their gradient take 2.29, 2.07 and
/// 1.83 ms on an H100 with 32, 64 and 256 MiB: launches of few heads leave the GPU idle at their ends.
pub(crate) const PAIRS: usize = 256 << 20;

impl PairLoops {
    /// True if the adapter can run them for heads of `head` elements.
    pub(crate) fn runs_on(self, caps: &Caps, head: usize) -> bool {
        let runs = |variant: GemmVariant| variant.for_gpus() && variant.runs_on(caps);
        head.is_multiple_of(4) && runs(self.pairs) && runs(self.sums)
    }

    /// True if both round their sides to f16.
    pub(crate) fn on_units(self) -> bool {
        self.pairs.on_units() && self.sums.on_units()
    }

    /// Loops of a random case, small beside the sizes.
    pub(crate) fn sample(rng: &mut Rng) -> Self {
        let mut block = || GemmVariant::Block([Block::TINY, Block::SMALL, Block::MEDIUM][rng.below(3)]);
        let (pairs, sums) = (block(), block());
        Self { pairs, sums, heads: (rng.below(2) == 0).then(|| 1 + rng.below(3)) }
    }

    /// The loops for an adapter, on matrix units with `half`.
    pub(crate) fn chosen(caps: &Caps, half: bool) -> Self {
        let both = match half && Units::SMALL.runs_on(caps) {
            true => GemmVariant::Cooperative(Units::SMALL),
            false => GemmVariant::Block(Block::MEDIUM),
        };
        Self { pairs: both, sums: both, heads: None }
    }

    /// Heads whose pairs are in memory together, if each pair has so many numbers.
    pub(super) fn held_heads(self, caps: &Caps, s: &AttentionSizes, numbers: usize) -> usize {
        let most = PAIRS.min(caps.max_binding as usize) / (16 * numbers * s.head_fours());
        self.heads.unwrap_or(most).clamp(1, s.batch * s.heads)
    }

    /// Launches of heads, the first of each and their number.
    pub(super) fn launches(
        self,
        caps: &Caps,
        s: &AttentionSizes,
        numbers: usize,
    ) -> impl Iterator<Item = (usize, usize)> {
        let (held, heads) = (self.held_heads(caps, s, numbers), s.batch * s.heads);
        (0..heads).step_by(held).map(move |first| (first, held.min(heads - first)))
    }
}

impl AttentionSizes {
    /// Vectors of four pairs for a query.
    pub(super) fn fours(&self) -> usize {
        self.keys.div_ceil(4)
    }

    /// Vectors of four pairs for a head.
    pub(super) fn head_fours(&self) -> usize {
        self.queries * self.fours()
    }
}
