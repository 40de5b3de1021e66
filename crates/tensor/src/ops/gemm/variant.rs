//! Loops of matrix products, Gram matrices and convolutions, and the choice among them.
//!
//! A kernel states how an element is loaded and stored (`shaders/lib/gemm/product.wgsl`). The loop around that is chosen here,
//! by the adapter and the sizes, or from a table that `trellis tune` has measured. Every loop adds up in a fixed order, so a
//! run has the same bits each time. Loops with slices of k add in another order than those without: a new table may change last
//! digits.

use super::members::{Block, GemmVariant, Layout, Units};
use crate::Kernel;
use crate::device::caps::Caps;
use crate::graph::op::Dispatch;
use crate::kernel;

impl GemmVariant {
    /// Loops that are worth measuring against each other on an adapter. A CPU gets two of the blocks only: none is made for it.
    pub fn tuned(caps: &Caps) -> Vec<Self> {
        let blocks = if caps.software { &[Block::SMALL, Block::LARGE][..] } else { Block::FAMILY };
        let loops = [Self::Registers, Self::Tall].into_iter().chain(blocks.iter().copied().map(Self::Block));
        loops.filter(|gemm_variant| gemm_variant.runs_on(caps)).collect()
    }

    /// Rows and columns of one workgroup.
    pub(crate) fn block(self) -> [usize; 2] {
        match self {
            Self::Naive => [16, 16],
            Self::Registers | Self::Tall => [64, 32],
            Self::Block(block) => [block.rows, block.columns].map(usize::from),
            Self::Cooperative(units) => [units.rows, units.columns].map(usize::from),
        }
    }

    /// The loop for the triangle of a symmetric product.
    pub(crate) fn for_triangle(self) -> Self {
        match self {
            Self::Block(block) => Self::Block(block.for_triangle()),
            other => other,
        }
    }

    /// True if sums lie in the registers of a subgroup of 8.
    pub(crate) fn in_registers(self) -> bool {
        matches!(self, Self::Registers | Self::Tall)
    }

    /// True if it goes through workgroup memory, by `shaders/lib/gemm/product_loads.wgsl`.
    pub(crate) fn for_gpus(self) -> bool {
        matches!(self, Self::Block(_) | Self::Cooperative(_))
    }

    /// True if an inner axis of this length, or part of it, is a whole number of iterations: loads then need not check for its
    /// end.
    pub(crate) fn whole_turns(self, length: usize) -> bool {
        self.for_gpus() && length > 0 && length.is_multiple_of(self.depth())
    }

    /// Values of k in an iteration.
    pub(crate) fn depth(self) -> usize {
        match self {
            Self::Block(block) => block.depth.into(),
            Self::Cooperative(units) => units.depth.into(),
            Self::Naive | Self::Registers | Self::Tall => 1,
        }
    }

    /// Number of parts of a matrix product's inner axis of `k`, each with `groups` workgroups of its own: they fill the GPU.
    pub(crate) fn parts(self, groups: usize, k: usize) -> usize {
        match self {
            Self::Block(block) => block.matmul_parts(groups, k),
            Self::Cooperative(units) => units.parts(groups, k),
            Self::Naive | Self::Registers | Self::Tall => 1,
        }
    }

    /// True if it runs on matrix units, which take sides of f16.
    pub(crate) fn on_units(self) -> bool {
        matches!(self, Self::Cooperative(_))
    }

    /// True if it runs on matrix units that are emulated.
    pub(crate) fn emulated(self, caps: &Caps) -> bool {
        caps.emulated && self.on_units()
    }

    /// True if operands are best loaded as vec4 along k.
    pub(crate) fn reads_vec4(self) -> bool {
        self.in_registers() || self.for_gpus()
    }

    /// True if the adapter can run it.
    pub(crate) fn runs_on(self, caps: &Caps) -> bool {
        match self {
            Self::Registers | Self::Tall => caps.subgroup == 8,
            Self::Cooperative(units) => units.runs_on(caps),
            Self::Block(block) => block.runs_on(caps),
            Self::Naive => true,
        }
    }

    /// A launch over `[m, n]` outputs, `batch` times.
    pub(crate) fn dispatch(self, kernel: Kernel, [m, n]: [usize; 2], batch: usize) -> Dispatch {
        let [rows, columns] = self.block();
        self.flags(Dispatch::grid(kernel, [n.div_ceil(columns), m.div_ceil(rows), batch]))
    }

    /// Sets the flags that select it in `shaders/lib/gemm/product.wgsl`.
    pub(crate) fn flags(self, dispatch: Dispatch) -> Dispatch {
        match self {
            Self::Naive => dispatch,
            Self::Registers => dispatch.flag("SUBGROUP", true).size("ROW_BLOCKS", 1),
            Self::Tall => dispatch.flag("TALL", true).size("ROW_BLOCKS", 2),
            Self::Block(block) => block.sizes(dispatch),
            Self::Cooperative(units) => units.sizes(dispatch),
        }
    }
}

impl Caps {
    /// The loop for a product of this layout and size `[m, n, k]`: from the tuning table, else by adapter. Where subgroups have
    /// 8 invocations (a CPU's vector) it runs in registers, with a tall block above 16 rows; elsewhere on a block for the size.
    pub(crate) fn gemm_variant(&self, layout: Layout, size: [usize; 3]) -> GemmVariant {
        self.variant_or(layout, size, Block::for_size)
    }

    /// The same for a matrix product.
    pub(crate) fn matmul_variant(&self, layout: Layout, size: [usize; 3]) -> GemmVariant {
        self.variant_or(layout, size, Block::for_matmul)
    }

    /// The loop that the tuning table has for a product, if the adapter runs it.
    pub(super) fn tuned(&self, layout: Layout, size: [usize; 3]) -> Option<GemmVariant> {
        self.tuning.fastest(layout, size).filter(|tuned| tuned.runs_on(self))
    }

    fn variant_or(&self, layout: Layout, size: [usize; 3], block: fn(&Self, [usize; 3]) -> Block) -> GemmVariant {
        self.tuned(layout, size).unwrap_or(match self.subgroup {
            8 if size[0] > 16 => GemmVariant::Tall,
            8 => GemmVariant::Registers,
            _ => GemmVariant::Block(block(self, size)),
        })
    }
}

/// The loop on matrix units for a product of `[m, n, k]`, where both sides are f16 and the adapter has such units.
pub(crate) fn on_units(caps: &Caps, halves: bool, size: [usize; 3]) -> Option<GemmVariant> {
    let units = Units::for_size(size);
    (halves && units.runs_on(caps)).then_some(GemmVariant::Cooperative(units))
}

/// The second pass of a product whose inner axis was cut into parts: adds them up in order, and applies the epilogue. Sizes are
/// rows, of all batch entries, and columns. Bindings: the parts, bias, residual, saved and the output.
pub(crate) fn sum_parts(parts: usize, [rows, columns]: [usize; 2]) -> Dispatch {
    let fours = columns.is_multiple_of(4);
    let unit = if fours { 4 } else { 1 };
    Dispatch::linear(kernel!("gemm/product_parts"), rows * columns / unit)
        .flag("OUT4", fours)
        .dims(&[rows * columns / unit, columns / unit, parts])
        .flops(rows * columns * (parts - 1))
}

/// The inner axis in parts, one dispatch each: llvmpipe silently leaves a loop after 65,535 iterations.
pub(crate) fn k_ranges(caps: &Caps, k: usize) -> impl Iterator<Item = (usize, usize)> {
    let part = if caps.software { 32_768 } else { k.max(1) };
    (0..k.div_ceil(part).max(1)).map(move |i| (i * part, k.min((i + 1) * part)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::ops::gemm::members::Tuning;

    #[test]
    fn a_table_is_read_as_it_was_written_and_the_nearest_size_counts() {
        let text = "# measured\nNN 64 64 64 tiled\n\nNN 2048 2048 512 wide\nTN 64 64 64 registers\n";
        let tuning = Tuning::parse(text, Path::new("t")).expect("a sane table");
        assert_eq!(Tuning::parse(&tuning.to_string(), Path::new("t")), Ok(tuning.clone()));
        assert_eq!(tuning.fastest(Layout::NN, [128, 64, 100]), Some(GemmVariant::Block(Block::SMALL)));
        assert_eq!(tuning.fastest(Layout::NN, [1024, 1024, 1024]), Some(GemmVariant::Block(Block::LARGE)));
        assert_eq!(tuning.fastest(Layout::NT, [64, 64, 64]), None);
        let caps = |subgroup| Caps { subgroup, tuning: tuning.clone().into(), ..Caps::default() };
        assert_eq!(caps(8).gemm_variant(Layout::TN, [64; 3]), GemmVariant::Registers);
        assert_eq!(caps(8).gemm_variant(Layout::NT, [16, 64, 64]), GemmVariant::Registers, "static");
        assert_eq!(caps(8).gemm_variant(Layout::NT, [17, 64, 64]), GemmVariant::Tall, "static");
        let [small, large] = [Block::SMALL, Block::LARGE].map(GemmVariant::Block);
        assert_eq!(caps(32).gemm_variant(Layout::TN, [64; 3]), small, "no subgroups of 8");
        assert_eq!(caps(32).gemm_variant(Layout::NT, [2048; 3]), large, "what fits WebGPU's limits");
        assert_eq!(caps(32).gemm_variant(Layout::NT, [1024; 3]), small, "what fits WebGPU's limits");
    }

    #[test]
    fn a_bad_line_is_named() {
        for (line, problem) in [
            ("NN 64 64 tiled", "is not of the form"),
            ("NX 64 64 64 tiled", "the layout is"),
            ("NN 64 64 -1 tiled", "-1: invalid digit"),
            ("NN 64 64 64 naive", "is none of the blocks"),
        ] {
            let text = format!("NN 64 64 64 tiled\n{line}\n");
            let error = Tuning::parse(&text, Path::new("table.txt")).expect_err(line).to_string();
            assert!(error.contains("table.txt:2") && error.contains(problem), "{error}");
        }
    }
}
