//! The loss over several pairs: sharing dispatches changes their number, not what is measured.

use trellis_data::glyphs::glyphs;
use trellis_guidance::alignment::{GuideSide, Pair};
use trellis_guidance::network::Captured;
use trellis_guidance::{Batches, Cka, Dataset, Fcn, Metric, Network, Ridge, Rsa, Session, Training};
use trellis_rng::Rng;
use trellis_tensor::{Graph, Plan, Schedule, StepState, Tensor, Var};

use crate::{gpu, training::runs as training};

/// Layers `[n, width]` with something in common.
fn layers(n: usize, widths: &[usize], stream: u64) -> Vec<Tensor> {
    let mut common = Rng::new(1, 1);
    let shared: Vec<f32> = (0..n).map(|_| 2.0 * common.normal()).collect();
    let layer = |(number, &width): (usize, &usize)| {
        let mut rng = Rng::new(stream, number as u64);
        let values: Vec<f32> = (0..n * width).map(|at| rng.normal() + shared[at / width]).collect();
        Tensor::from_f32(&gpu(), "layer", [n, width], &values).expect("fits")
    };
    widths.iter().enumerate().map(layer).collect()
}

/// Values of each pair, and gradients for each of the target's layers.
type Measured = (Vec<f32>, Vec<Vec<f32>>);

fn leaves<'g>(graph: &'g Graph, layers: &[Tensor]) -> Vec<Var<'g>> {
    layers.iter().map(|layer| graph.leaf(layer)).collect()
}

/// By [`Metric::loss`] with weight 0.5, over the guide's activations or its Gram matrices; and the number of launches.
fn together(metric: &Metric, targets: &[Tensor], guides: &[Tensor], looked_up: bool) -> (Measured, usize) {
    let (gpu, graph) = (gpu(), Graph::new());
    let step_state = StepState::new(&gpu).expect("fits");
    let (x, y) = (leaves(&graph, targets), leaves(&graph, guides));
    let mut pairs = Vec::new();
    for (&value, &y) in x.iter().zip(&y) {
        let gram = if looked_up { GuideSide::Gram(metric.gram(y).expect("fits")) } else { GuideSide::Activations(y) };
        pairs.push(Pair {
            target: Captured { name: "t".to_string(), value },
            guide: "g".to_string(),
            gram,
            weight: 1.0,
        });
    }
    let alignment = metric.loss(&graph, &step_state, Schedule::Constant(0.5), &pairs).expect("same examples");
    let gradients = graph.grad(alignment.loss, &x).expect("differentiable");
    let keep = [alignment.stats.clone(), gradients.clone()].concat();
    let plan = Plan::new(&gpu, &graph, &keep).expect("fits");
    plan.run(1).expect("works");
    let rows = |stats: Var<'_>| {
        let width = stats.shape().last_axis().max(1);
        plan.read(stats).expect("kept").chunks(width).map(|row| row[0]).collect::<Vec<_>>()
    };
    let values = alignment.stats.iter().flat_map(|&stats| rows(stats)).collect();
    let gradients = gradients.iter().map(|&gradient| plan.read(gradient).expect("kept")).collect();
    ((values, gradients), plan.launches().len())
}

/// Pair by pair, by [`Metric::compare`].
fn one_by_one(metric: &Metric, targets: &[Tensor], guides: &[Tensor]) -> Measured {
    let one = |(x, y): (&Tensor, &Tensor)| {
        let graph = Graph::new();
        let (x, y) = (graph.leaf(x), graph.leaf(y));
        let value = metric.compare(x, y).expect("same examples").value;
        let gradient = graph.grad(value, &[x]).expect("differentiable")[0];
        let plan = Plan::new(&gpu(), &graph, &[value, gradient]).expect("fits");
        plan.run(1).expect("works");
        // The loss is 0.5 (1 − c).
        let gradient: Vec<f32> = plan.read(gradient).expect("kept").iter().map(|g| -0.5 * g).collect();
        (plan.read(value).expect("kept")[0], gradient)
    };
    targets.iter().zip(guides).map(one).unzip()
}

fn assert_close(name: &str, got: &[f32], wanted: &[f32]) {
    let scale = wanted.iter().fold(1e-6, |m: f32, v| m.max(v.abs()));
    assert_eq!(got.len(), wanted.len(), "{name}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert!((got - wanted).abs() <= 1e-5 * scale, "{name}: {got} for {wanted}");
    }
}

#[test]
fn pairs_that_share_dispatches_are_measured_as_alone() {
    let metrics: [Metric; 7] = [
        Cka::linear().into(),
        Cka::linear().debiased().into(),
        Cka::rbf(0.8).into(),
        Cka::rbf(0.8).debiased().into(),
        Rsa::Cosine.into(),
        Rsa::Pearson.into(),
        Ridge::new(0.1).into(),
    ];
    // A batch whose Gram matrices fill whole words of alignment, and one whose do not; a pair that shares with none.
    for n in [24, 21] {
        let targets = layers(n, &[32, 20, 64, 7, 12, 100], 2);
        let guides = layers(n, &[16, 128, 4, 12, 40, 8], 3);
        for metric in &metrics {
            let alone = one_by_one(metric, &targets, &guides);
            for looked_up in [false, true] {
                let (shared, _) = together(metric, &targets, &guides, looked_up);
                let name = format!("{metric}, n = {n}, looked up: {looked_up}");
                assert_close(&name, &shared.0, &alone.0);
                shared.1.iter().zip(&alone.1).for_each(|(got, wanted)| assert_close(&name, got, wanted));
            }
        }
    }
}

#[test]
fn a_constant_layer_among_others_pulls_nothing() {
    let (mut targets, guides) = (layers(16, &[8, 12, 16], 2), layers(16, &[20, 24, 8], 3));
    targets[1] = Tensor::from_f32(&gpu(), "constant", [16, 12], &[3.0; 192]).expect("fits");
    let ((values, gradients), _) = together(&Cka::linear().into(), &targets, &guides, false);
    assert!(values[0] > 0.1 && values[2] > 0.1, "{values:?}");
    assert_eq!(values[1], 0.0);
    assert!(gradients[1].iter().all(|&gradient| gradient == 0.0));
    assert!(gradients[2].iter().any(|&gradient| gradient != 0.0));
}

#[test]
fn more_pairs_cost_little_more_than_their_centering() {
    let launches = |pairs: usize| {
        let (targets, guides) = (layers(16, &vec![8; pairs], 2), layers(16, &vec![12; pairs], 3));
        together(&Cka::linear().into(), &targets, &guides, false).1
    };
    // Two centerings a pair at most, which a GPU does seven a dispatch; everything else is shared.
    assert!(launches(9) - launches(8) <= 2);
    // Gram of targets, of guides, statistics, M, the product; the rest is the schedule's weight.
    assert!(launches(8) <= 2 * 8 + 8, "{}", launches(8));
}

#[test]
fn a_step_logs_one_number_for_each_pair_whatever_shares_dispatches() {
    let parts = glyphs(120, 16, 1).split(&[80, 40], 0).expect("enough glyphs");
    let data = Dataset::new(&gpu(), &parts[0], None, Some(&parts[1])).expect("fits");
    let (_, guidance) = training::networks(&data);
    // One layer is wide enough to share with nobody: its width is no multiple of 4.
    let target = || Network::new(Fcn::new(3, 18), &data, 6).expect("fits");
    let other = || Network::new(Fcn::new(3, 20), &data, 6).expect("fits");
    for (network, metric) in [
        (target(), Metric::from(Cka::linear())),
        (other(), Metric::from(Cka::linear())),
        (other(), Metric::from(Ridge::new(0.1))),
    ] {
        for batches in [Batches::Random, Batches::Fixed] {
            let training = Training { batches, ..training::small_training(3) };
            let guidance = guidance.clone().align(metric.clone());
            let mut session = Session::new(&network, &data, training, Some(&guidance)).expect("fits");
            let mut records = session.advance(3).expect("works");
            records.extend(session.wait().expect("works"));
            assert_eq!(records.len(), 3);
            for record in records {
                assert_eq!(record.similarity.len(), 3, "{metric}");
                assert!(record.similarity.iter().all(|s| *s > 0.0 && *s <= 1.0), "{metric}: {:?}", record.similarity);
            }
            session.check_invariants().expect("the gradient of a pair alone");
        }
    }
}
