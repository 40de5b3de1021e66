//! Methods of teaching: each step by step against PyTorch (`golden/methods.py`), and its effect.

use serde_json::Value;
use trellis_data::{Images, Normalization};
use trellis_guidance::{
    Batches, Cnn, Control, Dataset, Fcn, GramMatch, Guidance, GuideSchedule, LayerMap, Method, Network, Session,
    Trainer, Training,
};
use trellis_tensor::{OptimizerConfig, Schedule};

use super::resume::in_pieces_by;
use super::runs::{bits, data, networks, small_training};
use crate::gpu;

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().expect("an array").iter().map(|v| v.as_f64().expect("a number") as f32).collect()
}

/// A network with the parameters of the golden file.
fn network(data: &Dataset, tensors: &Value) -> Network {
    let tensors = tensors.as_object().expect("tensors");
    let outputs = |name: &str| tensors[name][0][0].as_u64().expect("a size") as usize;
    let made = if tensors.contains_key("fc1.weight") {
        Network::new(Fcn { batch_norm: false, ..Fcn::new(2, outputs("fc1.weight")) }, data, 0)
    } else {
        let channels = [outputs("conv1.weight"); 2];
        Network::new(Cnn { batch_norm: false, ..Cnn::new(&channels) }, data, 0)
    };
    let made = made.expect("fits");
    for (name, tensor) in tensors {
        made.params().get(name).expect("known").write_f32(&numbers(&tensor[1])).expect("fits");
    }
    made
}

#[test]
fn twenty_steps_of_every_method_agree_with_pytorch() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/methods.json");
    let text = std::fs::read_to_string(path).expect("checked in");
    let golden: Value = serde_json::from_str(&text).expect("JSON");
    let (pixels, labels) = (numbers(&golden["pixels"]), numbers(&golden["labels"]));
    let images = Images {
        name: "golden".to_string(),
        channels: 1,
        height: 4,
        width: 4,
        classes: 3,
        pixels: pixels.into_iter().map(|pixel| pixel as u8).collect(),
        labels: labels.into_iter().map(|label| label as u16).collect(),
    };
    let normalization = Normalization { mean: 0.5, deviation: 0.25 };
    let data = Dataset::new(&gpu(), &images, None, Some(&images)).expect("fits").normalized(normalization);
    let cases = golden["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 6);
    for case in cases {
        let (target, guide) = (network(&data, &case["target"]), network(&data, &case["guide"]));
        let pairs = case["pairs"].as_array().expect("pairs").iter();
        let pairs =
            pairs.map(|pair| [0, 1].map(|side| pair[side].as_str().expect("a name").to_string())).map(|[g, t]| (g, t));
        let alpha = case["alpha"].as_f64().expect("a number") as f32;
        let guidance = Guidance::new(guide.freeze()).map_layers(LayerMap::named(pairs)).weight(alpha);
        let name = case["name"].as_str().expect("a name");
        let guidance = match name {
            "distill" => {
                guidance.method(Method::Distill { temperature: case["temperature"].as_f64().expect("T") as f32 })
            }
            "hints" => guidance.method(Method::Hints),
            "gram_cosine" => guidance.align(GramMatch::Cosine),
            "gram_l2" => guidance.align(GramMatch::L2),
            other => panic!("{other}"),
        };
        let optimizer = OptimizerConfig::sgd(Schedule::Constant(0.05), 0.9);
        let training = Training { batch: 24, seed: 3, optimizer, check: true, ..Training::new(20) };
        let record = Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains");
        let wanted = case["steps"].as_array().expect("steps");
        assert_eq!(record.steps.len(), wanted.len());
        for (step, wanted) in record.steps.iter().zip(wanted) {
            let got = [step.loss, step.alignment.expect("guided")];
            for (got, wanted) in got.into_iter().zip(numbers(wanted)) {
                let off = (got - wanted).abs() / wanted.abs().max(1.0);
                assert!(off <= 1e-5, "{name}, step {}: {got} for {wanted}", step.step);
            }
        }
    }
}

/// Regressors belong to the state of a run, and a method ends with its schedule.
#[test]
fn methods_go_on_with_the_same_bits_and_end_with_their_schedule() {
    let data = data(&gpu());
    let training = Training { eval_every: 4, ..small_training(15) };
    let plain = {
        let (target, _) = networks(&data);
        Trainer::new(&target, &data, training).run().expect("trains");
        bits(&target)
    };
    for method in [Method::Distill { temperature: 2.0 }, Method::Hints] {
        let guided = || {
            let (target, guidance) = networks(&data);
            (target, guidance.method(method))
        };
        in_pieces_by(GuideSchedule::first_steps(7), &method.to_string(), &data, training, guided);
        let (target, guidance) = guided();
        let record = Trainer::new(&target, &data, training)
            .guided_by(guidance.schedule(GuideSchedule::first_steps(7)).weight(0.5))
            .run()
            .expect("trains");
        assert_ne!(bits(&target), plain, "{method} has an effect");
        let guided_steps = record.steps.iter().filter(|step| step.alignment.is_some()).count();
        assert_eq!(guided_steps, 7, "{method}");
        // Layers are compared at evaluations, whatever the method.
        assert!(record.steps.iter().all(|step| step.similarity.is_empty()));
        assert!(record.evals.iter().filter(|eval| eval.split == "test").all(|eval| eval.similarity.len() == 3));
        // A weight of 0 leaves the training as it is without a guide.
        let (target, guidance) = guided();
        Trainer::new(&target, &data, training).guided_by(guidance.weight(0.0)).run().expect("trains");
        assert_eq!(bits(&target), plain, "{method} of weight 0");
    }
}

#[test]
fn what_a_method_cannot_work_with_is_refused() {
    let data = data(&gpu());
    let (target, guidance) = networks(&data);
    let refused = |guidance: Guidance, training: Training| {
        Session::new(&target, &data, training, Some(&guidance)).map(drop).expect_err("refused").to_string()
    };
    let training = small_training(4);
    for method in [Method::Distill { temperature: 2.0 }, Method::Hints] {
        let guidance = guidance.clone().method(method);
        for control in [Control::Rotated, Control::Input, Control::Labels] {
            let message = refused(guidance.clone().control(control), training);
            assert!(message.contains("Gram matrices") && message.contains(&method.to_string()), "{message}");
        }
        let message = refused(guidance.clone(), Training { batches: Batches::Fixed, ..training });
        assert!(message.contains("draw random batches"), "{message}");
        for control in [Control::Permuted, Control::Noise] {
            Session::new(&target, &data, training, Some(&guidance.clone().control(control))).expect("runs the guide");
        }
    }
    let other = Network::with_shape(&gpu(), Cnn::new(&[4, 8]), data.input(), 7, 0).expect("fits");
    let message = refused(Guidance::new(other.freeze()).method(Method::Distill { temperature: 1.0 }), training);
    assert!(message.contains("7 classes and the target 10"), "{message}");
}
