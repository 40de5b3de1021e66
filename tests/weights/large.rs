//! Weights that the adapter cannot bind at once, on software Vulkan above 107 MB: several parameters, one tensor in a file.

use trellis_guidance::network::Mode;
use trellis_guidance::weights::{self, WeightsFile};
use trellis_guidance::{CapturePoint, Fcn, Network};
use trellis_rng::Rng;
use trellis_tensor::{Graph, Params, Plan, Tensor, Var};

use crate::gpu;

const IMAGE: [usize; 3] = [3, 97, 97];
const INPUTS: usize = 3 * 97 * 97;
const BATCH: usize = 3;
const CLASSES: usize = 4;

#[test]
fn a_weight_too_large_to_bind_is_several_parameters_and_one_tensor_in_a_file() {
    let rows = Params::largest(&gpu()) / INPUTS;
    let units = rows + 30;
    if units > 3000 {
        return; // an adapter that binds gigabytes
    }
    let fcn = || Fcn { batch_norm: false, ..Fcn::new(1, units) };
    let network = |seed| Network::with_shape(&gpu(), fcn(), IMAGE, CLASSES, seed).expect("fits");
    let ours = network(1);
    let names: Vec<&str> = ours.params().tensors().iter().map(Tensor::name).collect();
    let blocks = [format!("fc1.weight[0..{rows}]"), format!("fc1.weight[{rows}..{units}]")];
    assert_eq!(names, [&blocks[0], &blocks[1], "fc1.bias", "logits.weight", "logits.bias"]);

    // The same as with one weight, by hand in f64.
    let mut rng = Rng::new(3, 0);
    let pixels: Vec<f32> = (0..BATCH * INPUTS).map(|_| rng.normal()).collect();
    let images = Tensor::from_f32(&gpu(), "images", [BATCH, 3, 97, 97], &pixels).expect("fits");
    let labels = Tensor::from_u32(&gpu(), "labels", [BATCH], &[2, 0, 3]).expect("fits");
    let graph = Graph::new();
    let logits = ours.forward(&graph, graph.leaf(&images), Mode::Eval, CapturePoint::default()).expect("fits").logits;
    let loss = logits.cross_entropy(graph.leaf(&labels), 0.0).expect("legal");
    let params: Vec<Var<'_>> = ours.params().tensors().iter().map(|tensor| graph.leaf(tensor)).collect();
    let gradients = graph.grad(loss, &params).expect("differentiable");
    let plan = Plan::new(&gpu(), &graph, &[logits, gradients[0], gradients[1]]).expect("fits");
    plan.run(1).expect("works");
    let values: Vec<Vec<f32>> = ours.params().tensors().iter().map(|t| t.read_f32().expect("works")).collect();
    let [first, last, bias, out, out_bias] = &values[..] else { panic!("five parameters") };
    let weight = [&first[..], last].concat();
    let bound = 1.0 / (INPUTS as f32).sqrt();
    assert!(weight.iter().all(|w| w.abs() <= bound) && last.iter().any(|w| w.abs() > 0.99 * bound));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let mut slopes = vec![vec![0.0; units]; BATCH];
    for (b, label) in [2, 0, 3].into_iter().enumerate() {
        let image = &pixels[b * INPUTS..][..INPUTS];
        let hidden: Vec<f32> = (0..units)
            .map(|i| (dot(&weight[i * INPUTS..][..INPUTS], image) + f64::from(bias[i])).max(0.0) as f32)
            .collect();
        let wanted: Vec<f64> =
            (0..CLASSES).map(|c| dot(&out[c * units..][..units], &hidden) + f64::from(out_bias[c])).collect();
        for (got, wanted) in plan.read(logits).expect("kept")[b * CLASSES..].iter().zip(&wanted) {
            assert!((f64::from(*got) - wanted).abs() < 1e-4, "{got} for {wanted}");
        }
        let total: f64 = wanted.iter().map(|x| x.exp()).sum();
        for (c, x) in wanted.iter().enumerate() {
            let slope = (x.exp() / total - f64::from(u8::from(c == label))) / BATCH as f64;
            for (i, h) in hidden.iter().enumerate().filter(|(_, h)| **h > 0.0) {
                slopes[b][i] += slope * f64::from(out[c * units + i]) * f64::from(u8::from(*h > 0.0));
            }
        }
    }
    let gradient = [plan.read(gradients[0]).expect("kept"), plan.read(gradients[1]).expect("kept")].concat();
    for case in 0..200 {
        // Half of them in the few rows of the second block.
        let i = if case % 2 == 0 { rng.below(units) } else { rows + rng.below(units - rows) };
        let j = rng.below(INPUTS);
        let wanted: f64 = (0..BATCH).map(|b| slopes[b][i] * f64::from(pixels[b * INPUTS + j])).sum();
        let got = f64::from(gradient[i * INPUTS + j]);
        assert!((got - wanted).abs() < 1e-6, "row {i}, column {j}: {got} for {wanted}");
    }

    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("large.safetensors");
    weights::save(&ours, &path).expect("writable");
    let names: Vec<(String, Vec<usize>)> = WeightsFile::read(&path)
        .and_then(|file| file.summaries())
        .expect("whole")
        .into_iter()
        .map(|t| (t.name, t.shape))
        .collect();
    assert!(names.contains(&("fc1.weight".to_string(), vec![units, INPUTS])), "{names:?}");
    let other = network(2);
    weights::load(&other, &path).expect("its own");
    for (ours, theirs) in values.iter().zip(other.params().tensors()) {
        assert!(*ours == theirs.read_f32().expect("works"), "{}", theirs.name());
    }
    // One row less is another network.
    let smaller = Network::with_shape(&gpu(), Fcn { batch_norm: false, ..Fcn::new(1, units - 1) }, IMAGE, CLASSES, 1);
    let error = weights::load(&smaller.expect("fits"), &path).unwrap_err().to_string();
    assert!(error.contains("`fc1.weight` is F32"), "{error}");
}
