//! Members of the families of products, by name and size: the entries of a tuning table. `variant.rs` chooses among them;
//! `block.rs` and `units.rs` pass the sizes of a member to its kernel.

use std::fmt;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Side of a product that is transposed. The three are closed under differentiation: no other is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `lhs [m, k] · rhs [k, n]`
    NN,
    /// `lhs [m, k] · rhs [n, k]ᵀ`
    NT,
    /// `lhs [k, m]ᵀ · rhs [k, n]`
    TN,
}

/// Loop that computes a product, with its tiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GemmVariant {
    /// One invocation per element, `shaders/gemm/matmul_naive.wgsl`: the simplest kernel, and the baseline of the benchmarks.
    Naive,
    /// 16 × 32 outputs for each subgroup of 8, in registers: for CPUs.
    Registers,
    /// 32 × 32 outputs for each subgroup of 8: for CPUs and more than 16 rows.
    Tall,
    /// A block of outputs for each workgroup, through workgroup memory: for GPUs.
    Block(Block),
    /// A block of outputs for each workgroup, on matrix units: for two sides of f16.
    Cooperative(Units),
}

/// A member of the family: the size of the block of outputs that a workgroup owns, and the split of its work among invocations.
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
    /// Number of groups of invocations that share the k of an iteration.
    pub slices: u16,
}

impl Block {
    /// A member without slices.
    const fn new(rows: u16, columns: u16, depth: u16, own: [u16; 2]) -> Self {
        Self { rows, columns, depth, own, slices: 1 }
    }

    const fn sliced(self, slices: u16) -> Self {
        Self { slices, ..self }
    }

    /// Member for products of few rows or columns: as many workgroups as there can be.
    pub const TINY: Self = Self::new(16, 16, 64, [4, 4]).sliced(8);
    /// Member for the layers of small networks, such as `[128, 512] · [512, 512]`.
    pub(super) const NARROW: Self = Self::new(16, 32, 64, [4, 4]).sliced(4);
    pub(super) const SQUARE: Self = Self::new(32, 32, 64, [4, 4]).sliced(4);
    pub(super) const HALFWAY: Self = Self::new(64, 32, 32, [4, 4]).sliced(2);
    /// Member for products of some 500 rows and columns, and for the pairs of attention.
    pub const MEDIUM: Self = Self::new(64, 64, 16, [8, 4]);
    /// Member for large products with ragged edges.
    pub const BROAD: Self = Self::new(64, 64, 16, [8, 8]);
    /// Member for convolutions.
    pub(super) const LOW: Self = Self::new(64, 128, 16, [8, 8]);
    /// Member for Gram matrices that are large both ways.
    pub(super) const EVEN: Self = Self::new(128, 128, 16, [8, 8]);
    /// Member for matrix products that are large both ways.
    pub(super) const DEEP: Self = Self::new(128, 128, 32, [8, 8]);
    /// The same where its blocks fill whole waves.
    pub(super) const TALL: Self = Self::new(128, 128, 16, [16, 8]);
    /// Member for adapters with the least that WebGPU allows, and few outputs.
    pub(crate) const SMALL: Self = Self::new(64, 64, 16, [4, 4]);
    /// The same for products that are large both ways.
    pub(crate) const LARGE: Self = Self::new(128, 128, 8, [8, 8]);

    /// Members that are worth measuring against each other.
    pub const FAMILY: &[Self] = &[
        Self::TINY,
        Self::NARROW,
        Self::SQUARE,
        Self::HALFWAY,
        Self::SMALL,
        Self::MEDIUM,
        Self::BROAD,
        Self::LOW,
        Self::new(128, 64, 16, [8, 8]),
        Self::LARGE,
        Self::EVEN,
        Self::DEEP,
        Self::TALL,
    ];

    /// Number of invocations that own a block together: those of one slice.
    pub(super) fn slice(self) -> usize {
        usize::from(self.rows / self.own[0]) * usize::from(self.columns / self.own[1])
    }

    /// Invocations of a workgroup.
    pub(crate) fn invocations(self) -> usize {
        self.slice() * usize::from(self.slices)
    }

    /// Bytes of workgroup memory.
    pub(crate) fn memory(self) -> usize {
        let [rows, columns, depth] = [self.rows, self.columns, self.depth].map(usize::from);
        16 * depth * (rows / 4 + columns / 4 + 2 * self.padding()) + 4 * (usize::from(self.slices) - 1) * rows * columns
    }

    /// Number of vectors that pad a row of a tile, so that neighbors in k lie in different banks. Without them the largest
    /// tiles just fit the 32 KiB that many adapters have.
    pub(super) fn padding(self) -> usize {
        let tiles = 4 * usize::from(self.depth) * usize::from(self.rows + self.columns);
        usize::from(tiles < 32 << 10)
    }
}

/// A member of the family: the size of the block of outputs that a workgroup owns, and the share of a subgroup.
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
    /// Member for products that are large both ways: of those measured on an NVIDIA H200 the fastest at 4096.
    pub(crate) const LARGE: Self = Self { rows: 128, columns: 128, depth: 32, fragments: [4, 4] };
    /// Member for products with few outputs.
    pub(crate) const SMALL: Self = Self { rows: 64, columns: 64, depth: 32, fragments: [2, 2] };

    /// All members.
    pub const FAMILY: &[Self] = &[Self::SMALL, Self::LARGE];
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

/// `units 128x128x32/4x4`
impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, depth, fragments: [down, across] } = self;
        write!(f, "units {rows}x{columns}x{depth}/{down}x{across}")
    }
}

impl fmt::Display for GemmVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Naive => f.write_str("naive"),
            Self::Registers => f.write_str("registers"),
            Self::Tall => f.write_str("tall"),
            Self::Block(block) => block.fmt(f),
            Self::Cooperative(units) => units.fmt(f),
        }
    }
}

impl FromStr for GemmVariant {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "registers" => Ok(Self::Registers),
            "tall" => Ok(Self::Tall),
            // Names in tables from before there was a family.
            "tiled" => Ok(Self::Block(Block::SMALL)),
            "wide" => Ok(Self::Block(Block::LARGE)),
            _ => text.parse().map(Self::Block).map_err(|blocks: String| format!("{blocks}, registers, tall")),
        }
    }
}

/// A product that was measured, and the loop that was fastest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunedProduct {
    /// Side that is transposed.
    pub layout: Layout,
    /// Rows, columns and inner axis.
    pub size: [usize; 3],
    /// The fastest loop.
    pub fastest: GemmVariant,
}

/// Results of `trellis tune` on one adapter. Empty: the static choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning(pub Vec<TunedProduct>);

impl Tuning {
    /// Reads a table: lines `layout m n k loop`, for example `NN 512 512 128 64x64x16/4x4`; `#` begins a comment.
    ///
    /// # Errors
    /// [`Error::Tuning`] with the line that is not of this form.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Self> {
        let numbered = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let entry = |(line, text): (usize, &str)| {
            tuned(text).map_err(|problem| Error::Tuning { path: path.to_path_buf(), line, problem })
        };
        numbered
            .filter(|(_, text)| !text.is_empty() && !text.starts_with('#'))
            .map(entry)
            .collect::<Result<_>>()
            .map(Self)
    }

    /// The table in a file; empty if there is no file that may be read.
    ///
    /// # Errors
    /// [`Error::Tuning`] for a file that is damaged or cannot be read for other reasons.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, path),
            // A home that is not a folder holds no table either.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::NotADirectory
                ) =>
            {
                Ok(Self::default())
            }
            Err(error) => Err(Error::Tuning { path: path.to_path_buf(), line: 0, problem: error.to_string() }),
        }
    }

    /// The loop of the measured product that is most similar to this one; `None` without one of its layout.
    pub(super) fn fastest(&self, layout: Layout, size: [usize; 3]) -> Option<GemmVariant> {
        // Similarity is measured by ratios of sizes.
        let log = |size: usize| (size.max(1) as f64).log2();
        let distance = |entry: &&TunedProduct| -> f64 {
            entry.size.iter().zip(size).map(|(&own, other)| (log(own) - log(other)).abs()).sum()
        };
        let same = self.0.iter().filter(|entry| entry.layout == layout);
        same.min_by(|a, b| distance(a).total_cmp(&distance(b))).map(|entry| entry.fastest)
    }
}

fn tuned(line: &str) -> Result<TunedProduct, String> {
    let [layout, m, n, k, fastest] = line.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(format!("{line:?} is not of the form `NN 512 512 128 64x64x16/4x4`"));
    };
    let layouts = [Layout::NN, Layout::NT, Layout::TN];
    let layout = layouts.into_iter().find(|own| format!("{own:?}") == layout).ok_or("the layout is NN, NT or TN")?;
    let number = |text: &str| text.parse::<usize>().map_err(|error| format!("{text}: {error}"));
    Ok(TunedProduct { layout, size: [number(m)?, number(n)?, number(k)?], fastest: fastest.parse()? })
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for TunedProduct { layout, size: [m, n, k], fastest } in &self.0 {
            writeln!(f, "{layout:?} {m} {n} {k} {fastest}")?;
        }
        Ok(())
    }
}
