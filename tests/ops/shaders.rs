//! Every kernel file: a header that teaches, an entry point of its own name, bindings the engine can read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use trellis_tensor::ops::{Gram, GramOf, Keys, MatMul, Recurrence, RecurrenceGrad, Stored};
use trellis_tensor::{Caps, Cell, Kernel, Layout, Op, RecurrenceForm, TensorType, Variant};
use wgpu::naga;
use wgpu::naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};

/// Files under `folder`, and under its folders, that end in `.ending`.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the source is here").map(|entry| entry.expect("readable").path());
    let mut found = Vec::new();
    for path in entries {
        match path.is_dir() {
            true => found.extend(files(&path, ending)),
            false => found.extend(path.extension().is_some_and(|e| e == ending).then_some(path)),
        }
    }
    found.sort();
    found
}

fn repository(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// The kernels with the paths that name them: `loss/softmax`.
fn kernels() -> Vec<(String, Kernel)> {
    let folder = repository("shaders");
    let relative = |path: &Path| path.strip_prefix(&folder).expect("within").with_extension("").display().to_string();
    files(&folder, "wgsl")
        .into_iter()
        .map(|path| (relative(&path), path))
        .filter(|(name, _)| !name.starts_with("lib/"))
        .map(|(name, path)| {
            let file: &'static str = path.file_stem().expect("named").to_string_lossy().into_owned().leak();
            (name, Kernel { name: file, source: fs::read_to_string(&path).expect("readable").leak() })
        })
        .collect()
}

#[test]
fn kernels_have_headers_and_their_own_names() {
    for (_, kernel) in kernels() {
        let Kernel { name, source } = kernel;
        assert!(source.starts_with(&format!("// {name}.wgsl: ")), "{name}: the first line says what it computes");
        for part in ["// in ", "// out ", "// launch ", "// memory ", "// cost ", "// numeric ", "// source "] {
            assert!(source.contains(part), "{name}: the header lacks \"{part}\"");
        }
        assert!(source.contains(&format!("fn {name}(")), "{name}: the entry point has the file's name");
        assert!(source.lines().count() <= 160, "{name}: {} lines", source.lines().count());
        let bindings = kernel.bindings().expect("numbered in order");
        assert!(!bindings.is_empty(), "{name}");
        assert!(bindings.len() <= 8, "{name}: more storage buffers than WebGPU's default limit");
        // Products are those of a CPU here: those of a GPU want sizes.
        kernel.expand(&["SUBGROUP"], &[("ROW_BLOCKS", 1)]).expect("imports that exist");
    }
}

#[test]
fn every_kernel_is_used_by_an_op() {
    let source = files(&repository("crates/tensor/src"), "rs").into_iter();
    let text: String = source.map(|path| fs::read_to_string(path).expect("readable")).collect();
    for (name, _) in kernels() {
        assert!(text.contains(&format!("kernel!(\"{name}\")")), "{name} is used by no op");
    }
}

/// An op and its kernels are found by one path: the families of both have the same names.
#[test]
fn families_of_ops_and_kernels_have_the_same_names() {
    let families = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(repository(folder)).expect("the source is here");
        let folders = entries.map(|entry| entry.expect("readable")).filter(|entry| entry.path().is_dir());
        folders.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "lib").collect()
    };
    assert_eq!(families("shaders"), families("crates/tensor/src/ops"));
}

/// Kernels that no adapter here can run: the products on matrix units, as they would be launched, are read, checked and
/// written as SPIR-V.
#[test]
fn kernels_for_matrix_units_are_valid() {
    let caps = Caps { subgroup: 32, cooperative: true, workgroup_memory: 32 << 10, ..Caps::default() };
    let f16 = TensorType::f16;
    let mut launches = Vec::new();
    for (layout, lhs, rhs) in
        [(Layout::NN, [128, 48], [48, 96]), (Layout::NT, [128, 48], [96, 48]), (Layout::TN, [48, 128], [48, 96])]
    {
        for half in [false, true] {
            let stored = Stored { half, rounded: !half };
            let op = MatMul { layout, epilogue: Default::default(), stored, gemm_variant: None };
            let (lhs, rhs) = (f16(lhs), f16(rhs));
            let out = op.infer(&[&lhs, &rhs]).expect("fits");
            launches.extend(op.lower(&caps, &[&lhs, &rhs], &out).dispatches);
            // A side of f32 is not for them.
            let wide = TensorType::f32(lhs.shape.clone());
            let lowered = op.lower(&caps, &[&wide, &rhs], &out);
            assert!(!lowered.dispatches[0].variant.flags.contains(&"COOPERATIVE"));
        }
    }
    launches.extend(
        Gram { of: GramOf::Examples }.lower(&caps, &[&f16([128, 48])], &TensorType::f32([128, 128])).dispatches,
    );
    assert_eq!(launches.len(), 7);
    for variant in launches.into_iter().map(|launch| launch.variant) {
        assert!(variant.flags.contains(&"COOPERATIVE"), "{} {:?}", variant.kernel.name, variant.flags);
        compile(variant);
    }
}

/// Recurrences with shuffles over more lanes than subgroups have here.
#[test]
fn recurrences_for_subgroups_of_32_are_valid() {
    let caps = Caps { subgroup: 32, shuffle: 32, invocations: 1024, workgroup_memory: 48 << 10, ..Caps::default() };
    let mut lanes = BTreeSet::new();
    for cell in [Cell::Tanh, Cell::Lstm, Cell::Gru] {
        for (hidden, invocations) in [(128, 512), (128, 1024), (30, 256)] {
            let form = Some(RecurrenceForm::Registers { invocations, held: 4 });
            let op = Recurrence { cell, steps: Keys::Ids { padding: 0 }, form };
            let f32 = |shape: &[usize]| TensorType::f32(shape.to_vec());
            let (columns, state) = (cell.gates() * hidden, f32(&[3, hidden]));
            let mut inputs = vec![f32(&[3, 5, columns]), f32(&[columns, hidden]), f32(&[columns]), state.clone()];
            inputs.extend((cell == Cell::Lstm).then(|| state.clone()));
            inputs.push(TensorType::u32([3, 5]));
            let mut launches = lowered(&op, &caps, &inputs);
            let y = op.infer(&inputs.iter().collect::<Vec<_>>()).expect("fits");
            let of_gradient = [vec![inputs[1].clone(), y, f32(&[3, 5, hidden])], inputs[3..].to_vec()].concat();
            launches.extend(lowered(&RecurrenceGrad { of: op }, &caps, &of_gradient));
            assert_eq!(launches.len(), 2);
            for variant in launches {
                assert!(variant.flags.contains(&"SHUFFLE"), "{variant:?}");
                lanes.extend(variant.sizes.iter().filter(|(name, _)| *name == "LANES").map(|(_, n)| *n));
                compile(variant);
            }
        }
    }
    assert_eq!(lanes.into_iter().collect::<Vec<_>>(), [4, 8, 16, 32]);
}

fn lowered(op: &impl Op, caps: &Caps, inputs: &[TensorType]) -> Vec<Variant> {
    let inputs: Vec<&TensorType> = inputs.iter().collect();
    let out = op.infer(&inputs).expect("fits");
    op.lower(caps, &inputs, &out).dispatches.into_iter().map(|launch| launch.variant).collect()
}

/// Reads and checks a kernel's text and writes it as SPIR-V.
fn compile(Variant { kernel, flags, constants, sizes, .. }: Variant) {
    let source = kernel.expand(&flags, &sizes).expect("imports that exist");
    let module = naga::front::wgsl::parse_str(&source).unwrap_or_else(|e| panic!("{}", e.emit_to_string(&source)));
    let all = (naga::valid::ValidationFlags::all(), naga::valid::Capabilities::all());
    let info = naga::valid::Validator::new(all.0, all.1).validate(&module);
    let info = info.unwrap_or_else(|e| panic!("{} {flags:?}: {e:?}", kernel.name));
    let constants = constants.iter().map(|(name, value)| (name.to_string(), *value)).collect();
    let (module, info) = naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
        .expect("the kernel's constants");
    // Bounds checks as wgpu adds them, and none.
    for buffer in [BoundsCheckPolicy::Unchecked, BoundsCheckPolicy::Restrict, BoundsCheckPolicy::ReadZeroSkipWrite] {
        let bounds_check_policies = BoundsCheckPolicies { index: buffer, buffer, ..Default::default() };
        let options = naga::back::spv::Options { bounds_check_policies, ..Default::default() };
        let words = naga::back::spv::write_vec(&module, &info, &options, None).expect("SPIR-V");
        assert!(words.len() > 1000, "{}", kernel.name);
    }
}

/// A driver that assumes that no NaN occurs takes `x == x` for true, so NaN must be read off the bits (`lib/number.wgsl`).
#[test]
fn no_kernel_looks_for_nan_by_comparing() {
    let compared_with_itself = |line: &str| {
        let code = line.split("//").next().unwrap_or_default();
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '[' | ']');
        [" == ", " != "].iter().any(|comparison| {
            code.match_indices(comparison).any(|(at, _)| {
                let left = code[..at].rsplit(|c| !word(c)).next().unwrap_or_default();
                let right = code[at + 4..].split(|c| !word(c)).next().unwrap_or_default();
                !left.is_empty() && left == right
            })
        })
    };
    assert!(compared_with_itself("if (!(x == x)) {") && compared_with_itself("a = select(0.0, y[i], y[i] != y[i]);"));
    assert!(!compared_with_itself("same = a == b; // a == a"));
    for file in files(&repository("shaders"), "wgsl") {
        let text = fs::read_to_string(&file).expect("a kernel");
        let found = text.lines().find(|line| compared_with_itself(line));
        assert_eq!(found, None, "{}", file.display());
    }
}
