//! Mixed precision: the loss scale step by step, and training with products of f16.

use trellis_guidance::{Error, Fcn, GuideSchedule, Network, Precision, Session, Trainer, Training};
use trellis_tensor::{
    DType, Gpu, Graph, Log, LossScale, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Schedule, StepState,
    Tensor, Var,
};

use crate::gpu;
use crate::training::runs::{bits, data, networks, small_training};

/// Results of scaled steps: after each the parameters, and the step state. The loss is Σ slope·w; with `halved` its gradient
/// passes through f16.
fn scaled_steps(
    steps: usize,
    slopes: &[f32],
    config: OptimizerConfig,
    scale: Option<LossScale>,
    halved: bool,
) -> Vec<(Vec<f32>, Vec<u32>)> {
    let (gpu, n) = (gpu(), slopes.len());
    let spec = ParamSpec { name: "w".into(), shape: [n].into(), values: vec![1.0; n].into() };
    let params = Params::new(&gpu, &[spec]).expect("fits");
    let optimizer = Optimizer::new(&gpu, &params, config).expect("fits").with_loss_scale(scale);
    let (step_state, log, graph) =
        (StepState::new(&gpu).expect("fits"), Log::new(&gpu, 3).expect("fits"), Graph::new());
    let w = graph.leaf(&params.tensors()[0]);
    let slopes = graph.leaf(&Tensor::from_f32(&gpu, "slopes", [n], slopes).expect("fits"));
    let path = if halved { w.cast(DType::F16).and_then(|w| w.cast(DType::F32)) } else { Ok(w) };
    let loss = path.and_then(|w| w.mul(slopes)).and_then(Var::sum_all).expect("legal");
    let mut metrics = vec![loss];
    metrics.extend(optimizer.update(&graph, loss, &step_state).expect("records"));
    assert_eq!(metrics.len(), if scale.is_some() { 3 } else { 1 });
    log.record(&graph, &step_state, &metrics).expect("records");
    let plan = Plan::new(&gpu, &graph, &[]).expect("fits");
    let step = |_| {
        plan.run(1).expect("works");
        (params.tensors()[0].read_f32().expect("works"), step_state.tensor().read_u32().expect("works"))
    };
    (0..steps).map(step).collect()
}

fn sgd(rate: f32) -> OptimizerConfig {
    OptimizerConfig::sgd(Schedule::Constant(rate), 0.0)
}

/// Words 2 and 3 of the step_state: logarithm of the scale, good steps in a row, steps left out.
fn scale_of(step_state: &[u32]) -> [u32; 3] {
    [step_state[2] - 1, step_state[3] & 0xffff, step_state[3] >> 16]
}

/// A gradient of 1 times 2²⁰, …, 2¹⁶ is infinite in f16, times 2¹⁵ it is not.
#[test]
fn a_scale_that_is_too_large_leaves_steps_out_and_recovers() {
    let scale = LossScale { log2: 20, growth_interval: 2000 };
    let steps = scaled_steps(7, &[1.0; 5], sgd(0.25), Some(scale), true);
    for (number, (w, step_state)) in (0..).zip(&steps) {
        assert_eq!(step_state[..2], [number + 1, 0], "no failure");
        if number < 5 {
            assert_eq!(*w, [1.0; 5], "step {number} changes nothing");
            assert_eq!(scale_of(step_state), [19 - number, 0, number + 1]);
        } else {
            assert_eq!(*w, [1.0 - 0.25 * (number - 4) as f32; 5], "step {number} is a full step");
            assert_eq!(scale_of(step_state), [15, number - 4, 5]);
        }
    }
}

#[test]
fn good_steps_in_a_row_double_the_scale() {
    let scale = LossScale { log2: 13, growth_interval: 2 };
    let steps = scaled_steps(8, &[1.0; 5], sgd(0.125), Some(scale), true);
    let scales: Vec<[u32; 3]> = steps.iter().map(|(_, step_state)| scale_of(step_state)).collect();
    // 2¹⁶ is too much; two steps later it is tried again.
    let wanted = [[13, 1, 0], [14, 0, 0], [14, 1, 0], [15, 0, 0], [15, 1, 0], [16, 0, 0], [15, 0, 1], [15, 1, 1]];
    assert_eq!(scales, wanted);
    assert_eq!(steps[7].0, [1.0 - 7.0 * 0.125; 5], "one of eight steps was left out");
}

#[test]
fn small_gradients_survive_f16_only_with_a_scale() {
    let slopes = [1e-7, -3e-7, 2e-8];
    let moved = |scale| -> Vec<f32> {
        let (w, _) = &scaled_steps(1, &slopes, sgd(1e4), scale, true)[0];
        w.iter().map(|w| (1.0 - w) / 1e4).collect()
    };
    assert_eq!(moved(None)[2], 0.0, "2e-8 is 0 in f16");
    let close = |moved: &[f32]| moved.iter().zip(slopes).all(|(m, slope)| (m - slope).abs() <= 2e-3 * slope.abs());
    assert!(!close(&moved(None)), "denormals of f16 have few digits");
    assert!(close(&moved(Some(LossScale::default()))), "{:?}", moved(Some(LossScale::default())));
}

/// Without f16 on the way a power of two changes no bit, whether the norm is clipped or not.
#[test]
fn a_scale_alone_changes_no_bit() {
    let slopes: Vec<f32> = (0..70).map(|i| (i as f32 - 20.3) * 0.01).collect();
    for clip_norm in [None, Some(0.5), Some(50.0)] {
        for config in [OptimizerConfig::adamw(Schedule::Constant(0.01)), OptimizerConfig { clip_norm, ..sgd(0.1) }] {
            let config = OptimizerConfig { clip_norm, ..config };
            let plain: Vec<Vec<f32>> = scaled_steps(4, &slopes, config, None, false).into_iter().map(|s| s.0).collect();
            let scale = LossScale { log2: 12, growth_interval: 2 };
            let scaled = scaled_steps(4, &slopes, config, Some(scale), false);
            assert!(plain.iter().eq(scaled.iter().map(|s| &s.0)), "{config:?}");
            assert_eq!(scale_of(&scaled[3].1), [14, 0, 0]);
        }
    }
}

/// A number that no scale mends: the scale falls to 1, and then the training has failed.
#[test]
fn a_gradient_that_stays_infinite_ends_at_scale_1() {
    let scale = LossScale { log2: 2, growth_interval: 2000 };
    let steps = scaled_steps(5, &[1.0, f32::NAN, 1.0], sgd(0.1), Some(scale), true);
    assert!(steps.iter().all(|(w, _)| *w == [1.0; 3]));
    let step_states: Vec<(bool, [u32; 3])> =
        steps.iter().map(|(_, step_state)| (step_state[1] > 0, scale_of(step_state))).collect();
    let failed = (true, [0, 0, 2]);
    assert_eq!(step_states, [(false, [1, 0, 1]), (false, [0, 0, 2]), failed, failed, failed]);
    assert_eq!(steps[2].1[1], 3, "the failed step, plus 1");
}

/// Adam's corrections count the updates that its moments have seen.
#[test]
fn steps_that_were_left_out_do_not_age_adam() {
    let adam = OptimizerConfig::adam(Schedule::Constant(0.01));
    let plain = scaled_steps(3, &[1.0; 4], adam, None, true);
    let scale = LossScale { log2: 17, growth_interval: 2000 };
    let scaled = scaled_steps(5, &[1.0; 4], adam, Some(scale), true);
    for (plain, scaled) in plain.iter().zip(&scaled[2..]) {
        assert_eq!(plain.0, scaled.0);
    }
}

#[test]
fn scales_out_of_range_are_refused() {
    for scale in [LossScale { log2: 31, growth_interval: 1 }, LossScale { log2: 1, growth_interval: 0 }] {
        let params =
            Params::new(&gpu(), &[ParamSpec { name: "w".into(), shape: [1].into(), values: vec![1.0].into() }]);
        let params = params.expect("fits");
        let optimizer = Optimizer::new(&gpu(), &params, sgd(0.1)).expect("fits").with_loss_scale(scale);
        let (step_state, graph) = (StepState::new(&gpu()).expect("fits"), Graph::new());
        let loss = graph.leaf(&params.tensors()[0]).sum_all().expect("f32");
        let error = optimizer.update(&graph, loss, &step_state).expect_err("out of range").to_string();
        assert!(error.contains("65,535"), "{error}");
    }
}

fn mixed(steps: u32, log2: u32) -> Training {
    let scale = LossScale { log2, ..LossScale::default() };
    Training { precision: Precision::Mixed(scale), ..small_training(steps) }
}

#[test]
fn mixed_training_reaches_the_loss_of_f32() {
    let data = data(&gpu());
    for depth in [2, 4] {
        let losses = |training: Training| -> Vec<f32> {
            let target = Network::new(Fcn { batch_norm: depth == 4, ..Fcn::new(depth, 32) }, &data, 6).expect("fits");
            let run = Trainer::new(&target, &data, training).run().expect("trains");
            run.steps.iter().map(|step| step.loss).collect()
        };
        let (wide, narrow) = (losses(small_training(150)), losses(mixed(150, 16)));
        assert!((wide[0] - narrow[0]).abs() <= 2e-3, "{} and {}", wide[0], narrow[0]);
        assert_ne!(wide[1], narrow[1]);
        let end = |losses: &[f32]| losses[130..].iter().sum::<f32>() / 20.0;
        assert!(end(&wide) < 0.5 * wide[0], "it learns: {} to {}", wide[0], end(&wide));
        let difference = (end(&wide) - end(&narrow)).abs();
        // Two runs whose roundings differ part; how far does not depend on which of them is in f16.
        assert!(difference <= 0.05 * wide[0], "depth {depth}: {} and {}", end(&wide), end(&narrow));
    }
}

/// Guided and not, one step_state: the scale goes through both plans.
#[test]
fn mixed_training_is_the_same_twice_and_shows_its_scale() {
    let data = data(&gpu());
    let train = || {
        let (target, guidance) = networks(&data);
        let guidance = guidance.schedule(GuideSchedule::first_steps(5));
        let run = Trainer::new(&target, &data, mixed(12, 16)).guided_by(guidance).run().expect("trains");
        (bits(&target), run.steps)
    };
    let (first, second) = (train(), train());
    assert_eq!(first.0, second.0);
    assert_eq!(first.1, second.1);
    for step in &first.1 {
        assert!(step.loss_scale.is_some_and(|scale| (1.0..=65536.0).contains(&scale)), "{step:?}");
        assert!(step.skipped.is_some_and(|skipped| skipped <= step.step + 1), "{step:?}");
        assert_eq!(step.alignment.is_some(), step.step < 5);
        assert!(step.similarity.iter().all(|s| (0.0..=1.0).contains(s)), "{step:?}");
    }
}

#[test]
fn a_first_scale_that_is_too_large_costs_steps_and_nothing_else() {
    let data = data(&gpu());
    let target = Network::new(Fcn::new(3, 16), &data, 6).expect("fits");
    let training = Training { optimizer: OptimizerConfig::adam(Schedule::Constant(0.01)), ..mixed(60, 28) };
    let mut session = Session::new(&target, &data, training, None).expect("fits");
    let params = || -> Vec<f32> {
        target.params().tensors().iter().flat_map(|tensor| tensor.read_f32().expect("works")).collect()
    };
    let (before, mut skipped, mut losses) = (params(), Vec::new(), Vec::new());
    for _ in 0..60 {
        let mut rows = session.advance(1).expect("works");
        rows.extend(session.wait().expect("works"));
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let left_out = row.skipped.expect("mixed");
        losses.push(row.loss);
        assert_eq!(row.loss_scale, Some(2f32.powi(28 - *skipped.last().unwrap_or(&0) as i32)));
        if left_out == row.step + 1 {
            assert_eq!(params(), before, "step {} changes nothing", row.step);
        } else {
            assert_ne!(params(), before);
        }
        skipped.push(left_out);
    }
    let last = skipped[59];
    assert!((5..25).contains(&last), "{skipped:?}");
    assert_eq!(skipped[30], last, "a scale that fits is found soon: {skipped:?}");
    assert!(losses[50..].iter().sum::<f32>() < 8.0 * losses[0], "it learns: {losses:?}");
}

#[test]
fn mixed_steps_allocate_compile_and_read_nothing() {
    // A device of its own: other tests share the counters of the shared one.
    let gpu = Gpu::new().expect("an adapter");
    let data = data(&gpu);
    let (target, guidance) = networks(&data);
    let session = Session::new(&target, &data, mixed(200, 16), Some(&guidance)).expect("fits");
    let plan = session.plan().expect("steps to go");
    // Of three hidden layers and the logits: activations, weights and gradients.
    let casts = plan.launches().filter(|launch| launch.op == "cast").count();
    assert_eq!(casts, 3 * 4, "{plan}");
    plan.run(2).expect("works");
    let before = gpu.counters();
    plan.run(100).expect("works");
    let after = gpu.counters();
    assert_eq!(after.readbacks - before.readbacks, 0);
    assert_eq!(after.buffers_created - before.buffers_created, 0);
    assert_eq!(after.pipelines_created - before.pipelines_created, 0);
}

#[test]
fn mixed_training_out_of_hand_ends_with_step_and_layer() {
    let data = data(&gpu());
    let (target, _) = networks(&data);
    let weight = target.params().get("fc2.weight").expect("exists");
    weight.write_f32(&vec![f32::NAN; weight.ty().elements()]).expect("fits");
    match Trainer::new(&target, &data, mixed(20, 3)).run() {
        // Scales 8, 4 and 2 are tried first.
        Err(Error::Diverged { step: 3, layer, .. }) => assert_eq!(layer, "fc2"),
        other => panic!("{:?}", other.map(|run| run.steps.len())),
    }
}
