//! Sizes past what an adapter launches in one dimension, or a software adapter's loops.

use trellis_rng::Rng;
use trellis_tensor::{Gpu, GpuOptions, Graph, Layout, Plan, Tensor, TensorType};

use crate::gpu;

fn normal(count: usize) -> Vec<f32> {
    let mut rng = Rng::new(5, 0);
    (0..count).map(|_| rng.normal()).collect()
}

/// 600,000 rows are 75,000 workgroups or more in one dimension, of which 65,535 are allowed.
#[test]
fn a_product_of_more_workgroups_than_fit_a_dimension_is_whole() {
    let rows = 600_000;
    let [x, w] = [normal(rows), vec![2.0, -1.0, 0.5]];
    let graph = Graph::new();
    let lhs = graph.leaf(&Tensor::from_f32(&gpu(), "x", [rows, 1], &x).expect("fits"));
    let rhs = graph.leaf(&Tensor::from_f32(&gpu(), "w", [1, 3], &w).expect("fits"));
    let product = lhs.matmul(rhs, Layout::NN).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[product]).expect("folded");
    plan.run(1).expect("works");
    let expected: Vec<f32> = x.iter().flat_map(|x| w.iter().map(move |w| x * w)).collect();
    assert!(plan.read(product).expect("kept") == expected);
}

/// A second pass over 40,000 rows is past the 65,535 loop iterations after which llvmpipe leaves all loops of an
/// invocation.
#[test]
fn columns_of_many_rows_are_centered_to_their_end() {
    for rows in [16_384, 16_385, 40_000, 70_000] {
        let values = normal(3 * rows);
        let graph = Graph::new();
        let x = graph.leaf(&Tensor::from_f32(&gpu(), "x", [rows, 3], &values).expect("fits"));
        let centered = x.center().expect("legal");
        let plan = Plan::new(&gpu(), &graph, &[centered]).expect("fits");
        plan.run(1).expect("works");
        let got = plan.read(centered).expect("kept");
        for column in 0..3 {
            let of = |values: &[f32], row: usize| f64::from(values[3 * row + column]);
            let mean = (0..rows).map(|row| of(&values, row)).sum::<f64>() / rows as f64;
            let worst = (0..rows).map(|row| (of(&got, row) - (of(&values, row) - mean)).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-5, "{rows} rows, column {column}: {worst}");
        }
    }
}

/// A plan that a dry run lets pass, a run lets pass: the limits of loops are looked at without a run.
#[test]
fn loops_too_long_for_a_software_adapter_are_refused_where_memory_is_counted() {
    let counting = Gpu::with(&GpuOptions { dry_run: true, ..GpuOptions::default() }).expect("an adapter");
    let plan = |gpu: &Gpu, n: usize| {
        let graph = Graph::new();
        let x = Tensor::zeros(gpu, "x", TensorType::f32([n])).expect("counted");
        let sum = graph.leaf(&x).sum_all().expect("legal");
        Plan::new(gpu, &graph, &[sum]).map(|_| ()).map_err(|error| error.to_string())
    };
    for gpu in [counting.clone(), gpu().counting()] {
        assert_eq!(plan(&gpu, 16_000_000), Ok(()));
        if gpu.caps().software {
            let error = plan(&gpu, 17_000_000).expect_err("past the limit");
            assert!(error.contains("sum: ") && error.contains("loop iterations"), "{error}");
        }
    }
}

/// Loops within each other count together: of 3 × 3 windows 5,041 channels fit, though 7,281 have as few products.
#[test]
fn nested_loops_count_together() {
    let gpu = gpu().counting();
    if !gpu.caps().software {
        return;
    }
    let plan = |channels: usize, grad: bool| {
        let graph = Graph::new();
        let leaf =
            |name, shape: [usize; 4]| graph.leaf(&Tensor::zeros(&gpu, name, TensorType::f32(shape)).expect("counted"));
        let (outs, ins) = if grad { (channels, 1) } else { (1, channels) };
        let (x, w) = (leaf("x", [1, 2 * ins, 3, 3]), leaf("w", [2 * outs, ins, 3, 3]));
        let y = x.grouped_conv2d(w, 1, 1, 2).expect("legal");
        let wanted = if grad { graph.grad(y.sum_all().expect("legal"), &[x]).expect("has one")[0] } else { y };
        Plan::new(&gpu, &graph, &[wanted]).map(|_| ()).map_err(|error| error.to_string())
    };
    for (grad, op) in [(false, "grouped_conv2d: "), (true, "grouped_conv2d_input_grad in ")] {
        assert_eq!(plan(5041, grad), Ok(()));
        let error = plan(5042, grad).expect_err("past the limit");
        assert!(error.contains(op) && error.contains("loop iterations"), "{error}");
    }
}

/// Sizes that make no convolution are refused, and none wraps around.
#[test]
fn convolutions_in_groups_that_do_not_fit_are_refused() {
    let graph = Graph::new();
    let (x, w) = (graph.constant(1.0, [1, 4, 5, 5]), graph.constant(1.0, [4, 2, 3, 3]));
    for (stride, padding, groups, told) in [
        (1, 1, 0, "do not divide into 0 groups"),
        (1, 1, 3, "do not divide into 3 groups"),
        (1, 1, 4, "1 channels in each of 4 groups, w takes 2"),
        (0, 1, 2, "with stride 0 does not fit"),
        (usize::MAX, 1, 2, "none may be above 65535"),
        (1, usize::MAX, 2, "none may be above 65535"),
    ] {
        let error = x.grouped_conv2d(w, stride, padding, groups).expect_err(told).to_string();
        assert!(error.contains(told), "{error}");
    }
    assert!(x.grouped_conv2d(graph.constant(1.0, [4, 2, 0, 3]), 1, 1, 2).is_err());
    assert!(x.grouped_conv2d(graph.constant(1.0, [4, 2, 9, 3]), 1, 1, 2).is_err());
}
