//! The family of products on matrix units, `shaders/lib/gemm/product_cooperative.wgsl`.

use super::members::Units;
use crate::device::caps::Caps;
use crate::graph::op::Dispatch;

impl Units {
    /// The member for a product of `[m, n]` outputs.
    pub(crate) fn for_size([m, n]: [usize; 2]) -> Self {
        let groups = m.div_ceil(Self::LARGE.rows.into()) * n.div_ceil(Self::LARGE.columns.into());
        if groups >= 132 { Self::LARGE } else { Self::SMALL }
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
