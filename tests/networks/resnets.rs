//! Residual networks and their plain twins against PyTorch (`golden/resnets.py`).

use trellis_guidance::network::{InitialWeights, Stem};
use trellis_guidance::{Network, Resnet};

use crate::gpu;
use crate::networks::against_pytorch::compare_image_network;

#[test]
fn residual_networks_agree_with_pytorch() {
    let small = Resnet { blocks: vec![1, 1], width: 3, ..Resnet::small(1) };
    for (name, resnet, side) in [
        ("basic", Resnet { blocks: vec![1, 2], stem: Stem::Large, ..small.clone() }, 20),
        ("bottleneck", Resnet { bottleneck: true, ..small.clone() }, 7),
        ("plain bottleneck", Resnet { bottleneck: true, stem: Stem::Large, ..small.clone() }.plain(), 20),
        ("small", Resnet { blocks: vec![2, 1], ..small.clone() }, 7),
        ("fixup", Resnet { blocks: vec![2, 1], init: InitialWeights::Fixup, ..small.clone() }, 7),
        ("fixup bottleneck", Resnet { bottleneck: true, init: InitialWeights::Fixup, ..small.clone() }, 7),
    ] {
        compare_image_network("resnets", name, resnet, side);
    }
}

/// Parameters by torchvision's count, without drawing them.
#[test]
fn the_named_sizes_have_their_parameters() {
    let gpu = gpu().counting();
    for (resnet, image, classes, wanted) in [
        (Resnet::resnet18(), [3, 224, 224], 1000, 11_689_512),
        (Resnet::resnet50(), [3, 224, 224], 1000, 25_557_032),
        // He et al.'s ResNet-20 has 269,722: its shortcuts have no weights.
        (Resnet::small(3), [3, 32, 32], 10, 272_474),
    ] {
        let network = Network::with_shape(&gpu, resnet.clone(), image, classes, 0).expect("fits");
        let count: usize = network.params().tensors().iter().map(|tensor| tensor.shape().elements()).sum();
        assert_eq!(count, wanted, "{}", network.describe());
    }
}

/// The paper's pairs: 20 convolutions and the mean of ResNet-18, 53 and the mean of ResNet-50, 49 and the mean of its twin.
#[test]
fn layers_to_align_are_the_papers() {
    let layers = |resnet: Resnet| {
        let network = Network::with_shape(&gpu(), Resnet { width: 1, ..resnet }, [3, 33, 33], 2, 0).expect("fits");
        network.layers().expect("fits")
    };
    let names = layers(Resnet::resnet18());
    assert_eq!(names.len(), 21);
    assert_eq!([&names[5], &names[14], &names[20]], ["layer2.0.conv1", "layer3.1.conv2", "avgpool"]);
    assert_eq!(layers(Resnet::resnet50()).len(), 54);
    assert_eq!(layers(Resnet::resnet50().plain()).len(), 50);
}
