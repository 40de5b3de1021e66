//! The family of products through workgroup memory, `shaders/lib/gemm/product_block.wgsl`.

use super::members::{Block, GemmVariant, Layout};
use crate::device::caps::Caps;
use crate::graph::op::Dispatch;

/// Number of multiply-adds from which large blocks are faster.
const LARGE_WORK: usize = 800_000_000;

/// Workgroups that keep a large GPU busy: two for each of 132 multiprocessors.
const ENOUGH_GROUPS: usize = 264;

/// Number of multiply-adds from which a convolution goes tap by tap.
const LARGE_CONV: usize = 200_000_000;

/// Fewest values of k in a part of a convolution.
const SHORTEST_CONV_PART: usize = 512;

/// Fewest values of k in a part of a large matrix product.
pub(super) const SHORTEST_PART: usize = 1024;

/// Number of blocks of 128 from which no multiprocessor is idle for long.
const BUSY: usize = 190;

impl Block {
    /// Rows and columns of invocations that form a subgroup of 32, or as many as own a block.
    fn lanes(self) -> [usize; 2] {
        let [rows, columns] = [self.rows / self.own[0], self.columns / self.own[1]].map(usize::from);
        // The squarest tile reads the fewest words of workgroup memory.
        if rows.is_multiple_of(8) && columns.is_multiple_of(4) { [8, 4] } else { [rows.min(4), columns.min(8)] }
    }

    /// The member for a product of `[m, n, k]` that has not been measured. It follows the fastest on an NVIDIA H100
    /// (docs/benchmarks.md): large products get large blocks, small ones many.
    pub(crate) fn for_size(caps: &Caps, [m, n, k]: [usize; 3]) -> Self {
        let groups = |block: Self| m.div_ceil(block.rows.into()) * n.div_ceil(block.columns.into());
        let fastest = match m * n * k {
            LARGE_WORK.. => {
                // Blocks of 128 that hang over the edge, or keep some multiprocessors idle, lose more than they gain.
                let whole = Self::EVEN.is_whole([m, n]);
                let busy = groups(Self::EVEN) >= BUSY || (groups(Self::EVEN) <= 66 && k >= 1024);
                if whole && busy { Self::EVEN } else { Self::BROAD }
            }
            200_000_000.. => Self::MEDIUM,
            100_000_000.. => Self::HALFWAY,
            60_000_000.. => Self::SQUARE,
            20_000_000.. => Self::NARROW,
            _ => Self::TINY,
        };
        let fallback = if groups(Self::LARGE) >= BUSY { Self::LARGE } else { Self::SMALL };
        if fastest.runs_on(caps) { fastest } else { fallback }
    }

    /// The member for a matrix product of `[m, n, k]`. Where the blocks of its last wave keep the GPU busy, the fastest is one of
    /// which two fit a multiprocessor.
    pub(crate) fn for_matmul(caps: &Caps, [m, n, k]: [usize; 3]) -> Self {
        let fastest = Self::for_size(caps, [m, n, k]);
        let even = m.div_ceil(Self::EVEN.rows.into()) * n.div_ceil(Self::EVEN.columns.into());
        let in_parts = even * Self::EVEN.matmul_parts(even, k);
        let by_parts = fastest == Self::BROAD && Self::EVEN.is_whole([m, n]) && 4 * in_parts >= 3 * waves(in_parts);
        if fastest != Self::EVEN && !by_parts {
            return fastest;
        }
        let fours = [m, n].into_iter().all(|size| size.is_multiple_of(4));
        let groups = m.div_ceil(Self::TALL.rows.into()) * n.div_ceil(Self::TALL.columns.into());
        let tall = fours && k.is_multiple_of(Self::TALL.depth.into()) && 20 * groups >= 19 * waves(groups);
        let wanted = if tall { Self::TALL } else { Self::DEEP };
        if wanted.runs_on(caps) { wanted } else { fastest }
    }

    /// The member for a convolution of so many multiply-adds that goes tap by tap; `None` if it is small.
    fn for_conv(work: usize) -> Option<Self> {
        (work >= LARGE_CONV).then_some(Self::LOW)
    }

    /// The same for the gradient of the weights, of a convolution of so many channels.
    fn for_weight_grad(channels: usize, work: usize) -> Option<Self> {
        (work >= LARGE_CONV).then_some(if channels.is_multiple_of(128) { Self::LOW } else { Self::BROAD })
    }

    /// True if addresses are best computed once, before the loop: that takes registers, which this member has to spare.
    pub(crate) fn is_steady(self) -> bool {
        self == Self::TALL
    }

    /// True if blocks hang over the edges of `[m, n]` outputs by little more than blocks of 64 do.
    fn is_whole(self, [m, n]: [usize; 2]) -> bool {
        let outputs = |[rows, columns]: [usize; 2]| m.next_multiple_of(rows) * n.next_multiple_of(columns);
        10 * outputs([self.rows, self.columns].map(usize::from)) <= 11 * outputs([64, 64])
    }

    /// Number of parts of a matrix product's inner axis of `k`.
    pub(crate) fn matmul_parts(self, groups: usize, k: usize) -> usize {
        let large = self.rows.min(self.columns) >= 128 && 3 * groups > ENOUGH_GROUPS;
        // A part's sums are 8 bytes at 2.5 TB/s; they come from 2 k flop at 42 TFLOP/s.
        if large { parts_for_waves(groups, k / SHORTEST_PART, 67.0 / k as f64) } else { self.parts(groups, k) }
    }

    /// Number of parts of the inner axis, each with workgroups of its own, where `groups` alone would leave a large GPU idle. A
    /// second dispatch of some 3 µs sums them, so a part is no shorter than that is worth.
    pub(crate) fn parts(self, groups: usize, k: usize) -> usize {
        let shortest = if self.slices > 1 { 512 } else { 128 };
        if 3 * groups > ENOUGH_GROUPS { 1 } else { (ENOUGH_GROUPS / groups.max(1)).min(k / shortest).max(1) }
    }

    /// The member for the triangle of a symmetric product: its blocks are square, or of several squares above each other.
    pub(crate) fn for_triangle(self) -> Self {
        if self.rows.is_multiple_of(self.columns) { self } else { Self::SQUARE }
    }

    /// True if the adapter can run it.
    pub(crate) fn runs_on(self, caps: &Caps) -> bool {
        self.invocations() <= caps.invocations as usize && self.memory() <= caps.workgroup_memory as usize
    }

    /// Sets the sizes that select it in the kernel's text.
    pub(crate) fn sizes(self, dispatch: Dispatch) -> Dispatch {
        let [rows, columns, depth, slices] = [self.rows, self.columns, self.depth, self.slices].map(usize::from);
        let [own_rows, own_columns] = self.own.map(usize::from);
        let [lane_rows, lane_columns] = self.lanes();
        dispatch
            .flag("BLOCK", true)
            .flag("SLICED", slices > 1)
            .size("ROWS", rows)
            .size("COLUMNS", columns)
            .size("DEPTH", depth)
            .size("TURN", depth / slices)
            .size("PADDING", self.padding())
            .size("OWN_ROWS", own_rows)
            .size("OWN_COLUMNS", own_columns)
            .size("ROW_FOURS", own_rows / 4)
            .size("FOURS", own_columns / 4)
            .size("SUMS", own_rows * own_columns / 4)
            .size("SLICES", slices)
            .size("SLICE", self.slice())
            .size("LANE_ROWS", lane_rows)
            .size("LANE_COLUMNS", lane_columns)
            .size("LHS_LOADS", rows * depth / 4 / self.invocations())
            .size("RHS_LOADS", columns * depth / 4 / self.invocations())
    }
}

/// Number of workgroups in as many whole waves as `groups` take.
fn waves(groups: usize) -> usize {
    groups.next_multiple_of(ENOUGH_GROUPS)
}

/// Number of parts, up to `most`, by which the last workgroups of `groups` in each keep most of a large GPU busy. A part costs the
/// share `cost` of the time, as it is stored and added up.
pub(super) fn parts_for_waves(groups: usize, most: usize, cost: f64) -> usize {
    let busy = |parts: usize| {
        let all = groups * parts;
        all as f64 / waves(all) as f64 - cost * parts as f64
    };
    (1..=most.clamp(1, 8)).max_by(|&a, &b| busy(a).total_cmp(&busy(b)).then(b.cmp(&a))).unwrap_or(1)
}

/// Number of parts of a convolution's inner axis of `k`.
pub(crate) fn conv_parts(groups: usize, k: usize) -> usize {
    parts_for_waves(groups, k / SHORTEST_CONV_PART, 0.01)
}

impl Caps {
    /// The block for a convolution that goes tap by tap, a product of `[m, n, k]`: from the tuning table, else by size. `None`
    /// where no block is right.
    pub(crate) fn conv_block(&self, layout: Layout, [m, n, k]: [usize; 3]) -> Option<Block> {
        self.block_or(layout, [m, n, k], || Block::for_conv(m * n * k))
    }

    /// The same for the gradient of the weights, where `n` counts taps and `channels`.
    pub(crate) fn weight_grad_block(&self, [m, n, k]: [usize; 3], channels: usize) -> Option<Block> {
        self.block_or(Layout::NT, [m, n, k], || Block::for_weight_grad(channels, m * n * k))
    }

    fn block_or(&self, layout: Layout, size: [usize; 3], usual: impl Fn() -> Option<Block>) -> Option<Block> {
        let block = match self.tuned(layout, size) {
            Some(GemmVariant::Block(block)) => Some(block),
            Some(_) => None,
            None if self.subgroup == 8 => None,
            None => usual(),
        };
        block.filter(|block| block.slices == 1 && block.runs_on(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_choose_the_member_that_was_fastest() {
        let caps = Caps { invocations: 1024, workgroup_memory: 48 << 10, ..Caps::default() };
        for (size, fastest) in [
            ([128, 128, 128], "16x16x64/4x4/8"),
            ([128, 512, 512], "16x32x64/4x4/4"),
            ([256, 512, 512], "32x32x64/4x4/4"),
            ([512, 512, 512], "64x32x32/4x4/2"),
            ([1024, 512, 512], "64x64x16/8x4"),
            ([1024, 1024, 1024], "128x128x16/8x8"),
            ([4096, 4096, 4096], "128x128x16/8x8"),
            // Convolutions of ResNet-18 on 64 images: few channels, then few blocks of 128.
            ([64, 200_704, 576], "64x64x16/8x8"),
            ([512, 3136, 4608], "64x64x16/8x8"),
        ] {
            assert_eq!(Block::for_size(&caps, size).to_string(), fastest, "{size:?}");
        }
        assert_eq!(Block::for_size(&Caps::default(), [128; 3]), Block::SMALL, "16 KiB");
        assert_eq!(Block::for_matmul(&caps, [4096; 3]), Block::TALL);
        assert_eq!(Block::for_matmul(&caps, [4096, 4096, 4090]), Block::DEEP, "no whole number of iterations");
        assert_eq!(Block::for_matmul(&caps, [1024; 3]), Block::DEEP, "few blocks");
        assert_eq!(Block::for_matmul(&caps, [12_608, 768, 768]), Block::DEEP, "594 blocks: 2.25 waves");
    }

    #[test]
    fn a_long_inner_axis_of_few_blocks_is_cut() {
        assert_eq!(Block::EVEN.parts(64, 1024), 4);
        assert_eq!(Block::EVEN.parts(1024, 4096), 1, "enough blocks");
        assert_eq!(Block::MEDIUM.parts(16, 8192), 16);
        assert_eq!(Block::TINY.parts(64, 512), 1, "short");
    }

    #[test]
    fn parts_of_convolutions_fill_the_last_wave() {
        assert_eq!(conv_parts(392, 2304), 2, "layer3 of ResNet-18: 784 of 792 slots");
        assert_eq!(conv_parts(200, 4608), 5, "layer4: 1000 of 1056");
        assert_eq!(conv_parts(1568, 576), 1, "layer1: short");
        assert_eq!(conv_parts(264, 8192), 1, "one whole wave");
    }

    #[test]
    fn parts_of_large_products_fill_the_last_wave() {
        let caps = Caps { invocations: 1024, workgroup_memory: 48 << 10, ..Caps::default() };
        let parts = |[m, n, k]: [usize; 3]| {
            let block = Block::for_matmul(&caps, [m, n, k]);
            (block, block.matmul_parts(m.div_ceil(block.rows.into()) * n.div_ceil(block.columns.into()), k))
        };
        // Gradients of the weights of ViT-B/16 on 64 images.
        assert_eq!(parts([2304, 768, 12_608]), (Block::DEEP, 7), "756 of 792 slots");
        assert_eq!(parts([3072, 768, 12_608]), (Block::DEEP, 7), "1008 of 1056 slots");
        assert_eq!(parts([12_608, 2304, 768]), (Block::TALL, 1), "1782 of 1848, and short");
    }

    #[test]
    fn every_member_is_whole() {
        for block in Block::FAMILY {
            let name = block.to_string();
            assert_eq!(name.parse(), Ok(*block));
            let [rows, columns, depth] = [block.rows, block.columns, block.depth].map(usize::from);
            let (invocations, [lane_rows, lane_columns]) = (block.invocations(), block.lanes());
            // Each invocation loads as many vectors of a tile as the others, and of rhs always the same columns.
            assert_eq!([rows * depth % (4 * invocations), columns * depth % (4 * invocations)], [0, 0], "{name}");
            assert_eq!(invocations % (columns / 4), 0, "{name}");
            assert_eq!(rows % (lane_rows * usize::from(block.own[0])), 0, "{name}");
            assert_eq!(columns % (lane_columns * usize::from(block.own[1])), 0, "{name}");
            assert!(depth.is_multiple_of(8) && depth.is_multiple_of(block.slices.into()), "{name}");
            assert!(block.memory() <= 32 << 10, "{name}: {} bytes", block.memory());
        }
        assert!(Block::SMALL.runs_on(&Caps::default()) && Block::LARGE.runs_on(&Caps::default()));
    }
}
