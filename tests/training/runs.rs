//! Promises of a training run: no work beside the dispatches, the same bits twice, and an end when numbers go bad.

use trellis_data::glyphs::glyphs;
use trellis_guidance::network::Mode;
use trellis_guidance::{
    Batches, CapturePoint, Cka, Cnn, Dataset, Error, Fcn, Guidance, GuideSchedule, Network, Precision, Session,
    Trainer, Training, Vit, weights,
};
use trellis_lab::tune;
use trellis_tensor::{
    GemmVariant, Gpu, GpuOptions, Graph, Layout, LossScale, Optimizer, OptimizerConfig, ParamSpec, Params, Plan,
    Schedule, StepState, Tensor, Var,
};

use crate::gpu;

pub(crate) fn data(gpu: &Gpu) -> Dataset {
    let parts = glyphs(120, 16, 1).split(&[80, 40], 0).expect("enough glyphs");
    Dataset::new(gpu, &parts[0], None, Some(&parts[1])).expect("fits")
}

pub(crate) fn small_training(steps: u32) -> Training {
    Training { batch: 16, seed: 3, check: true, ..Training::new(steps) }
}

pub(crate) fn networks(data: &Dataset) -> (Network, Guidance) {
    let guide = Network::new(Cnn::new(&[4, 8]), data, 5).expect("fits").freeze();
    let target = Network::new(Fcn { dropout: 0.1, ..Fcn::new(3, 16) }, data, 6).expect("fits");
    (target, Guidance::new(guide))
}

pub(crate) fn bits(network: &Network) -> Vec<u32> {
    network.tensors().flat_map(|t| t.read_f32().expect("works")).map(f32::to_bits).collect()
}

#[test]
fn replaying_allocates_compiles_and_reads_nothing() {
    // A device of its own: other tests share the counters of the shared one.
    let gpu = Gpu::new().expect("an adapter");
    let data = data(&gpu);
    let (target, guidance) = networks(&data);
    let session = Session::new(&target, &data, small_training(200), Some(&guidance)).expect("fits");
    let plan = session.plan().expect("steps to go");
    plan.run(2).expect("works");
    let before = gpu.counters();
    plan.run(100).expect("works");
    let after = gpu.counters();
    assert_eq!(after.readbacks - before.readbacks, 0);
    assert_eq!(after.buffers_created - before.buffers_created, 0);
    assert_eq!(after.pipelines_created - before.pipelines_created, 0);
    assert_eq!(after.submits - before.submits, plan.submissions(100).count() as u64);
    assert_eq!(after.dispatches - before.dispatches, 100 * plan.launches().len() as u64);
}

#[test]
fn one_seed_gives_the_same_bits_twice() {
    let data = data(&gpu());
    let train = |seed| {
        let (target, guidance) = networks(&data);
        let guidance = guidance.schedule(GuideSchedule::first_steps(7));
        let training = Training { seed, shift: 1, flip: true, ..small_training(12) };
        Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains");
        bits(&target)
    };
    let first = train(1);
    assert_eq!(first, train(1));
    assert_ne!(first, train(2));
}

#[test]
fn recomputing_changes_no_bit() {
    let data = data(&gpu());
    let train = |recompute| {
        let guidance = networks(&data).1;
        let target = Network::new(Fcn { dropout: 0.1, ..Fcn::new(9, 16) }, &data, 6).expect("fits");
        let training = Training { recompute, check: false, ..small_training(5) };
        Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains");
        bits(&target)
    };
    assert!(train(0) == train(3), "other weights");
}

/// Dropout, attention and norms within blocks that are computed again.
#[test]
fn a_vision_transformer_learns_and_blocks_computed_again_change_no_bit() {
    let data = data(&gpu());
    let train = |recompute| {
        let vit = Vit { dropout: 0.1, ..Vit::new(4, 16, 3, 2) };
        let target = Network::new(vit, &data, 6).expect("fits");
        let values = || target.tensors().map(|tensor| tensor.read_f32().expect("works")).collect::<Vec<_>>();
        let before = values();
        let training = Training { recompute, check: false, ..small_training(3) };
        Trainer::new(&target, &data, training).guided_by(networks(&data).1).run().expect("trains");
        for (tensor, (before, after)) in target.tensors().zip(before.iter().zip(values())) {
            assert!(*before != after, "{} is not trained", tensor.name());
        }
        bits(&target)
    };
    assert!(train(0) == train(1), "other weights");
}

/// The steps that are played for the checks move neither weights nor running statistics.
#[test]
fn checking_changes_nothing() {
    let data = data(&gpu());
    let train = |check| {
        let (target, guidance) = networks(&data);
        let training = Training { check, eval_every: 3, ..small_training(7) };
        Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains");
        bits(&target)
    };
    assert_eq!(train(true), train(false));
}

#[test]
fn guidance_raises_cka_and_leaves_the_guide_alone() {
    let data = data(&gpu());
    let (target, _) = networks(&data);
    let guide = Network::new(Cnn::new(&[4, 8]), &data, 5).expect("fits");
    let guidance = Guidance::new(guide.clone().freeze()).capture(CapturePoint::AfterActivation).weight(3.0);
    let before = bits(&guide);
    let run = Trainer::new(&target, &data, small_training(40)).guided_by(guidance).run().expect("trains");
    assert_eq!(bits(&guide), before);
    let mean = |similarity: &[f32]| similarity.iter().sum::<f32>() / similarity.len() as f32;
    let (first, last) = (&run.steps[0], &run.steps[39]);
    assert!(mean(&last.similarity) > mean(&first.similarity) + 0.05, "{:?} to {:?}", first.similarity, last.similarity);
    let alignment: f32 = first.similarity.iter().map(|similarity| 1.0 - similarity).sum();
    assert!((first.alignment.expect("guided") - alignment).abs() < 1e-6);
    assert_eq!(run.steps.len(), 40);
    assert_eq!(run.evals.last().map(|e| e.step), Some(40));
}

#[test]
fn after_the_first_steps_nothing_of_the_guide_runs() {
    let data = data(&gpu());
    let (target, guidance) = networks(&data);
    let guidance = guidance.schedule(GuideSchedule::first_steps(3));
    let mut session = Session::new(&target, &data, small_training(6), Some(&guidance)).expect("fits");
    let guided = |session: &Session<'_>| {
        session
            .plan()
            .expect("steps to go")
            .launches()
            .any(|l| l.layer.starts_with("guide") || l.layer.contains("align"))
    };
    assert!(guided(&session));
    session.advance(5).expect("works"); // stops where the guide leaves
    assert_eq!(session.step(), 3);
    assert!(!guided(&session));
}

#[test]
fn a_learning_rate_out_of_hand_ends_with_step_and_layer() {
    let data = data(&gpu());
    let (target, _) = networks(&data);
    let fcn = Network::new(Fcn { batch_norm: false, ..Fcn::new(2, 16) }, &data, 6).expect("fits");
    let optimizer = OptimizerConfig::sgd(Schedule::Constant(1e30), 0.0);
    let training = Training { optimizer, ..small_training(50) };
    match Trainer::new(&fcn, &data, training).run() {
        Err(Error::Diverged { step, layer, .. }) => {
            assert!((1..10).contains(&step), "step {step}");
            assert!(layer.starts_with("fc") || layer == "logits", "layer {layer}");
        }
        other => panic!("{:?}", other.map(|run| run.steps.len())),
    }
    // Weights that are not finite from the start are found at step 0.
    let weight = target.params().get("fc2.weight").expect("exists");
    weight.write_f32(&vec![f32::NAN; weight.ty().elements()]).expect("fits");
    match Trainer::new(&target, &data, small_training(5)).run() {
        Err(Error::Diverged { step: 0, layer, .. }) => assert_eq!(layer, "fc2"),
        other => panic!("{:?}", other.map(|run| run.steps.len())),
    }
}

/// With one batch of everything, dealing once and dealing anew is the same set: so is what the guide says of it.
#[test]
fn fixed_batches_look_the_guide_up() {
    let data = data(&gpu());
    let run = |batches| {
        let (_, guidance) = networks(&data);
        // No dropout: its mask goes by the place in the batch.
        let target = Network::new(Fcn::new(3, 16), &data, 6).expect("fits");
        let training = Training { batch: 80, batches, ..small_training(3) };
        let session = Session::new(&target, &data, training, Some(&guidance)).expect("fits");
        let layers: Vec<String> = session.plan().expect("steps").launches().map(|l| l.layer.clone()).collect();
        let guide_runs = layers.iter().any(|layer| layer.starts_with("guide/conv"));
        assert_eq!(guide_runs, batches == Batches::Random, "{layers:?}");
        drop(session);
        Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains").steps
    };
    let (random, fixed) = (run(Batches::Random), run(Batches::Fixed));
    for (a, b) in random[0].similarity.iter().zip(&fixed[0].similarity) {
        assert!((a - b).abs() < 1e-5, "{:?} and {:?}", random[0].similarity, fixed[0].similarity);
    }
    assert!((random[0].loss - fixed[0].loss).abs() < 1e-4);
}

/// A target that is its guide, and stays so: of every batch its layers say what the table says of that batch.
#[test]
fn fixed_batches_look_up_their_own() {
    let data = data(&gpu());
    let cnn = Cnn { batch_norm: false, ..Cnn::new(&[4, 6]) };
    let [guide, target] = [(); 2].map(|()| Network::new(cnn.clone(), &data, 6).expect("fits"));
    let optimizer = OptimizerConfig::adam(Schedule::Constant(0.0));
    let training = Training { batches: Batches::Fixed, optimizer, ..small_training(10) };
    let guidance = Guidance::new(guide.freeze());
    let steps = Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains").steps;
    for step in &steps {
        assert!(step.similarity.iter().all(|s| (s - 1.0).abs() < 1e-5), "step {}: {:?}", step.step, step.similarity);
    }
    assert!(steps.len() == 10 && steps[0].similarity.len() > 1);
}

#[test]
fn fixed_batches_repeat_and_refuse_augmentation() {
    let data = data(&gpu());
    let (target, guidance) = networks(&data);
    let training = Training { batches: Batches::Fixed, ..small_training(10) };
    let steps = Trainer::new(&target, &data, training).guided_by(guidance.clone()).run().expect("trains").steps;
    // Five batches: the guide's side of a batch is the same in both epochs, the target's is not.
    assert_eq!(steps.len(), 10);
    assert!(steps.iter().all(|step| step.similarity.iter().all(|s| (0.0..=1.0).contains(s))));
    let shifted = Training { shift: 1, ..training };
    let error = Session::new(&target, &data, shifted, Some(&guidance)).err().expect("refused").to_string();
    assert!(error.contains("cannot be augmented"), "{error}");
    let large = Training { batch: 81, ..training };
    assert!(Session::new(&target, &data, large, Some(&guidance)).is_err());
}

#[test]
fn wrong_shapes_name_the_layer() {
    let data = data(&gpu());
    let (target, _) = networks(&data);
    let graph = Graph::new();
    let images = graph.constant(0.0, [2, 3, 16, 16]);
    let error = target.forward(&graph, images, Mode::Eval, CapturePoint::BeforeNorm).unwrap_err().to_string();
    assert!(error.contains("[1, 16, 16]") && error.contains("[2, 3, 16, 16]"), "{error}");
    let _scope = graph.scope("fc9");
    let x = graph.constant(0.0, [2, 3]);
    let error = x.matmul(x, trellis_tensor::Layout::NN).unwrap_err().to_string();
    assert!(error.contains("matmul in fc9"), "{error}");
}

#[test]
fn a_model_over_the_byte_budget_is_refused() {
    let gpu = Gpu::with(&GpuOptions { memory_budget: Some(4 << 20), ..GpuOptions::default() }).expect("an adapter");
    let data = data(&gpu);
    let error = Network::new(Fcn::new(4, 2048), &data, 0).unwrap_err().to_string();
    assert!(error.contains("budget") && error.contains("TRELLIS_MEMORY_MB"), "{error}");
    // A network that fits still works.
    assert!(Network::new(Fcn::new(1, 8), &data, 0).is_ok());
}

#[test]
fn a_tuning_table_is_written_by_measuring_and_a_damaged_one_is_named() {
    let timed = tune::time(&gpu(), Layout::TN, [40, 24, 16]).expect("a small product fits");
    assert_eq!(timed.times.len(), GemmVariant::tuned(gpu().caps()).len());
    assert!(timed.times.is_sorted_by(|(_, a), (_, b)| a <= b) && timed.times[0].1 > 0.0);

    let folder = tempfile::tempdir().expect("writable");
    let options = GpuOptions { tuning: Some(folder.path().to_path_buf()), ..GpuOptions::default() };
    let path = Gpu::with(&options).expect("an adapter").tuning_path().expect("a folder was given").to_path_buf();
    std::fs::write(&path, tune::table(std::slice::from_ref(&timed)).to_string()).expect("writable");
    let tuned = Gpu::with(&options).expect("a sane table");
    assert_eq!(tuned.caps().tuning.0, [timed.fastest()]);
    std::fs::write(&path, "NN 64 64").expect("writable");
    let error = Gpu::with(&options).expect_err("a damaged table").to_string();
    assert!(error.contains(&format!("{}:1: ", path.display())) && error.contains("trellis tune"), "{error}");
}

#[test]
fn a_missing_adapter_is_an_error_that_lists_the_others() {
    let options = GpuOptions { adapter: Some("no such adapter".into()), ..GpuOptions::default() };
    let error = Gpu::with(&options).map(|_| ()).expect_err("no such adapter").to_string();
    assert!(error.contains("no such adapter") && error.contains(gpu().name()), "{error}");
}

#[test]
fn checkpoints_keep_every_bit_and_refuse_what_is_damaged() {
    let data = data(&gpu());
    let (network, _) = networks(&data);
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("a.safetensors");
    weights::save(&network, &path).expect("saves");
    let copy = Network::new(Fcn { dropout: 0.1, ..Fcn::new(3, 16) }, &data, 99).expect("fits");
    let before = bits(&copy);
    assert_ne!(before, bits(&network));

    let good = std::fs::read(&path).expect("there");
    weights::save(&network, &path).expect("saves");
    assert_eq!(good, std::fs::read(&path).expect("there"), "the same network is the same file");
    let mut nan = good.clone();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut hostile = good.clone();
    hostile[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for (what, bytes) in [("cut", &good[..good.len() / 2]), ("empty", &[]), ("hostile", &hostile), ("nan", &nan)] {
        let bad = folder.path().join("bad.safetensors");
        std::fs::write(&bad, bytes).expect("writable");
        let error = weights::load(&copy, &bad).expect_err(what);
        assert!(matches!(error, Error::Checkpoint { .. }), "{what}: {error}");
        assert_eq!(bits(&copy), before, "{what}: nothing half-read");
    }
    let other = Network::new(Fcn::new(2, 16), &data, 0).expect("fits");
    assert!(weights::load(&other, &path).unwrap_err().to_string().contains("fcn 2x16"));
    weights::load(&copy, &path).expect("loads");
    assert_eq!(bits(&copy), bits(&network));
}

/// A value recorded before an update and read after it is the old one, whoever reads it.
#[test]
fn fusion_does_not_move_a_read_past_an_update() {
    let gpu = gpu();
    for keep_product in [false, true] {
        let spec = ParamSpec { name: "w".into(), shape: [2, 2].into(), values: vec![1.0, 0.0, 0.0, 1.0].into() };
        let params = Params::new(&gpu, &[spec]).expect("fits");
        let sgd = OptimizerConfig::sgd(Schedule::Constant(1.0), 0.0);
        let optimizer = Optimizer::new(&gpu, &params, sgd).expect("fits");
        let (step_state, graph) = (StepState::new(&gpu).expect("fits"), Graph::new());
        let x = graph.leaf(&Tensor::from_f32(&gpu, "x", [1, 2], &[1.0, 2.0]).expect("fits"));
        let w = graph.leaf(&params.tensors()[0]);
        let product = x.matmul(w, Layout::NT).expect("legal");
        optimizer.update(&graph, w.sum_all().expect("f32"), &step_state).expect("records");
        let after = product.relu().expect("f32");
        let keep = if keep_product { vec![after, product] } else { vec![after] };
        let plan = Plan::new(&gpu, &graph, &keep).expect("fits");
        plan.run(1).expect("works");
        assert_eq!(plan.read(after).expect("kept"), [1.0, 2.0], "product kept: {keep_product}");
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing() {
    let gpu = gpu();
    let n = 50_000;
    for clip_norm in [None, Some(1.0)] {
        let spec = ParamSpec { name: "w".into(), shape: [n].into(), values: vec![1.0; n].into() };
        let params = Params::new(&gpu, &[spec]).expect("fits");
        let sgd = OptimizerConfig { clip_norm, ..OptimizerConfig::sgd(Schedule::Constant(0.1), 0.0) };
        let optimizer = Optimizer::new(&gpu, &params, sgd).expect("fits");
        let (step_state, graph) = (StepState::new(&gpu).expect("fits"), Graph::new());
        let mut slopes = vec![100.0; n];
        slopes[n / 2] = f32::NAN;
        let slopes = graph.leaf(&Tensor::from_f32(&gpu, "slopes", [n], &slopes).expect("fits"));
        let loss = graph.leaf(&params.tensors()[0]).mul(slopes).and_then(Var::sum_all).expect("f32");
        optimizer.update(&graph, loss, &step_state).expect("records");
        Plan::new(&gpu, &graph, &[]).expect("fits").run(2).expect("works");
        assert!(params.tensors()[0].read_f32().expect("works").iter().all(|w| *w == 1.0), "clip {clip_norm:?}");
        assert_eq!(step_state.tensor().read_u32().expect("works")[1], 1, "the step state remembers step 0, plus 1");
    }
}

/// Whatever a user sets must arrive: each of these alone leads to other weights after four steps.
#[test]
fn every_setting_reaches_the_step() {
    let data = data(&gpu());
    let train = |training: Training, change: &dyn Fn(Guidance) -> Guidance| {
        let (_, guidance) = networks(&data);
        let target = Network::new(Fcn::new(3, 16), &data, 6).expect("fits");
        Trainer::new(&target, &data, training).guided_by(change(guidance)).run().expect("trains");
        bits(&target)
    };
    let same = |guidance: Guidance| guidance;
    let base = small_training(4);
    let before = train(base, &same);
    assert_eq!(train(base, &same), before);
    let optimizer = base.optimizer;
    for (what, training) in [
        ("seed", Training { seed: 4, ..base }),
        ("label smoothing", Training { label_smoothing: 0.1, ..base }),
        ("shift", Training { shift: 2, ..base }),
        ("flip", Training { flip: true, ..base }),
        ("fixed batches", Training { batches: Batches::Fixed, ..base }),
        ("decay", Training { optimizer: OptimizerConfig { weight_decay: 0.1, ..optimizer }, ..base }),
        ("clip", Training { optimizer: OptimizerConfig { clip_norm: Some(0.01), ..optimizer }, ..base }),
        ("precision", Training { precision: Precision::Mixed(LossScale::default()), ..base }),
        ("rate", Training { optimizer: OptimizerConfig::adam(Schedule::Linear { base: 1e-3, total: 4 }), ..base }),
    ] {
        assert_ne!(train(training, &same), before, "{what}");
    }
    let changes: [(&str, &dyn Fn(Guidance) -> Guidance); 6] = [
        ("weight", &|guidance| guidance.weight(2.0)),
        ("decay", &|guidance| guidance.schedule(GuideSchedule::linear_decay(4))),
        ("first steps", &|guidance| guidance.schedule(GuideSchedule::first_steps(2))),
        ("capture", &|guidance| guidance.capture(CapturePoint::AfterActivation)),
        ("metric", &|guidance| guidance.align(Cka::rbf(0.5))),
        ("bandwidth", &|guidance| guidance.align(Cka::rbf(1.0))),
    ];
    let results: Vec<Vec<u32>> = changes.iter().map(|(_, change)| train(base, change)).collect();
    for (at, (what, _)) in changes.iter().enumerate() {
        assert!(results[at] != before && !results[..at].contains(&results[at]), "{what}");
    }
}
