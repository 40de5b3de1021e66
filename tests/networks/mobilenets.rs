//! MobileNets against PyTorch (`golden/mobilenets.py`).

use trellis_guidance::network::Mode;
use trellis_guidance::{CapturePoint, Mobilenet, Network};
use trellis_tensor::{Graph, Plan, Tensor};

use crate::gpu;
use crate::networks::against_pytorch::compare_image_network;

#[test]
fn mobilenets_agree_with_pytorch() {
    for (name, stride, side) in [("small", 1, 7), ("large", 2, 18)] {
        let mobilenet = Mobilenet {
            width: 4,
            stride,
            expansions: vec![1, 3],
            channels: vec![4, 6],
            blocks: vec![1, 2],
            strides: vec![1, 2],
            features: 8,
            dropout: 0.0,
        };
        compare_image_network("mobilenets", name, mobilenet, side);
    }
}

/// Parameters by torchvision's count, and layers by its names.
#[test]
fn the_published_size_has_its_parameters_and_layers() {
    let gpu = gpu().counting();
    let network = Network::with_shape(&gpu, Mobilenet::v2(), [3, 224, 224], 1000, 0).expect("fits");
    let count: usize = network.params().tensors().iter().map(|tensor| tensor.shape().elements()).sum();
    assert_eq!(count, 3_504_872, "{}", network.describe());
    let layers = network.layers().expect("fits");
    assert_eq!(layers.len(), 53);
    assert_eq!(
        [&layers[0], &layers[1], &layers[4], &layers[52]],
        ["features.0.0", "features.1.conv.0.0", "features.2.conv.1.0", "pool"]
    );
}

/// After activations there are the same layers. A narrowing convolution has none: it is what the block gives.
#[test]
fn layers_are_the_same_after_their_activations() {
    let network = Network::with_shape(&gpu(), Mobilenet::default(), [1, 8, 8], 3, 0).expect("fits");
    let graph = Graph::new();
    let images = graph.leaf(&Tensor::from_f32(&gpu(), "images", [2, 1, 8, 8], &[0.5; 128]).expect("small"));
    let at = |point| network.forward(&graph, images, Mode::Eval, point).expect("fits").activations;
    let [before, after] = [CapturePoint::BeforeNorm, CapturePoint::AfterActivation].map(at);
    let names =
        |layers: &[trellis_guidance::network::Captured<'_>]| layers.iter().map(|l| l.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    let values: Vec<_> = after.iter().map(|layer| layer.value).collect();
    let plan = Plan::new(&gpu(), &graph, &values).expect("small");
    plan.run(1).expect("the device works");
    for layer in &after {
        let values = plan.read(layer.value).expect("kept");
        let (narrow, least) = (
            layer.name.contains(".conv.") && !layer.name.ends_with(".0"),
            values.iter().fold(f32::INFINITY, |a, &b| a.min(b)),
        );
        assert!(if narrow { least < 0.0 } else { (0.0..=6.0).contains(&least) }, "{}: {least}", layer.name);
    }
}

#[test]
fn stages_without_their_numbers_are_refused() {
    for (mobilenet, told) in [
        (Mobilenet { strides: vec![1], ..Mobilenet::default() }, "`strides`: has another length than channels"),
        (Mobilenet { blocks: vec![1, 0, 1], ..Mobilenet::default() }, "`blocks`: has no number, or a 0"),
        (Mobilenet { features: 0, ..Mobilenet::default() }, "`features`: is 0"),
    ] {
        let error = Network::with_shape(&gpu(), mobilenet, [3, 8, 8], 2, 0).expect_err("refused").to_string();
        assert!(error.contains(told), "{error}");
    }
}
