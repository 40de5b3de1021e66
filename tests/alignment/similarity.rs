//! Measures for reports against packages of others, and their null distributions.

use serde_json::Value;
use trellis_data::glyphs::glyphs;
use trellis_guidance::network::Mode;
use trellis_guidance::{BatchSource, CapturePoint, Cka, Cnn, Dataset, Metric, Network};
use trellis_lab::similarity::measures::{
    Activations, MostSimilar, Predictions, SimilarityMatrix, SimilarityMeasure, observe, permutations,
};
use trellis_rng::Rng;
use trellis_tensor::{Graph, Plan, StepState};

use crate::gpu;

const MEASURES: [(&str, SimilarityMeasure); 5] = [
    ("cka", SimilarityMeasure::Cka),
    ("debiased_cka", SimilarityMeasure::DebiasedCka),
    ("mutual_knn", SimilarityMeasure::MutualKnn),
    ("procrustes", SimilarityMeasure::Procrustes),
    ("svcca", SimilarityMeasure::Svcca),
];

/// Numbers that `golden/similarity.py` wrote.
fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/similarity.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("checked in")).expect("JSON")
}

fn list<T>(value: &Value, each: impl Fn(&Value) -> Option<T>) -> Vec<T> {
    value.as_array().expect("an array").iter().map(|value| each(value).expect("of one kind")).collect()
}

fn layer(name: &str, n: usize, values: &Value) -> Activations {
    Activations::new(name, n, list(values, |v| Some(v.as_f64()? as f32))).expect("finite")
}

/// Normal numbers, `[n, features]`.
fn drawn(n: usize, features: usize, seed: u64, stream: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, stream);
    (0..n * features).map(|_| rng.normal()).collect()
}

fn of(n: usize, values: Vec<f32>) -> Activations {
    Activations::new("layer", n, values).expect("finite")
}

#[test]
fn every_measure_agrees_with_a_package_of_others() {
    let golden = golden();
    for case in golden["cases"].as_array().expect("cases") {
        let n = case["n"].as_u64().expect("a number") as usize;
        let (x, y) = (layer("x", n, &case["x"]), layer("y", n, &case["y"]));
        for (name, measure) in MEASURES {
            let wanted = case["measures"][name].as_f64().expect("a number");
            // Canonical correlations of scikit-learn come from an iteration.
            let tolerance = if name == "svcca" { 1e-6 } else { 1e-12 };
            let (got, turned) = (measure.compare(&x, &y).expect("varies"), measure.compare(&y, &x).expect("varies"));
            assert!((got - wanted).abs() < tolerance, "{name}, n {n}: {got} for {wanted}");
            assert!((got - turned).abs() < 1e-13, "{name}, n {n}: {got} and {turned}");
        }
    }
}

#[test]
fn calibration_is_that_of_its_package() {
    let null = &golden()["null"];
    let n = null["n"].as_u64().expect("a number") as usize;
    let layers = |side: &str| list(&null[side], |values| Some(layer(side, n, values)));
    let orders = list(&null["permutations"], |order| Some(list(order, |at| Some(at.as_u64()? as usize))));
    for (name, measure) in MEASURES {
        let prepared = |side: &str| measure.prepare_all(&layers(side)).expect("varies");
        let matrix = SimilarityMatrix::measure(&prepared("a"), &prepared("b"), &orders).expect("go together");
        let greatest = |best: &[MostSimilar]| best.iter().map(|best| [best.calibrated, best.p]).collect::<Vec<_>>();
        let wanted = &null["measures"][name];
        for (part, got) in [
            ("pairs", matrix.pairs.iter().map(|pair| [pair.calibrated, pair.p]).collect()),
            ("rows", greatest(&matrix.best_of_rows)),
            ("columns", greatest(&matrix.best_of_columns)),
            ("best", greatest(&[matrix.best.1])),
        ] {
            let wanted = list(&wanted[part], |result| Some(list(result, Value::as_f64)));
            assert_eq!(got.len(), wanted.len());
            for (got, wanted) in got.iter().zip(wanted) {
                // The package computes in f32.
                for (got, wanted) in got.iter().zip(&wanted) {
                    assert!((got - wanted).abs() < 5e-6, "{name}, {part}: {got} for {wanted}");
                }
                assert_eq!(got[1] <= 0.05, got[0] > 0.0, "{name}, {part}: {got:?}");
            }
        }
        for (pair, wanted) in matrix.pairs.iter().zip(list(&wanted["pairs"], |result| result[2].as_f64())) {
            assert!((pair.critical - wanted).abs() < 1e-6, "{name}: {pair:?} for {wanted}");
        }
    }
}

/// Kolmogorov and Smirnov's distances of p from a uniform distribution over 600 pairs of layers that have nothing in common: the
/// greatest excess of small p, and of large ones.
fn distances_from_uniform(measure: SimilarityMeasure) -> [f64; 2] {
    let n = 16;
    let p = |pair: u64| {
        let side = |features, stream| vec![measure.prepare(&of(n, drawn(n, features, pair, stream))).expect("varies")];
        let matrix =
            SimilarityMatrix::measure(&side(3, 1), &side(7, 2), &permutations(n, 99, pair)).expect("go together");
        matrix.at(0, 0).p
    };
    let mut p: Vec<f64> = (0..600).map(p).collect();
    p.sort_by(f64::total_cmp);
    let share = |number: u32| f64::from(number) / 600.0;
    let small = (0..).zip(&p).map(|(at, p)| share(at + 1) - p).fold(0.0, f64::max);
    // Whole hundredths, so a share that is reached just below one counts from there.
    let large = (0..).zip(&p).map(|(at, p)| p - 0.01 - share(at)).fold(0.0, f64::max);
    [small, large]
}

/// Critical values of 1 % are 1.63 / √600.
#[test]
fn p_is_uniform_without_similarity() {
    for (name, measure) in MEASURES {
        let [small, large] = distances_from_uniform(measure);
        assert!(small < 0.0665, "{name}: {small}, {large}");
        // Numbers of common neighbors are often equal. Equal ones count against, so p may be too large.
        assert!(large < if name == "mutual_knn" { 0.1 } else { 0.0665 }, "{name}: {small}, {large}");
    }
}

/// As many components as examples hold span everything: each order gives 1, and none tells anything.
#[test]
fn a_measure_that_is_always_1_is_not_significant() {
    let n = 16;
    let layers =
        [1, 2].map(|stream| vec![SimilarityMeasure::Svcca.prepare(&of(n, drawn(n, 60, 1, stream))).expect("varies")]);
    let matrix = SimilarityMatrix::measure(&layers[0], &layers[1], &permutations(n, 99, 1)).expect("go together");
    let pair = matrix.at(0, 0);
    assert!(pair.value > 0.999 && pair.chance > 0.999, "{pair:?}");
    assert_eq!((pair.calibrated, pair.p, pair.is_significant()), (0.0, 1.0, false));
}

/// Offset, scale and rotation change nothing; equal layers are 1, and significant.
#[test]
fn measures_are_blind_to_what_they_should_be() {
    let (n, width) = (30, 12);
    let x = drawn(n, width, 1, 1);
    let (sine, cosine) = 0.7_f32.sin_cos();
    let rotated: Vec<f32> =
        x.chunks(2).flat_map(|v| [cosine * v[0] - sine * v[1], sine * v[0] + cosine * v[1]]).collect();
    let scaled: Vec<f32> = x.iter().map(|v| 64.0 * v).collect();
    let moved: Vec<f32> = x.iter().enumerate().map(|(at, v)| v + (at % width) as f32).collect();
    let y = of(n, drawn(n, 50, 1, 2).iter().zip(x.iter().cycle()).map(|(y, x)| y + x).collect());
    for (name, measure) in MEASURES {
        let value = measure.compare(&of(n, x.clone()), &y).expect("varies");
        for (what, other) in [("rotated", &rotated), ("scaled", &scaled), ("moved", &moved)] {
            // Neighbors by cosine see where the origin is.
            if (name, what) == ("mutual_knn", "moved") {
                continue;
            }
            let got = measure.compare(&of(n, other.clone()), &y).expect("varies");
            assert!((got - value).abs() < 1e-5, "{name}, {what}: {got} for {value}");
        }
        let layers = [measure.prepare(&of(n, x.clone())).expect("varies"), measure.prepare(&y).expect("varies")];
        let matrix = SimilarityMatrix::measure(&layers[..1], &layers, &permutations(n, 39, 5)).expect("go together");
        let itself = matrix.at(0, 0);
        assert!((itself.value - 1.0).abs() < 1e-7 && itself.p == 1.0 / 40.0 && itself.calibrated > 0.999, "{itself:?}");
        assert_eq!((matrix.best_of_rows[0].layer, matrix.best.0, matrix.best.1.layer), (0, 0, 0));
        let again = SimilarityMatrix::measure(&layers[..1], &layers, &permutations(n, 39, 5)).expect("go together");
        assert_eq!(matrix, again, "{name}");
    }
}

#[test]
fn layers_that_cannot_be_compared_are_errors() {
    let n = 20;
    let error = |result: trellis_guidance::Result<f64>| result.expect_err("refused").to_string();
    let x = of(n, drawn(n, 4, 2, 1));
    // Equal up to the last digits, as sums in another order may be.
    let flat: Vec<f32> = (0..n * 3).map(|at| 1000.0 + 6e-5 * (at % 2) as f32).collect();
    for (name, measure) in MEASURES {
        for constant in [vec![0.0; n], vec![-2.5; 5 * n], flat.clone()] {
            let constant = Activations::new("fc7", n, constant).expect("finite");
            let message = error(measure.compare(&x, &constant));
            assert!(message.contains("`fc7`: is the same for every example"), "{name}: {message}");
        }
        let few = measure.least_examples() - 1;
        let few = of(few, drawn(few, 4, 2, 1));
        let message = error(measure.compare(&few, &few));
        assert!(message.contains("are too few"), "{name}: {message}");
        let message = error(measure.compare(&x, &of(n + 1, drawn(n + 1, 4, 2, 1))));
        assert!(message.contains("20 examples by") && message.contains("21 examples by"), "{name}: {message}");
        let large = of(n, drawn(n, 4, 2, 3).iter().map(|v| 1e30 * v).collect());
        assert!(measure.compare(&x, &large).expect("in range").is_finite(), "{name}");
        let layers = [measure.prepare(&x).expect("varies")];
        let refused = |orders: &[Vec<usize>]| SimilarityMatrix::measure(&layers, &layers, orders).is_err();
        assert!(
            refused(&permutations(n, 18, 1)) && refused(&permutations(n - 1, 19, 1)) && refused(&vec![vec![0; n]; 19])
        );
        assert!(SimilarityMatrix::measure(&layers, &[], &permutations(n, 19, 1)).is_err());
    }
    let bad = Activations::new("conv2", 2, vec![0.0, 1.0, f32::NAN, 3.0]).expect_err("refused").to_string();
    assert!(bad.contains("`conv2`: feature 0 of example 1 is NaN"), "{bad}");
    assert!(Activations::new("x", 2, vec![0.0; 3]).is_err() && Activations::new("x", 0, Vec::new()).is_err());
}

/// A layer of few values has neighbors that are equally near: it says of how many examples.
#[test]
fn ties_among_neighbors_are_counted() {
    let n = 24;
    let few: Vec<f32> = (0..n).flat_map(|at| [(at % 2) as f32, 1.0]).collect();
    let ties = |values| SimilarityMeasure::MutualKnn.prepare(&of(n, values)).expect("varies").ties();
    assert_eq!((ties(few), ties(drawn(n, 8, 1, 1))), (n, 0));
}

#[test]
fn error_consistency_is_that_of_scikit_learn() {
    for case in golden()["predictions"].as_array().expect("cases") {
        let numbers = |key: &str| list(&case[key], |v| Some(v.as_u64()? as u32));
        let side = |key: &str| Predictions { labels: numbers("labels"), classes: numbers(key) };
        let got = side("a").compare(&side("b")).expect("the same labels");
        let wanted = |value: &Value| value.as_f64().expect("a number");
        for (got, wanted) in [
            (got.top1[0], wanted(&case["top1"][0])),
            (got.top1[1], wanted(&case["top1"][1])),
            (got.agreement, wanted(&case["agreement"])),
            (got.kappa.expect("some are wrong"), wanted(&case["kappa"])),
        ] {
            assert!((got - wanted).abs() < 1e-12, "{got} for {wanted}");
        }
    }
}

/// Layers read back in batches are those of one batch: CKA on the CPU is that of the GPU.
#[test]
fn layers_of_a_network_are_read_back_whole() {
    let images = glyphs(120, 16, 5).split(&[70, 50], 0).expect("fits");
    let data = Dataset::new(&gpu(), &images[0], None, Some(&images[1])).expect("fits");
    let networks = [1, 2].map(|seed| Network::new(Cnn::new(&[4, 6]), &data, seed).expect("fits"));
    let (_, split) = data.splits().last().expect("a test split");
    let capture = CapturePoint::default();
    let mut layers = Vec::new();
    let mut predictions = Vec::new();
    for network in &networks {
        let mut all = Vec::new();
        let take = |group| {
            all.extend(group);
            Ok(())
        };
        predictions.push(observe(network, &data, split, 16, capture, take).expect("fits"));
        let names: Vec<&str> = all.iter().map(Activations::name).collect();
        assert_eq!(names, network.layers().expect("fits"));
        layers.push(all);
    }
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
    let batch = BatchSource::sequential(&data, split, 50).and_then(|b| b.batch(&graph, &step_state)).expect("fits");
    let forward = networks.each_ref().map(|n| n.forward(&graph, batch.input, Mode::Eval, capture).expect("fits"));
    let debiased = Metric::from(Cka::linear().debiased());
    let pair =
        debiased.compare(forward[0].activations[0].value, forward[1].activations[1].value).expect("same n").value;
    let plan = Plan::new(&gpu(), &graph, &[pair, batch.labels, forward[0].logits]).expect("fits");
    plan.run(1).expect("works");
    let wanted = f64::from(plan.read(pair).expect("kept")[0]);
    let got = SimilarityMeasure::DebiasedCka.compare(&layers[0][0], &layers[1][1]).expect("varies");
    assert!((got - wanted).abs() < 1e-5, "{got} for {wanted}");
    assert_eq!(predictions[0].labels, plan.read_u32(batch.labels).expect("kept"));
    let best = |logits: &[f32]| (0..logits.len()).fold(0, |best, at| if logits[at] > logits[best] { at } else { best });
    let logits = plan.read(forward[0].logits).expect("kept");
    let classes = data.output().classes;
    assert_eq!(predictions[0].classes, logits.chunks(classes).map(|l| best(l) as u32).collect::<Vec<_>>());
}
