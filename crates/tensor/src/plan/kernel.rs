//! Kernels: WGSL text from `shaders/`, a tiny preprocessor, and the pipelines made from it.
//!
//! A kernel file is plain WGSL but for three line-based directives. `#import name` pastes `shaders/lib/name.wgsl`, the first
//! time. `#if FLAG` / `#elif FLAG` / `#else` / `#endif` choose lines by a set of flags, for types, which WGSL's `override`
//! cannot vary. `#unroll i COUNT` / `#end` repeats lines with `$i` replaced by 0, 1, … COUNT − 1: a loop that no compiler may
//! leave rolled, since an array that is indexed in a rolled loop lives in memory and not in registers.
//! A [size](Variant::sizes) is a `const` of the text, for array lengths and unrolled loops. Everything else that is specialized is
//! an `override` constant. Binding 0 is the uniform `dims`, the rest are storage buffers; their access modes are read off the
//! text, so the file is the only place that states them.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::error::{Error, Result};

/// One kernel: a WGSL file whose entry point has the file's name. Made by [`kernel!`](crate::kernel).
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

macro_rules! library {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shaders/lib/", $name, ".wgsl")))),*]
    };
}

/// Texts that kernels may `#import`.
const LIBRARY: &[(&str, &str)] = library![
    "activation",
    "alignment/cka",
    "alignment/cka_features",
    "attention/attention",
    "attention/attention_above",
    "attention/attention_known",
    "attention/attention_sink",
    "attention/attention_sizes",
    "attention/attention_tiles",
    "channel",
    "conv/conv2d",
    "conv/conv2d_out",
    "conv/window",
    "gemm/epilogue",
    "gemm/matmul_sides",
    "gemm/product",
    "gemm/product_block",
    "gemm/product_cooperative",
    "gemm/product_loads",
    "gemm/product_subgroup",
    "gemm/product_tall",
    "gemm/register_block",
    "grid",
    "half",
    "index",
    "number",
    "philox",
    "recurrent/recurrence",
    "recurrent/recurrence_cell",
    "recurrent/recurrence_registers",
    "reduce",
    "update/curve",
    "update/loss_scale",
    "update/update"
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

/// Adds `lines` to `out`, with those between `#unroll` and its `#end` repeated.
fn unroll(lines: &[&str], sizes: &[(&'static str, u32)], out: &mut String) -> Result<(), String> {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim_start();
        at += 1;
        let Some(head) = line.strip_prefix("#unroll ") else {
            if line == "#end" {
                return Err("#end without #unroll".to_string());
            }
            out.push_str(lines[at - 1]);
            out.push('\n');
            continue;
        };
        let (name, count) =
            head.trim().split_once(' ').ok_or(format!("`{line}` is not of the form `#unroll i COUNT`"))?;
        let count = count.trim();
        let size = sizes.iter().find(|(size, _)| *size == count).map(|(_, value)| *value);
        let count = size.or_else(|| count.parse().ok()).ok_or(format!("`{line}`: {count} is no number and no size"))?;
        let mut depth = 1;
        let inside = lines[at..].iter().position(|line| {
            let line = line.trim_start();
            depth += i32::from(line.starts_with("#unroll ")) - i32::from(line == "#end");
            depth == 0
        });
        let inside = inside.ok_or(format!("`{line}` without #end"))?;
        for i in 0..count {
            let turn: Vec<String> =
                lines[at..at + inside].iter().map(|line| line.replace(&format!("${name}"), &format!("{i}"))).collect();
            unroll(&turn.iter().map(String::as_str).collect::<Vec<_>>(), sizes, out)?;
        }
        at += inside + 1;
    }
    Ok(())
}

/// The text of kernel `name` with a place in `grid` worked out from that in the grid of two dimensions which is launched; the
/// workgroups that it has too many leave at once.
fn unfolded(text: &str, name: &str, grid: [u32; 3]) -> Result<String, String> {
    let head = text.find(&format!("fn {name}(")).ok_or("has no entry point of its name")?;
    let body = head + text[head..].find(") {").ok_or("has an entry point without a body")?;
    let mut parameters = text[head..body].to_string();
    let mut place = None;
    let mut count = None;
    for (builtin, slot, own) in
        [("workgroup_id", &mut place, "launched_group"), ("num_workgroups", &mut count, "launched_groups")]
    {
        let attribute = format!("@builtin({builtin}) ");
        let Some(at) = parameters.find(&attribute).map(|at| at + attribute.len()) else { continue };
        let end = at + parameters[at..].find(':').ok_or("has a parameter without a type")?;
        *slot = Some(parameters[at..end].trim().to_string());
        parameters.replace_range(at..end, own);
    }
    let Some(place) = place.filter(|_| !parameters.contains("global_invocation_id")) else {
        return Err(format!("{grid:?} workgroups need `workgroup_id` in place of `global_invocation_id`"));
    };
    let comma = if parameters.trim_end().ends_with(',') { "" } else { "," };
    if count.is_none() {
        parameters.push_str(&format!("{comma} @builtin(num_workgroups) launched_groups: vec3u"));
    }
    let [x, y, z] = grid;
    let all = u64::from(x) * u64::from(y) * u64::from(z);
    let mut lines = format!(
        ") {{\n    let launched = launched_group.y * launched_groups.x + launched_group.x;\n    \
         if launched >= {all}u {{ return; }}\n    \
         let {place} = vec3u(launched % {x}u, launched / {x}u % {y}u, launched / {plane}u);\n",
        plane = u64::from(x) * u64::from(y)
    );
    if let Some(count) = count {
        let _ = writeln!(lines, "    let {count} = vec3u({x}u, {y}u, {z}u);");
    }
    Ok(format!("{}{parameters}{lines}{}", &text[..head], &text[body + 3..]))
}

/// A kernel with its flags and constants fixed: what a pipeline is made of.
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
    /// Workgroups `[x, y, z]` that the kernel sees, where no adapter launches so many in one dimension: the text is then changed
    /// to find its place in this grid from that in the one which is launched.
    pub grid: Option<[u32; 3]>,
}

impl Variant {
    /// The kernel with no flags and every override at its default.
    pub fn plain(kernel: Kernel) -> Self {
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

    /// Cache key: equal for equal variants.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn message(source: &'static str) -> String {
        let kernel = Kernel { name: "mine", source };
        let error = kernel.expand(&["A"], &[]).map(|_| ()).and_then(|()| kernel.bindings().map(|_| ()));
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
    fn unrolled_lines_are_repeated() {
        let source = "// mine\nenable f16;\n#unroll i ROWS\n#unroll j 2\na$i = $j;\n#end\nb$i;\n#end\nc\n";
        let text = Kernel { name: "mine", source }.expand(&[], &[("ROWS", 2)]).expect("whole");
        let rows = "a0 = 0;\na0 = 1;\nb0;\na1 = 0;\na1 = 1;\nb1;\n";
        assert_eq!(text, format!("// mine\nenable f16;\nconst ROWS: u32 = 2u;\n{rows}c\n"));
        for (source, expected) in [
            ("x\n#unroll i N\n#end\n", "N is no number and no size"),
            ("#unroll i 2\n#unroll j 2\n#end\n", "`#unroll i 2` without #end"),
            ("#end\n", "#end without #unroll"),
            ("#unroll 2\n#end\n", "is not of the form"),
        ] {
            let message = message(source);
            assert!(message.contains(expected), "{source}: {message}");
        }
    }

    #[test]
    fn a_folded_grid_is_unfolded_in_the_text() {
        let source = "@compute\nfn mine(@builtin(workgroup_id) at: vec3u,\n    @builtin(num_workgroups) of: vec3u) {\n    x(at, of);\n}\n";
        let text = unfolded(source, "mine", [70_000, 2, 3]).expect("has an entry point");
        for line in [
            "fn mine(@builtin(workgroup_id) launched_group: vec3u,\n    @builtin(num_workgroups) launched_groups: vec3u) {",
            "if launched >= 420000u { return; }",
            "let at = vec3u(launched % 70000u, launched / 70000u % 2u, launched / 140000u);",
            "let of = vec3u(70000u, 2u, 3u);",
            "x(at, of);",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        let alone = unfolded("fn mine(@builtin(workgroup_id) at: vec3u) {\n}\n", "mine", [70_000, 1, 1]);
        assert!(
            alone
                .expect("has one")
                .contains("launched_group: vec3u, @builtin(num_workgroups) launched_groups: vec3u) {")
        );
        let error = unfolded("fn mine(@builtin(global_invocation_id) at: vec3u) {\n}\n", "mine", [70_000, 1, 1]);
        assert!(error.expect_err("not known").contains("workgroup_id"));
    }

    #[test]
    fn one_branch_is_kept() {
        let kernel = Kernel { name: "mine", source: "a\n#if A\nb\n#elif B\nc\n#else\nd\n#endif\ne\n" };
        for (flags, kept) in
            [(&["A"][..], "a\nb\ne\n"), (&["B"], "a\nc\ne\n"), (&["A", "B"], "a\nb\ne\n"), (&[], "a\nd\ne\n")]
        {
            assert_eq!(kernel.expand(flags, &[]).expect("whole"), kept);
        }
    }
}
