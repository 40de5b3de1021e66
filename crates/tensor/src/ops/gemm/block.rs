//! The family of products through workgroup memory, `shaders/lib/gemm/product_block.wgsl`.

use std::fmt;
use std::str::FromStr;

use crate::device::gpu::Caps;
use crate::graph::op::Dispatch;

/// A member of the family: how large a block of outputs a workgroup owns, and how its invocations share the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Block {
    /// Rows of the output that a workgroup owns.
    pub rows: u16,
    /// Columns of the output that a workgroup owns.
    pub columns: u16,
    /// Values of k that go through workgroup memory at a time.
    pub depth: u16,
    /// Rows and columns of an invocation: multiples of 4.
    pub own: [u16; 2],
    /// Groups of invocations that share the k of a turn.
    pub slices: u16,
}

/// Multiply-adds from which on large blocks pay.
const LARGE_WORK: usize = 800_000_000;

/// Workgroups that keep a large GPU busy: two for each of 132 multiprocessors.
const ENOUGH_GROUPS: usize = 264;

/// Blocks of 128 from which on no multiprocessor is idle for long.
const BUSY: usize = 190;

impl Block {
    /// A member without slices.
    const fn new(rows: u16, columns: u16, depth: u16, own: [u16; 2]) -> Self {
        Self { rows, columns, depth, own, slices: 1 }
    }

    const fn sliced(self, slices: u16) -> Self {
        Self { slices, ..self }
    }

    /// For products of few rows or columns: as many workgroups as there can be.
    const TINY: Self = Self::new(16, 16, 64, [4, 4]).sliced(8);
    /// For the layers of small networks, such as `[128, 512] · [512, 512]`.
    const NARROW: Self = Self::new(16, 32, 64, [4, 4]).sliced(4);
    const SQUARE: Self = Self::new(32, 32, 64, [4, 4]).sliced(4);
    const HALFWAY: Self = Self::new(64, 32, 32, [4, 4]).sliced(2);
    const MEDIUM: Self = Self::new(64, 64, 16, [8, 4]);
    const BROAD: Self = Self::new(64, 64, 16, [8, 8]);
    /// For products that are large both ways.
    const DEEP: Self = Self::new(128, 128, 32, [8, 8]);
    /// For adapters with the least that WebGPU allows, and few outputs.
    pub(crate) const SMALL: Self = Self::new(64, 64, 16, [4, 4]);
    /// The same for products that are large both ways.
    pub(crate) const LARGE: Self = Self::new(128, 128, 8, [8, 8]);

    /// All members that are worth measuring against each other.
    pub const FAMILY: &[Self] = &[
        Self::TINY,
        Self::NARROW,
        Self::SQUARE,
        Self::HALFWAY,
        Self::SMALL,
        Self::MEDIUM,
        Self::BROAD,
        Self::new(128, 64, 16, [8, 8]),
        Self::LARGE,
        Self::new(128, 128, 16, [8, 8]),
        Self::DEEP,
    ];

    /// Invocations that own a block together: those of one slice.
    fn slice(self) -> usize {
        usize::from(self.rows / self.own[0]) * usize::from(self.columns / self.own[1])
    }

    /// Invocations of a workgroup.
    pub fn invocations(self) -> usize {
        self.slice() * usize::from(self.slices)
    }

    /// Bytes of workgroup memory.
    pub fn memory(self) -> usize {
        let [rows, columns, depth] = [self.rows, self.columns, self.depth].map(usize::from);
        16 * depth * (rows / 4 + columns / 4 + 2 * self.padding()) + 4 * (usize::from(self.slices) - 1) * rows * columns
    }

    /// Vectors that a row of a tile is longer, so that neighbors in k lie in different banks. Without them the largest tiles just
    /// fit the 32 KiB that many adapters have.
    fn padding(self) -> usize {
        let tiles = 4 * usize::from(self.depth) * usize::from(self.rows + self.columns);
        usize::from(tiles < 32 << 10)
    }

    /// Rows and columns of invocations that form a subgroup of 32, or as many as own a block.
    fn lanes(self) -> [usize; 2] {
        let [rows, columns] = [self.rows / self.own[0], self.columns / self.own[1]].map(usize::from);
        // As square a tile as there is: it reads the fewest words of workgroup memory.
        if rows.is_multiple_of(8) && columns.is_multiple_of(4) { [8, 4] } else { [rows.min(4), columns.min(8)] }
    }

    /// The member for a product of `[m, n, k]` that nobody has measured, by what was fastest on an NVIDIA H100
    /// (docs/benchmarks.md): large products want large blocks, small ones many.
    pub(crate) fn for_size(caps: &Caps, [m, n, k]: [usize; 3]) -> Self {
        let groups = |block: Self| m.div_ceil(block.rows.into()) * n.div_ceil(block.columns.into());
        let outputs = |block: Self| groups(block) * usize::from(block.rows) * usize::from(block.columns);
        let fastest = match m * n * k {
            LARGE_WORK.. => {
                // Blocks of 128 that hang over the edge, or keep some multiprocessors idle, lose more than they gain.
                let whole = 10 * outputs(Self::DEEP) <= 11 * outputs(Self::BROAD);
                let busy = groups(Self::DEEP) >= BUSY || (groups(Self::DEEP) <= 66 && k >= 1024);
                if whole && busy { Self::DEEP } else { Self::BROAD }
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

    /// Parts of the inner axis for workgroups of their own, where `groups` alone would leave a large GPU idle. They are summed by a
    /// second dispatch of some 3 µs, so a part is no shorter than that is worth.
    pub(crate) fn parts(self, groups: usize, k: usize) -> usize {
        let shortest = if self.slices > 1 { 512 } else { 128 };
        if 3 * groups > ENOUGH_GROUPS { 1 } else { (ENOUGH_GROUPS / groups.max(1)).min(k / shortest).max(1) }
    }

    /// The member for the triangle of a symmetric product: its blocks are square, or of several squares above each other.
    pub(crate) fn for_triangle(self) -> Self {
        if self.rows.is_multiple_of(self.columns) { self } else { Self::SQUARE }
    }

    /// Whether the adapter can run it.
    pub fn runs_on(self, caps: &Caps) -> bool {
        self.invocations() <= caps.invocations as usize && self.memory() <= caps.workgroup_memory as usize
    }

    /// The sizes that choose it in the kernel's text.
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

/// `128x128x8/8x8`, and `16x32x64/4x4/4` with four slices.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, depth, own: [own_rows, own_columns], slices } = self;
        write!(f, "{rows}x{columns}x{depth}/{own_rows}x{own_columns}")?;
        if *slices > 1 { write!(f, "/{slices}") } else { Ok(()) }
    }
}

impl FromStr for Block {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::FAMILY.iter().copied().find(|block| block.to_string() == text);
        found.ok_or_else(|| {
            let names: Vec<String> = Self::FAMILY.iter().map(Self::to_string).collect();
            format!("{text} is none of the blocks {}", names.join(", "))
        })
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
            ([1024, 1024, 1024], "128x128x32/8x8"),
            ([4096, 4096, 4096], "128x128x32/8x8"),
            // Convolutions of ResNet-18 on 64 images: few channels, then few blocks of 128.
            ([64, 200_704, 576], "64x64x16/8x8"),
            ([512, 3136, 4608], "64x64x16/8x8"),
        ] {
            assert_eq!(Block::for_size(&caps, size).to_string(), fastest, "{size:?}");
        }
        assert_eq!(Block::for_size(&Caps::default(), [128; 3]), Block::SMALL, "16 KiB");
    }

    #[test]
    fn a_long_inner_axis_of_few_blocks_is_cut() {
        assert_eq!(Block::DEEP.parts(64, 1024), 4);
        assert_eq!(Block::DEEP.parts(1024, 4096), 1, "enough blocks");
        assert_eq!(Block::MEDIUM.parts(16, 8192), 16);
        assert_eq!(Block::TINY.parts(64, 512), 1, "short");
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
