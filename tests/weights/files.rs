//! Weights that travel: files of PyTorch's libraries in, ours out, and what is wrong with a file.

use std::path::{Path, PathBuf};

use serde_json::Value;
use trellis_guidance::network::{Activation, LabelPer, Mode, Output, TokenShape};
use trellis_guidance::weights::{self, Format, Naming, WeightsFile};
use trellis_guidance::{CapturePoint, Fcn, Network, Resnet, Transformer};
use trellis_tensor::{Graph, Plan, Tensor};

use crate::gpu;
use crate::networks::against_pytorch::{assert_near, numbers};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn expected(network: &str) -> Value {
    let text = std::fs::read_to_string(file("weights.json")).expect("checked in");
    serde_json::from_str::<Value>(&text).expect("JSON")[network].clone()
}

fn logits(network: &Network, input: &Tensor) -> Vec<f32> {
    let graph = Graph::new();
    let input = network.input().of(graph.leaf(input));
    let logits = network.forward(&graph, input, Mode::Eval, CapturePoint::default()).expect("fits").logits;
    let plan = Plan::new(&gpu(), &graph, &[logits]).expect("small");
    plan.run(1).expect("the device works");
    plan.read(logits).expect("kept")
}

fn decoder(seed: u64) -> Network {
    let decoder = Transformer { hidden: 12, activation: Activation::GeluTanh, ..Transformer::decoder(2, 8, 2) };
    let shape = TokenShape { time: 6, vocabulary: 7, padding: None };
    Network::with_shape(&gpu(), decoder, shape, Output { classes: 7, label_per: LabelPer::Position }, seed)
        .expect("fits")
}

fn ids(case: &Value) -> Tensor {
    let ids: Vec<u32> = numbers(&case["inputs"]).into_iter().map(|id| id as u32).collect();
    Tensor::from_u32(&gpu(), "ids", [2, 6], &ids).expect("small")
}

/// Hugging Face's names, layouts, masks and types; more positions than are needed.
#[test]
fn gpt2_goes_in_and_out() {
    let (case, network) = (expected("gpt2"), decoder(1));
    weights::load(&network, &file("gpt2.safetensors")).expect("fits");
    assert_near("gpt2", &logits(&network, &ids(&case)), &case["output"]);

    let folder = tempfile::tempdir().expect("writable");
    let [ours, theirs] = ["ours", "theirs"].map(|name| folder.path().join(name));
    weights::save(&network, &ours).expect("saves");
    let renamed = WeightsFile::read(&ours).and_then(|file| file.renamed(Naming::Gpt2)).expect("has names").tensors;
    weights::write(&theirs, &renamed, Format::F32, String::new()).expect("saves");
    let original = WeightsFile::read(&file("gpt2.safetensors")).and_then(|file| file.renamed(Naming::Gpt2));
    for ((name, shape, values), (wanted, their_shape, theirs)) in
        renamed.iter().zip(original.expect("has names").tensors)
    {
        // Positions that the network has no use for are not in it.
        let rows = if name == "wpe.weight" { values.len() } else { theirs.len() };
        assert_eq!((name, &shape[1..], &values[..]), (&wanted, &their_shape[1..], &theirs[..rows]));
    }
    // A decoder without the last norm is not GPT-2's.
    let without = folder.path().join("without");
    let mut tensors =
        WeightsFile::read(&ours).and_then(|file| file.renamed(Naming::Trellis)).expect("has names").tensors;
    tensors.retain(|(name, ..)| !name.starts_with("norm."));
    weights::write(&without, &tensors, Format::F32, String::new()).expect("saves");
    let error = WeightsFile::read(&without).and_then(|file| file.renamed(Naming::Gpt2)).unwrap_err().to_string();
    assert!(error.contains("no tensor to be `ln_f."), "{error}");

    let back = decoder(2);
    weights::load(&back, &theirs).expect("fits");
    assert_near("back again", &logits(&back, &ids(&case)), &case["output"]);
}

/// Tensors called like a mask of GPT-2's, and of its shape, but of other numbers, are no masks.
#[test]
fn masks_are_known_by_their_numbers() {
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("masks.safetensors");
    let tensors =
        WeightsFile::read(&file("gpt2.safetensors")).and_then(|file| file.unrenamed()).expect("floats").tensors;
    let at = tensors.iter().position(|(name, ..)| name == "transformer.h.1.attn.bias").expect("has masks");
    let count = tensors[at].2.len();
    // None; below, on and above the diagonal; as many as fill it.
    for (changed, to) in [(0, 1.0), (0, 0.5), (1, 1.0), (count - 1, 0.0), (count - 2, f32::NAN)] {
        let mut tensors = tensors.clone();
        tensors[at].2[changed] = to;
        weights::write(&path, &tensors, Format::F32, String::new()).expect("saves");
        let renamed = WeightsFile::read(&path).and_then(|file| file.renamed(Naming::Trellis));
        match (changed, to) {
            (0, 1.0) => assert!(renamed.expect("masks").left_out.iter().any(|(name, _)| *name == tensors[at].0)),
            _ => {
                let error = renamed.unwrap_err().to_string();
                assert!(error.contains("`transformer.h.1.attn.bias` has no name"), "{changed} {to}: {error}");
                let error = weights::load(&decoder(1), &path).unwrap_err().to_string();
                assert!(error.contains("has also `transformer.h.1.attn.bias`"), "{changed} {to}: {error}");
            }
        }
    }
}

/// A conversion drops what is redundant, by name and shape or by its values, and nothing else.
#[test]
fn conversions_drop_nothing_that_counts() {
    let read = |path: &Path| WeightsFile::read(path).expect("safetensors");
    let renamed = read(&file("attn-linear.safetensors")).renamed(Naming::Trellis).expect("has names");
    let names: Vec<&str> = renamed.tensors.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["decoder.attn.bias", "decoder.attn.weight", "decoder.out.weight"]);
    assert_eq!(renamed.left_out, []);
    let error = read(&file("f64-beyond-f32.safetensors")).renamed(Naming::Trellis).unwrap_err().to_string();
    assert!(error.contains("`a` has numbers beyond 3.4e38"), "{error}");

    // GPT-2's head is left out where it equals the embedding; another head is told, converting and loading.
    let folder = tempfile::tempdir().expect("writable");
    let mut tensors = read(&file("gpt2.safetensors")).renamed(Naming::Gpt2).expect("has names").tensors;
    let (_, shape, mut values) = tensors.iter().find(|(name, ..)| name == "wte.weight").expect("GPT-2").clone();
    let path = folder.path().join("head.safetensors");
    for tied in [true, false] {
        values[0] += if tied { 0.0 } else { 1.0 };
        tensors.retain(|(name, ..)| name != "lm_head.weight");
        tensors.push(("lm_head.weight".to_string(), shape.clone(), values.clone()));
        weights::write(&path, &tensors, Format::F32, String::new()).expect("saves");
        let (converted, loaded) = (read(&path).renamed(Naming::Trellis), weights::load(&decoder(1), &path));
        if tied {
            let left_out = converted.expect("redundant").left_out;
            assert_eq!(left_out, [("lm_head.weight".to_string(), "equal to the embedding")]);
            loaded.expect("redundant");
        } else {
            let converted = converted.unwrap_err();
            assert!(converted.to_string().contains("--names own"), "{converted}");
            for error in [converted, loaded.unwrap_err()] {
                assert!(error.to_string().contains("`lm_head.weight`"), "{error}");
            }
            // Under its own names the file is whole.
            let own = read(&path).unrenamed().expect("floats").tensors;
            assert!(own.len() == tensors.len() && own.iter().all(|tensor| tensors.contains(tensor)));
        }
    }
}

#[test]
fn a_torchvision_file_behind_a_wrapper_loads() {
    let case = expected("resnet");
    let resnet = Resnet { blocks: vec![1, 1], width: 3, ..Resnet::small(1) };
    let network = Network::with_shape(&gpu(), resnet, [3, 7, 7], 5, 0).expect("fits");
    weights::load(&network, &file("resnet.safetensors")).expect("fits");
    let images = Tensor::from_f32(&gpu(), "images", [2, 3, 7, 7], &numbers(&case["inputs"])).expect("small");
    assert_near("resnet", &logits(&network, &images), &case["output"]);
}

#[test]
fn what_does_not_fit_is_named_and_changes_nothing() {
    let resnet = Resnet { blocks: vec![1, 2], width: 3, ..Resnet::small(1) };
    let network = Network::with_shape(&gpu(), resnet, [3, 7, 7], 6, 0).expect("fits");
    let before: Vec<f32> = network.params().tensors().iter().flat_map(|t| t.read_f32().expect("works")).collect();
    let error = weights::load(&network, &file("resnet.safetensors")).unwrap_err().to_string();
    for part in [
        "resnet.safetensors: lacks `layer2.1.conv1.weight`, `layer2.1.bn1.weight`,",
        " and 6 more; ",
        "`module.fc.weight` is F32 [5, 6], not ",
        "load it into the network that it is of, not resnet-8 width 3 small",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let after: Vec<f32> = network.params().tensors().iter().flat_map(|t| t.read_f32().expect("works")).collect();
    assert_eq!(before, after);
    let fcn = Network::with_shape(&gpu(), Fcn::new(1, 2), [1, 2, 2], 2, 0).expect("fits");
    let error = weights::load(&fcn, &file("gpt2.safetensors")).unwrap_err().to_string();
    assert!(error.contains("has also `") && error.contains("more"), "{error}");
}

#[test]
fn files_that_are_none_are_refused() {
    let folder = tempfile::tempdir().expect("writable");
    let whole = std::fs::read(file("gpt2.safetensors")).expect("checked in");
    let mut long = whole.clone();
    long[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for (name, bytes, part) in [
        ("empty", &b""[..], "is damaged"),
        ("lfs", include_bytes!("../golden/lfs-pointer.safetensors"), "git lfs pull"),
        ("page", b"<!DOCTYPE html><html>", "a web page"),
        ("page behind blanks", b"\xef\xbb\xbf\r\n  <html>", "a web page"),
        ("index", b"{\n  \"metadata\": {\"total_size\": 9}, \"weight_map\": {}}", "is the index of weights in several"),
        ("refusal", b"{\"error\": \"Repository not found\"}", "is JSON, such as"),
        ("text", "Zutritt verweigert: ä".as_bytes(), "is text"),
        ("short text", b"no", "is text"),
        ("gguf", b"GGUF\x03\0\0\0\0", "a GGUF file"),
        ("packed", b"\x1f\x8b\x08\0\0\0\0\0\0", "gunzip"),
        ("short", &whole[..whole.len() - 1], "is damaged"),
        ("long", &long, "is damaged"),
        ("pickle", b"PK\x03\x04 and so on", "safetensors.torch.save_file"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("writable");
        let error = WeightsFile::read(&path).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(name), "{error}");
    }
    let integers = folder.path().join("integers");
    let header = br#"{"step":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header, &[0; 8]].concat();
    std::fs::write(&integers, bytes).expect("writable");
    let file = WeightsFile::read(&integers).expect("a safetensors file");
    assert_eq!(file.summaries().expect("readable")[0].statistics, None);
    assert!(file.renamed(Naming::Trellis).unwrap_err().to_string().contains("`step` holds I64"));
}

/// Files are converted block by block into the same bytes as a whole: two blocks of each tensor, one of them transposed.
#[test]
fn a_file_is_converted_in_blocks() {
    let folder = tempfile::tempdir().expect("writable");
    let [path, whole, parts] = ["x", "whole", "parts"].map(|name| folder.path().join(name));
    let [rows, columns] = [1500, 2900];
    let values: Vec<f32> = (0..rows * columns).map(|at| (at % 60_013) as f32 * 0.25).collect();
    let names = ["wte.weight", "wpe.weight", "ln_f.weight", "ln_f.bias"];
    let mut tensors = vec![("h.0.attn.c_attn.weight".to_string(), vec![rows, columns], values.clone())];
    tensors.extend(names.map(|name| (name.to_string(), vec![2, 0], Vec::new())));
    tensors.push(("h.0.mlp.c_fc.bias".to_string(), vec![columns, rows], values));
    weights::write(&path, &tensors, Format::F32, String::new()).expect("writable");
    let file = WeightsFile::read(&path).expect("whole");
    for (to, format) in [(None, Format::F16), (Some(Naming::Trellis), Format::F32)] {
        let renamed = to.map_or_else(|| file.unrenamed(), |to| file.renamed(to)).expect("floats").tensors;
        weights::write(&whole, &renamed, format, "me".to_string()).expect("writable");
        let converted = file.convert(to, &parts, format, "me".to_string()).expect("floats");
        assert_eq!((converted.tensors, converted.values), (6, 2 * rows * columns));
        assert!(std::fs::read(&whole).expect("written") == std::fs::read(&parts).expect("written"), "{format:?}");
        if to.is_some() {
            let turned = renamed.iter().find(|(name, ..)| name.ends_with("in_proj_weight")).expect("known");
            assert_eq!((&turned.1, turned.2[rows + 3]), (&vec![columns, rows], tensors[0].2[3 * columns + 1]));
        }
    }
    // Numbers that are not finite are passed on, and told.
    let last = rows * columns - 1;
    for at in [0, 1, last] {
        tensors[0].2[at] = [f32::NAN, f32::INFINITY][at % 2];
    }
    weights::write(&path, &tensors, Format::F32, String::new()).expect("writable");
    let file = WeightsFile::read(&path).expect("whole");
    let converted = file.convert(Some(Naming::Trellis), &parts, Format::Bf16, String::new()).expect("floats");
    assert_eq!(converted.not_finite, [("layers.0.self_attn.in_proj_weight".to_string(), 3)]);
    // Nothing is left of a file that has a number too large, in the last block.
    for (at, value) in [(0, 0.0), (1, 0.0), (last, 3.4e38)] {
        tensors[0].2[at] = value;
    }
    weights::write(&path, &tensors, Format::F32, String::new()).expect("writable");
    std::fs::remove_file(&parts).expect("written");
    let error =
        WeightsFile::read(&path).expect("whole").convert(None, &parts, Format::Bf16, String::new()).unwrap_err();
    assert!(error.to_string().contains("has numbers beyond 3.39e38") && !parts.exists(), "{error}");
    tensors[0].2[last] = 1e5;
    weights::write(&path, &tensors, Format::F32, String::new()).expect("writable");
    let error = WeightsFile::read(&path).expect("whole").convert(None, &parts, Format::F16, String::new()).unwrap_err();
    assert!(error.to_string().contains("`h.0.attn.c_attn.weight` has numbers beyond 65,504"), "{error}");
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).expect("ours").map(|entry| entry.expect("ours").file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// Half precision loses digits, not names; statistics are those of the values.
#[test]
fn formats_and_statistics() {
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("x");
    let values = vec![1.0, -2.5, 3.25, 1000.5, f32::NAN, 0.1];
    for (format, dtype, tenth) in
        [(Format::F32, "F32", 0.1), (Format::F16, "F16", 0.099_975_586), (Format::Bf16, "BF16", 0.100_097_656)]
    {
        weights::write(&path, &[("w".to_string(), vec![2, 3], values.clone())], format, "me".to_string())
            .expect("saves");
        let file = WeightsFile::read(&path).expect("whole");
        let about = [("format", "pt"), ("trellis", "me")].map(|(key, text)| (key.to_string(), text.to_string()));
        assert_eq!(file.about(), about);
        let summary = file.summaries().expect("whole").remove(0);
        assert_eq!((summary.dtype.as_str(), &summary.shape[..], summary.not_finite), (dtype, &[2, 3][..], 1));
        let (_, _, read) = file.renamed(Naming::Trellis).expect("has names").tensors.remove(0);
        assert_eq!((read[1], read[5]), (-2.5, tenth));
        let [mean, deviation, least, greatest] = summary.statistics.expect("floats");
        let finite: Vec<f64> = read.iter().filter(|v| v.is_finite()).map(|&v| f64::from(v)).collect();
        let wanted = finite.iter().sum::<f64>() / 5.0;
        assert!((mean - wanted).abs() < 1e-9 && least == -2.5 && greatest == f64::from(read[3]));
        let wanted = finite.iter().map(|v| (v - wanted).powi(2)).sum::<f64>() / 5.0;
        assert!((deviation.powi(2) - wanted).abs() < 1e-6 * wanted);
    }
}

#[test]
fn names_that_meet_and_numbers_that_half_cannot_hold_are_refused() {
    let folder = tempfile::tempdir().expect("writable");
    let (path, other) = (folder.path().join("x"), folder.path().join("y"));
    let named = |name: &str| (name.to_string(), vec![2], vec![1.0, 1e6]);
    let tensors = ["wte.weight", "transformer.wte.weight", "transformer.h.0.ln_1.bias"].map(named);
    weights::write(&path, &tensors, Format::F32, String::new()).expect("writable");
    let file = WeightsFile::read(&path).expect("whole");
    let error = file.renamed(Naming::Trellis).unwrap_err().to_string();
    assert!(error.contains("would have the name of another"), "{error}");
    let error = weights::write(&other, &tensors, Format::F16, String::new()).unwrap_err().to_string();
    assert!(error.contains("`transformer.h.0.ln_1.bias` has numbers beyond 65,504") && !other.exists(), "{error}");
    // Prefixes that wrappers add, one upon the other.
    let wrapped = ["wte.weight", "h.0.ln_1.bias"].map(|name| named(&format!("module.transformer.{name}")));
    weights::write(&path, &wrapped, Format::Bf16, String::new()).expect("writable");
    let renamed = WeightsFile::read(&path).and_then(|file| file.renamed(Naming::Trellis)).expect("known");
    let names: Vec<&str> = renamed.tensors.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["embedding.weight", "layers.0.norm1.bias"]);
}

/// Square roots of them would be NaN, and the learning rate would get the blame.
#[test]
fn running_variances_below_0_are_refused_by_file_and_tensor() {
    let folder = tempfile::tempdir().expect("writable");
    let resnet = Resnet { blocks: vec![1, 1], width: 3, ..Resnet::small(1) };
    let network = || Network::with_shape(&gpu(), resnet.clone(), [3, 7, 7], 5, 0).expect("fits");
    let good = network();
    let variance = good.tensors().find(|tensor| tensor.name() == "layer1.0.bn1.running_var").expect("batch norm");
    let path = folder.path().join("weights.safetensors");
    for (value, wanted) in [
        (-0.25, Some("`layer1.0.bn1.running_var` holds -0.25, and a variance is never below 0")),
        (f32::NAN, Some("`layer1.0.bn1.running_var` is not finite")),
        (0.0, None),
    ] {
        variance.write_f32(&[1.0, value, 1.0]).expect("three channels");
        weights::save(&good, &path).expect("saves");
        match (weights::load(&network(), &path), wanted) {
            (Err(error), Some(wanted)) => {
                let message = error.to_string();
                assert!(message.contains("weights.safetensors: ") && message.contains(wanted), "{message}");
            }
            (loaded, None) => drop(loaded.expect("0 is a variance")),
            (Ok(_), Some(wanted)) => panic!("{wanted}"),
        }
    }
}
