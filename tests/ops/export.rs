//! Plans as documents: contents, settings, and what a browser could not run.

use serde_json::json;
use trellis_tensor::{
    Error, Export, Gpu, GpuOptions, Graph, Layout, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Schedule,
    SettingValues, StepState, Tensor,
};

use crate::open;

fn portable() -> Gpu {
    open(GpuOptions { portable: true, ..GpuOptions::default() })
}

/// A step of Adam on `|x w|² · scale`, with the weights after it.
fn step(gpu: &Gpu, rate: f32, scale: f32) -> (Export, Params) {
    let x = Tensor::from_f32(gpu, "x", [4, 3], &(0..12).map(|i| i as f32).collect::<Vec<_>>()).expect("small");
    let spec = ParamSpec { name: "w".into(), shape: [3, 2].into(), values: vec![0.5; 6].into() };
    let params = Params::new(gpu, &[spec]).expect("small");
    let optimizer = Optimizer::new(gpu, &params, OptimizerConfig::adam(Schedule::Constant(rate))).expect("small");
    let (graph, state) = (Graph::new(), StepState::new(gpu).expect("small"));
    let y = graph.leaf(&x).matmul(graph.leaf(&params.tensors()[0]), Layout::NN).expect("fits");
    let loss = y.mul(y).and_then(|y| y.sum_all()).and_then(|sum| sum.mul(graph.constant(scale, []))).expect("fits");
    optimizer.update(&graph, loss, &state).expect("a scalar");
    let plan = Plan::new(gpu, &graph, &[loss]).expect("small");
    let mut export = Export::new(gpu);
    export.plan("step", &plan, &[("loss", loss)]).expect("portable");
    export.tensor("state", state.tensor()).expect("there");
    export.tensor("w", &params.tensors()[0]).expect("there");
    (export, params)
}

#[test]
fn a_document_holds_what_a_replay_needs() {
    let (export, _) = step(&portable(), 0.01, 2.0);
    let document = export.to_json();
    assert_eq!((&document["format"], &document["version"]), (&json!("trellis-plan"), &json!(1)));
    let dispatches = document["plans"]["step"]["dispatches"].as_array().expect("a list");
    assert!(!dispatches.is_empty());
    for dispatch in dispatches {
        let kernel = &document["kernels"][dispatch["kernel"].as_u64().expect("a number") as usize];
        let bind = dispatch["bind"].as_array().expect("a list");
        assert_eq!(bind.len(), kernel["access"].as_array().expect("a list").len(), "{}", kernel["name"]);
        let name = kernel["name"].as_str().expect("a name");
        assert!(kernel["wgsl"].as_str().expect("a text").contains(&format!("fn {name}(")));
        for slice in bind {
            let [buffer, offset, bytes] = [0, 1, 2].map(|i| slice[i].as_u64().expect("a number"));
            let size = document["buffers"][buffer as usize]["bytes"].as_u64().expect("a number");
            assert!(offset % 256 == 0 && offset + bytes <= size, "{name}: {slice}");
        }
    }
    let w = &document["tensors"]["w"];
    assert_eq!((&w["dtype"], &w["shape"]), (&json!("f32"), &json!([3, 2])));
    let buffer = &document["buffers"][w["buffer"].as_u64().expect("a number") as usize];
    assert_eq!(buffer["contents"], json!({ "fill": 0.5_f32.to_bits(), "words": 6 }));
    let state = &document["buffers"][document["tensors"]["state"]["buffer"].as_u64().expect("a number") as usize];
    assert_eq!(state.get("contents"), None, "a fresh buffer is zero");
    assert!(document["plans"]["step"]["outputs"]["loss"].is_object());
}

#[test]
fn settings_are_the_words_that_differ() {
    let gpu = portable();
    let (mut export, _) = step(&gpu, 0.011, 2.3);
    let (other, _) = step(&gpu, 0.013, 2.9);
    let settings = [("rate", SettingValues::Float([0.011, 0.013])), ("scale", SettingValues::Float([2.3, 2.9]))];
    // A rate alone does not account for what the scale changes.
    let error = export.settings(&other, &settings[..1]).expect_err("the scale differs too").to_string();
    assert!(error.contains("setting `rate`") && error.contains("follows from it"), "{error}");
    export.settings(&other, &settings).expect("both are found");
    let document = export.to_json();
    let rate = &document["settings"]["rate"];
    assert_eq!((rate["dtype"].as_str(), rate["words"].as_array().map(Vec::len)), (Some("f32"), Some(1)));
    let place = &rate["words"][0];
    let dispatch = &document["plans"]["step"]["dispatches"][place["dispatch"].as_u64().expect("a number") as usize];
    let word = dispatch["dims"][place["word"].as_u64().expect("a number") as usize].as_u64();
    assert_eq!((dispatch["op"].as_str(), word), (Some("adam"), Some(u64::from(0.011_f32.to_bits()))));
    let missing = [settings[0], settings[1], ("none", SettingValues::Word([1, 2]))];
    let (mut again, _) = step(&gpu, 0.011, 2.3);
    let error = again.settings(&other, &missing).expect_err("nothing depends on it").to_string();
    assert!(error.contains("setting `none`") && error.contains("no word"), "{error}");
}

/// Kernels of a software adapter use subgroups, which a browser need not have.
#[test]
fn a_plan_that_needs_more_than_webgpu_promises_is_refused() {
    let gpu = crate::gpu();
    if gpu.caps().subgroup == 0 {
        return;
    }
    let x = Tensor::from_f32(&gpu, "x", [64, 64], &[1.0; 4096]).expect("small");
    let graph = Graph::new();
    let y = graph.leaf(&x).matmul(graph.leaf(&x), Layout::NN).expect("fits");
    let plan = Plan::new(&gpu, &graph, &[y]).expect("small");
    let error = plan.export().map(|_| ()).expect_err("it uses subgroups");
    assert!(matches!(&error, Error::NotPortable { kernel, .. } if kernel == "matmul"), "{error}");
    assert!(error.to_string().contains("SUBGROUP"), "{error}");
}

#[test]
fn a_portable_device_promises_no_more_than_webgpu() {
    let caps = portable().caps().clone();
    assert_eq!((caps.subgroup, caps.shuffle, caps.cooperative, caps.timestamps), (0, 0, false, false));
    assert_eq!((caps.invocations, caps.workgroup_memory, caps.max_binding), (256, 16 << 10, 128 << 20));
}
