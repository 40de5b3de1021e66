//! Optimizers as a user calls them, step by step against PyTorch (`golden/optimizer.py`).

use trellis_tensor::{
    Graph, Log, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Rule, Schedule, StepState, Tensor, Var,
};

use crate::gpu;

#[test]
fn thirty_steps_of_every_optimizer_agree_with_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/optimizer.json");
    let text = std::fs::read_to_string(path).expect("checked in");
    let cases: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let numbers = |value: &serde_json::Value| -> Vec<f32> {
        value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
    };
    for case in cases.as_array().expect("cases") {
        let name = case["name"].as_str().expect("a name");
        let rule = match name {
            "adam" => Rule::Adam,
            "adamw" => Rule::AdamW,
            "sgd" => Rule::Sgd { momentum: 0.0, nesterov: false },
            "momentum" => Rule::Sgd { momentum: 0.9, nesterov: false },
            "nesterov" => Rule::Sgd { momentum: 0.9, nesterov: true },
            other => panic!("{other}"),
        };
        let weight_decay = case["weight_decay"].as_f64().expect("a number") as f32;
        let clip_norm = case["clip_norm"].as_f64().map(|norm| norm as f32);
        let config = OptimizerConfig { rate: Schedule::Constant(0.01), rule, weight_decay, clip_norm };

        let gpu = gpu();
        let spec = ParamSpec { name: "w".into(), shape: [10].into(), values: numbers(&case["start"]).into() };
        let params = Params::new(&gpu, &[spec]).expect("fits");
        let optimizer = Optimizer::new(&gpu, &params, config).expect("fits");
        let (step_state, log, graph) =
            (StepState::new(&gpu).expect("fits"), Log::new(&gpu, 1).expect("fits"), Graph::new());
        let w = graph.leaf(&params.tensors()[0]);
        let slopes = Tensor::from_f32(&gpu, "slopes", [10], &numbers(&case["slopes"])).expect("fits");
        let loss = w.mul(w).and_then(|square| square.add(w)).and_then(|sum| sum.mul(graph.leaf(&slopes)));
        let loss = loss.and_then(trellis_tensor::Var::sum_all).expect("legal");
        optimizer.update(&graph, loss, &step_state).expect("records");
        log.record(&graph, &step_state, &[loss]).expect("records");
        let plan = Plan::new(&gpu, &graph, &[]).expect("fits");
        for (step, wanted) in case["steps"].as_array().expect("steps").iter().enumerate() {
            plan.run(1).expect("works");
            let got = params.tensors()[0].read_f32().expect("works");
            for (got, wanted) in got.iter().zip(numbers(wanted)) {
                assert!((got - wanted).abs() <= 1e-5, "{name}, {clip_norm:?}, step {step}: {got} for {wanted}");
            }
        }
    }
}

/// The step counter moves because parameters are updated: with a log, without one, and recorded in either order.
#[test]
fn an_update_of_parameters_ends_the_step() {
    let losses = |logged: &str| {
        let spec = ParamSpec { name: "w".into(), shape: [8].into(), values: vec![1.0; 8].into() };
        let params = Params::new(&gpu(), &[spec]).expect("fits");
        let rate = Schedule::Linear { base: 0.1, total: 4 };
        let optimizer = Optimizer::new(&gpu(), &params, OptimizerConfig::adam(rate)).expect("fits");
        let (step_state, log, graph) =
            (StepState::new(&gpu()).expect("fits"), Log::new(&gpu(), 1).expect("fits"), Graph::new());
        let w = graph.leaf(&params.tensors()[0]);
        let loss = w.mul(w).and_then(Var::sum_all).expect("legal");
        if logged == "before" {
            log.record(&graph, &step_state, &[loss]).expect("records");
        }
        optimizer.update(&graph, loss, &step_state).expect("records");
        if logged == "after" {
            log.record(&graph, &step_state, &[loss]).expect("records");
        }
        // Two plans of one graph advance it no more than one does.
        Plan::new(&gpu(), &graph, &[]).expect("fits");
        let plan = Plan::new(&gpu(), &graph, &[]).expect("fits");
        plan.run(7).expect("works");
        assert_eq!(step_state.step().expect("works"), 7, "{logged}");
        params.tensors()[0].read_f32().expect("works")
    };
    let without = losses("never");
    // Four steps of Adam at a rate that falls from 0.1 to 0.
    assert!((without[0] - 0.75).abs() < 3e-3, "{without:?}");
    assert_eq!(without, losses("before"));
    assert_eq!(without, losses("after"));
}

#[test]
fn a_step_that_ends_twice_or_never_is_refused() {
    let spec = ParamSpec { name: "w".into(), shape: [8].into(), values: vec![1.0; 8].into() };
    let params = Params::new(&gpu(), &[spec]).expect("fits");
    let optimizer = Optimizer::new(&gpu(), &params, OptimizerConfig::adam(Schedule::Constant(0.1))).expect("fits");
    let (step_state, log) = (StepState::new(&gpu()).expect("fits"), Log::new(&gpu(), 1).expect("fits"));
    let graph = Graph::new();
    let loss = graph.leaf(&params.tensors()[0]).sum_all().expect("legal");
    optimizer.update(&graph, loss, &step_state).expect("records");
    step_state.advance(&graph).expect("looked at by the plan");
    let error = Plan::new(&gpu(), &graph, &[]).map(drop).expect_err("twice").to_string();
    assert!(error.contains("leave out `advance`"), "{error}");

    let graph = Graph::new();
    step_state.advance(&graph).expect("once");
    assert!(step_state.advance(&graph).is_err());
    Plan::new(&gpu(), &graph, &[]).expect("fits").run(3).expect("works");
    assert_eq!(step_state.step().expect("works"), 3);

    let graph = Graph::new();
    log.record(&graph, &step_state, &[graph.constant(1.0, [])]).expect("records");
    let error = Plan::new(&gpu(), &graph, &[]).map(drop).expect_err("never").to_string();
    assert!(error.contains("never ends"), "{error}");
}
