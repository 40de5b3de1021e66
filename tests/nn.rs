//! Values known from elsewhere: a formula that is wrong in both the kernel and its f64 reference shows only here.

use trellis_tensor::ops::IGNORE;
use trellis_tensor::{Graph, Plan, Result, Tensor, Var};

use crate::gpu;

fn tensor<const N: usize>(shape: [usize; N], values: &[f32]) -> Tensor {
    Tensor::from_f32(&gpu(), "x", shape, values).expect("small")
}

fn labels(values: &[u32]) -> Tensor {
    Tensor::from_u32(&gpu(), "labels", [values.len()], values).expect("small")
}

/// What `record` computes from `tensors` in one step.
fn eval(tensors: &[&Tensor], record: impl for<'g> Fn(&[Var<'g>]) -> Result<Var<'g>>) -> Vec<f32> {
    let graph = Graph::new();
    let leaves: Vec<Var<'_>> = tensors.iter().map(|t| graph.leaf(t)).collect();
    let output = record(&leaves).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[output]).expect("small");
    plan.run(1).expect("the device works");
    plan.read(output).expect("kept")
}

fn assert_close(given: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(given.len(), expected.len());
    for (g, e) in given.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance, "{given:?} is not {expected:?}");
    }
}

#[test]
fn softmax_of_logarithms_gives_their_shares() {
    let x = tensor([2, 3], &[1f32.ln(), 2f32.ln(), 5f32.ln(), 1000.0, 1000.0, -1000.0]);
    assert_close(&eval(&[&x], |x| x[0].softmax()), &[0.125, 0.25, 0.625, 0.5, 0.5, 0.0], 1e-6);
    let (half, shares) = (0.5f32.ln(), [0.125f32, 0.25, 0.625].map(f32::ln));
    let expected = [shares[0], shares[1], shares[2], half, half, half - 2000.0];
    assert_close(&eval(&[&x], |x| x[0].log_softmax()), &expected, 1e-5);
}

#[test]
fn cross_entropy_of_uniform_logits_is_the_logarithm_of_the_number_of_classes() {
    for smoothing in [0.0, 0.1, 1.0] {
        let loss = eval(&[&tensor([2, 7], &[3.0; 14]), &labels(&[0, 6])], |x| x[0].cross_entropy(x[1], smoothing));
        assert_close(&loss, &[7f32.ln()], 1e-6);
    }
}

#[test]
fn smoothed_cross_entropy_has_the_value_computed_by_hand() {
    // Probabilities 1/8, 2/8, 5/8 and label 2; q = 0.3 / 3 + (0.7 for the label).
    let x = tensor([1, 3], &[1f32.ln(), 2f32.ln(), 5f32.ln()]);
    let [a, b, c] = [0.125f32, 0.25, 0.625];
    let expected = -0.8 * c.ln() - 0.1 * a.ln() - 0.1 * b.ln();
    assert_close(&eval(&[&x, &labels(&[2])], |x| x[0].cross_entropy(x[1], 0.3)), &[expected], 1e-6);
    let gradient = eval(&[&x, &labels(&[2])], |x| Ok(x[0].graph().grad(x[0].cross_entropy(x[1], 0.3)?, &[x[0]])?[0]));
    assert_close(&gradient, &[a - 0.1, b - 0.1, c - 0.8], 1e-6);
}

#[test]
fn ignored_rows_count_neither_in_the_mean_nor_in_the_gradient() {
    let x = tensor([4, 2], &[0.0, 0.0, f32::NAN, 1.0, 0.0, 3f32.ln(), f32::INFINITY, 0.0]);
    let y = labels(&[0, IGNORE, 0, 2]);
    let expected = (2f32.ln() + 4f32.ln()) / 2.0;
    assert_close(&eval(&[&x, &y], |x| x[0].cross_entropy(x[1], 0.0)), &[expected], 1e-6);
    assert_close(&eval(&[&x, &y], |x| x[0].cross_entropy_rows(x[1], 0.0)), &[2f32.ln(), 0.0, 4f32.ln(), 0.0], 1e-6);
    let gradient = eval(&[&x, &y], |x| Ok(x[0].graph().grad(x[0].cross_entropy(x[1], 0.0)?, &[x[0]])?[0]));
    assert_close(&gradient, &[-0.25, 0.25, 0.0, 0.0, -0.375, 0.375, 0.0, 0.0], 1e-6);
}

#[test]
fn cross_entropy_of_huge_logits_is_finite_and_of_nan_is_nan() {
    let x = tensor([3, 2], &[1e30, -1e30, 0.0, f32::NEG_INFINITY, f32::NAN, 0.0]);
    let rows = eval(&[&x, &labels(&[0, 0, 0])], |x| x[0].cross_entropy_rows(x[1], 0.0));
    assert_eq!(rows[..2], [0.0, 0.0]);
    assert!(rows[2].is_nan(), "{rows:?}");
}

#[test]
fn cross_entropy_is_four_dispatches_with_its_gradient() {
    let graph = Graph::new();
    let (x, y) = (tensor([4, 10], &[0.5; 40]), labels(&[1, 2, 3, 4]));
    let x = graph.leaf(&x);
    let loss = x.cross_entropy(graph.leaf(&y), 0.1).expect("legal");
    let gradient = graph.grad(loss, &[x]).expect("differentiable")[0];
    assert_eq!(Plan::new(&gpu(), &graph, &[loss, gradient]).expect("small").launches().len(), 4);
}

#[test]
fn top1_takes_the_first_maximum_and_rejects_nan() {
    let x = tensor([5, 3], &[1., 2., 2., 1., 2., 2., 3., f32::NAN, 1., 3., 2., 1., f32::INFINITY, 0., 0.]);
    assert_eq!(eval(&[&x, &labels(&[1, 2, 0, IGNORE, 0])], |x| x[0].top1(x[1])), [1., 0., 0., 0., 1.]);
}

#[test]
fn smoothing_outside_its_range_is_an_error() {
    let graph = Graph::new();
    let (x, y) = (tensor([1, 2], &[0.0; 2]), labels(&[0]));
    let error = graph.leaf(&x).cross_entropy(graph.leaf(&y), 1.5).expect_err("not in [0, 1]");
    assert!(error.to_string().contains("1.5 is not in [0, 1]"), "{error}");
}
