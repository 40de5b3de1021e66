//! Attention and the networks made of it against PyTorch (`golden/transformers.py`): outputs, gradients of every parameter, and
//! what layers to align hold.

use std::collections::HashMap;

use serde_json::Value;
use trellis_guidance::network::{Each, Mode, NormOrder, Output, TokenShape};
use trellis_guidance::{Network, TapAt, Transformer, Vit};
use trellis_tensor::{AttentionMask, Graph, KeyMask, Layout, Plan, Tensor, Var};

use crate::gpu;

/// Greatest difference, relative to the greatest value.
const TOLERANCE: f64 = 1e-4;

fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/transformers.json");
    let text = std::fs::read_to_string(path).expect("checked in");
    serde_json::from_str(&text).expect("JSON")
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().expect("a size") as usize
}

fn assert_near(what: &str, given: &[f32], expected: &Value) {
    let expected = numbers(expected);
    assert_eq!(given.len(), expected.len(), "{what}");
    let greatest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (given, expected) in given.iter().zip(&expected) {
        let error = f64::from((given - expected).abs() / greatest);
        assert!(error <= TOLERANCE, "{what}: {given} for {expected}, {error:.1e} of {greatest}");
    }
}

/// Compares `output` and the gradients of Σ r · output by `params`, by name.
fn compare(case: &Value, graph: &Graph, output: Var<'_>, params: &[(String, Var<'_>)]) {
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

#[test]
fn attention_agrees_with_pytorch() {
    let cases: Vec<Value> = cases().into_iter().filter(|case| case["inputs"]["queries"].is_u64()).collect();
    assert_eq!(cases.len(), 3);
    for case in &cases {
        let (graph, given) = (Graph::new(), &case["inputs"]);
        let shape_of = |param: &Value| param[0].as_array().expect("a shape").iter().map(size).collect::<Vec<_>>();
        let params: HashMap<&str, Var<'_>> =
            case["params"].as_object().expect("by name").iter().fold(HashMap::new(), |mut params, (name, param)| {
                let tensor = Tensor::from_f32(&gpu(), name, shape_of(param), &numbers(&param[1])).expect("small");
                params.insert(name, graph.leaf(&tensor));
                params
            });
        let (queries, keys, width) = (size(&given["queries"]), size(&given["keys"]), 12);
        let leaf = |name: &str, time: usize| {
            graph.leaf(&Tensor::from_f32(&gpu(), name, [2, time, width], &numbers(&given[name])).expect("small"))
        };
        let keys_of = given["lengths"].as_array().map(|lengths| {
            let lengths: Vec<u32> = lengths.iter().map(|length| size(length) as u32).collect();
            KeyMask::Lengths(graph.leaf(&Tensor::from_u32(&gpu(), "lengths", [2], &lengths).expect("small")))
        });
        let mask = AttentionMask { causal: given["causal"] == true, keys: keys_of };
        let (x, memory) = (leaf("x", queries), leaf("memory", keys));
        let record = || {
            let (w, b) = (params["in_proj_weight"], params["in_proj_bias"]);
            let heads = if given["cross"] == true {
                let [q, k, v] = [(x, 0), (memory, 1), (memory, 2)].map(|(source, part)| {
                    let (w, b) = (w.slice(0, part * width, width)?, b.slice(0, part * width, width)?);
                    source.matmul(w, Layout::NT)?.add(b)
                });
                q?.attention(k?, v?, 3, mask)?
            } else {
                x.matmul(w, Layout::NT)?.add(b)?.self_attention(3, mask)?
            };
            let product = heads.matmul(params["out_proj.weight"], Layout::NT)?;
            product.add(params["out_proj.bias"])
        };
        let params: Vec<(String, Var<'_>)> = params.iter().map(|(name, var)| (name.to_string(), *var)).collect();
        compare(case, &graph, record().expect("legal"), &params);
    }
}

/// A network with the case's parameters, by their names in PyTorch.
fn load(case: &Value, network: &Network) {
    let params = case["params"].as_object().expect("by name");
    for tensor in network.params().tensors() {
        let [_, values] = params[tensor.name()].as_array().expect("shape and values").as_slice() else { panic!() };
        let shape: Vec<usize> = params[tensor.name()][0].as_array().expect("a shape").iter().map(size).collect();
        assert_eq!(tensor.shape()[..], shape, "{}", tensor.name());
        tensor.write_f32(&numbers(values)).expect("the device works");
    }
}

fn compare_network(name: &str, network: &Network, input: &Tensor) {
    let cases = cases();
    let case = cases.iter().find(|case| case["name"] == name).expect("in the file");
    load(case, network);
    let graph = Graph::new();
    let input = network.input().of(graph.leaf(input));
    let forward = network.forward(&graph, input, Mode::Eval, TapAt::BeforeNorm).expect("fits");
    let values: Vec<Var<'_>> = forward.taps.iter().map(|tap| tap.value).collect();
    let plan = Plan::new(&gpu(), &graph, &values).expect("small");
    plan.run(1).expect("the device works");
    let layers = case["layers"].as_array().expect("layers");
    let names: Vec<&str> = forward.taps.iter().map(|tap| tap.name.as_str()).collect();
    assert_eq!(names, layers.iter().map(|layer| layer[0].as_str().expect("a name")).collect::<Vec<_>>(), "{name}");
    for (tap, layer) in forward.taps.iter().zip(layers) {
        let values = plan.read(tap.value).expect("kept");
        let square: f64 = values.iter().map(|&v| f64::from(v).powi(2)).sum();
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        let [expected, squares] = [1, 2].map(|i| layer[i].as_f64().expect("a number"));
        assert!((square / squares - 1.0).abs() <= TOLERANCE, "{name}, {}: {square} for {squares}", tap.name);
        assert!((sum - expected).abs() <= TOLERANCE * squares.sqrt(), "{name}, {}: {sum} for {expected}", tap.name);
    }
    let params: Vec<(String, Var<'_>)> =
        network.params().tensors().iter().map(|tensor| (tensor.name().to_string(), graph.leaf(tensor))).collect();
    compare(case, &graph, forward.logits, &params);
}

#[test]
fn vision_transformers_agree_with_pytorch() {
    let cases = cases();
    let case = cases.iter().find(|case| case["name"] == "vit").expect("in the file");
    let images = Tensor::from_f32(&gpu(), "images", [2, 3, 4, 6], &numbers(&case["inputs"])).expect("small");
    let vit = Vit { hidden: 12, ..Vit::new(2, 8, 2, 2) };
    compare_network("vit", &Network::with_shape(&gpu(), vit, [3, 4, 6], 5, 0).expect("fits"), &images);
}

#[test]
fn transformers_agree_with_pytorch() {
    let encoder = Transformer { hidden: 12, ..Transformer::encoder(2, 8, 2) };
    let decoder = Transformer { hidden: 12, ..Transformer::decoder(2, 8, 2) };
    let (example, position) = (Output::from(2), Output { classes: 7, each: Each::Position });
    for (name, transformer, output, padding) in [
        ("encoder, norms last", encoder, example, Some(6)),
        ("encoder, norms first", Transformer { norm: NormOrder::Pre, ..encoder }, example, Some(6)),
        ("copy", Transformer { causal: true, cross: true, shared: true, ..encoder }, position, None),
        ("decoder", decoder, position, None),
        (
            "decoder, residuals after norms",
            Transformer { norm: NormOrder::Inside, gelu: false, tied: false, ..decoder },
            position,
            None,
        ),
    ] {
        let cases = cases();
        let case = cases.iter().find(|case| case["name"] == name).expect("in the file");
        let ids: Vec<u32> = numbers(&case["inputs"]).into_iter().map(|id| id as u32).collect();
        let ids = Tensor::from_u32(&gpu(), "ids", [3, 6], &ids).expect("small");
        let shape = TokenShape { time: 6, vocabulary: 7, padding };
        compare_network(name, &Network::with_shape(&gpu(), transformer, shape, output, 0).expect("fits"), &ids);
    }
}
