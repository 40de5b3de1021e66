//! Guided initialization: first steps without labels, in which the guide alone trains the target.

use trellis_guidance::{Batches, GuideSchedule, LayerMap, Method, Precision, Session, Trainer, Training};
use trellis_tensor::{
    Graph, LossScale, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Schedule, StepState, Tensor, Var,
};

use super::resume::in_pieces_by;
use super::runs::{bits, data, networks, small_training};
use crate::gpu;

fn training(steps: u32) -> Training {
    Training { optimizer: OptimizerConfig::adam(Schedule::Constant(0.01)), eval_every: 4, ..small_training(steps) }
}

/// Parameters that no pair of layers needs are not trained before there are labels. The loss of the task is recorded all the same.
#[test]
fn the_guide_alone_trains_the_first_steps() {
    let data = data(&gpu());
    let (target, guidance) = networks(&data);
    let guidance = guidance.schedule(GuideSchedule::first_steps(5)).unlabeled_steps(5);
    let values = |name: &str| target.params().get(name).expect("a parameter").read_f32().expect("works");
    let before = ["fc2.weight", "logits.weight"].map(values);
    let mut session = Session::new(&target, &data, training(8), Some(&guidance)).expect("fits");
    while session.step() < 5 {
        session.advance(5 - session.step()).expect("works");
    }
    let first = session.wait().expect("works");
    let then = ["fc2.weight", "logits.weight"].map(values);
    assert!(before[0] != then[0] && before[1] == then[1]);
    assert!(first.iter().all(|step| step.loss > 1.0 && step.alignment.is_some()), "{first:?}");
    session.advance(1).expect("works");
    let labeled = session.wait().expect("works");
    assert!(labeled.iter().all(|step| step.alignment.is_none()));
    assert_ne!(then[1], values("logits.weight"));

    // With labels from the start it is another run, from the second step on.
    let run = |unlabeled| {
        let (target, guidance) = networks(&data);
        let guidance = guidance.schedule(GuideSchedule::first_steps(5)).unlabeled_steps(unlabeled);
        Trainer::new(&target, &data, training(8)).guided_by(guidance).run().expect("trains").steps
    };
    let (with, without) = (run(0), run(5));
    assert_eq!((with[0].loss, &with[0].similarity), (without[0].loss, &without[0].similarity));
    assert_ne!(with[1].loss, without[1].loss);
    let alignment = |step: usize| without[step].alignment.expect("guided");
    assert!(alignment(4) < alignment(0), "{} after {}", alignment(4), alignment(0));
}

/// Moments cleared after three steps: the fourth is that of a new optimizer.
#[test]
fn an_optimizer_that_is_cleared_is_a_new_one() {
    let gpu = gpu();
    let scale = LossScale { log2: 4, growth_interval: 100 };
    for (config, scale) in [
        (OptimizerConfig::adam(Schedule::Constant(0.1)), None),
        (OptimizerConfig::adamw(Schedule::Constant(0.1)), Some(scale)),
        (OptimizerConfig::sgd(Schedule::Constant(0.1), 0.9), None),
    ] {
        let slopes = [1.0, -2.0, 0.5, 3.0].map(|slope| slope / 8.0);
        // Steps by the first optimizer until its moments are cleared, then three more.
        let run = |start: &[f32], steps: u32| {
            let spec = ParamSpec { name: "w".into(), shape: [4].into(), values: start.to_vec().into() };
            let params = Params::new(&gpu, &[spec]).expect("fits");
            let optimizer = Optimizer::new(&gpu, &params, config).expect("fits").with_loss_scale(scale);
            let step_state = StepState::new(&gpu).expect("fits");
            let plan = |first| {
                let graph = Graph::new();
                let slopes = graph.leaf(&Tensor::from_f32(&gpu, "slopes", [4], &slopes).expect("fits"));
                let w = graph.leaf(&params.tensors()[0]);
                let loss = w.mul(w).and_then(|square| square.mul(slopes)).and_then(Var::sum_all).expect("legal");
                optimizer.update_since(first, &graph, loss, &step_state).expect("records");
                Plan::new(&gpu, &graph, &[]).expect("fits")
            };
            plan(0).run(steps as usize).expect("works");
            let middle = params.tensors()[0].read_f32().expect("works");
            optimizer.clear(&step_state).expect("works");
            plan(steps).run(3).expect("works");
            (middle, params.tensors()[0].read_f32().expect("works"))
        };
        let (middle, after) = run(&[1.0, 2.0, -1.0, 0.5], 3);
        let (start, fresh) = run(&middle, 0);
        assert_eq!((start, fresh), (middle, after), "{config:?}");
    }
}

#[test]
fn a_guided_initialization_goes_on_where_it_was() {
    let data = data(&gpu());
    let scale = Precision::Mixed(LossScale { log2: 14, growth_interval: 3 });
    let usual = training(15);
    for (name, unlabeled, training) in [
        ("within", 7, usual),
        // A state is kept at the step at which labels come.
        ("boundary", 8, usual),
        ("fixed", 7, Training { batches: Batches::Fixed, ..usual }),
        ("mixed", 8, Training { precision: scale, check: false, ..usual }),
    ] {
        let networks = || {
            let (target, guidance) = networks(&data);
            (target, guidance.unlabeled_steps(unlabeled))
        };
        in_pieces_by(GuideSchedule::first_steps(unlabeled), name, &data, training, networks);
    }
}

/// A guide that stays pulls beside the labels too.
#[test]
fn the_guide_may_stay_when_the_labels_come() {
    let data = data(&gpu());
    let run = |schedule, unlabeled| {
        let (target, guidance) = networks(&data);
        let guidance = guidance.schedule(schedule).unlabeled_steps(unlabeled).map_layers(LayerMap::last());
        let record = Trainer::new(&target, &data, training(9)).guided_by(guidance).run().expect("trains");
        (record.steps.iter().filter(|step| step.alignment.is_some()).count(), bits(&target))
    };
    let (leaves, stays) = (run(GuideSchedule::first_steps(4), 4), run(GuideSchedule::always(), 4));
    assert_eq!((leaves.0, stays.0), (4, 9));
    assert_ne!(leaves.1, stays.1);
}

/// Every method teaches without labels, and goes on where it was.
#[test]
fn methods_teach_without_labels() {
    let data = data(&gpu());
    let mut seen = Vec::new();
    for method in [Method::Align, Method::Distill { temperature: 2.0 }, Method::Hints] {
        let networks = || {
            let (target, guidance) = networks(&data);
            (target, guidance.method(method).unlabeled_steps(7))
        };
        let training = Training { check: false, ..training(15) };
        in_pieces_by(GuideSchedule::first_steps(7), &method.to_string(), &data, training, networks);
        let guidance = networks().1.schedule(GuideSchedule::first_steps(7));
        for unlabeled in [7, 0] {
            let (target, guidance) = (networks().0, guidance.clone().unlabeled_steps(unlabeled));
            Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains");
            assert!(!seen.contains(&bits(&target)), "{method}, {unlabeled} steps without labels");
            seen.push(bits(&target));
        }
    }
}

#[test]
fn steps_without_any_loss_are_refused() {
    let data = data(&gpu());
    let fails = |schedule, weight, unlabeled| {
        let (target, guidance) = networks(&data);
        let guidance = guidance.schedule(schedule).weight(weight).unlabeled_steps(unlabeled);
        let error =
            Trainer::new(&target, &data, training(9)).guided_by(guidance).run().expect_err("no loss").to_string();
        assert!(error.contains("`unlabeled_steps`"), "{error}");
        error
    };
    assert!(fails(GuideSchedule::first_steps(3), 1.0, 4).contains("at step 3"));
    assert!(fails(GuideSchedule::always(), 1.0, 9).contains("9 of 9"));
    assert!(fails(GuideSchedule::always(), 0.0, 4).contains("guide's weight is 0"));
}
