//! Every layer of one network with every layer of another.

use trellis_data::glyphs::glyphs;
use trellis_guidance::network::Mode;
use trellis_guidance::{BatchSource, CapturePoint, Cka, Cnn, Dataset, Fcn, GramMatch, Metric, Network, Ridge};
use trellis_lab::similarity::{LayerMatrix, layer_matrix};
use trellis_tensor::{Graph, Plan, StepState, Tensor};

use super::measures::{compare, metrics, samples};
use crate::gpu;

#[test]
fn a_matrix_of_layers_is_its_pairs() {
    let n = 20;
    let widths = [3, 17, 40];
    let values: Vec<Vec<f32>> = widths.iter().zip(30..).map(|(p, stream)| samples(n * p, stream)).collect();
    let cosines = metrics().into_iter().map(|(metric, _)| metric).chain([GramMatch::Cosine.into()]);
    for metric in cosines {
        let (gpu, graph) = (gpu(), Graph::new());
        let leaf = |v: &Vec<f32>| graph.leaf(&Tensor::from_f32(&gpu, "x", [n, v.len() / n], v).expect("fits"));
        let layers: Vec<_> = values.iter().map(leaf).collect();
        let matrix = layer_matrix(&metric, &layers, &layers[1..]).expect("same n");
        assert_eq!(matrix.shape()[..], [3, 2]);
        let plan = Plan::new(&gpu, &graph, &[matrix]).expect("fits");
        plan.run(1).expect("works");
        let matrix = plan.read(matrix).expect("kept");
        for (at, got) in matrix.into_iter().enumerate() {
            let wanted = compare(metric.clone(), &values[at / 2], &values[1 + at % 2], n).value;
            assert!((got - wanted).abs() < 1e-5, "{metric}, pair {at}: {got} for {wanted}");
        }
    }
    // Measures that are no cosine of Gram matrices.
    for (metric, why) in
        [(Metric::from(Ridge::new(0.1)), "ridge regression"), (GramMatch::L2.into(), "squared distance")]
    {
        let graph = Graph::new();
        let layers = [graph.constant(1.0, [n, 4])];
        let error = layer_matrix(&metric, &layers, &layers).expect_err("refused").to_string();
        assert!(error.contains(why) && error.contains("pair by pair"), "{error}");
    }
}

/// One batch is the debiased measure of it; many batches add up what a batch says, and do not drift with their size.
#[test]
fn a_matrix_over_a_data_set_streams() {
    let images = glyphs(260, 16, 5).split(&[200, 60], 0).expect("fits");
    let data = Dataset::new(&gpu(), &images[0], None, Some(&images[1])).expect("fits");
    let cnn = Network::new(Cnn::new(&[4, 6]), &data, 1).expect("fits");
    let fcn = Network::new(Fcn::new(2, 12), &data, 2).expect("fits");
    let (_, split) = data.splits().next().expect("a training split");
    let measure = |batch| LayerMatrix::measure(&cnn, &fcn, &data, split, batch, CapturePoint::default()).expect("fits");
    let whole = measure(200);
    assert_eq!((whole.rows.clone(), whole.columns.clone()), (cnn.layers().expect("fits"), fcn.layers().expect("fits")));

    let (step_state, graph) = (StepState::new(&gpu()).expect("fits"), Graph::new());
    let batch = BatchSource::sequential(&data, split, 200)
        .and_then(|batches| batches.batch(&graph, &step_state))
        .expect("fits")
        .input;
    let activations =
        [&cnn, &fcn].map(|n| n.forward(&graph, batch, Mode::Eval, CapturePoint::default()).expect("fits").activations);
    let metric = Metric::from(Cka::linear().debiased());
    let pair = metric.compare(activations[0][1].value, activations[1][0].value).expect("same n").value;
    let plan = Plan::new(&gpu(), &graph, &[pair]).expect("fits");
    plan.run(1).expect("works");
    let wanted = f64::from(plan.read(pair).expect("kept")[0]);
    assert!((whole.at(1, 0) - wanted).abs() < 1e-5, "{} for {wanted}", whole.at(1, 0));

    let parts = measure(25);
    for (a, b) in whole.values.iter().zip(&parts.values) {
        assert!((a - b).abs() < 0.06, "{a} in one batch, {b} in eight");
    }
    let itself = LayerMatrix::measure(&cnn, &cnn, &data, split, 50, CapturePoint::default()).expect("fits");
    (0..itself.rows.len()).for_each(|layer| assert!((itself.at(layer, layer) - 1.0).abs() < 1e-6));
    assert!(LayerMatrix::measure(&cnn, &fcn, &data, split, 201, CapturePoint::default()).is_err());
}
