//! Memory of a plan: segments that are computed again for the backward pass, and layers that are forgotten once
//! compared.

use std::path::Path;

use trellis_data::Images;
use trellis_guidance::{Dataset, Fcn, Guidance, Network, Resnet, Session, Trainer, Training};
use trellis_lab::config::Config;
use trellis_lab::memory::Memory;
use trellis_rng::Rng;
use trellis_tensor::{
    Gpu, GpuOptions, Graph, Init, Layout, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Recompute, Rule,
    Schedule, StepState, Tensor, TensorType, Var,
};

use crate::{gpu, open};

// Values of more than 2 MiB: smaller ones do not share buffers.
const BATCH: usize = 11_264;
const WIDTH: usize = 48;
const LAYERS: usize = 8;

struct Weights {
    w: Vec<Tensor>,
    gamma: Tensor,
    beta: Tensor,
    running: Vec<[Tensor; 2]>,
}

fn weights() -> Weights {
    let gpu = gpu();
    let tensor =
        |name: &str, shape: &[usize], values: Vec<f32>| Tensor::from_f32(&gpu, name, shape, &values).expect("fits");
    let layer = |number: u64| {
        let shape = [WIDTH, WIDTH].into();
        tensor("w", &[WIDTH, WIDTH], Init::Default.values(&shape, &mut Rng::new(3, number)))
    };
    let zeros = |name| Tensor::zeros(&gpu, name, TensorType::f32([WIDTH])).expect("fits");
    Weights {
        w: (0..LAYERS as u64).map(layer).collect(),
        gamma: tensor("gamma", &[WIDTH], vec![1.0; WIDTH]),
        beta: tensor("beta", &[WIDTH], vec![0.1; WIDTH]),
        running: (0..LAYERS).map(|_| [zeros("mean"), zeros("variance")]).collect(),
    }
}

/// Gradients of all weights, running statistics after two steps, bytes of the plan. A layer is product, batch norm,
/// ReLU, dropout; a second loss captures every fourth.
fn train(layers_a_segment: Option<usize>) -> (Vec<Vec<f32>>, Vec<Vec<f32>>, u64) {
    let (weights, graph, step_state) = (weights(), Graph::new(), StepState::new(&gpu()).expect("fits"));
    let mut rng = Rng::new(5, 5);
    let images: Vec<f32> = (0..BATCH * WIDTH).map(|_| rng.normal()).collect();
    let images = Tensor::from_f32(&gpu(), "images", [BATCH, WIDTH], &images).expect("fits");
    let now = graph.leaf(step_state.tensor());
    let mut x = graph.leaf(&images);
    let (mut loss, mut segment): (Var<'_>, Option<Recompute<'_>>) = (graph.constant(0.0, []), None);
    let leaves: Vec<Var<'_>> = weights.w.iter().map(|w| graph.leaf(w)).collect();
    let mut activations = Vec::new();
    for (number, &w) in leaves.iter().enumerate() {
        if layers_a_segment.is_some_and(|layers| number % layers == 0) {
            drop(segment.take());
            segment = Some(graph.recompute());
        }
        let z = x.matmul(w, Layout::NT).expect("fits");
        let [mean, variance] = &weights.running[number];
        let (mean, variance) = (graph.leaf(mean), graph.leaf(variance));
        let (gamma, beta) = (graph.leaf(&weights.gamma), graph.leaf(&weights.beta));
        let normal = z.batch_norm_train(gamma, beta, mean, variance, 0.1, 1e-5).expect("fits");
        x = normal.relu().and_then(|y| y.dropout(now, 0.2, 7, number as u32)).expect("legal");
        if number % 4 == 1 {
            activations.push(z);
        }
    }
    drop(segment);
    for activation in activations {
        loss = activation.mul(activation).and_then(Var::mean_all).and_then(|m| loss.add(m)).expect("legal");
    }
    loss = x.mul(x).and_then(Var::sum_all).and_then(|sum| loss.add(sum)).expect("legal");
    let gradients = graph.grad(loss, &leaves).expect("differentiable");
    let plan = Plan::new(&gpu(), &graph, &gradients).expect("fits");
    plan.run(2).expect("works");
    let gradients = gradients.iter().map(|&gradient| plan.read(gradient).expect("kept")).collect();
    let running = weights.running.iter().flatten().map(|tensor| tensor.read_f32().expect("works")).collect();
    (gradients, running, plan.memory())
}

#[test]
fn segments_change_memory_and_no_bit() {
    let (gradients, running, kept) = train(None);
    assert!(gradients.iter().all(|gradient| gradient.iter().any(|&g| g != 0.0)));
    assert!(running.iter().all(|values| values.iter().any(|&v| v != 0.0)));
    for layers in [1, 3, 4, 5, LAYERS] {
        let (same, once, memory) = train(Some(layers));
        assert!(same == gradients, "{layers} layers a segment: other gradients");
        assert!(once == running, "{layers} layers a segment: running statistics moved twice");
        if layers == 3 || layers == 4 {
            assert!(memory < kept * 3 / 4, "{layers} layers a segment: {memory} of {kept} bytes");
        }
    }
}

/// Layers of a frozen network are compared after its forward pass is recorded, but none is kept until then.
#[test]
fn layers_are_forgotten_once_they_are_compared() {
    const N: usize = 8;
    const P: usize = 72 << 10; // more than 2 MiB: smaller values do not share buffers
    let values = |stream: u64, count: usize| {
        let mut rng = Rng::new(4, stream);
        (0..count).map(|_| rng.normal()).collect::<Vec<f32>>()
    };
    let x = Tensor::from_f32(&gpu(), "x", [N, P], &values(1, N * P)).expect("fits");
    let plan = |depth: usize| {
        let graph = Graph::new();
        let mut layer = graph.leaf(&x);
        let mut layers = Vec::new();
        for _ in 0..depth {
            layer = layer.affine(0.9, 0.1).and_then(Var::relu).expect("legal");
            layers.push(layer);
        }
        let grams: Vec<Var<'_>> = layers.iter().map(|layer| layer.centered_gram().expect("fits")).collect();
        let plan = Plan::new(&gpu(), &graph, &grams).expect("fits");
        plan.run(1).expect("works");
        let last = plan.read(grams[depth - 1]).expect("kept");
        assert!(last.iter().all(|v| v.is_finite()) && last[0] > 0.0);
        plan.memory()
    };
    let [few, many] = [3, 12].map(plan);
    let layer = (4 * N * P) as u64;
    assert!(many < few + 2 * layer, "{few} bytes for 3 layers, {many} for 12 of {layer}");
}

/// An update in place happens after what was recorded before it, and before what was recorded after it.
#[test]
fn what_runs_early_does_not_overtake_an_update() {
    let w = Tensor::from_f32(&gpu(), "w", [64], &[1.0; 64]).expect("fits");
    let other = Tensor::from_f32(&gpu(), "x", [64], &[5.0; 64]).expect("fits");
    let spec = ParamSpec { name: "p".into(), shape: [64].into(), values: vec![1.0; 64].into() };
    let params = Params::new(&gpu(), &[spec]).expect("fits");
    let rate = Schedule::Constant(0.5);
    let rule = Rule::Sgd { momentum: 0.0, nesterov: false };
    let config = OptimizerConfig { rate, rule, weight_decay: 0.0, clip_norm: None };
    let optimizer = Optimizer::new(&gpu(), &params, config).expect("fits");
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
    let p = graph.leaf(&params.tensors()[0]);
    let loss = p.mul(graph.leaf(&w)).and_then(Var::sum_all).expect("legal");
    let before = p.affine(1.0, 0.0).and_then(|p| p.mul(graph.leaf(&other))).expect("legal");
    // An op that reads this frees it, but reads what the update writes too.
    let scratch = graph.leaf(&other).relu().and_then(|x| x.affine(2.0, 0.0)).expect("legal");
    optimizer.update(&graph, loss, &step_state).expect("records");
    let after = scratch.mul(p).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[before, after]).expect("fits");
    plan.run(1).expect("works");
    assert_eq!(plan.read(before).expect("kept"), [5.0; 64]);
    assert_eq!(plan.read(after).expect("kept"), [5.0; 64], "10 times 1 - 0.5");
}

/// Two plans in the same memory, one after the other and again: what either keeps stays, and both compute what they would alone.
#[test]
fn plans_beside_each_other_share_memory_and_no_value() {
    let mut rng = Rng::new(3, 3);
    let values: Vec<f32> = (0..96 * 96).map(|_| rng.normal()).collect();
    let x = Tensor::from_f32(&gpu(), "x", [96, 96], &values).expect("fits");
    // Chains of products, with a value in the middle that is kept.
    fn chain<'g>(graph: &'g Graph, x: &Tensor, length: usize) -> [Var<'g>; 2] {
        let x = graph.leaf(x);
        let step = |y: Var<'g>| y.matmul(x, Layout::NN).and_then(Var::tanh).expect("legal");
        let middle = (0..length).fold(x, |y, _| step(y));
        [middle, (0..length).fold(middle, |y, _| step(y))]
    }
    let (first, second, third) = (Graph::new(), Graph::new(), Graph::new());
    let (a, b, c) = (chain(&first, &x, 3), chain(&second, &x, 2), chain(&third, &x, 5));
    let plan_a = Plan::new(&gpu(), &first, &a).expect("fits");
    let plan_b = Plan::beside(Some(&plan_a), &gpu(), &second, &b).expect("fits");
    let plan_c = Plan::beside(Some(&plan_b), &gpu(), &third, &c[..1]).expect("fits");
    let alone: Vec<Vec<f32>> = [(&first, a), (&second, b), (&third, [c[0], c[0]])]
        .into_iter()
        .flat_map(|(graph, keep)| {
            let plan = Plan::new(&gpu(), graph, &keep).expect("fits");
            plan.run(1).expect("works");
            keep.map(|var| plan.read(var).expect("kept"))
        })
        .collect();
    let run = |plans: [&Plan; 3]| plans.into_iter().for_each(|plan| plan.run(1).expect("works"));
    let read = |plan: &Plan, var| plan.read(var).expect("kept");
    for _ in 0..2 {
        run([&plan_a, &plan_b, &plan_c]);
        assert!([read(&plan_a, a[0]), read(&plan_a, a[1])] == alone[..2]);
        assert!([read(&plan_b, b[0]), read(&plan_b, b[1])] == alone[2..4]);
        assert!(read(&plan_c, c[0]) == alone[4]);
        run([&plan_c, &plan_b, &plan_a]);
    }
    // Two values that are kept, and what is no larger than a few sizes: no third value.
    let kept = 2 * 96 * 96 * 4;
    assert!(plan_b.memory() < kept + kept / 2, "{} bytes", plan_b.memory());
    // The lender may go first.
    drop((plan_a, plan_b));
    plan_c.run(1).expect("works");
    assert!(read(&plan_c, c[0]) == alone[4]);
}

/// Hundreds of GiB of parameters: to record their step would take minutes.
#[test]
fn parameters_that_do_not_fit_are_refused_before_a_step_is_recorded() {
    let text = "arms = [\"alone\"]\n[target]\ndepth = 200\nwidth = 65536\n";
    let config = Config::parse(text, Path::new("x.toml")).expect("a sane file");
    // A GPU of hardware has no budget of its own.
    let gpu = open(GpuOptions { memory_budget: Some(8 << 30), ..GpuOptions::default() });
    let data = config.dataset(&gpu, Path::new("x.toml"), None).expect("fits");
    let counted = Memory::count(&config, &data).expect("counts");
    assert!(counted.parts.last().expect("parts").0.contains("the step was not counted"), "{counted}");
    assert!(counted.peak > 199 << 34 && counted.check(&gpu, 1).is_err());
}

#[test]
fn counted_memory_is_what_a_run_takes() {
    let counting = || Gpu::with(&GpuOptions { dry_run: true, ..GpuOptions::default() }).expect("an adapter");
    let config = |text: &str| Config::parse(text, Path::new("x.toml")).expect("a sane file");
    let text = "arms = [\"untrained\"]\n[data]\ntrain = 200\nvalidation = 50\ntest = 50\n[target]\ndepth = 9\nwidth = 32\n[training]\nbatch = 50\n";
    for recompute in [0, 3] {
        let config = config(&format!("{text}recompute = {recompute}\n"));
        let counting = counting();
        let data = config.dataset(&counting, Path::new("x.toml"), None).expect("counts");
        let counted = Memory::count(&config, &data).expect("counts");
        let data = config.dataset(&gpu(), Path::new("x.toml"), None).expect("fits");
        let target = Network::new(config.target_of("untrained").network.architecture(), &data, 0).expect("fits");
        let guide = Network::new(config.guide.network.architecture(), &data, 0).expect("fits");
        let guidance = config.guidance("untrained", guide.freeze());
        let session = Session::new(&target, &data, config.training("untrained", 0), Some(&guidance)).expect("fits");
        let [.., (name, bytes), (_, evaluations)] = &counted.parts[..] else { panic!("parts") };
        assert_eq!(session.plan().expect("steps").memory(), *bytes, "{name}");
        assert!(*evaluations > 0, "sizes of its kernels at least");
        assert_eq!(counted.parts.iter().map(|(_, bytes)| bytes).sum::<u64>(), counted.peak);
        assert!(counted.largest.1 <= counted.peak && counted.by_name.len() > 10);
    }
    // Guides of other arms stay in memory.
    let [one, both] = ["\"trained\"", "\"trained\", \"untrained\""].map(|arms| {
        let config = config(&format!("arms = [{arms}]\n"));
        let data = config.dataset(&counting(), Path::new("x.toml"), None).expect("counts");
        Memory::count(&config, &data).expect("counts")
    });
    let guide = |memory: &Memory| memory.parts.iter().filter(|(name, _)| name.contains("guide, ")).count();
    assert_eq!([guide(&one), guide(&both)], [1, 2]);
    assert!(both.peak > one.peak, "{} and {}", one.peak, both.peak);
    // Of an arm with two guides all its plans count: those of one guide, of both, and of none.
    let several = config(&format!(
        "{}[arm.one]\nguide = \"untrained\"\nfirst_steps = 20\n[arm.both]\nguide = \"untrained\"\nfirst_steps = 30\nalso = [\"one\"]\n",
        text.replace("[\"untrained\"]", "[\"one\", \"both\"]")
    ));
    let data = several.dataset(&counting(), Path::new("x.toml"), None).expect("counts");
    let counted = Memory::count(&several, &data).expect("counts");
    assert_eq!(counted.arm, "both", "which takes most");
    let data = several.dataset(&gpu(), Path::new("x.toml"), None).expect("fits");
    let target = Network::new(several.target_of("both").network.architecture(), &data, 0).expect("fits");
    let guidance = ["both", "one"].map(|arm| {
        let guide = Network::new(several.guide.network.architecture(), &data, 0).expect("fits");
        several.guidance(arm, guide.freeze())
    });
    let session = Session::new(&target, &data, several.training("both", 0), &guidance).expect("fits");
    let [.., (name, bytes), _] = &counted.parts[..] else { panic!("parts") };
    assert_eq!(session.plans_memory(), *bytes, "{name}");
    // A tensor that no adapter binds is counted too, and nothing is left behind.
    let huge = config("[target]\ndepth = 2\nwidth = 20000\n");
    let counting = counting();
    let data = huge.dataset(&counting, Path::new("x.toml"), None).expect("counts");
    let memory = Memory::count(&huge, &data).expect("counts");
    assert!(memory.peak > 4 << 30 && memory.check(&counting, 1).is_ok() == (memory.peak <= counting.memory_budget()));
    drop(data);
    assert_eq!(counting.memory_used(), 0);
}

/// The paper's Deep FCN on 224 × 224 pixels at batch 256, guided by ResNet-18, with Adam: 8 GiB, 1,000 images included.
#[test]
fn the_papers_deep_fcn_fits_8_gib() {
    let gpu = Gpu::with(&GpuOptions { dry_run: true, ..GpuOptions::default() }).expect("an adapter");
    let count = 1000;
    let images = Images {
        channels: 3,
        height: 224,
        width: 224,
        pixels: vec![0; count * 3 * 224 * 224],
        labels: vec![0; count],
        classes: 1000,
        name: "blank".to_string(),
    };
    let data = Dataset::new(&gpu, &images, None, None).expect("counts");
    let target = Network::new(Fcn::paper_deep(), &data, 0).expect("counts");
    let guidance = Guidance::new(Network::new(Resnet::resnet18(), &data, 1).expect("counts").freeze());
    let training = Training { batch: 256, flip: true, recompute: 8, ..Training::new(10) };
    let trainer = Trainer::new(&target, &data, training).guided_by(guidance);
    let (_session, evaluation) = trainer.prepare().expect("counts");
    assert!(evaluation.memory() < 64 << 20, "{} MiB beyond those of a step", evaluation.memory() >> 20);
    let (by_name, peak) = gpu.memory_by_name();
    assert!(peak < 8 << 30, "{} MiB: {by_name:?}", peak >> 20);
    assert!(peak > 6 << 30, "parameters, moments and gradients alone: {} MiB", peak >> 20);
}

/// Every example is read and counted, layer maps and evaluations and all, and hardware could bind each of its pieces.
#[test]
fn every_example_is_sound() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs");
    let mut folders = vec![examples];
    let mut counted = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("checked in") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let config = Config::read(&path).expect("a sane file");
            let gpu = Gpu::with(&GpuOptions { dry_run: true, ..GpuOptions::default() }).expect("an adapter");
            let memory = config.dataset(&gpu, &path, None).and_then(|data| Memory::count(&config, &data));
            let memory = memory.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let (name, bytes) = &memory.largest;
            assert!(*bytes < 1 << 31, "{}: {name} has {} MiB", path.display(), bytes >> 20);
            assert!((1 << 20..30 << 30).contains(&memory.peak), "{}: {} MiB", path.display(), memory.peak >> 20);
            counted += 1;
        }
    }
    assert!(counted >= 21, "{counted}");
}
