//! Initial weights by name: what each one promises, and which networks cannot have it.

use trellis_guidance::data::DrawnSequences;
use trellis_guidance::network::{Architecture, InitialWeights, Input, Mode, Output, Pass, RnnCell};
use trellis_guidance::{BatchSource, CapturePoint, Cnn, Dataset, Fcn, Network, Resnet, Result, Rnn};
use trellis_tensor::{Graph, Init, Plan, StepState, Var};

use crate::gpu;
use crate::training::runs::{bits, data};

fn sequences() -> Dataset {
    let drawn = DrawnSequences::copy_paste(4, [4, 4], 0).expect("sane");
    Dataset::drawn(&gpu(), drawn, [32, 0, 16]).expect("fits")
}

fn values(network: &Network, name: &str) -> Vec<f32> {
    network.tensors().find(|tensor| tensor.name() == name).expect("a parameter").read_f32().expect("works")
}

/// Captured activations and logits on the first training batch of a seed, by the name of the layer.
fn outputs(network: &Network, data: &Dataset, seed: u64, capture: CapturePoint) -> Vec<(String, Vec<f32>)> {
    let (graph, step_state) = (Graph::new(), StepState::new(data.gpu()).expect("fits"));
    let batches = BatchSource::shuffled(data, data.train_count().min(128), seed).expect("fits");
    let batch = batches.batch(&graph, &step_state).expect("records");
    let forward = network.forward(&graph, batch.input, Mode::Eval, capture).expect("records");
    let mut kept: Vec<(String, Var<'_>)> = forward.activations.into_iter().map(|a| (a.name, a.value)).collect();
    kept.push(("logits".to_string(), forward.logits));
    let keep: Vec<Var<'_>> = kept.iter().map(|(_, value)| *value).collect();
    let plan = Plan::new(data.gpu(), &graph, &keep).expect("fits");
    plan.run(1).expect("works");
    kept.into_iter().map(|(name, value)| (name, plan.read(value).expect("kept"))).collect()
}

fn variance(values: &[f32]) -> f64 {
    let mean = |values: &mut dyn Iterator<Item = f64>, n: usize| values.sum::<f64>() / n as f64;
    let center = mean(&mut values.iter().map(|&v| f64::from(v)), values.len());
    mean(&mut values.iter().map(|&v| (f64::from(v) - center).powi(2)), values.len())
}

/// Length of each row, and the largest cosine between two of them; columns where there are fewer of these.
fn rows(weights: &[f32], columns: usize) -> (Vec<f64>, f64) {
    let count = weights.len() / columns;
    let at = |i: usize, k: usize| {
        f64::from(if count <= columns { weights[i * columns + k] } else { weights[k * columns + i] })
    };
    let dot = |i, j| (0..count.max(columns)).map(|k| at(i, k) * at(j, k)).sum::<f64>();
    let lengths: Vec<f64> = (0..count.min(columns)).map(|i| dot(i, i).sqrt()).collect();
    let cosines = (0..lengths.len()).flat_map(|i| (0..i).map(move |j| (i, j)));
    let largest = cosines.map(|(i, j)| (dot(i, j) / (lengths[i] * lengths[j])).abs()).fold(0.0, f64::max);
    (lengths, largest)
}

#[test]
fn lsuv_gives_each_layer_variance_1() {
    let data = data(&gpu());
    let fcn = |init| Fcn { batch_norm: false, init, ..Fcn::new(8, 24) };
    let deep = |init, seed| Network::new(fcn(init), &data, seed).expect("fits");
    let usual = outputs(&deep(InitialWeights::Default, 3), &data, 3, CapturePoint::BeforeNorm);
    assert!(variance(&usual[7].1) < 0.1, "a deep network of PyTorch's weights says little of its input");
    let scaled = deep(InitialWeights::Lsuv, 3);
    let cnn = Cnn { batch_norm: false, init: InitialWeights::Lsuv, ..Cnn::new(&[4, 8, 8]) };
    let cnn = Network::new(cnn, &data, 3).expect("fits");
    for (network, layers) in [(&scaled, 9), (&cnn, 5)] {
        let outputs = outputs(network, &data, 3, CapturePoint::BeforeNorm);
        assert_eq!(outputs.len(), layers);
        // The mean over pixels has no weights.
        for (name, output) in outputs.iter().filter(|(name, _)| name != "pool") {
            assert!((variance(output) - 1.0).abs() < 0.011, "{}, {name}: {}", network.describe(), variance(output));
        }
    }
    // Still orthogonal, whatever the factor.
    let (lengths, cosine) = rows(&values(&scaled, "fc4.weight"), 24);
    assert!(cosine < 1e-5 && lengths.iter().all(|length| (length / lengths[0] - 1.0).abs() < 1e-5), "{cosine}");
    assert_eq!(bits(&scaled), bits(&deep(InitialWeights::Lsuv, 3)));
    assert_ne!(bits(&scaled), bits(&deep(InitialWeights::Lsuv, 4)));
}

/// Recurrent weights keep the length of a state; weights that read an input and the head are scaled.
#[test]
fn lsuv_of_an_rnn_scales_what_reads_its_input() {
    let data = sequences();
    for (cell, gates) in [(RnnCell::Tanh, 1), (RnnCell::Gru, 3)] {
        let network = Network::new(Rnn { init: InitialWeights::Lsuv, ..Rnn::new(cell, 3, 8) }, &data, 5).expect("fits");
        for layer in 0..3 {
            for gate in values(&network, &format!("rnn.weight_hh_l{layer}")).chunks(64) {
                let (lengths, cosine) = rows(gate, 8);
                assert!(cosine < 1e-5 && lengths.iter().all(|length| (length - 1.0).abs() < 1e-5), "{cell:?} {layer}");
            }
            let (lengths, cosine) = rows(&values(&network, &format!("rnn.weight_ih_l{layer}")), 8);
            assert!(cosine < 1e-5 && (lengths[0] - lengths[7]).abs() < 1e-4, "{cell:?} {layer}: {lengths:?}");
            // States are smaller than 1, so those above the first read them with a gain.
            assert!(layer == 0 || lengths[0] > 1.05 / f64::from(gates).sqrt(), "{cell:?} {layer}: {lengths:?}");
        }
        let outputs = outputs(&network, &data, 5, CapturePoint::BeforeNorm);
        let logits = variance(&outputs.last().expect("logits").1);
        assert!((logits - 1.0).abs() < 0.011, "{cell:?}: {logits}");
    }
}

/// A network whose first layer has nothing to say.
#[derive(Debug)]
struct Dead;

impl Architecture for Dead {
    fn describe(&self) -> String {
        "dead".to_string()
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let nothing = input.images()?.flatten()?.affine(0.0, 0.0)?;
        let x = pass.linear("first", nothing, 4, false, Init::Orthogonal(1.0))?;
        pass.linear("logits", x, output.of_examples()?, true, Init::Orthogonal(1.0))
    }

    fn initial_weights(&self) -> InitialWeights {
        InitialWeights::Lsuv
    }
}

#[test]
fn a_layer_that_does_not_vary_is_refused() {
    let error = Network::new(Dead, &data(&gpu()), 1).expect_err("variance 0").to_string();
    assert!(error.contains("layer first does not vary") && error.contains("other initial weights"), "{error}");
}

#[test]
fn recurrent_weights_are_those_of_their_name() {
    let data = sequences();
    let hidden = 48;
    let network =
        |init| Network::new(Rnn { init, width: 8, ..Rnn::new(RnnCell::Tanh, 2, hidden) }, &data, 5).expect("fits");
    let usual = network(InitialWeights::Default);
    let identity = network(InitialWeights::Identity);
    for (usual, ours) in usual.tensors().zip(identity.tensors()) {
        let (name, ours) = (ours.name(), ours.read_f32().expect("a tensor"));
        if name.starts_with("rnn.weight_hh") {
            let wanted = (0..hidden * hidden).map(|at| f32::from(at / hidden == at % hidden));
            assert!(ours.iter().copied().eq(wanted), "{name}");
        } else if name.starts_with("rnn.bias") {
            assert!(ours.iter().all(|bias| *bias == 0.0), "{name}");
        } else {
            assert_eq!(ours, usual.read_f32().expect("a tensor"), "{name}");
        }
    }
    for (init, gain) in [(InitialWeights::Kaiming, 5.0 / 3.0), (InitialWeights::Xavier, 1.0)] {
        let found = variance(&values(&network(init), "rnn.weight_hh_l1")).sqrt() * (hidden as f64).sqrt();
        assert!((found / gain - 1.0).abs() < 0.05, "{init}: gain {found}");
    }
}

/// Each block begins as its shortcut, where that has no convolution.
#[test]
fn a_residual_network_begins_as_its_shortcuts() {
    let data = data(&gpu());
    for (bottleneck, last) in [(false, 2), (true, 3)] {
        let resnet = |init| Resnet { width: 4, bottleneck, init, ..Resnet::small(2) };
        let ours = Network::new(resnet(InitialWeights::ZeroResidual), &data, 2).expect("fits");
        let usual = Network::new(resnet(InitialWeights::Default), &data, 2).expect("fits");
        for (usual, ours) in usual.tensors().zip(ours.tensors()) {
            let (name, values) = (ours.name(), ours.read_f32().expect("a tensor"));
            match name.ends_with(&format!("bn{last}.weight")) {
                true => assert!(values.iter().all(|gamma| *gamma == 0.0), "{name}"),
                false => assert_eq!(values, usual.read_f32().expect("a tensor"), "{name}"),
            }
        }
        let outputs = outputs(&ours, &data, 2, CapturePoint::AfterActivation);
        let of = |name: &str| &outputs.iter().find(|(layer, _)| layer == name).expect("captured").1;
        let end = |block: usize| format!("layer2.{block}.conv{last}");
        assert_eq!(of(&end(1)), of(&end(0)));
    }
}

/// Fixup: no norm, branches and head that begin at 0, and the variance of what else a branch has.
#[test]
fn fixup_begins_as_its_shortcuts_and_without_norms() {
    let data = data(&gpu());
    for (bottleneck, last, power) in [(false, 2, -0.5f32), (true, 3, -0.25)] {
        let resnet = Resnet { width: 32, bottleneck, init: InitialWeights::Fixup, ..Resnet::small(2) };
        let network = Network::new(resnet, &data, 2).expect("fits");
        let values = |name: &str| {
            let tensor = network.tensors().find(|tensor| tensor.name() == name);
            tensor.unwrap_or_else(|| panic!("no {name}")).read_f32().expect("a tensor")
        };
        assert!(network.tensors().all(|tensor| !tensor.name().contains("bn") && !tensor.name().contains("running")));
        for name in ["fc.weight", "fc.bias", "bias1", "bias2", "layer2.0.bias1a", "layer2.0.bias2b"] {
            assert!(values(name).iter().all(|value| *value == 0.0), "{name}");
        }
        assert!(values(&format!("layer3.1.conv{last}.weight")).iter().all(|value| *value == 0.0));
        assert_eq!(values("layer3.1.scale"), [1.0]);
        // Variance 2 / fan-out, times L^(1 / (1 - m)) for L = 6 blocks of m layers.
        let weights = values("layer2.1.conv1.weight");
        let fan_out = if bottleneck { 64.0 } else { 64.0 * 9.0 };
        let deviation = (2.0f32 / fan_out).sqrt() * 6f32.powf(power);
        let measured = (weights.iter().map(|w| w * w).sum::<f32>() / weights.len() as f32).sqrt();
        assert!((measured / deviation - 1.0).abs() < 0.05, "{measured} for {deviation}");
        let outputs = outputs(&network, &data, 2, CapturePoint::AfterActivation);
        let of = |name: &str| &outputs.iter().find(|(layer, _)| layer == name).expect("captured").1;
        let end = |block: usize| format!("layer2.{block}.conv{last}");
        assert_eq!(of(&end(1)), of(&end(0)));
    }
}

#[test]
fn weights_that_a_network_cannot_have_are_refused() {
    let (images, sequences) = (data(&gpu()), sequences());
    let refused = |network: Result<Network>| network.expect_err("no such weights").to_string();
    let branchless = "no residual branch";
    let zero = InitialWeights::ZeroResidual;
    for (error, wanted) in [
        (refused(Network::new(Fcn { init: zero, ..Fcn::new(2, 8) }, &images, 1)), branchless),
        (refused(Network::new(Cnn { init: zero, ..Cnn::new(&[4]) }, &images, 1)), branchless),
        (refused(Network::new(Resnet { init: zero, ..Resnet::small(1).plain() }, &images, 1)), branchless),
        (refused(Network::new(Rnn { init: zero, ..Rnn::default() }, &sequences, 1)), branchless),
        (
            refused(Network::new(Resnet { init: InitialWeights::Fixup, ..Resnet::small(1).plain() }, &images, 1)),
            branchless,
        ),
        (
            refused(Network::new(Fcn { init: InitialWeights::Identity, ..Fcn::new(2, 8) }, &images, 1)),
            "for recurrent weights",
        ),
        (
            refused(Network::new(
                Rnn { init: InitialWeights::Identity, ..Rnn::new(RnnCell::Lstm, 1, 8) },
                &sequences,
                1,
            )),
            "for tanh cells",
        ),
    ] {
        assert!(error.contains(wanted) && error.contains("`init`"), "{error}");
    }
}
