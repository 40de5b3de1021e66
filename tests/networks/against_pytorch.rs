//! Networks against what PyTorch says of them in `golden/*.json`, see `golden/make.py`.

use serde_json::Value;
use trellis_guidance::network::{Architecture, Mode};
use trellis_guidance::{CapturePoint, Network, Precision};
use trellis_tensor::{Graph, Plan, StepState, Tensor, Var};

use crate::gpu;

/// Greatest difference, relative to the greatest value.
const TOLERANCE: f64 = 1e-4;

/// The cases of `golden/<file>.json`.
pub(crate) fn cases(file: &str) -> Vec<Value> {
    let path = format!("{}/tests/golden/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("checked in");
    serde_json::from_str(&text).expect("JSON")
}

/// One of them.
pub(crate) fn case(file: &str, name: &str) -> Value {
    cases(file).into_iter().find(|case| case["name"] == name).expect("in the file")
}

pub(crate) fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

pub(crate) fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

pub(crate) fn assert_near(what: &str, given: &[f32], expected: &Value) {
    let expected = numbers(expected);
    assert_eq!(given.len(), expected.len(), "{what}");
    let greatest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    // Of zeros alone the difference itself is small.
    let greatest = if greatest == 0.0 { 0.1 } else { greatest };
    for (given, expected) in given.iter().zip(&expected) {
        let error = f64::from((given - expected).abs() / greatest);
        assert!(error <= TOLERANCE, "{what}: {given} for {expected}, {error:.1e} of {greatest}");
    }
}

/// Compares `output` and the gradients of Σ r · output by `params`, by name.
pub(crate) fn compare(case: &Value, graph: &Graph, output: Var<'_>, params: &[(String, Var<'_>)]) {
    let name = case["name"].as_str().expect("a name");
    let r = Tensor::from_f32(&gpu(), "r", output.shape(), &numbers(&case["r"])).expect("small");
    let loss = output.mul(graph.leaf(&r)).and_then(Var::sum_all).expect("one shape");
    let wrt: Vec<Var<'_>> = params.iter().map(|(_, var)| *var).collect();
    let gradients = graph.grad(loss, &wrt).expect("differentiable");
    let plan = Plan::new(&gpu(), graph, &[&[output][..], &gradients].concat()).expect("small");
    plan.run(1).expect("the device works");
    assert_near(&format!("{name}: output"), &plan.read(output).expect("kept"), &case["output"]);
    let expected = case["gradients"].as_object().expect("by name");
    assert_eq!(params.len(), expected.len(), "{name}: {:?}", params.iter().map(|(name, _)| name).collect::<Vec<_>>());
    for ((param, _), gradient) in params.iter().zip(gradients) {
        let what = format!("{name}: gradient of {param}");
        assert_near(&what, &plan.read(gradient).expect("kept"), &expected[param]);
    }
}

/// Writes the case's parameters, and running statistics where it has some, by their names in PyTorch.
pub(crate) fn load(case: &Value, network: &Network) {
    let params = case["params"].as_object().expect("by name");
    for tensor in network.tensors() {
        match params.get(tensor.name()) {
            Some(param) => {
                let shape: Vec<usize> = param[0].as_array().expect("a shape").iter().map(size).collect();
                assert_eq!(tensor.shape()[..], shape, "{}", tensor.name());
                tensor.write_f32(&numbers(&param[1])).expect("the device works");
            }
            None if tensor.name() == "positions" => {}
            None => tensor.write_f32(&numbers(&case["buffers"][tensor.name()])).expect("the device works"),
        }
    }
}

/// Compares a network of three images of `side` pixels and five classes: evaluation with running statistics, then a step of training.
pub(crate) fn compare_image_network(file: &str, name: &str, architecture: impl Architecture + 'static, side: usize) {
    let case = case(file, name);
    let images = Tensor::from_f32(&gpu(), "images", [3, 3, side, side], &numbers(&case["inputs"])).expect("small");
    let network = Network::with_shape(&gpu(), architecture, [3, side, side], 5, 0).expect("fits");
    load(&case, &network);
    let graph = Graph::new();
    let logits =
        network.forward(&graph, graph.leaf(&images), Mode::Eval, CapturePoint::BeforeNorm).expect("fits").logits;
    let plan = Plan::new(&gpu(), &graph, &[logits]).expect("small");
    plan.run(1).expect("the device works");
    assert_near(&format!("{name}: evaluation"), &plan.read(logits).expect("kept"), &case["eval"]);

    let step_state = StepState::new(&gpu()).expect("small");
    let mode = Mode::Train { step_state: &step_state, seed: 0, precision: Precision::F32, recompute: 0 };
    compare_network(&case, &network, &images, mode);
}

/// Compares layers, logits and gradients in `mode` after the case's parameters are loaded.
pub(crate) fn compare_network(case: &Value, network: &Network, input: &Tensor, mode: Mode<'_>) {
    let name = case["name"].as_str().expect("a name");
    load(case, network);
    let graph = Graph::new();
    let input = network.input().of(graph.leaf(input));
    let forward = network.forward(&graph, input, mode, CapturePoint::BeforeNorm).expect("fits");
    let values: Vec<Var<'_>> = forward.activations.iter().map(|activation| activation.value).collect();
    let plan = Plan::new(&gpu(), &graph, &values).expect("small");
    plan.run(1).expect("the device works");
    let layers = case["layers"].as_array().expect("layers");
    let names: Vec<&str> = forward.activations.iter().map(|activation| activation.name.as_str()).collect();
    let hooked: Vec<&str> = layers.iter().map(|layer| layer[0].as_str().expect("a name")).collect();
    // PyTorch has no hook within the layers of one nn.RNN.
    assert!(hooked.is_empty() || names == hooked, "{name}: {names:?}, not {hooked:?}");
    for (activation, layer) in forward.activations.iter().zip(layers) {
        let values = plan.read(activation.value).expect("kept");
        let square: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        let [expected, squares] = [1, 2].map(|i| layer[i].as_f64().expect("a number"));
        assert!((square / squares - 1.0).abs() <= TOLERANCE, "{name}, {}: {square} for {squares}", activation.name);
        assert!(
            (sum - expected).abs() <= TOLERANCE * squares.sqrt(),
            "{name}, {}: {sum} for {expected}",
            activation.name
        );
    }
    let params: Vec<(String, Var<'_>)> =
        network.params().tensors().iter().map(|tensor| (tensor.name().to_string(), graph.leaf(tensor))).collect();
    compare(case, &graph, forward.logits, &params);
}
