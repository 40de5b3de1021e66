//! The family of products on matrix units, `shaders/lib/gemm/product_cooperative.wgsl`.

use std::fmt;

use crate::device::gpu::Caps;
use crate::graph::op::Dispatch;

/// A member of the family: how large a block of outputs a workgroup owns, and which share of it a subgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Units {
    /// Rows of the output that a workgroup owns.
    pub rows: u16,
    /// Columns of the output that a workgroup owns.
    pub columns: u16,
    /// Values of k that go through workgroup memory at a time.
    pub depth: u16,
    /// Fragments of 16 × 16 that a subgroup owns, down and across.
    pub fragments: [u16; 2],
}

impl Units {
    /// For products that are large both ways: of those measured on an NVIDIA H200 the fastest at 4096.
    pub(crate) const LARGE: Self = Self { rows: 128, columns: 128, depth: 32, fragments: [4, 4] };
    /// For products with few outputs.
    pub(crate) const SMALL: Self = Self { rows: 64, columns: 64, depth: 32, fragments: [2, 2] };

    /// All members.
    pub const FAMILY: &[Self] = &[Self::SMALL, Self::LARGE];

    /// The member for a product of `[m, n]` outputs.
    pub(crate) fn for_size([m, n]: [usize; 2]) -> Self {
        let groups = m.div_ceil(Self::LARGE.rows.into()) * n.div_ceil(Self::LARGE.columns.into());
        if groups >= 132 { Self::LARGE } else { Self::SMALL }
    }

    fn subgroups(self) -> usize {
        usize::from(self.rows / (16 * self.fragments[0])) * usize::from(self.columns / (16 * self.fragments[1]))
    }

    /// Whether the adapter can run it.
    pub fn runs_on(self, caps: &Caps) -> bool {
        let [rows, columns, depth] = [self.rows, self.columns, self.depth].map(usize::from);
        let memory = 2 * (rows + columns) * (depth + 8) + 1024 * self.subgroups();
        caps.cooperative && memory <= caps.workgroup_memory as usize
    }

    /// The sizes that choose it in the kernel's text.
    pub(crate) fn sizes(self, dispatch: Dispatch) -> Dispatch {
        let [rows, columns, depth] = [self.rows, self.columns, self.depth].map(usize::from);
        let invocations = 32 * self.subgroups();
        dispatch
            .flag("COOPERATIVE", true)
            .size("ROWS", rows)
            .size("COLUMNS", columns)
            .size("DEPTH", depth)
            .size("DOWN", self.fragments[0].into())
            .size("ACROSS", self.fragments[1].into())
            .size("SUBGROUPS", self.subgroups())
            .size("STEPS", depth / 16)
            .size("LHS_LOADS", rows * depth / 4 / invocations)
            .size("RHS_LOADS", columns * depth / 4 / invocations)
    }
}

/// `units 128x128x32/4x4`
impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, depth, fragments: [down, across] } = self;
        write!(f, "units {rows}x{columns}x{depth}/{down}x{across}")
    }
}
