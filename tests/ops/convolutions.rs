//! Convolutions by the kernels of GPUs, which go through the window tap by tap.

use std::collections::BTreeSet;

use trellis_rng::Rng;
use trellis_tensor::{Block, Gpu, GpuOptions, Graph, Interpreter, Plan, Tensor};

use crate::gpu_with_block;

/// A convolution whose channels are whole blocks, and its gradients: classes of pixels, parts of k, parts of positions.
#[test]
fn whole_channels_go_tap_by_tap() {
    let low = Block::FAMILY.iter().position(|block| block.to_string() == "64x128x16/8x8").expect("a member");
    check(&gpu_with_block(low), false, 1e-5);
}

/// The same in mixed precision, on matrix units: sides are rounded to f16, sums are f32.
#[test]
fn mixed_precision_runs_convolutions_on_matrix_units() {
    let options = GpuOptions { emulated_units: true, ..GpuOptions::default() };
    check(&Gpu::with(&options).expect("an adapter"), true, 1.0 / 2048.0);
}

fn check(gpu: &Gpu, mixed: bool, allowed: f64) {
    // Emulated matrix units are slow.
    let cases = if mixed { 1 } else { 4 };
    for (stride, padding, window) in [(2, 1, 3), (1, 1, 3), (2, 0, 1), (3, 2, 4)].into_iter().take(cases) {
        let mut rng = Rng::new(11, stride as u64);
        let mut tensor = |name: &str, shape: [usize; 4]| {
            let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal()).collect();
            (Tensor::from_f32(gpu, name, shape, &values).expect("fits"), values)
        };
        let graph = Graph::new();
        let [(x, x_values), (w, w_values)] =
            [tensor("x", [34, 128, 8, 9]), tensor("w", [if mixed { 64 } else { 16 }, 128, window, window])];
        let [from, weights] = [&x, &w].map(|tensor| graph.leaf(tensor));
        let y = match mixed {
            true => from.conv2d_mixed(weights, None, stride, padding),
            false => from.conv2d(weights, None, stride, padding),
        };
        let y = y.expect("legal");
        let [a, b, c, d] = y.shape()[..] else { panic!("an image") };
        let (r, r_values) = tensor("r", [a, b, c, d]);
        let loss = y.mul(graph.leaf(&r)).and_then(|y| y.sum_all()).expect("legal");
        let gradients = graph.grad(loss, &[from, weights]).expect("differentiable");
        let wanted = [y, gradients[0], gradients[1]];
        let plan = Plan::new(gpu, &graph, &wanted).expect("fits");
        plan.run(1).expect("works");

        let kernels: BTreeSet<&str> = plan.launches().map(|launch| launch.kernel).collect();
        for kernel in ["conv2d_by_tap", "conv2d_weight_grad_by_tap"] {
            assert!(kernels.contains(kernel), "{kernel} is not among {kernels:?}");
        }
        assert!(!kernels.contains("conv2d") && !kernels.contains("conv2d_input_grad"), "{kernels:?}");
        assert_eq!(kernels.contains("product_parts"), window > 1, "1152 and 2048 values of k are two parts or more");

        let mut reference = Interpreter::new();
        for (tensor, values) in [(&x, x_values), (&w, w_values), (&r, r_values)] {
            reference.set(tensor, values.into_iter().map(f64::from).collect());
        }
        reference.run(&graph);
        for (var, name) in wanted.into_iter().zip(["y", "dx", "dw"]) {
            let (got, expected) = (plan.read(var).expect("kept"), reference.value(var));
            let greatest = expected.iter().fold(0.0, |most: f64, v| most.max(v.abs()));
            let worst = got.iter().zip(expected).map(|(&g, e)| (f64::from(g) - e).abs()).fold(0.0, f64::max);
            // Numbers that were rounded differ from those that were not.
            let rounded = worst > 1e-5 * greatest;
            assert!(
                worst < allowed * greatest && rounded == mixed,
                "stride {stride}, window {window}, {name}: {worst:.1e} of {greatest:.1e}"
            );
        }
    }
}
