//! Networks of full size, forward, against PyTorch in float64: `TRELLIS_REAL_SIZE=FOLDER cargo test --release --test all --
//! --ignored real_size`, after `python3 tests/golden/real_size.py FOLDER`.

use std::path::Path;

use trellis_guidance::network::{Architecture, Mode};
use trellis_guidance::weights::{self, Naming, WeightsFile};
use trellis_guidance::{CapturePoint, Network, Resnet, Vit};
use trellis_tensor::{Graph, Plan, Tensor};

use crate::gpu;

#[test]
#[ignore = "needs 700 MB of weights, see above"]
fn real_size() {
    let folder = std::env::var("TRELLIS_REAL_SIZE").expect("the folder of golden/real_size.py");
    let folder = Path::new(&folder);
    let file = WeightsFile::read(&folder.join("logits.safetensors")).expect("written");
    let golden = file.renamed(Naming::Trellis).expect("floats").tensors;
    let named = |name: &str| &golden.iter().find(|(own, ..)| own == name).expect("written").2;
    let images = Tensor::from_f32(&gpu(), "images", [2, 3, 224, 224], named("images")).expect("fits");
    let networks: [(&str, Box<dyn Architecture>); 4] = [
        ("resnet18", Box::new(Resnet::resnet18())),
        ("resnet50", Box::new(Resnet::resnet50())),
        ("plain50", Box::new(Resnet::resnet50().plain())),
        ("vit_b16", Box::new(Vit::b16())),
    ];
    for (name, architecture) in networks {
        let network = Network::with_shape(&gpu(), architecture, [3, 224, 224], 1000, 0).expect("fits");
        weights::load(&network, &folder.join(format!("{name}.safetensors"))).expect("fits");
        let graph = Graph::new();
        let forward = network.forward(&graph, graph.leaf(&images), Mode::Eval, CapturePoint::default()).expect("fits");
        let plan = Plan::new(&gpu(), &graph, &[forward.logits]).expect("fits");
        plan.run(1).expect("works");
        let (logits, wanted) = (plan.read(forward.logits).expect("kept"), named(name));
        let greatest = wanted.iter().fold(0f32, |m, v| m.max(v.abs()));
        let error = logits.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / greatest;
        println!("{name}: {error:.1e} of the greatest logit, {greatest}");
        assert!(error <= 1e-3, "{name}: {error}");
    }
}
