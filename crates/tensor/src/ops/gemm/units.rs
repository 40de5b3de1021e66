//! The family of products on matrix units, `shaders/lib/gemm/product_cooperative.wgsl`.

use super::block::{SHORTEST_PART, parts_for_waves};
use super::members::{Block, Units};
use crate::device::caps::Caps;
use crate::graph::op::Dispatch;

impl Units {
    /// The member for a product of `[m, n, k]`; k = 0 if its inner axis stays whole.
    pub(crate) fn for_size([m, n, k]: [usize; 3]) -> Self {
        let groups = m.div_ceil(Self::LARGE.rows.into()) * n.div_ceil(Self::LARGE.columns.into());
        if groups * Self::LARGE.parts(groups, k) >= 132 { Self::LARGE } else { Self::SMALL }
    }

    /// The member for a convolution in mixed precision whose blocks count these channels, on an adapter with matrix units.
    pub(crate) fn for_conv(caps: &Caps, half: bool, channels: &[usize]) -> Option<Self> {
        let large = channels.iter().all(|channels| channels.is_multiple_of(Self::LARGE.rows.into()));
        let units = if large { Self::LARGE } else { Self::SMALL };
        (half && units.runs_on(caps)).then_some(units)
    }

    /// Number of parts of an inner axis of `k`.
    pub(crate) fn parts(self, groups: usize, k: usize) -> usize {
        // A part's sums are 8 bytes at 2.5 TB/s; they come from 2 k flop at 250 TFLOP/s.
        let large = || parts_for_waves(groups, k / SHORTEST_PART, 400.0 / k as f64);
        if self == Self::LARGE { large() } else { Block::LARGE.parts(groups, k) }
    }

    fn subgroups(self) -> usize {
        usize::from(self.rows / (16 * self.fragments[0])) * usize::from(self.columns / (16 * self.fragments[1]))
    }

    /// True if the adapter can run it.
    pub(crate) fn runs_on(self, caps: &Caps) -> bool {
        let [rows, columns, depth] = [self.rows, self.columns, self.depth].map(usize::from);
        let memory = 2 * depth * (rows + columns + 16) + 1024 * self.subgroups();
        caps.cooperative && memory <= caps.workgroup_memory as usize
    }

    /// Sets the sizes that select it in the kernel's text.
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
            .size("LHS_SQUARES", rows * depth / 16 / invocations)
            .size("RHS_SQUARES", columns * depth / 16 / invocations)
    }
}
