//! Takes every op of the registry through the same two checks on random shapes.

use trellis_rng::Rng;
use trellis_tensor::ops::ListedOp;
use trellis_tensor::{
    AttentionForm, AttentionTile, Block, GemmVariant, Gpu, GpuOptions, Graph, Interpreter, Layout, PairLoops, Plan,
    Tensor, TensorType, TestCase, ops,
};

use crate::{gpu, gpu_with_block, gpu_with_gpu_kernels};

/// Random cases per op.
const CASES: u64 = 24;

/// Cases of one op that the gradient is checked on.
const GRADIENT_CASES: usize = 20;

/// Two tests for each family, so that they share the cores.
macro_rules! families {
    ($($family:ident),* $(,)?) => {
        $(mod $family {
            #[test]
            fn kernels_agree_with_their_f64_references() {
                super::check_kernels(stringify!($family));
            }

            #[test]
            fn gradients_agree_with_central_differences() {
                super::check_gradients(stringify!($family));
            }
        })*

        #[test]
        fn every_family_is_checked() {
            let checked = [$(stringify!($family)),*];
            assert!(ops::registry().iter().all(|op| checked.contains(&op.family)), "not all are in {checked:?}");
        }
    };
}

families![
    alignment,
    attention,
    bench,
    conv,
    elementwise,
    gemm,
    input,
    loss,
    measures,
    movement,
    norm,
    recurrent,
    update,
];

fn check_kernels(family: &str) {
    for ListedOp { name, sample, .. } in of_family(family) {
        for case in 0..CASES {
            let block = (case as usize) % Block::FAMILY.len();
            let name_of_block = Block::FAMILY[block].to_string();
            let mut multiplies = true;
            for (gpu, kernels) in
                [(gpu(), "own"), (gpu_with_gpu_kernels(), "GPU's"), (gpu_with_block(block), name_of_block.as_str())]
            {
                if !multiplies {
                    continue; // what is no product has no blocks to run on
                }
                let sample = sample(&mut Rng::new(case, 1));
                let error = sample.kernel_error(&gpu).expect("a small plan runs");
                let allowed = sample.allowed_of_kernel();
                // Each member of the family once.
                multiplies = kernels == "own" || (error.in_blocks && (case as usize) < Block::FAMILY.len());
                let error = error.relative;
                assert!(error <= allowed, "{name}, case {case}, {kernels} kernels: relative error {error:.2e}");
            }
        }
    }
}

fn check_gradients(family: &str) {
    for ListedOp { name, sample, .. } in of_family(family) {
        let cases = (0..4 * GRADIENT_CASES as u64).map(|case| (case, sample(&mut Rng::new(case, 2))));
        for (case, sample) in cases.filter(|(_, sample)| sample.differentiable).take(GRADIENT_CASES) {
            let errors = sample.gradient_errors(&gpu()).expect("a small plan runs");
            let (rule, device) = (errors.rule, errors.device);
            assert!(rule <= 1e-5, "{name}, case {case}: rule against differences {rule:.2e}");
            let allowed = sample.allowed_of_gradient();
            assert!(device <= allowed, "{name}, case {case}: GPU gradient against f64 {device:.2e}");
        }
    }
}

/// Ops of a family. `TRELLIS_TEST_OP=MatMul` restricts the checks to one op while it is written.
fn of_family(family: &str) -> Vec<ListedOp> {
    let only = std::env::var("TRELLIS_TEST_OP").ok();
    let wanted = |op: &ListedOp| op.family == family && only.as_deref().is_none_or(|only| only == op.name);
    ops::registry().into_iter().filter(wanted).collect()
}

/// Sizes that the random cases do not reach: rows of 4 KiB, which the product copies apart.
#[test]
fn products_of_long_rows_agree_with_the_naive_kernel() {
    let (m, k, n) = (130, 516, 1024);
    for (layout, lhs) in [(Layout::NN, [2, m, k]), (Layout::TN, [2, k, m])] {
        let graph = Graph::new();
        let mut rng = Rng::new(3, 3);
        let mut leaf = |shape: &[usize]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
            graph.leaf(&Tensor::from_f32(&gpu(), "x", shape, &values).expect("fits"))
        };
        let (a, b) = (leaf(&lhs), leaf(&[2, k, n]));
        let products =
            [a.matmul(b, layout), a.matmul_on(b, layout, GemmVariant::Naive)].map(|x| x.expect("shapes fit"));
        let plan = Plan::new(&gpu(), &graph, &products).expect("fits");
        plan.run(1).expect("the device works");
        let [own, naive] = products.map(|x| plan.read(x).expect("kept"));
        let greatest = naive.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        assert!(own.iter().zip(&naive).all(|(own, naive)| (own - naive).abs() <= 1e-5 * greatest), "{layout:?}");
    }
}

/// Forms that the random cases meet by chance only: tiles of every size, and pairs in memory on every loop of a product, with
/// each mask and dropout, where several tiles have an edge. Tiles without subgroup operations and with those of 8 lanes.
#[test]
fn attention_has_the_same_numbers_in_every_form() {
    let tiles = [4, 8, 16].map(|lanes| AttentionTile { lanes, groups: lanes }).into_iter().chain([AttentionTile::TALL]);
    let tiled = tiles.flat_map(|tile| {
        [AttentionForm::Tiled(tile), AttentionForm::Split(tile, 2)].map(|form| (form, [tile.own(), tile.met()]))
    });
    // The others take long to compile on a CPU.
    let all = std::env::var("TRELLIS_TEST_OP").is_ok_and(|only| only == "Attention");
    let blocks = if all { Block::FAMILY.to_vec() } else { Block::FAMILY.iter().copied().step_by(5).collect() };
    let stored = blocks.clone().into_iter().zip(blocks.into_iter().rev()).map(|(pairs, sums)| {
        let [pairs, sums] = [pairs, sums].map(GemmVariant::Block);
        (AttentionForm::Stored(PairLoops { pairs, sums, heads: Some(3) }), [64, 64])
    });
    for (case, (form, edges)) in (0..).zip(tiled.chain(stored)) {
        // Of 32 KiB, which lavapipe has, 64 x 64 leave heads of 32 at most.
        let stored = matches!(form, AttentionForm::Stored(_));
        let head = if stored { [4, 20, 64] } else { [4, 20, 30] }[case as usize % 3];
        let (op, sample) = attention_case(case, Some(form), edges, head);
        // Loops of products have no subgroup operations.
        let both = [(gpu(), "own"), (gpu_with_gpu_kernels(), "no subgroup operations")];
        for (gpu, kernels) in both.into_iter().take(if stored { 1 } else { 2 }) {
            assert!(form.runs_on(gpu.caps(), head, false), "{form:?}, head size {head}");
            let error = sample.kernel_error(&gpu).expect("a small plan runs").relative;
            assert!(error <= 1e-5, "{form:?}, case {case}, {kernels}: relative error {error:.2e}");
        }
        // The gradient of 64 x 64 takes more workgroup memory.
        let runs = form.runs_on(gpu().caps(), head, true);
        assert_eq!(
            runs,
            !matches!(form, AttentionForm::Tiled(AttentionTile::LARGE) | AttentionForm::Split(AttentionTile::LARGE, _))
        );
        if !runs {
            continue;
        }
        let errors = sample.gradient_errors(&gpu()).expect("a small plan runs");
        assert!(errors.rule <= 1e-5 && errors.device <= 1e-4, "{op:?}, case {case}: {errors:?}");
    }
}

/// In mixed precision the products of attention round their sides to f16, and add in f32.
#[test]
fn attention_on_matrix_units_agrees_to_half_precision() {
    let options = GpuOptions { emulated_units: true, ..GpuOptions::default() };
    let gpu = Gpu::with(&options).expect("an adapter");
    // Keys by their number and by their ids, with dropout and without, packed and not, causal and not.
    for (case, head) in [(2, 36), (5, 64)] {
        let (op, sample) = attention_case(case, None, [64, 64], head);
        let error = sample.kernel_error(&gpu).expect("a small plan runs").relative;
        // Numbers that were rounded differ from those that were not. Each of two products rounds.
        assert!(error > 1e-5 && error <= 1.0 / 1024.0, "{op:?}: {error:.2e}");
        let device = sample.gradient_errors(&gpu).expect("a small plan runs").device;
        assert!(device > 1e-5 && device <= 1.0 / 512.0, "{op:?}: {device:.2e}");
    }
}

/// A case of attention whose sizes leave a part of a tile of `edges` rows, with a mask and dropout by its number; without a form
/// one of mixed precision.
fn attention_case(
    case: u64,
    form: Option<AttentionForm>,
    edges: [usize; 2],
    head: usize,
) -> (ops::Attention, TestCase) {
    let mut rng = Rng::new(case, 9);
    let masks = [ops::Keys::All, ops::Keys::Lengths, ops::Keys::Ids { padding: 1 }];
    let (batch, heads, queries) = (2, 2, edges[0] + 5);
    let causal = case.is_multiple_of(2);
    let packed = case % 3 == 2;
    let keys = if packed { queries } else { edges[1] + 11 };
    let dropout = (case % 4 < 2).then_some(ops::PairDropout { dropped: 20_000, seed: 3 << 33, stream: 5 });
    let mask = masks[case as usize / 2 % 3];
    let half = form.is_none();
    let op = ops::Attention { heads, causal, packed, keys: mask, dropout, form, half };
    let mut sample = TestCase::new(move |x| {
        let y = x[0].graph().push(op, x)?;
        y.slice(0, 0, batch * heads * queries * head)
    });
    let width = heads * head;
    sample = match packed {
        true => sample.normal(&mut rng, [batch, queries, 3 * width]),
        false => {
            [queries, keys, keys].into_iter().fold(sample, |sample, time| sample.normal(&mut rng, [batch, time, width]))
        }
    };
    sample = match op.keys {
        ops::Keys::All => sample,
        ops::Keys::Lengths => sample.input(TensorType::u32([batch]), vec![edges[1] as f64 + 1.0, 9.0]),
        ops::Keys::Ids { .. } => sample.index(&mut rng, [batch, keys], 3),
    };
    if dropout.is_some() {
        sample = sample.input(TensorType::u32([4]), vec![7.0, 0.0, 0.0, 0.0]);
    }
    (op, sample)
}

/// The registry is the list in ops/mod.rs; an op that it does not name would escape the checks above.
#[test]
fn every_op_file_is_registered() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/crates/tensor/src/ops");
    let list = std::fs::read_to_string(format!("{folder}/mod.rs")).expect("the source is here");
    let mut ops = 0;
    for family in std::fs::read_dir(folder).expect("the source is here").map(|entry| entry.expect("readable")) {
        for file in std::fs::read_dir(family.path()).into_iter().flatten().map(|entry| entry.expect("readable")) {
            if std::fs::read_to_string(file.path()).expect("readable").contains("\nimpl Op for ") {
                let [family, module] = [&family, &file].map(|entry| entry.file_name().into_string().expect("ASCII"));
                let path = format!("{family}::{}", module.trim_end_matches(".rs"));
                assert!(list.contains(&format!("    {path}::{{")), "{path} is not in the ops! list");
                ops += 1;
            }
        }
    }
    assert!(ops > 40, "{ops}");
}

#[test]
fn reference_and_types_agree_on_scalars() {
    let graph = Graph::new();
    let two = graph.constant(2.0, []);
    let y = two.affine(3.0, 1.0).expect("f32");
    assert_eq!(y.ty(), TensorType::f32([]));
    let mut reference = Interpreter::new();
    reference.run(&graph);
    assert_eq!(reference.value(y), [7.0]);
}
