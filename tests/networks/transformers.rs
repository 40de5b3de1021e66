//! Attention and the networks made of it against PyTorch (`golden/transformers.py`): outputs, gradients of every parameter, and
//! what layers to align hold.

use std::collections::HashMap;

use serde_json::Value;
use trellis_guidance::network::{Activation, LabelPer, Mode, NormOrder, Output, Positions, TokenShape};
use trellis_guidance::{CapturePoint, Network, Transformer, Vit};
use trellis_tensor::{AttentionMask, Graph, KeyMask, Layout, Plan, Tensor, Var};

use crate::gpu;
use crate::networks::against_pytorch::{self as golden, compare, compare_network, numbers, size};

#[test]
fn attention_agrees_with_pytorch() {
    let cases: Vec<Value> =
        golden::cases("transformers").into_iter().filter(|case| case["inputs"]["queries"].is_u64()).collect();
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
        let mask = AttentionMask { causal: given["causal"] == true, keys: keys_of, dropout: None };
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

#[test]
fn vision_transformers_agree_with_pytorch() {
    let case = golden::case("transformers", "vit");
    let images = Tensor::from_f32(&gpu(), "images", [2, 3, 4, 6], &numbers(&case["inputs"])).expect("small");
    let vit = Vit { hidden: 12, ..Vit::new(2, 8, 2, 2) };
    let network = Network::with_shape(&gpu(), vit, [3, 4, 6], 5, 0).expect("fits");
    compare_network(&case, &network, &images, Mode::Eval);
}

#[test]
fn transformers_agree_with_pytorch() {
    let encoder = Transformer { hidden: 12, ..Transformer::encoder(2, 8, 2) };
    let decoder = Transformer { hidden: 12, ..Transformer::decoder(2, 8, 2) };
    let (example, position) = (Output::from(2), Output { classes: 7, label_per: LabelPer::Position });
    for (name, transformer, output, padding) in [
        ("encoder, norms last", encoder, example, Some(6)),
        ("encoder, norms first", Transformer { norm: NormOrder::Pre, ..encoder }, example, Some(6)),
        ("copy", Transformer { causal: true, cross: true, shared: true, ..encoder }, position, None),
        ("decoder", decoder, position, None),
        (
            "decoder, residuals after norms",
            Transformer { norm: NormOrder::Inside, activation: Activation::Relu, tied: false, ..decoder },
            position,
            None,
        ),
    ] {
        let case = golden::case("transformers", name);
        let ids: Vec<u32> = numbers(&case["inputs"]).into_iter().map(|id| id as u32).collect();
        let ids = Tensor::from_u32(&gpu(), "ids", [3, 6], &ids).expect("small");
        let shape = TokenShape { time: 6, vocabulary: 7, padding };
        let network = Network::with_shape(&gpu(), transformer, shape, output, 0).expect("fits");
        compare_network(&case, &network, &ids, Mode::Eval);
    }
}

/// ε of the layer norms, 1e-6 in timm's and 1e-5 in PyTorch's: the numbers are so small that it counts.
#[test]
fn layer_norms_have_the_epsilon_of_their_library() {
    let vit = Network::with_shape(&gpu(), Vit::new(2, 8, 1, 2), [1, 4, 4], 3, 1).expect("fits");
    let encoder = Transformer { norm: NormOrder::Pre, ..Transformer::encoder(1, 8, 2) };
    let shape = TokenShape { time: 5, vocabulary: 4, padding: None };
    let encoder = Network::with_shape(&gpu(), Transformer { positions: Positions::Learned, ..encoder }, shape, 3, 1);
    let images = Tensor::from_f32(&gpu(), "images", [1, 1, 4, 4], &[0.0; 16]).expect("small");
    let ids = Tensor::from_u32(&gpu(), "ids", [1, 5], &[0; 5]).expect("small");
    for (network, input, positions, epsilon) in
        [(vit, &images, "pos_embed", 1e-6), (encoder.expect("fits"), &ids, "positions.weight", 1e-5)]
    {
        let small: Vec<f32> = (0..5 * 8).map(|at| 1e-3 * ((at * 7 % 8) as f32 - 3.5)).collect();
        for tensor in network.tensors() {
            let name = tensor.name();
            match name {
                _ if name == positions => tensor.write_f32(&small).expect("fits"),
                "cls_token" | "patch_embed.proj.bias" | "embedding.weight" => tensor.clear(),
                _ => {}
            }
        }
        let graph = Graph::new();
        let given = network.input().of(graph.leaf(input));
        let activations =
            network.forward(&graph, given, Mode::Eval, CapturePoint::default()).expect("fits").activations;
        let norm =
            activations.iter().find(|activation| activation.name.ends_with("0.norm1")).expect("a first norm").value;
        let plan = Plan::new(&gpu(), &graph, &[norm]).expect("small");
        plan.run(1).expect("works");
        let normal = plan.read(norm).expect("kept");
        let variance = small[..8].iter().map(|x| x * x).sum::<f32>() / 8.0;
        for (got, x) in normal.iter().zip(&small[..8]) {
            let wanted = x / (variance + epsilon).sqrt();
            assert!((got - wanted).abs() < 1e-4, "{}: {got} for {wanted}", network.describe());
        }
    }
}
