//! Sequences compared step by step.

use trellis_guidance::{Cka, Metric, Tokens};
use trellis_lab::similarity::layer_matrix;
use trellis_tensor::{Graph, Plan, Tensor};

use super::measures::samples;
use crate::gpu;

/// Time costs workgroups, not dispatches; a layer without time steps is refused, and so is another number of them.
#[test]
fn time_steps_share_their_dispatches() {
    let metric = Metric::from(Cka::linear().tokens(Tokens::PerTimestep));
    let dispatches = |time: usize| {
        let graph = Graph::new();
        let leaf = |p: usize| {
            graph.leaf(&Tensor::from_f32(&gpu(), "x", [6, time, p], &samples(6 * time * p, 1)).expect("fits"))
        };
        let (x, y) = (leaf(5), leaf(7));
        let value = metric.compare(x, y).expect("same shapes").value;
        let gradient = graph.grad(value, &[x]).expect("differentiable")[0];
        Plan::new(&gpu(), &graph, &[value, gradient]).expect("fits").launches().len()
    };
    assert_eq!((dispatches(2), dispatches(30)), (8, 8));
    let graph = Graph::new();
    let constant = |shape: &[usize]| graph.constant(1.0, shape);
    let error = metric.compare(constant(&[6, 5]), constant(&[6, 5])).unwrap_err().to_string();
    assert!(error.contains("[batch, time, features]"), "{error}");
    assert!(metric.compare(constant(&[6, 2, 5]), constant(&[6, 3, 5])).is_err());
    assert!(layer_matrix(&metric, &[constant(&[6, 2, 5])], &[constant(&[6, 2, 5])]).is_err());
}

/// Of time steps, those with a constant layer count as 0 and the statistics tell their share.
#[test]
fn a_constant_time_step_is_counted() {
    let (n, time, p) = (10, 4, 3);
    let (mut x, y) = (samples(n * time * p, 1), samples(n * time * p, 2));
    (0..n).for_each(|i| x[i * time * p..][..p].fill(3.1));
    let metric = Metric::from(Cka::linear().tokens(Tokens::PerTimestep));
    let graph = Graph::new();
    let leaf = |v: &[f32]| graph.leaf(&Tensor::from_f32(&gpu(), "x", [n, time, p], v).expect("fits"));
    let x = leaf(&x);
    let similarity = metric.compare(x, leaf(&y)).expect("same shapes");
    let gradient = graph.grad(similarity.value, &[x]).expect("differentiable")[0];
    let plan = Plan::new(&gpu(), &graph, &[similarity.stats, gradient]).expect("fits");
    plan.run(1).expect("works");
    assert_eq!(plan.read(similarity.stats).expect("kept")[6], 0.25);
    let gradient = plan.read(gradient).expect("kept");
    assert!((0..n).all(|i| gradient[i * time * p..][..p].iter().all(|g| *g == 0.0)));
    assert!(gradient.iter().any(|g| *g != 0.0));
}
