//! Kernels: WGSL text from `shaders/`, a tiny preprocessor, and the pipelines made from it.
//!
//! A kernel file is plain WGSL but for three line-based directives. `#import name` pastes `shaders/lib/name.wgsl`, the first
//! time. `#if FLAG` / `#elif FLAG` / `#else` / `#endif` choose lines by a set of flags, for types, which WGSL's `override`
//! cannot vary. `#unroll i COUNT` / `#end` repeats lines with `$i` replaced by 0, 1, … COUNT − 1. No compiler may leave such a
//! loop rolled, since an array that is indexed in a rolled loop lives in memory and not in registers. A [size](Variant::sizes)
//! is a `const` of the text, for array lengths and unrolled loops. Everything else that is specialized is an `override`
//! constant. Binding 0 is the uniform `dims`, the rest are storage buffers. Their access modes are read from the text, so the
//! file is the only place that states them.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::preprocessor::{expand_into, unfolded, unroll};
use crate::error::{Error, Result};

/// One kernel: a WGSL file whose entry point has the file's name. Those of this repository are made by [`kernel!`](crate::kernel),
/// another one is `Kernel { name: "cumsum", source: include_str!("kernels/cumsum.wgsl") }`, as in `examples/own_op.rs`.
///
/// Binding 0 of group 0 is a uniform, the words of [`Dispatch::dims`](crate::Dispatch::dims). Bindings 1, 2, … are storage buffers
/// in the order of [`Dispatch::args`](crate::Dispatch::args), one declaration a line. Override constants, `#if` flags and
/// constants of the text are set on the [`Dispatch`](crate::Dispatch). `#import grid` brings `linear_index(workgroup_id,
/// num_workgroups, local_invocation_index)`, the number of an invocation of [`Dispatch::linear`](crate::Dispatch::linear).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel {
    /// File name without `.wgsl`; also the entry point.
    pub name: &'static str,
    /// The text of the file.
    pub source: &'static str,
}

/// Names a kernel in the repository's `shaders/` folder: `kernel!("loss/softmax")` is `shaders/loss/softmax.wgsl`.
#[macro_export]
macro_rules! kernel {
    ($name:literal) => {
        $crate::Kernel {
            name: $crate::file_name($name),
            source: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/", $name, ".wgsl")),
        }
    };
}

/// Last part of a path with slashes; for [`kernel!`](crate::kernel).
#[doc(hidden)]
pub const fn file_name(path: &'static str) -> &'static str {
    let bytes = path.as_bytes();
    let mut start = bytes.len();
    while start > 0 && bytes[start - 1] != b'/' {
        start -= 1;
    }
    path.split_at(start).1
}

/// Access of a kernel to a storage binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// `var<storage, read>`
    Read,
    /// `var<storage, read_write>`
    ReadWrite,
}

impl Kernel {
    /// The WGSL that is compiled when `flags` are set and `sizes` are the constants of the text.
    ///
    /// # Errors
    /// [`Error::Kernel`] with file and line for an `#import` of a text that does not exist, an unbalanced `#if`, or an
    /// `#unroll` whose count is neither a number nor one of the `sizes`.
    pub fn expand(&self, flags: &[&str], sizes: &[(&'static str, u32)]) -> Result<String> {
        let flags: BTreeSet<&str> = flags.iter().copied().collect();
        let file = format!("{}.wgsl", self.name);
        let mut text = String::with_capacity(2 * self.source.len());
        expand_into(&file, self.source, &flags, &mut BTreeSet::new(), &mut text)?;
        let mut out = String::with_capacity(2 * text.len());
        let mut lines = text.lines().peekable();
        // Extensions are enabled before anything is declared.
        while let Some(line) =
            lines.next_if(|line| line.is_empty() || line.starts_with("//") || line.starts_with("enable "))
        {
            let _ = writeln!(out, "{line}");
        }
        for (name, value) in sizes {
            let _ = writeln!(out, "const {name}: u32 = {value}u;");
        }
        let lines: Vec<&str> = lines.collect();
        unroll(&lines, sizes, &mut out).map_err(|problem| Error::Kernel { file, line: 0, problem })?;
        Ok(out)
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

/// A kernel with its flags and constants fixed, from which a pipeline is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// The kernel.
    pub kernel: Kernel,
    /// Flags for `#if`.
    pub flags: Vec<&'static str>,
    /// Values of `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    /// Values of constants of the text: lengths of arrays, counts of unrolled loops.
    pub sizes: Vec<(&'static str, u32)>,
    /// Workgroups `[x, y, z]` that the kernel sees, if no adapter launches so many in one dimension. The text is then changed
    /// to compute the position in this grid from that in the launched one.
    pub grid: Option<[u32; 3]>,
}

impl Variant {
    /// The kernel with no flags and every override at its default.
    pub(crate) fn plain(kernel: Kernel) -> Self {
        Self { kernel, flags: Vec::new(), constants: Vec::new(), sizes: Vec::new(), grid: None }
    }

    /// The WGSL that is compiled.
    ///
    /// # Errors
    /// As [`Kernel::expand`].
    pub(crate) fn text(&self) -> Result<String> {
        let text = self.kernel.expand(&self.flags, &self.sizes)?;
        match self.grid {
            None => Ok(text),
            Some(grid) => unfolded(&text, self.kernel.name, grid).map_err(|problem| {
                let file = format!("{}.wgsl", self.kernel.name);
                Error::Kernel { file, line: 0, problem }
            }),
        }
    }

    /// Cache key: equal for equal variants of one kernel.
    pub(crate) fn key(&self) -> String {
        let mut key = self.kernel.name.to_string();
        for flag in &self.flags {
            let _ = write!(key, " {flag}");
        }
        for (name, value) in &self.constants {
            let _ = write!(key, " {name}={value}");
        }
        for (name, value) in &self.sizes {
            let _ = write!(key, " {name}:{value}");
        }
        if let Some([x, y, z]) = self.grid {
            let _ = write!(key, " grid {x} {y} {z}");
        }
        key
    }
}
