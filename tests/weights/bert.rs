//! BERT of Hugging Face's: its layers from a file of its names (`golden/bert.py`).

use std::path::{Path, PathBuf};

use serde_json::Value;
use trellis_guidance::network::{LabelPer, Mode, Output, TokenShape};
use trellis_guidance::weights::{self, Format, Naming, WeightsFile};
use trellis_guidance::{CapturePoint, Network, Transformer};
use trellis_tensor::{Graph, Plan, Tensor};

use crate::gpu;
use crate::networks::against_pytorch::{assert_near, numbers};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn bert(layers: usize) -> Network {
    let shape = TokenShape { time: 6, vocabulary: 11, padding: None };
    let output = Output { classes: 11, label_per: LabelPer::Position };
    let bert = Transformer { hidden: 12, ..Transformer::bert(layers, 8, 2) };
    Network::with_shape(&gpu(), bert, shape, output, 1).expect("fits")
}

#[test]
fn layers_agree_with_hugging_face() {
    let text = std::fs::read_to_string(file("bert.json")).expect("checked in");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let network = bert(2);
    let mut unused = weights::load(&network, &file("bert.safetensors")).expect("fits");
    unused.sort();
    assert_eq!(unused, ["bert.pooler.dense.bias", "bert.pooler.dense.weight", "cls.predictions.bias"]);
    let layers = outputs(&network, [3, 6], &golden);
    let wanted = golden["layers"].as_array().expect("layers");
    assert_eq!(layers.len(), wanted.len());
    for (layer, wanted) in layers.iter().zip(wanted) {
        assert_near("layer", layer, wanted);
    }
}

/// Outputs of all layers for the tokens of a golden file.
fn outputs(network: &Network, shape: [usize; 2], golden: &Value) -> Vec<Vec<f32>> {
    let ids: Vec<u32> =
        golden["ids"].as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect();
    let ids = Tensor::from_u32(&gpu(), "ids", shape, &ids).expect("small");
    let graph = Graph::new();
    let input = network.input().of(graph.leaf(&ids));
    let layers = network.forward(&graph, input, Mode::Eval, CapturePoint::default()).expect("fits").activations;
    // A layer's output is its last norm.
    let outputs: Vec<_> =
        layers.iter().filter(|layer| layer.name.ends_with("norm2")).map(|layer| layer.value).collect();
    let plan = Plan::new(&gpu(), &graph, &outputs).expect("small");
    plan.run(1).expect("works");
    outputs.into_iter().map(|output| plan.read(output).expect("kept")).collect()
}

/// The 22.7 million parameters of MiniLM, in the folder that TRELLIS_MINILM names, against the Python that TRELLIS_PYTHON names.
#[test]
fn minilm_agrees_with_hugging_face() {
    let (Ok(folder), Ok(python)) = (std::env::var("TRELLIS_MINILM"), std::env::var("TRELLIS_PYTHON")) else {
        eprintln!(
            "skipped: TRELLIS_MINILM names no folder with model.safetensors, or TRELLIS_PYTHON no Python with transformers"
        );
        return;
    };
    let output = std::process::Command::new(python).arg(file("minilm.py")).arg(&folder).output().expect("runs");
    let golden: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let shape = TokenShape { time: 16, vocabulary: 30_522, padding: None };
    let classes = Output { classes: 30_522, label_per: LabelPer::Position };
    let minilm = Transformer { hidden: 1536, ..Transformer::bert(6, 384, 12) };
    let network = Network::with_shape(&gpu(), minilm, shape, classes, 1).expect("fits");
    weights::load(&network, &Path::new(&folder).join("model.safetensors")).expect("fits");
    let wanted = golden["layers"].as_array().expect("layers");
    let layers = outputs(&network, [2, 16], &golden);
    assert_eq!(layers.len(), wanted.len());
    for (number, (layer, wanted)) in layers.iter().zip(wanted).enumerate() {
        let off = layer.iter().zip(numbers(wanted)).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("layer {number}: {off:.1e} off at most");
        assert!(off <= 1e-3, "layer {number}: {off}");
    }
}

#[test]
fn what_is_missing_or_of_another_shape_is_named() {
    let path = file("bert.safetensors");
    let error = weights::load(&bert(3), &path).unwrap_err().to_string();
    assert!(error.contains("lacks `layers.2.self_attn.in_proj_weight`"), "{error}");
    let error = weights::load(&bert(1), &path).unwrap_err().to_string();
    assert!(error.contains("has also `bert.encoder.layer.1.") && error.contains("and 12 more"), "{error}");
    let error = WeightsFile::read(&path).and_then(|file| file.renamed(Naming::Trellis)).unwrap_err().to_string();
    assert!(error.contains("--names own"), "{error}");
    // Attention without its keys.
    let folder = tempfile::tempdir().expect("writable");
    let without = folder.path().join("without.safetensors");
    let mut tensors = WeightsFile::read(&path).and_then(|file| file.unrenamed()).expect("floats").tensors;
    tensors.retain(|(name, ..)| !name.contains("layer.0.attention.self.key.bias"));
    weights::write(&without, &tensors, Format::F32, String::new()).expect("saves");
    let error = weights::load(&bert(2), &without).unwrap_err().to_string();
    assert!(error.contains("lacks `bert.encoder.layer.0.attention.self.key.bias`;"), "{error}");
}
