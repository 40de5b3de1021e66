//! Kernels: WGSL text from `shaders/`, a tiny preprocessor, and the pipelines made from it.
//!
//! A kernel file is plain WGSL but for two line-based directives: `#import name` pastes `shaders/lib/name.wgsl`, the first time, and
//! `#if FLAG` / `#elif FLAG` / `#else` / `#endif` choose lines by a set of flags (for types, which WGSL's `override` cannot vary).
//! Everything else that is specialised is an `override` constant. Binding 0 is the uniform `dims`, the rest are storage
//! buffers; their access modes are read off the text, so the file is the only place that states them.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

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
    "number",
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
    /// # Errors
    /// [`Error::Kernel`] with file and line for an `#import` of a text that does not exist, or an unbalanced `#if`.
    pub fn expand(&self, flags: &[&str]) -> Result<String> {
        let flags: BTreeSet<&str> = flags.iter().copied().collect();
        let mut text = String::with_capacity(2 * self.source.len());
        expand_into(&format!("{}.wgsl", self.name), self.source, &flags, &mut BTreeSet::new(), &mut text)?;
        Ok(text)
    }

    /// Access modes of the storage bindings 1, 2, … in order.
    ///
    /// # Errors
    /// [`Error::Kernel`] with file and line if the bindings are not numbered 1, 2, … in the order of the text, or one is declared
    /// twice with different access.
    pub fn bindings(&self) -> Result<Vec<Access>> {
        let mut bindings: Vec<Access> = Vec::new();
        for (line, text) in (1..).zip(self.source.lines()) {
            let Some(rest) = text.trim_start().strip_prefix("@group(0) @binding(") else { continue };
            let Some((number, rest)) = rest.split_once(')') else { continue };
            let access = if rest.contains("var<storage, read_write>") {
                Access::ReadWrite
            } else if rest.contains("var<storage, read>") {
                Access::Read
            } else {
                continue;
            };
            let number: usize = number.parse().unwrap_or(0);
            let wrong = |problem: String| Err(Error::Kernel { file: format!("{}.wgsl", self.name), line, problem });
            // The two branches of an #if may declare one binding twice, with another type.
            match number.checked_sub(1).and_then(|index| bindings.get(index)) {
                Some(before) if *before == access => {}
                Some(_) => return wrong(format!("binding {number} changes its access")),
                None if number == bindings.len() + 1 => bindings.push(access),
                None => return wrong(format!("binding {number} follows binding {}", bindings.len())),
            }
        }
        Ok(bindings)
    }
}

/// Branch of an `#if` that is being read.
struct Branch {
    /// Line of the `#if`.
    line: usize,
    /// Lines of this branch are kept.
    kept: bool,
    /// An earlier branch was kept.
    before: bool,
}

/// Adds the lines of `source`, the text of `file`, to `text`; what is among the `imported` is there already.
fn expand_into(
    file: &str,
    source: &str,
    flags: &BTreeSet<&str>,
    imported: &mut BTreeSet<&'static str>,
    text: &mut String,
) -> Result<()> {
    let wrong = |line: usize, problem: String| Err(Error::Kernel { file: file.to_string(), line, problem });
    let mut branch: Option<Branch> = None;
    for (number, line) in (1..).zip(source.lines()) {
        if let Some(flag) = line.strip_prefix("#if ") {
            if let Some(Branch { line, .. }) = branch {
                return wrong(number, format!("#if within the #if of line {line}"));
            }
            branch = Some(Branch { line: number, kept: flags.contains(flag.trim()), before: false });
        } else if let Some(flag) = line.strip_prefix("#elif ") {
            let Some(Branch { line, kept, before }) = branch else {
                return wrong(number, "#elif without #if".to_string());
            };
            let before = kept || before;
            branch = Some(Branch { line, kept: !before && flags.contains(flag.trim()), before });
        } else if line.trim_end() == "#else" {
            let Some(Branch { line, kept, before }) = branch else {
                return wrong(number, "#else without #if".to_string());
            };
            branch = Some(Branch { line, kept: !kept && !before, before: true });
        } else if line.trim_end() == "#endif" {
            if branch.take().is_none() {
                return wrong(number, "#endif without #if".to_string());
            }
        } else if matches!(branch, Some(Branch { kept: false, .. })) {
            continue;
        } else if let Some(name) = line.strip_prefix("#import ") {
            let name = name.trim();
            let Some((name, library)) = LIBRARY.iter().find(|(known, _)| *known == name) else {
                let known: Vec<&str> = LIBRARY.iter().map(|(known, _)| *known).collect();
                return wrong(number, format!("#import of `{name}`, which is none of {}", known.join(", ")));
            };
            if imported.insert(name) {
                expand_into(&format!("lib/{name}.wgsl"), library, flags, imported, text)?;
            }
        } else {
            text.push_str(line);
            text.push('\n');
        }
    }
    match branch {
        Some(Branch { line, .. }) => wrong(line, "#if without #endif".to_string()),
        None => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &'static str) -> String {
        let kernel = Kernel { name: "mine", source };
        let error = kernel.expand(&["A"]).map(|_| ()).and_then(|()| kernel.bindings().map(|_| ()));
        error.expect_err("a kernel that is wrong").to_string()
    }

    #[test]
    fn what_is_wrong_with_a_text_is_told_with_its_line() {
        for (source, expected) in [
            ("// mine\n#import philx\n", "mine.wgsl, line 2: #import of `philx`, which is none of activation, "),
            ("#if A\n\n#if B\n#endif\n#endif\n", "mine.wgsl, line 3: #if within the #if of line 1"),
            ("\n#elif A\n", "mine.wgsl, line 2: #elif without #if"),
            ("#else\n", "mine.wgsl, line 1: #else without #if"),
            ("#endif\n", "mine.wgsl, line 1: #endif without #if"),
            ("\n#if A\nx\n", "mine.wgsl, line 2: #if without #endif"),
            ("@group(0) @binding(2) var<storage, read> x: array<f32>;", "line 1: binding 2 follows binding 0"),
            (
                "@group(0) @binding(1) var<storage, read> x: array<f32>;\n\
                 @group(0) @binding(1) var<storage, read_write> x: array<f32>;",
                "line 2: binding 1 changes its access",
            ),
        ] {
            let message = message(source);
            assert!(message.contains(expected), "{source}: {message}");
        }
    }

    #[test]
    fn one_branch_is_kept() {
        let kernel = Kernel { name: "mine", source: "a\n#if A\nb\n#elif B\nc\n#else\nd\n#endif\ne\n" };
        for (flags, kept) in
            [(&["A"][..], "a\nb\ne\n"), (&["B"], "a\nc\ne\n"), (&["A", "B"], "a\nb\ne\n"), (&[], "a\nd\ne\n")]
        {
            assert_eq!(kernel.expand(flags).expect("whole"), kept);
        }
    }
}
