//! The preprocessor of kernels: `#import`, `#if`, `#unroll`, and grids that are folded. `kernel.rs` describes the directives.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::error::{Error, Result};

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
    "attention/attention_by_query",
    "attention/attention_gradients",
    "attention/attention_known",
    "attention/attention_sink",
    "attention/attention_sizes",
    "attention/attention_tiles",
    "channel",
    "conv/conv2d",
    "conv/conv2d_out",
    "conv/window",
    "gemm/epilogue",
    "gemm/extensions",
    "gemm/matmul_sides",
    "gemm/matrix_units",
    "gemm/product",
    "gemm/product_block",
    "gemm/product_cooperative",
    "gemm/product_loads",
    "gemm/product_subgroup",
    "gemm/register_block",
    "grid",
    "half",
    "index",
    "loss/row_softmax",
    "number",
    "philox",
    "recurrent/recurrence",
    "recurrent/recurrence_cell",
    "recurrent/recurrence_registers",
    "reduce",
    "update/schedule",
    "update/loss_scale",
    "update/update"
];

/// Branch of an `#if` that is being read.
struct Branch {
    /// Line of the `#if`.
    line: usize,
    /// Lines of this branch are kept.
    kept: bool,
    /// An earlier branch was kept.
    before: bool,
}

/// Adds the lines of `source`, the text of `file`, to `text`; texts among the `imported` are not added again.
pub(super) fn expand_into(
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
pub(super) fn unroll(lines: &[&str], sizes: &[(&'static str, u32)], out: &mut String) -> Result<(), String> {
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

/// The text of kernel `name` with its position in `grid` computed from that in the two-dimensional grid that is launched.
/// Workgroups past the end of `grid` return at once.
pub(super) fn unfolded(text: &str, name: &str, grid: [u32; 3]) -> Result<String, String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::kernel::Kernel;

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
