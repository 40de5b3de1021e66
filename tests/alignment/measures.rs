//! Measures of alikeness: values that are known, invariances, and what breaks others.

use trellis_guidance::{Cka, Metric, Rsa};
use trellis_rng::Rng;
use trellis_tensor::ops::Similarity;
use trellis_tensor::{Graph, Interpreter, Plan, Tensor, Var};

use crate::gpu;

/// Result of a measure for two layers.
pub(super) struct Compared {
    pub(super) value: f32,
    /// With respect to the first layer.
    pub(super) gradient: Vec<f32>,
    /// With respect to the second.
    pub(super) gradient_y: Vec<f32>,
    /// Word 6 of the statistics: a layer is constant.
    pub(super) constant: bool,
}

/// A metric, or the form of linear CKA that [`Metric::compare`] takes for large batches, whatever the batch.
#[derive(Clone, PartialEq)]
pub(super) enum Measure {
    Of(Metric),
    ByFeatures,
}

use Measure::{ByFeatures, Of};

impl Measure {
    pub(super) fn record<'g>(&self, x: Var<'g>, y: Var<'g>) -> trellis_guidance::Result<Similarity<'g>> {
        match self {
            Of(metric) => metric.compare(x, y),
            ByFeatures => Ok(Var::cka_by_features(x, y)?),
        }
    }
}

impl std::fmt::Display for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Of(metric) => metric.fmt(f),
            ByFeatures => f.write_str("linear CKA by features"),
        }
    }
}

impl<M: Into<Metric>> From<M> for Measure {
    fn from(metric: M) -> Self {
        Of(metric.into())
    }
}

/// `measure` of activations `[n, p]` and `[n, q]`.
pub(super) fn compare(measure: impl Into<Measure>, x: &[f32], y: &[f32], n: usize) -> Compared {
    compare_shaped(&measure.into(), (&[n, x.len() / n], x), (&[n, y.len() / n], y))
}

/// `measure` of two layers of these shapes.
pub(super) fn compare_shaped(measure: &Measure, x: (&[usize], &[f32]), y: (&[usize], &[f32])) -> Compared {
    let gpu = gpu();
    let tensor = |(shape, v): (&[usize], &[f32])| Tensor::from_f32(&gpu, "x", shape, v).expect("fits");
    let (x, y) = (tensor(x), tensor(y));
    let graph = Graph::new();
    let (x, y) = (graph.leaf(&x), graph.leaf(&y));
    let similarity = measure.record(x, y).expect("same n");
    let gradients = graph.grad(similarity.value, &[x, y]).expect("differentiable");
    let keep = [similarity.value, similarity.stats, gradients[0], gradients[1]];
    let plan = Plan::new(&gpu, &graph, &keep).expect("fits");
    plan.run(1).expect("works");
    let read = |var| plan.read(var).expect("kept");
    Compared {
        value: read(similarity.value)[0],
        gradient: read(gradients[0]),
        gradient_y: read(gradients[1]),
        constant: read(similarity.stats).get(6) == Some(&1.0),
    }
}

/// Every measure, with whether it ignores offsets common to all examples.
fn measures() -> Vec<(Measure, bool)> {
    let metrics = metrics().into_iter().map(|(metric, offset_free)| (Of(metric), offset_free));
    metrics.chain([(ByFeatures, true)]).collect()
}

/// Every metric, with whether it ignores offsets common to all examples.
pub(super) fn metrics() -> Vec<(Metric, bool)> {
    vec![
        (Cka::linear().into(), true),
        (Cka::linear().debiased().into(), true),
        (Cka::rbf(0.8).into(), true),
        (Cka::rbf(0.8).debiased().into(), true),
        (Rsa::Cosine.into(), false),
        (Rsa::Pearson.into(), false),
    ]
}

pub(super) fn samples(n: usize, stream: u64) -> Vec<f32> {
    let mut rng = Rng::new(8, stream);
    (0..n).map(|_| rng.normal()).collect()
}

pub(super) fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// x `[n, p]` times a random orthogonal matrix: p reflections at random planes.
pub(super) fn rotated(x: &[f32], p: usize, stream: u64) -> Vec<f32> {
    let mut x: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    for reflection in 0..p as u64 {
        let normal = samples(p, 1000 * stream + reflection);
        let squared: f64 = normal.iter().map(|&v| f64::from(v).powi(2)).sum();
        for row in x.chunks_mut(p) {
            let along: f64 = row.iter().zip(&normal).map(|(a, &b)| a * f64::from(b)).sum();
            row.iter_mut().zip(&normal).for_each(|(a, &b)| *a -= 2.0 * along / squared * f64::from(b));
        }
    }
    x.iter().map(|&v| v as f32).collect()
}

#[test]
fn a_measure_ignores_rotation_and_scale_and_takes_its_layers_in_any_order() {
    let mut rng = Rng::new(3, 3);
    for case in 0..6 {
        let [n, p, q] = [5 + rng.below(60), 2 + rng.below(60), 2 + rng.below(60)];
        let (x, mut y) = (samples(n * p, 10 + case), samples(n * q, 20 + case));
        // Something in common.
        (0..n).for_each(|i| y[i * q] += 2.0 * x[i * p]);
        for (metric, _) in measures() {
            let value = compare(metric.clone(), &x, &y, n).value;
            let near = |other: f32, what: &str| {
                assert!((other - value).abs() < 2e-5, "{metric}, {what}: {other} for {value} (n {n}, p {p}, q {q})");
            };
            assert!((-1.0..=1.0 + 1e-6).contains(&value), "{metric}: {value}");
            if [Cka::linear().into(), ByFeatures].contains(&metric) {
                assert!(value >= 0.0, "{value}");
            }
            near(compare(metric.clone(), &y, &x, n).value, "swapped");
            // Correlation of a pattern's entries depends on the axes.
            if metric != Rsa::Pearson.into() {
                near(compare(metric.clone(), &rotated(&x, p, case), &y, n).value, "rotated");
            }
            near(compare(metric.clone(), &x.iter().map(|v| 37.0 * v).collect::<Vec<_>>(), &y, n).value, "scaled");
            let itself = compare(metric.clone(), &x, &x, n);
            assert!((itself.value - 1.0).abs() < 1e-5, "{metric} of a layer with itself: {}", itself.value);
        }
    }
}

/// Sum over a column of the gradient, and <X, gradient>: zero for whatever ignores offsets, and scale. The RBF kernel's
/// width follows the scale, but its gradient takes the width for a constant.
#[test]
fn gradients_are_blind_to_offset_and_scale() {
    let [n, p, q] = [40, 30, 20];
    let (x, y) = (samples(n * p, 1), samples(n * q, 2));
    for (metric, offset_free) in measures() {
        let gradient = compare(metric.clone(), &x, &y, n).gradient;
        let size = largest(&gradient) * n as f32;
        let along: f32 = gradient.iter().zip(&x).map(|(g, x)| g * x).sum();
        let fixed_width = metric == Cka::rbf(0.8).into() || metric == Cka::rbf(0.8).debiased().into();
        assert!(fixed_width || along.abs() < 1e-5 * size * p as f32, "{metric}: <X, gradient> = {along}");
        if offset_free {
            for column in 0..p {
                let sum: f32 = (0..n).map(|row| gradient[row * p + column]).sum();
                assert!(sum.abs() < 1e-5 * size, "{metric}: column {column} sums to {sum}");
            }
        }
    }
}

#[test]
fn measures_survive_offsets_and_scales() {
    let n = 64;
    let (x, y) = (samples(n * 40, 1), samples(n * 24, 2));
    for (metric, offset_free) in measures() {
        let first = compare(metric.clone(), &x, &y, n);
        if offset_free {
            // Another 1000 σ on every activation: forming the Gram first would be wrong by 0.26.
            let shifted: Vec<f32> = x.iter().map(|v| v + 1000.0).collect();
            let exact: Vec<f32> = shifted.iter().map(|v| v - 1000.0).collect(); // what is left of x after rounding
            let (offset, reference) =
                (compare(metric.clone(), &shifted, &y, n), compare(metric.clone(), &exact, &y, n));
            let (value, wanted) = (offset.value, reference.value);
            assert!((value - wanted).abs() < 1e-6, "{metric}: {value} for {wanted}");
            for (a, b) in offset.gradient.iter().zip(&reference.gradient) {
                assert!((a - b).abs() < 1e-3 * largest(&reference.gradient), "{metric}: {a} for {b}");
            }
        }
        for scale in [1e-15f32, 1e15] {
            let scaled: Vec<f32> = x.iter().map(|v| v * scale).collect();
            let other = compare(metric.clone(), &scaled, &y, n);
            assert!(
                (other.value - first.value).abs() < 1e-5,
                "{metric} at {scale}: {} for {}",
                other.value,
                first.value
            );
            for (a, b) in other.gradient.iter().zip(&first.gradient) {
                assert!((a * scale - b).abs() < 1e-3 * largest(&first.gradient), "{metric} at {scale}: {a} for {b}");
            }
        }
    }
}

#[test]
fn a_constant_layer_is_like_no_other_and_takes_no_gradient() {
    let n = 32;
    let x = samples(n * 20, 1);
    for (metric, offset_free) in measures() {
        for value in [0.0f32, 3.1, 1e6].into_iter().filter(|value| offset_free || *value == 0.0) {
            let constant = compare(metric.clone(), &[value; 32 * 20], &x, n);
            assert_eq!((constant.value, constant.constant), (0.0, true), "{metric} of {value}");
            assert!(constant.gradient.iter().all(|g| *g == 0.0), "{metric} of {value}");
        }
    }
}

#[test]
fn small_batches_and_single_features_have_defined_values() {
    for n in 1..=6 {
        for p in [1, 2, 7] {
            let (x, y) = (samples(n * p, n as u64), samples(n * 3, 50 + n as u64));
            for (metric, _) in measures() {
                let (gpu, graph) = (gpu(), Graph::new());
                let leaf = |v: &[f32]| graph.leaf(&Tensor::from_f32(&gpu, "x", [n, v.len() / n], v).expect("fits"));
                match metric.record(leaf(&x), leaf(&y)) {
                    Ok(_) => {
                        let compared = compare(metric.clone(), &x, &y, n);
                        assert!(compared.value.abs() <= 1.0 + 1e-5, "{metric}, n {n}, p {p}: {}", compared.value);
                        assert!(compared.gradient.iter().all(|g| g.is_finite()), "{metric}, n {n}, p {p}");
                    }
                    Err(error) => {
                        let Of(metric) = metric else { panic!("{metric} takes any batch: {error}") };
                        let message = error.to_string();
                        assert!(n < metric.least_examples() && message.contains("compares at least"), "{message}");
                    }
                }
            }
        }
    }
}

/// With one example less every pair of layers gets the same value, whatever they hold; with so many it depends on them.
#[test]
fn the_least_number_of_examples_is_the_first_that_tells_layers_apart() {
    for (metric, _) in metrics() {
        let n = metric.least_examples();
        let mut values: Vec<f32> = (0..6)
            .map(|pair| compare(metric.clone(), &samples(n * 5, 2 * pair), &samples(n * 5, 2 * pair + 1), n).value)
            .collect();
        values.sort_by(f32::total_cmp);
        assert!(values[5] - values[0] > 0.02, "{metric} of {n} examples: {values:?}");
        let graph = Graph::new();
        let few = graph.constant(1.0, [n - 1, 5]);
        for refused in [metric.compare(few, few).map(|_| ()), metric.gram(few).map(|_| ())] {
            let message = refused.expect_err("too few").to_string();
            assert!(message.contains(&format!("compares at least {n}")), "{message}");
        }
    }
    // The kind of the fault: two examples are always alike, by the fused form that has no such check.
    for pair in 0..4 {
        let value = compare(ByFeatures, &samples(10, 2 * pair), &samples(10, 2 * pair + 1), 2).value;
        assert!((value - 1.0).abs() < 1e-4, "{value}");
    }
}

#[test]
fn duplicated_examples_and_nan_are_handled() {
    let [n, p] = [24, 10];
    let mut x = samples(n * p, 4);
    x.copy_within(..12 * p, 12 * p); // every example twice
    let y = samples(n * p, 5);
    for (metric, _) in measures() {
        let compared = compare(metric.clone(), &x, &y, n);
        assert!(compared.value.is_finite() && compared.gradient.iter().all(|g| g.is_finite()), "{metric}");
        let mut broken = x.clone();
        broken[7] = f32::NAN;
        assert!(compare(metric.clone(), &broken, &y, n).value.is_nan(), "{metric}: NaN must show");
    }
}

/// Song et al. 2012; n = 64 examples of 512 independent features on both sides.
#[test]
fn the_debiased_estimator_is_0_on_average_where_the_biased_is_not() {
    let (n, p) = (64, 512);
    let gpu = gpu();
    let tensors = [0, 1].map(|_| Tensor::zeros(&gpu, "x", trellis_tensor::TensorType::f32([n, p])).expect("fits"));
    let graph = Graph::new();
    let (x, y) = (graph.leaf(&tensors[0]), graph.leaf(&tensors[1]));
    let biased = Metric::from(Cka::linear()).compare(x, y).expect("same n").value;
    let debiased = Metric::from(Cka::linear().debiased()).compare(x, y).expect("same n").value;
    let plan = Plan::new(&gpu, &graph, &[biased, debiased]).expect("fits");
    let mut mean = 0.0;
    for pair in 0..200 {
        for (tensor, side) in tensors.iter().zip(0..) {
            tensor.write_f32(&samples(n * p, 100 + 2 * pair + side)).expect("fits");
        }
        plan.run(1).expect("works");
        assert!(plan.read(biased).expect("kept")[0] > 0.5);
        mean += plan.read(debiased).expect("kept")[0] / 200.0;
    }
    assert!(mean.abs() < 0.02, "{mean}");
}

/// |f32 − f64| ≤ 1e-5 up to n = 512 and p = 20,000, where the sums are longest.
#[test]
fn large_layers_keep_their_digits() {
    for (n, p) in [(512, 300), (16, 20_000)] {
        let gpu = gpu();
        let values: Vec<Vec<f32>> = (0..2).map(|side| samples(n * p, 7 + side)).collect();
        let tensors: Vec<Tensor> =
            values.iter().map(|v| Tensor::from_f32(&gpu, "x", [n, p], v).expect("fits")).collect();
        // Products of 20,000 features do not fit.
        for (metric, _) in measures().into_iter().filter(|(measure, _)| *measure != ByFeatures || p < 1000) {
            let graph = Graph::new();
            let value = metric.record(graph.leaf(&tensors[0]), graph.leaf(&tensors[1])).expect("same n").value;
            let plan = Plan::new(&gpu, &graph, &[value]).expect("fits");
            plan.run(1).expect("works");
            let mut reference = Interpreter::new();
            for (tensor, values) in tensors.iter().zip(&values) {
                reference.set(tensor, values.iter().map(|&v| f64::from(v)).collect());
            }
            reference.run(&graph);
            let (got, wanted) = (f64::from(plan.read(value).expect("kept")[0]), reference.value(value)[0]);
            assert!((got - wanted).abs() <= 1e-5, "{metric}, n {n}, p {p}: {got} for {wanted}");
        }
    }
}

/// HSIC₁ of Song et al. 2012 as its authors write it, against the U-centered product.
#[test]
fn u_centering_is_the_unbiased_hsic() {
    let n = 9;
    let (x, y) = (samples(n * 5, 1), samples(n * 7, 2));
    let gram = |x: &[f32]| -> Vec<f64> {
        let p = x.len() / n;
        let dot = |i: usize, j: usize| (0..p).map(|k| f64::from(x[i * p + k]) * f64::from(x[j * p + k])).sum();
        (0..n * n).map(|at| if at / n == at % n { 0.0 } else { dot(at / n, at % n) }).collect()
    };
    let hsic = |k: &[f64], l: &[f64]| -> f64 {
        let m = n as f64;
        let rows = |k: &[f64]| -> Vec<f64> { k.chunks(n).map(|row| row.iter().sum()).collect() };
        let product: f64 = k.iter().zip(l).map(|(a, b)| a * b).sum();
        let sums = rows(k).iter().sum::<f64>() * rows(l).iter().sum::<f64>() / ((m - 1.0) * (m - 2.0));
        let cross: f64 = rows(k).iter().zip(rows(l)).map(|(a, b)| a * b).sum();
        (product + sums - 2.0 * cross / (m - 2.0)) / (m * (m - 3.0))
    };
    let (k, l) = (gram(&x), gram(&y));
    let wanted = hsic(&k, &l) / (hsic(&k, &k) * hsic(&l, &l)).sqrt();
    let got = f64::from(compare(Cka::linear().debiased(), &x, &y, n).value);
    assert!((got - wanted).abs() < 1e-5, "{got} for {wanted}");
}

/// Large batches of narrow layers: the same number as by examples.
#[test]
fn the_cheaper_form_gives_the_same_number() {
    let (n, p, q) = (512, 12, 20);
    let (x, y) = (samples(n * p, 1), samples(n * q, 2));
    let graph = Graph::new();
    let leaf = |v: &[f32]| graph.leaf(&Tensor::from_f32(&gpu(), "x", [n, v.len() / n], v).expect("fits"));
    let (x, y) = (leaf(&x), leaf(&y));
    let chosen = Metric::from(Cka::linear()).compare(x, y).expect("same n").value;
    let examples = x.centered_gram().and_then(|k| Ok(Var::cka(k, y.centered_gram()?)?.value)).expect("same n");
    let plan = Plan::new(&gpu(), &graph, &[chosen]).expect("fits");
    assert!(plan.launches().any(|launch| launch.kernel == "cka_features"), "{plan}");
    let gradients = [chosen, examples].map(|value| graph.grad(value, &[x, y]).expect("differentiable"));
    let keep = [vec![chosen, examples], gradients.concat()].concat();
    let plan = Plan::new(&gpu(), &graph, &keep).expect("fits");
    plan.run(1).expect("works");
    let read = |var| plan.read(var).expect("kept");
    assert!((read(chosen)[0] - read(examples)[0]).abs() < 1e-6);
    for (a, b) in gradients[0].iter().zip(&gradients[1]) {
        let (a, b) = (read(*a), read(*b));
        let error = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error < 1e-5 * largest(&b), "{error} of {}", largest(&b));
    }
}

#[test]
fn nan_shows_beside_a_constant_layer() {
    let n = 8;
    let mut x = vec![1.0; n * 3];
    x[4] = f32::NAN;
    assert!(compare(Cka::linear(), &x, &vec![2.0; n * 2], n).value.is_nan());
}
