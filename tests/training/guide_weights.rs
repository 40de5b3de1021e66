//! Weights of a guide that follow from the gradient of the task, or from how alike layers are.

use trellis_guidance::{Fcn, Guidance, LayerMap, Method, Network, Precision, Session, Trainer, Training};
use trellis_tensor::{LossScale, OptimizerConfig, Schedule};

use super::runs::{data, networks, small_training};
use crate::gpu;

const RATE: f32 = 0.5;

/// Change of each parameter in one step of plain gradient descent.
fn change(guidance: Option<Guidance>, precision: Precision) -> Vec<f64> {
    changed(guidance, precision).0
}

/// The same, and the factor of the alignment loss that is recorded.
fn changed(guidance: Option<Guidance>, precision: Precision) -> (Vec<f64>, Option<f32>) {
    let data = data(&gpu());
    let target = Network::new(Fcn::new(3, 16), &data, 6).expect("fits");
    let values = || target.params().tensors().iter().flat_map(|t| t.read_f32().expect("works")).collect::<Vec<f32>>();
    let before = values();
    let optimizer = OptimizerConfig::sgd(Schedule::Constant(RATE), 0.0);
    let training = Training { optimizer, precision, check: false, ..small_training(1) };
    let trainer = Trainer::new(&target, &data, training);
    let record = guidance.into_iter().fold(trainer, Trainer::guided_by).run().expect("trains");
    let changes = values().iter().zip(before).map(|(after, before)| f64::from(*after) - f64::from(before)).collect();
    (changes, record.steps[0].balance)
}

#[test]
fn the_guides_gradient_has_the_share_of_the_tasks() {
    let guidance = networks(&data(&gpu())).1;
    for precision in [Precision::F32, Precision::Mixed(LossScale { log2: 6, ..LossScale::default() })] {
        let (task, (both, unbalanced)) =
            (change(None, precision), changed(Some(guidance.clone().weight(1.0)), precision));
        assert_eq!(unbalanced, None);
        let pull: Vec<f64> = both.iter().zip(&task).map(|(both, task)| both - task).collect();
        let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
        for weight in [0.0, 0.25, 3.0] {
            let (balanced, recorded) = changed(Some(guidance.clone().weight(weight).balance(true)), precision);
            let factor = f64::from(weight) * norm(&task) / norm(&pull);
            let recorded = f64::from(recorded.expect("balanced"));
            assert!((recorded - factor).abs() <= 5e-3 * factor, "{recorded} for {factor}");
            let wanted: Vec<f64> = task.iter().zip(&pull).map(|(task, pull)| task + factor * pull).collect();
            let error: Vec<f64> = balanced.iter().zip(&wanted).map(|(got, wanted)| got - wanted).collect();
            // Rounding of f16 in a backward pass of its own.
            let allowed = if precision == Precision::F32 { 1e-5 } else { 5e-3 };
            assert!(norm(&error) < allowed * norm(&wanted), "weight {weight}: {} of {}", norm(&error), norm(&wanted));
        }
    }
}

/// Every pair pulls with its share of the likeness to a layer of the target, as if that share were a number.
#[test]
fn all_pairs_are_weighted_by_how_alike_they_are() {
    let data = data(&gpu());
    let target = || Network::new(Fcn::new(3, 16), &data, 6).expect("fits");
    let guidance = networks(&data).1;
    let training = Training { check: false, ..small_training(1) };
    let trainer =
        |target| Trainer::new(target, &data, training).guided_by(guidance.clone().map_layers(LayerMap::all()));
    let own = target();
    let record = trainer(&own).run().expect("trains");
    let similarity = &record.steps[0].similarity;
    let count = record.pairs.iter().take_while(|pair| pair[1] == record.pairs[0][1]).count();
    assert!(count >= 2 && record.pairs.len() == count * target().layers().expect("layers").len(), "{:?}", record.pairs);

    let precision = Precision::F32;
    let task = change(None, precision);
    let mut wanted = task.clone();
    for (pairs, alike) in record.pairs.chunks(count).zip(similarity.chunks(count)) {
        let total: f32 = alike.iter().sum();
        for (pair, alike) in pairs.iter().zip(alike) {
            let [guide, layer] = pair.clone();
            let alone = change(Some(guidance.clone().map_layers(LayerMap::named([(guide, layer)]))), precision);
            let share = f64::from(alike / total);
            wanted.iter_mut().zip(alone).zip(&task).for_each(|((sum, both), task)| *sum += share * (both - task));
        }
    }
    let all = change(Some(guidance.map_layers(LayerMap::all())), precision);
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let error: Vec<f64> = all.iter().zip(&wanted).map(|(got, wanted)| got - wanted).collect();
    assert!(norm(&error) < 1e-5 * norm(&wanted), "{} of {}", norm(&error), norm(&wanted));
}

/// Each layer pulls with its own weight beside that of all; what it says of other layers is refused.
#[test]
fn layers_have_weights_of_their_own() {
    let precision = Precision::F32;
    let base =
        networks(&data(&gpu())).1.map_layers(LayerMap::named([("conv1", "fc1"), ("conv2", "fc2"), ("conv2", "fc3")]));
    let weights = [("fc1", 0.5), ("fc3", 2.0)].map(|(name, weight)| (name.to_string(), weight));
    let task = change(None, precision);
    let mut wanted = task.clone();
    for (guide, layer, share) in [("conv1", "fc1", 0.5), ("conv2", "fc2", 1.0), ("conv2", "fc3", 2.0)] {
        let alone = change(Some(base.clone().map_layers(LayerMap::named([(guide, layer)]))), precision);
        wanted.iter_mut().zip(alone).zip(&task).for_each(|((sum, both), task)| *sum += share * (both - task));
    }
    let got = change(Some(base.clone().layer_weights(weights.clone())), precision);
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let error: Vec<f64> = got.iter().zip(&wanted).map(|(got, wanted)| got - wanted).collect();
    assert!(norm(&error) < 1e-5 * norm(&wanted), "{} of {}", norm(&error), norm(&wanted));

    let data = data(&gpu());
    let target = networks(&data).0;
    let refused = |guidance: Guidance| {
        Session::new(&target, &data, small_training(2), &[guidance]).map(drop).expect_err("refused").to_string()
    };
    let unknown = refused(base.clone().layer_weights([("fc9".to_string(), 1.0)]));
    assert!(unknown.contains("`fc9`") && unknown.contains("it pulls at fc1, fc2, fc3"), "{unknown}");
    assert!(
        refused(base.clone().map_layers(LayerMap::all()).layer_weights(weights.clone())).contains("`layer_weights`")
    );
    assert!(refused(base.method(Method::Hints).layer_weights(weights)).contains("`layer_weights`"));
}

#[test]
fn what_has_no_alignment_loss_is_not_balanced() {
    let data = data(&gpu());
    let (target, guidance) = networks(&data);
    let guides = [guidance.clone().balance(true).method(Method::Hints)];
    let error = Session::new(&target, &data, small_training(2), &guides).map(drop).expect_err("refused").to_string();
    assert!(error.contains("`balance`") && error.contains("hints"), "{error}");
    let guides = [guidance.clone().balance(true), guidance];
    let error = Session::new(&target, &data, small_training(2), &guides).map(drop).expect_err("refused").to_string();
    assert!(error.contains("`balance`") && error.contains("several"), "{error}");
}
