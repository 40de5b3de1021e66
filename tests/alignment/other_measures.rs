//! Ridge regression, RBF kernels and centering: what they promise, and where they end.

use trellis_guidance::{Cka, Metric, Ridge, Rsa};
use trellis_tensor::ops::Centering;
use trellis_tensor::{Graph, Interpreter, Layout, Plan, Tensor};

use super::measures::{compare, rotated, samples};
use crate::gpu;

/// Ridge regression has no symmetry and no 1 for equal layers, but the rest of what the others promise.
#[test]
fn ridge_regression_keeps_its_promises() {
    let (n, p) = (40, 12);
    let metric = Metric::from(Ridge::new(0.1));
    let x = samples(n * p, 1);
    let y: Vec<f32> = samples(n * 3, 2).iter().enumerate().map(|(i, v)| 0.2 * v + x[i / 3 * p]).collect();
    let first = compare(metric.clone(), &x, &y, n);
    assert!((0.5..1.0).contains(&first.value), "x explains most of y: {}", first.value);
    let noise = compare(metric.clone(), &samples(n * p, 3), &y, n).value;
    assert!(noise < first.value - 0.1, "{noise} for noise");
    let shifted: Vec<f32> = rotated(&x, p, 4).iter().map(|v| 7.0 * v + 30.0).collect();
    let value = compare(metric.clone(), &shifted, &y, n).value;
    assert!((value - first.value).abs() < 1e-4, "{value} for {}", first.value);
    let along: f32 = first.gradient.iter().zip(&x).map(|(g, x)| g * x).sum();
    assert!(along.abs() < 1e-4, "scale has no gradient: {along}");
    for (x, y) in
        [(vec![3.1; n * p], y.clone()), (x.clone(), vec![1e6 + 0.1; n * 3]), (vec![2.5; n * p], vec![0.3; n * 3])]
    {
        let constant = compare(metric.clone(), &x, &y, n);
        assert!(constant.value.abs() < 1e-6 && constant.gradient.iter().all(|g| *g == 0.0), "{}", constant.value);
    }
}

/// A matrix of more than 256 rows is inverted by halves: times the matrix it is the unit matrix, and its gradient is that of an
/// inverse.
#[test]
fn a_large_matrix_is_inverted_by_halves() {
    let (n, lambda) = (601, 0.1);
    let x = samples(n * 40, 7);
    let graph = Graph::new();
    let leaf = graph.leaf(&Tensor::from_f32(&gpu(), "x", [n, 40], &x).expect("fits"));
    let a = leaf.gram().and_then(|a| a.affine(1.0 / 40.0, 0.0)).expect("square");
    let inverse = a.ridge_inverse(lambda).expect("square");
    let ridge: Vec<f32> = (0..n * n).map(|at| if at % (n + 1) == 0 { lambda } else { 0.0 }).collect();
    let ridge = graph.leaf(&Tensor::from_f32(&gpu(), "ridge", [n, n], &ridge).expect("fits"));
    let unit = a.add(ridge).and_then(|a| a.matmul(inverse, Layout::NN)).expect("square");
    // Of the sum of the inverse: minus the outer product of its row sums.
    let gradient = graph.grad(inverse.sum_all().expect("sums"), &[a]).expect("has one")[0];
    let plan = Plan::new(&gpu(), &graph, &[inverse, unit, gradient]).expect("fits");
    plan.run(1).expect("works");
    let worst = |values: &[f32], wanted: &dyn Fn(usize, usize) -> f32| {
        let off = values.iter().enumerate().map(|(at, value)| (value - wanted(at / n, at % n)).abs());
        off.fold(0.0, f32::max)
    };
    let off = worst(&plan.read(unit).expect("kept"), &|i, j| f32::from(u8::from(i == j)));
    assert!(off < 1e-3, "{off} off the unit matrix");
    let inverse = plan.read(inverse).expect("kept");
    let rows: Vec<f32> = inverse.chunks(n).map(|row| row.iter().sum()).collect();
    let scale = rows.iter().fold(0.0, |most: f32, row| most.max(row * row));
    let off = worst(&plan.read(gradient).expect("kept"), &|i, j| -rows[i] * rows[j]);
    assert!(off < 1e-4 * scale, "{off} of {scale} off the gradient");
}

/// The loops of one workgroup would be cut off on a software adapter; a GPU has no such limit.
#[test]
fn the_median_distance_of_many_examples_is_for_gpus() {
    let plan = |n: usize| {
        let graph = Graph::new();
        let width = graph.constant(1.0, [n, n]).median_variance(1.0).expect("square");
        Plan::new(&gpu(), &graph, &[width]).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(plan(2560), Ok(()));
    if !gpu().caps().software {
        assert_eq!(plan(4000), Ok(()));
        return;
    }
    let error = plan(4000).expect_err("on a software adapter");
    assert!(error.contains("median_distance") && error.contains("loop iterations"), "{error}");
}

#[test]
fn too_few_examples_for_a_centering_are_refused() {
    let graph = Graph::new();
    let k = graph.constant(1.0, [3, 3]);
    let error = k.center_gram(Centering::Unbiased).unwrap_err().to_string();
    assert!(error.contains("at least 4 examples, not 3"), "{error}");
    assert!(graph.constant(1.0, [3, 4]).center_gram(Centering::Double).is_err());
}

/// The kernel of distant examples is nearly the same everywhere. Centering takes that off before it adds up: the gradient keeps its
/// digits, as far as f32 has them.
#[test]
fn gradients_of_kernels_keep_their_digits() {
    let (n, p) = (64, 100);
    for (metric, allowed) in
        [(Metric::from(Cka::rbf(1.0)), 1e-5), (Cka::rbf(1.0).debiased().into(), 1e-5), (Rsa::Cosine.into(), 1e-5)]
    {
        let x = samples(n * p, 1);
        let y: Vec<f32> = samples(n * p, 2).iter().zip(&x).map(|(noise, x)| noise + 0.7 * x).collect();
        let graph = Graph::new();
        let tensors = [&x, &y].map(|values| Tensor::from_f32(&gpu(), "layer", [n, p], values).expect("fits"));
        let [a, b] = [0, 1].map(|i| graph.leaf(&tensors[i]));
        let value = metric.compare(a, b).expect("same n").value;
        let gradient = graph.grad(value, &[a]).expect("has one")[0];
        let plan = Plan::new(&gpu(), &graph, &[gradient]).expect("fits");
        plan.run(1).expect("works");
        let mut reference = Interpreter::new();
        for (tensor, values) in tensors.iter().zip([&x, &y]) {
            reference.set(tensor, values.iter().map(|&value| f64::from(value)).collect());
        }
        reference.run(&graph);
        let (got, exact) = (plan.read(gradient).expect("kept"), reference.value(gradient));
        let greatest = exact.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
        let off = got.iter().zip(exact).fold(0.0, |most: f64, (got, exact)| most.max((f64::from(*got) - exact).abs()));
        assert!(off / greatest < allowed, "{metric}: {:.1e}", off / greatest);
    }
}
