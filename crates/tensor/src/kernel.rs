//! Kernels: WGSL text from `shaders/`, a tiny preprocessor, and the pipelines made from it.
//!
//! A kernel file is plain WGSL but for two line-based directives: `#import name` pastes `shaders/lib/name.wgsl`, and
//! `#if FLAG` / `#elif FLAG` / `#else` / `#endif` choose lines by a set of flags (for types, which WGSL's `override` cannot vary).
//! Everything else that is specialised is an `override` constant. Binding 0 is the uniform `dims`, the rest are storage
//! buffers; their access modes are read off the text, so the file is the only place that states them.

use std::collections::BTreeSet;

/// One kernel: a WGSL file whose entry point has the file's name. Made by [`kernel!`](crate::kernel).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// File name without `.wgsl`; also the entry point.
    pub name: &'static str,
    /// The text of the file.
    pub source: &'static str,
}

/// Names a kernel in the repository's `shaders/` folder: `kernel!("relu")` is `shaders/relu.wgsl`.
#[macro_export]
macro_rules! kernel {
    ($name:literal) => {
        $crate::Kernel {
            name: $name,
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/", $name, ".wgsl")),
        }
    };
}

macro_rules! library {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/lib/", $name, ".wgsl")))),*]
    };
}

/// Texts that kernels may `#import`.
const LIBRARY: &[(&str, &str)] = library![
    "activation",
    "attention",
    "channel",
    "cka",
    "cka_features",
    "conv2d",
    "conv2d_out",
    "curve",
    "epilogue",
    "grid",
    "half",
    "index",
    "loss_scale",
    "matmul_sides",
    "philox",
    "product",
    "product_cooperative",
    "product_subgroup",
    "product_tall",
    "product_tiled",
    "product_wide",
    "recurrence",
    "reduce",
    "register_block",
    "update",
    "window"
];

/// How a kernel uses a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

impl Kernel {
    /// The WGSL that is compiled when `flags` are set.
    ///
    /// # Panics
    /// On an unknown import or an unbalanced `#if`: the text is ours, and a test expands every kernel.
    pub fn expand(&self, flags: &[&str]) -> String {
        let flags: BTreeSet<&str> = flags.iter().copied().collect();
        let mut text = String::with_capacity(2 * self.source.len());
        self.expand_into(self.source, &flags, &mut text);
        text
    }

    fn expand_into(&self, source: &str, flags: &BTreeSet<&str>, text: &mut String) {
        // Inside an #if: whether this branch is kept, and whether one before it was.
        let mut branch: Option<(bool, bool)> = None;
        for line in source.lines() {
            if let Some(flag) = line.strip_prefix("#if ") {
                assert!(branch.is_none(), "{}: nested #if", self.name);
                branch = Some((flags.contains(flag.trim()), false));
            } else if let Some(flag) = line.strip_prefix("#elif ") {
                let (kept, before) = branch.unwrap_or_else(|| panic!("{}: #elif without #if", self.name));
                branch = Some((!kept && !before && flags.contains(flag.trim()), kept || before));
            } else if line.trim_end() == "#else" {
                let (kept, before) = branch.unwrap_or_else(|| panic!("{}: #else without #if", self.name));
                branch = Some((!kept && !before, true));
            } else if line.trim_end() == "#endif" {
                assert!(branch.take().is_some(), "{}: #endif without #if", self.name);
            } else if matches!(branch, Some((false, _))) {
                continue;
            } else if let Some(name) = line.strip_prefix("#import ") {
                let name = name.trim();
                let (_, library) = LIBRARY
                    .iter()
                    .find(|(n, _)| *n == name)
                    .unwrap_or_else(|| panic!("{}: unknown #import {name}", self.name));
                self.expand_into(library, flags, text);
            } else {
                text.push_str(line);
                text.push('\n');
            }
        }
        assert!(branch.is_none(), "{}: #if without #endif", self.name);
    }

    /// Access modes of the storage bindings 1, 2, … in order.
    ///
    /// # Panics
    /// If the bindings are not numbered 1, 2, … in the order of the text (a test checks every kernel).
    pub fn bindings(&self) -> Vec<Access> {
        let mut bindings = Vec::new();
        for line in self.source.lines() {
            let Some(rest) = line.trim_start().strip_prefix("@group(0) @binding(") else { continue };
            let Some((number, rest)) = rest.split_once(')') else { continue };
            let access = if rest.contains("var<storage, read_write>") {
                Access::ReadWrite
            } else if rest.contains("var<storage, read>") {
                Access::Read
            } else {
                continue;
            };
            let number: usize = number.parse().unwrap_or(0);
            // The two branches of an #if may declare one binding twice, with another type.
            if number <= bindings.len() {
                assert_eq!(bindings[number - 1], access, "{}: binding {number} changes its access", self.name);
            } else {
                assert_eq!(number, bindings.len() + 1, "{}: bindings out of order", self.name);
                bindings.push(access);
            }
        }
        bindings
    }
}

/// A kernel with its flags and override constants fixed: what a pipeline is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The kernel.
    pub kernel: Kernel,
    /// Flags for `#if`.
    pub flags: Vec<&'static str>,
    /// Values of `override` constants.
    pub constants: Vec<(&'static str, f64)>,
}

impl Variant {
    /// The kernel with no flags and every override at its default.
    pub fn plain(kernel: Kernel) -> Self {
        Self { kernel, flags: Vec::new(), constants: Vec::new() }
    }

    /// Cache key: equal for equal variants.
    pub(crate) fn key(&self) -> String {
        use std::fmt::Write;
        let mut key = self.kernel.name.to_string();
        for flag in &self.flags {
            let _ = write!(key, " {flag}");
        }
        for (name, value) in &self.constants {
            let _ = write!(key, " {name}={value}");
        }
        key
    }
}
