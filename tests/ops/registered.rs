//! Takes every op of the registry through the same two checks on random shapes.

use trellis_tensor::rng::Rng;
use trellis_tensor::{
    AttentionForm, AttentionTile, Block, DType, Gpu, Graph, Layout, Plan, ProductLoop, Reference, Sample, Tensor,
    TensorType, Var, ops,
};

use crate::{gpu, gpu_with_block, gpu_with_gpu_kernels};

/// Random cases per op.
const CASES: u64 = 24;

/// Greatest relative error of a number rounded to f16.
const HALF: f64 = 1.0 / 2048.0;

/// Cases of one op that the gradient is checked on.
const GRADIENT_CASES: u64 = 20;

#[test]
fn every_kernel_agrees_with_its_f64_reference() {
    for_each_op(|name, sample| {
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
                let (error, blocks) = forward_error(&gpu, &sample);
                let allowed = if sample.halved { HALF } else { 1e-5 };
                // Each member of the family once.
                multiplies = kernels == "own" || (blocks && (case as usize) < Block::FAMILY.len());
                assert!(error <= allowed, "{name}, case {case}, {kernels} kernels: relative error {error:.2e}");
            }
        }
    });
}

#[test]
fn every_gradient_agrees_with_central_differences() {
    for_each_op(|name, sample| {
        let differentiable = (0..).map(|case| (case, sample(&mut Rng::new(case, 2))));
        let mut tried = 0;
        for (case, sample) in differentiable.take(4 * GRADIENT_CASES as usize).filter(|(_, s)| s.differentiable) {
            let (difference, device) = gradient_errors(&sample);
            assert!(difference <= 1e-5, "{name}, case {case}: rule against differences {difference:.2e}");
            // The gradient of an f16 value is f16, and so are some that it is made of.
            let halved = sample.halved || sample.inputs.iter().any(|input| input.ty.dtype == DType::F16);
            let allowed = if halved { 4.0 * HALF } else { 1e-4 };
            assert!(device <= allowed, "{name}, case {case}: GPU gradient against f64 {device:.2e}");
            tried += 1;
            if tried == GRADIENT_CASES {
                break;
            }
        }
    });
}

/// `TRELLIS_TEST_OP=MatMul` restricts both checks to one op while it is written.
fn for_each_op(check: impl Fn(&str, fn(&mut Rng) -> Sample)) {
    let only = std::env::var("TRELLIS_TEST_OP").ok();
    for (name, sample) in ops::registry().into_iter().filter(|(name, _)| only.as_deref().is_none_or(|o| o == *name)) {
        check(name, sample);
    }
}

/// Leaves with the sample's values, on the GPU and in the reference.
fn leaves(gpu: &Gpu, sample: &Sample, reference: &mut Reference) -> Vec<Tensor> {
    let create = |(i, input): (usize, &trellis_tensor::SampleInput)| {
        let (shape, name) = (input.ty.shape.clone(), format!("input {i}"));
        let values = &input.values;
        let tensor = match input.ty.dtype {
            DType::F32 => Tensor::from_f32(gpu, &name, shape, &values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            DType::F16 => Tensor::from_f16(gpu, &name, shape, &values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
            DType::U32 => Tensor::from_u32(gpu, &name, shape, &values.iter().map(|&v| v as u32).collect::<Vec<_>>()),
            DType::U8 => Tensor::from_u8(gpu, &name, shape, &values.iter().map(|&v| v as u8).collect::<Vec<_>>()),
        }
        .expect("small tensors fit");
        // The reference starts from exactly what the GPU holds.
        let exact = if input.ty.dtype == DType::F32 { |v: f64| f64::from(v as f32) } else { |v: f64| v };
        reference.set(&tensor, values.iter().map(|&v| exact(v)).collect());
        tensor
    };
    sample.inputs.iter().enumerate().map(create).collect()
}

/// Greatest difference of a kernel's results from the reference's, relative to the greatest result; and whether a member of the
/// family of blocks has run.
pub(crate) fn forward_error(gpu: &Gpu, sample: &Sample) -> (f64, bool) {
    let mut reference = Reference::new();
    let tensors = leaves(gpu, sample, &mut reference);
    let graph = Graph::new();
    let inputs: Vec<Var<'_>> = tensors.iter().map(|t| graph.leaf(t)).collect();
    let output = (sample.record)(&inputs).expect("samples are legal");
    let plan = Plan::new(gpu, &graph, &[output]).expect("a small plan fits");
    plan.run(1).expect("the device works");
    reference.run(&graph);
    let blocks = plan.launches().any(|launch| launch.variant.contains("BLOCK"));
    let mut worst = relative_error_above(sample.least, &read(&plan, output), reference.value(output));
    for tensor in &tensors {
        // Inputs may be updated in place.
        let now: Vec<f64> = match tensor.ty().dtype {
            DType::F32 => widen(&tensor.read_f32().expect("the device works")),
            DType::F16 => widen(&tensor.read_f16().expect("the device works")),
            DType::U32 => tensor.read_u32().expect("the device works").into_iter().map(f64::from).collect(),
            DType::U8 => continue,
        };
        worst = worst.max(relative_error(&now, reference.leaf(tensor)));
    }
    (worst, blocks)
}

fn read(plan: &Plan, var: Var<'_>) -> Vec<f64> {
    match var.ty().dtype {
        DType::U32 => plan.read_u32(var).expect("kept").into_iter().map(f64::from).collect(),
        _ => widen(&plan.read(var).expect("kept")),
    }
}

/// For the loss Σ r·op(x) with random r: the f64 gradient rule against central differences in f64, and the gradient
/// computed on the GPU against the f64 one.
pub(crate) fn gradient_errors(sample: &Sample) -> (f64, f64) {
    let mut reference = Reference::new();
    let tensors = leaves(&gpu(), sample, &mut reference);
    let graph = Graph::new();
    let inputs: Vec<Var<'_>> = tensors.iter().map(|t| graph.leaf(t)).collect();
    let output = (sample.record)(&inputs).expect("samples are legal");
    let mut rng = Rng::new(7, 7);
    let weights: Vec<f32> = (0..output.ty().elements()).map(|_| rng.normal()).collect();
    let r = Tensor::from_f32(&gpu(), "r", output.shape(), &weights).expect("fits");
    reference.set(&r, widen(&weights));
    let output = output.cast(DType::F32).expect("a float");
    let loss = output.mul(graph.leaf(&r)).and_then(Var::sum_all).expect("same shape");

    let floats: Vec<usize> =
        (0..inputs.len()).filter(|&i| matches!(sample.inputs[i].ty.dtype, DType::F32 | DType::F16)).collect();
    let wrt: Vec<Var<'_>> = floats.iter().map(|&i| inputs[i]).collect();
    let gradients = graph.grad(loss, &wrt).expect("differentiable");
    let plan = Plan::new(&gpu(), &graph, &gradients).expect("a small plan fits");
    plan.run(1).expect("the device works");
    reference.run(&graph);
    let exact: Vec<Vec<f64>> = gradients.iter().map(|&g| reference.value(g).to_vec()).collect();

    let mut worst = (0.0f64, 0.0f64);
    for ((&i, gradient), &var) in floats.iter().zip(&exact).zip(&gradients) {
        worst.1 = greater(worst.1, relative_error(&read(&plan, var), gradient));
        let point: Vec<f64> = reference.leaf(&tensors[i]).to_vec();
        let scale = gradient.iter().fold(1e-3, |m: f64, g| m.max(g.abs()));
        for _ in 0..3 {
            // One coordinate and one random direction at a time.
            let mut direction = vec![0.0; point.len()];
            if rng.below(2) == 0 {
                direction[rng.below(point.len())] = 1.0;
            } else {
                direction.iter_mut().for_each(|d| *d = f64::from(rng.normal()) / (point.len() as f64).sqrt());
            }
            let mut at = |step: f64| {
                reference.set(&tensors[i], point.iter().zip(&direction).map(|(p, d)| p + step * d).collect());
                reference.run(&graph);
                reference.value(loss)[0]
            };
            let step = 1e-6;
            let difference = (at(step) - at(-step)) / (2.0 * step);
            let along: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            worst.0 = greater(worst.0, (difference - along).abs() / scale.max(along.abs()));
            reference.set(&tensors[i], point.clone());
        }
    }
    worst
}

/// The maximum, where NaN is worse than any number.
fn greater(worst: f64, error: f64) -> f64 {
    if error.is_nan() { f64::INFINITY } else { worst.max(error) }
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// max |a − b| / max(|b|, 1e-3); infinite if one is NaN where the other is not.
fn relative_error(a: &[f64], b: &[f64]) -> f64 {
    relative_error_above(1e-3, a, b)
}

/// Greatest difference, relative to the greatest finite number of `b`, or to `least` where all are smaller.
fn relative_error_above(least: f64, a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().filter(|v| v.is_finite()).fold(least, |m: f64, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| {
        let same = a == b || (a.is_nan() && b.is_nan());
        let error = if same { 0.0 } else { (a - b).abs() / scale };
        greater(worst, error)
    })
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
            [a.matmul(b, layout), a.matmul_on(b, layout, ProductLoop::Naive)].map(|x| x.expect("shapes fit"));
        let plan = Plan::new(&gpu(), &graph, &products).expect("fits");
        plan.run(1).expect("the device works");
        let [own, naive] = products.map(|x| read(&plan, x));
        assert!(relative_error(&own, &naive) <= 1e-5, "{layout:?}");
    }
}

/// What the random cases meet by chance only: every form on every tile, with each mask and dropout, where several tiles have an edge,
/// without subgroup operations and with those of 8 lanes.
#[test]
fn attention_has_the_same_numbers_in_every_form() {
    let tiles = [4, 8, 16].map(|lanes| AttentionTile { lanes, groups: lanes });
    let forms = tiles
        .into_iter()
        .chain([AttentionTile::TALL])
        .flat_map(|tile| [AttentionForm::Tiled(tile), AttentionForm::Split(tile, 2), AttentionForm::Stored(tile)]);
    for (case, form) in (0..).zip(forms) {
        let mut rng = Rng::new(case, 9);
        let (AttentionForm::Tiled(tile) | AttentionForm::Split(tile, _) | AttentionForm::Stored(tile)) = form else {
            unreachable!("all have tiles")
        };
        let masks = [ops::Keys::All, ops::Keys::Lengths, ops::Keys::Ids { padding: 1 }];
        // Of 32 KiB, which lavapipe has, 64 x 64 leave heads of 32 at most.
        let head = [4, 20, 30][case as usize % 3];
        let (batch, heads, queries) = (2, 2, tile.own() + 5);
        let causal = case % 2 == 0;
        let packed = case % 3 == 2;
        let keys = if packed { queries } else { tile.met() + 11 };
        let dropout = (case % 4 < 2).then_some(ops::PairDropout { dropped: 20_000, seed: 3 << 33, stream: 5 });
        let op =
            ops::Attention { heads, causal, packed, keys: masks[case as usize / 2 % 3], dropout, form: Some(form) };
        let mut sample = Sample::new(move |x| {
            let y = x[0].graph().push(op, x)?;
            y.slice(0, 0, batch * heads * queries * head)
        });
        let width = heads * head;
        sample = match packed {
            true => sample.normal(&mut rng, [batch, queries, 3 * width]),
            false => [queries, keys, keys]
                .into_iter()
                .fold(sample, |sample, time| sample.normal(&mut rng, [batch, time, width])),
        };
        sample = match op.keys {
            ops::Keys::All => sample,
            ops::Keys::Lengths => sample.input(TensorType::u32([batch]), vec![tile.met() as f64 + 1.0, 9.0]),
            ops::Keys::Ids { .. } => sample.index(&mut rng, [batch, keys], 3),
        };
        if dropout.is_some() {
            sample = sample.input(TensorType::u32([4]), vec![7.0, 0.0, 0.0, 0.0]);
        }
        // The output of `Stored` is that of `Tiled`.
        let both = [(gpu(), "own"), (gpu_with_gpu_kernels(), "no subgroup operations")];
        let stored = form == AttentionForm::Stored(tile);
        for (gpu, kernels) in both.into_iter().take(if stored { 1 } else { 2 }) {
            assert!(form.runs_on(gpu.caps(), head, false), "{form:?}, head size {head}");
            let (error, _) = forward_error(&gpu, &sample);
            assert!(error <= 1e-5, "{form:?}, case {case}, {kernels}: relative error {error:.2e}");
        }
        // The gradient of 64 x 64 takes more workgroup memory but where pairs are stored.
        let runs = form.runs_on(gpu().caps(), head, true);
        assert_eq!(runs, tile != AttentionTile::LARGE || form == AttentionForm::Stored(tile), "{form:?}");
        if !runs {
            continue;
        }
        let (difference, device) = gradient_errors(&sample);
        assert!(difference <= 1e-5, "{form:?}, case {case}: rule against differences {difference:.2e}");
        assert!(device <= 1e-4, "{form:?}, case {case}: GPU gradient against f64 {device:.2e}");
    }
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
    let mut reference = Reference::new();
    reference.run(&graph);
    assert_eq!(reference.value(y), [7.0]);
}
