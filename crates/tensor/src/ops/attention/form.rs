//! Forms of attention and of its gradient, and the choice among them.
//!
//! Software adapters, and adapters with little workgroup memory, have one form: an invocation for each row
//! (`shaders/attention/attention.wgsl`). On hardware that form is slow, and the others go through tiles in workgroup memory
//! (`shaders/lib/attention/attention_tiles.wgsl`). They differ in how much work a workgroup has, and so in how many there are.

use crate::device::caps::Caps;
use crate::graph::op::Dispatch;
use crate::ops::attention::pair_loops::{PAIRS, PairLoops};
use crate::ops::attention::sizes::AttentionSizes;

/// Form in which attention is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AttentionForm {
    /// An invocation for each row, nothing in workgroup memory.
    Rows,
    /// A workgroup for a block of queries, which meets all their keys; the gradient likewise, once by queries and once by keys.
    Tiled(AttentionTile),
    /// [`AttentionForm::Tiled`] with each query's keys in this number of parts, one workgroup each, and a dispatch that joins
    /// them. The gradient is that of `Tiled`.
    Split(AttentionTile, usize),
    /// Batched products with scores, probabilities and their gradients in memory, each computed once.
    Stored(PairLoops),
}

/// A workgroup of tiled attention: groups of neighbors, each invocation with 4 × 4 scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttentionTile {
    /// Neighbors that share four rows of the side that the workgroup owns; each meets four rows of the other.
    pub lanes: usize,
    /// Groups of `lanes` invocations.
    pub groups: usize,
}

/// A kernel on tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TiledKernel {
    /// The output.
    Forward,
    /// The gradient of queries.
    QueryGrad,
    /// The gradients of keys and values.
    KeyGrad,
}

impl AttentionTile {
    /// 64 × 32. Multiply-adds wait for workgroup memory, which gives a processor 128 bytes a cycle. Scores have 8 for each 16
    /// bytes of an invocation, sums over heads of 64 have 11, so 57 % of the peak remain.
    pub const TALL: Self = Self { lanes: 8, groups: 16 };
    /// 32 × 32, with half the workgroup memory and the least waste at the edges: 197 tokens are 224, not 256.
    pub const SMALL: Self = Self { lanes: 8, groups: 8 };
    /// 64 × 64, which reads keys and values as seldom as `TALL`, and takes more memory: the fastest output on an H200.
    pub const LARGE: Self = Self { lanes: 16, groups: 16 };
    /// Tiles that kernels are chosen from.
    const CHOSEN: [Self; 3] = [Self::LARGE, Self::TALL, Self::SMALL];

    /// Number of pairs that it computes in the time of 100 of the fastest tile. Measured on an H200: the output of 4 × 8 heads
    /// of 256 × 256 × 64 takes 25, 31 and 32 µs. The gradient of 64 × 12 heads of 197 takes 2.1 and 3.0 ms by the last two.
    /// That of the first shape with pairs in memory takes 97 and 107 µs by `TALL` and `LARGE`.
    fn speed(self, kernels: &[TiledKernel]) -> usize {
        match (kernels, self) {
            ([TiledKernel::Forward], Self::LARGE) => 100,
            ([TiledKernel::Forward], Self::TALL) => 82,
            ([TiledKernel::Forward], _) => 79,
            (_, Self::TALL) => 100,
            (_, Self::LARGE) => 90,
            (_, _) => 62,
        }
    }

    /// Rows that a workgroup owns.
    pub fn own(self) -> usize {
        4 * self.groups
    }

    /// Rows of the other side that it meets at a time.
    pub fn met(self) -> usize {
        4 * self.lanes
    }

    /// Invocations of a workgroup.
    pub(crate) fn invocations(self) -> usize {
        self.lanes * self.groups
    }

    /// Numbers of vectors in workgroup memory: of a tile of own rows, of the first tile of met rows, and of weights. Heads have
    /// `head` elements.
    fn vectors(self, kernel: TiledKernel, head: usize, cached: bool) -> [usize; 3] {
        let (met, weights) = (self.met() * Self::stride(head), self.own() * self.lanes);
        let own = if cached { 1 } else { self.own() * Self::stride(head) };
        match kernel {
            // Probabilities take the place of keys.
            TiledKernel::Forward => [own, met.max(weights), 1],
            TiledKernel::QueryGrad | TiledKernel::KeyGrad => [own, met, weights],
        }
    }

    /// Bytes of workgroup memory.
    fn memory(self, kernel: TiledKernel, head: usize, cached: bool) -> usize {
        let ([own, first, weights], met) = (self.vectors(kernel, head, cached), self.met() * Self::stride(head));
        let vectors = match kernel {
            TiledKernel::Forward => own + first + met,
            TiledKernel::QueryGrad => 2 * own + first + met + weights,
            TiledKernel::KeyGrad => 2 * own + first + met + 2 * weights,
        };
        16 * vectors
    }

    /// Vectors of four from one row in workgroup memory to the next.
    fn stride(head: usize) -> usize {
        head.div_ceil(4).next_multiple_of(8)
    }

    /// Units of each row of a sum that an invocation holds.
    fn sums(self, head: usize) -> usize {
        Self::stride(head).div_ceil(self.lanes)
    }

    /// True if own rows are read from cache, as workgroup memory does not hold them. `None` if it does not hold the others
    /// either, a workgroup is too large, or its lanes are too few for the head.
    fn cached(self, caps: &Caps, kernel: TiledKernel, head: usize) -> Option<bool> {
        let fits = |cached: &bool| self.memory(kernel, head, *cached) <= caps.workgroup_memory as usize;
        let runs = self.invocations() <= caps.invocations as usize && self.sums(head) <= MAX_SUMS;
        [false, true].into_iter().find(fits).filter(|_| runs)
    }

    /// True if the adapter can run all `kernels` on it.
    fn runs(self, caps: &Caps, kernels: &[TiledKernel], head: usize) -> bool {
        kernels.iter().all(|&kernel| self.cached(caps, kernel, head).is_some())
    }

    /// Sets the constants of `shaders/lib/attention/attention_tiles.wgsl`.
    pub(crate) fn specialize(self, caps: &Caps, kernel: TiledKernel, head: usize, dispatch: Dispatch) -> Dispatch {
        let cached = self.cached(caps, kernel, head).unwrap_or(true);
        let [own, met, weights] = self.vectors(kernel, head, cached).map(|vectors| vectors as u32);
        let stride = Self::stride(head);
        dispatch
            .flag("OWN_CACHED", cached)
            .flag("SHUFFLE", caps.shuffle as usize >= self.lanes)
            .constant("LANES", self.lanes as u32)
            .constant("GROUPS", self.groups as u32)
            .constant("STRIDE", stride as u32)
            .constant("INNER", head.div_ceil(4) as u32)
            .constant("SUMS", self.sums(head) as u32)
            .constant("OWN_SIZE", own)
            .constant("MET_SIZE", met)
            .constant("WEIGHTS_SIZE", weights)
    }

    /// Number of pairs that are computed for `queries` and `keys`, edges of tiles included.
    fn computed(self, queries: usize, keys: usize) -> usize {
        queries.next_multiple_of(self.own()) * keys.next_multiple_of(self.met())
    }
}

/// Greatest number of units of a row that `Sums` of `shaders/lib/attention/attention_tiles.wgsl` holds.
const MAX_SUMS: usize = 4;

/// Workgroups that keep a large GPU busy: 4 × 8 heads of 256 × 256 × 64 take 25 µs on an H200 in 128 workgroups, 35 and more with
/// their keys in parts.
const ENOUGH: usize = 128;

/// Number of bytes of causal pairs up to which all are computed. 8 × 16 causal heads of 1024 with their gradient take 4.0 ms on an
/// H100 by tiles, which leave out what is masked, and 6.8 by pairs in memory (32 MiB at a time).
const FEW_PAIRS: usize = 32 << 20;

const FORWARD: &[TiledKernel] = &[TiledKernel::Forward];
const GRADIENT: &[TiledKernel] = &[TiledKernel::QueryGrad, TiledKernel::KeyGrad];

impl AttentionForm {
    /// True if the adapter can run it for heads of `head` elements: the output, or with `gradient` the gradient.
    pub fn runs_on(self, caps: &Caps, head: usize, gradient: bool) -> bool {
        match (self, gradient) {
            (Self::Rows, _) => true,
            (Self::Tiled(tile), false) => tile.runs(caps, FORWARD, head),
            (Self::Split(tile, parts), false) => parts > 0 && tile.runs(caps, FORWARD, head),
            (Self::Tiled(tile) | Self::Split(tile, _), true) => tile.runs(caps, GRADIENT, head),
            (Self::Stored(loops), _) => loops.runs_on(caps, head),
        }
    }
}

impl Caps {
    /// The form of an attention's output; `half` as in [`AttentionOptions`](crate::AttentionOptions).
    ///
    /// On an H100 the form with a row for each invocation takes 0.328 ms for 4 × 8 heads of 256 × 256 × 64, unfused ops 0.069,
    /// tiles 0.027, pairs in memory 0.039, and on matrix units 0.024. 64 × 12 heads of 197 take 0.58, 0.57 and 0.38 by the last
    /// three, 8 × 16 causal heads of 1024 take 0.80, 2.3 and 1.2. If there are few workgroups the keys are cut into parts. A
    /// part's sums are no more bytes than its scores would be. They are written and read once where unfused ops write and read
    /// twice, in three dispatches.
    pub(crate) fn attention_form(&self, s: &AttentionSizes, causal: bool, half: bool) -> AttentionForm {
        let loops = PairLoops::chosen(self, half);
        if loops.on_units() && self.stores(loops, s, causal) {
            return AttentionForm::Stored(loops);
        }
        let Some(tile) = self.attention_tile(s, FORWARD) else { return AttentionForm::Rows };
        let workgroups = s.batch * s.heads * s.queries.div_ceil(tile.own());
        // As many iterations for each part as for the others.
        let iterations = s.keys.div_ceil(tile.met());
        let parts = iterations.div_ceil(iterations.div_ceil((ENOUGH / workgroups).clamp(1, iterations)));
        if parts > 1 { AttentionForm::Split(tile, parts) } else { AttentionForm::Tiled(tile) }
    }

    /// The form of an attention's gradient; `half` as in [`AttentionOptions`](crate::AttentionOptions).
    ///
    /// Tiles take 14 · head size flop a pair, as both kernels compute scores. Pairs in memory take 10, on loops that read less
    /// workgroup memory, and move 24 bytes a pair. With the output, 64 × 12 heads of 197 take 2.6 ms on an H100 by tiles, 1.8 by pairs
    /// in memory and 1.6 on matrix units; 8 × 16 heads of 1024 take 6.9, 4.8 and 4.0.
    pub(crate) fn attention_grad_form(&self, s: &AttentionSizes, causal: bool, half: bool) -> AttentionForm {
        let loops = PairLoops::chosen(self, half);
        if (loops.on_units() || !self.software) && self.stores(loops, s, causal) {
            return AttentionForm::Stored(loops);
        }
        self.attention_tile(s, GRADIENT).map_or(AttentionForm::Rows, AttentionForm::Tiled)
    }

    /// True if pairs in memory are worth it: they can be, and are not many of which a causal mask spares half.
    fn stores(&self, loops: PairLoops, s: &AttentionSizes, causal: bool) -> bool {
        let bytes = 8 * s.batch * s.heads * s.queries * s.keys;
        let fits = 2 * 16 * s.queries * s.keys.div_ceil(4) <= self.max_binding.min(PAIRS as u64) as usize;
        loops.runs_on(self, s.head) && fits && (!causal || bytes <= FEW_PAIRS)
    }

    /// The tile that takes the least time for its pairs, edges included, of those that run. None on software adapters.
    fn attention_tile(&self, s: &AttentionSizes, kernels: &[TiledKernel]) -> Option<AttentionTile> {
        let running =
            AttentionTile::CHOSEN.into_iter().filter(|tile| !self.software && tile.runs(self, kernels, s.head));
        running.min_by_key(|tile| 1000 * tile.computed(s.queries, s.keys) / tile.speed(kernels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes([batch, heads, queries, keys, head]: [usize; 5]) -> AttentionSizes {
        let row = heads * head;
        AttentionSizes { batch, heads, queries, keys, head, rows: [row; 3], starts: [0; 3] }
    }

    /// Forms of output and gradient on an adapter with `kib` KiB of workgroup memory and `invocations` of a workgroup.
    fn forms(kib: u32, invocations: u32, of: [usize; 5]) -> [AttentionForm; 2] {
        let caps = Caps { workgroup_memory: kib << 10, invocations, ..Caps::default() };
        [caps.attention_form(&sizes(of), false, false), caps.attention_grad_form(&sizes(of), false, false)]
    }

    #[test]
    fn sizes_and_workgroup_memory_choose_the_form() {
        use AttentionForm::{Rows, Split, Stored, Tiled};
        let (small, tall, large) = (AttentionTile::SMALL, AttentionTile::TALL, AttentionTile::LARGE);
        let stored = Stored(PairLoops::chosen(&Caps::default(), false));
        // NVIDIA, 48 KiB: few workgroups, the edges of 197, many keys, large heads.
        assert_eq!(forms(48, 1024, [4, 8, 256, 256, 64]), [Tiled(large), stored]);
        assert_eq!(forms(48, 1024, [64, 12, 197, 197, 64]), [Tiled(small), stored]);
        assert_eq!(forms(48, 1024, [8, 16, 1024, 1024, 64]), [Tiled(large), stored]);
        assert_eq!(forms(48, 1024, [64, 8, 512, 512, 128]), [Tiled(tall), stored]);
        // As many keys for each part as for the others: nine iterations in five parts of two.
        assert_eq!(forms(48, 1024, [1, 2, 512, 576, 64])[0], Split(large, 5));
        assert_eq!(forms(48, 1024, [1, 1, 1, 1, 8]), [Tiled(small), stored]);
        // Products read fours; a head whose pairs no binding holds.
        assert_eq!(forms(48, 1024, [4, 8, 256, 256, 62])[1], Tiled(tall));
        assert_eq!(forms(48, 1024, [1, 1, 8192, 8192, 64])[1], Tiled(tall));
        // 32 KiB, and WebGPU's defaults: smaller tiles, then none.
        assert_eq!(forms(32, 1024, [8, 16, 1024, 1024, 64]), [Tiled(tall), stored]);
        assert_eq!(forms(16, 256, [64, 12, 197, 197, 32]), [Tiled(small), stored]);
        assert_eq!(forms(16, 256, [1, 2, 40, 40, 32]), [Split(tall, 2), stored]);
        assert_eq!(forms(16, 256, [64, 12, 197, 197, 126]), [Rows, Rows]);
        assert_eq!(forms(48, 32, [64, 12, 197, 197, 64]), [Rows, Rows]);
        let caps = Caps { workgroup_memory: 48 << 10, invocations: 1024, ..Caps::default() };
        let [short, long] = [[4, 8, 256, 256, 64], [8, 16, 1024, 1024, 64]].map(sizes);
        assert_eq!(caps.attention_grad_form(&short, true, false), stored, "few causal pairs");
        assert_eq!(caps.attention_grad_form(&long, true, false), Tiled(tall), "many, of which half are masked");
        let units = Caps { cooperative: true, ..caps };
        let on_units = Stored(PairLoops::chosen(&units, true));
        for half in [false, true] {
            let [output, gradient] =
                [units.attention_form(&long, false, half), units.attention_grad_form(&long, false, half)];
            assert_eq!([output, gradient], if half { [on_units; 2] } else { [Tiled(large), stored] });
        }
        let software = Caps { software: true, workgroup_memory: 48 << 10, invocations: 1024, ..Caps::default() };
        for half in [false, true] {
            assert_eq!(software.attention_form(&short, false, half), Rows);
            assert_eq!(software.attention_grad_form(&short, false, half), Rows);
        }
    }

    #[test]
    fn tiles_know_their_workgroup_memory() {
        let kib = |tile: AttentionTile, kernel, head| {
            [false, true].map(|cached| tile.memory(kernel, head, cached) as f64 / 1024.0)
        };
        assert_eq!(kib(AttentionTile::LARGE, TiledKernel::Forward, 64)[0], 48.0);
        assert_eq!(kib(AttentionTile::TALL, TiledKernel::Forward, 64)[0], 32.0);
        assert_eq!(kib(AttentionTile::SMALL, TiledKernel::Forward, 64)[0], 24.0);
        assert_eq!(kib(AttentionTile::SMALL, TiledKernel::QueryGrad, 64)[0], 36.0);
        assert_eq!(kib(AttentionTile::SMALL, TiledKernel::KeyGrad, 64)[0], 40.0);
        // A vector stands for each of the own tiles.
        assert_eq!(kib(AttentionTile::TALL, TiledKernel::KeyGrad, 64)[1], 32.0 + 2.0 / 64.0);
    }
}
