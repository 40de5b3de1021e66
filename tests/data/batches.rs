//! Inputs of a network: batches, gathers, augmentation, pooling. Properties, and values computed by hand.

use std::collections::BTreeSet;

use trellis_data::Images;
use trellis_guidance::network::Mode;
use trellis_guidance::{BatchSource, CapturePoint, Dataset, Fcn, Network, Trainer, Training};
use trellis_rng::Rng;
use trellis_tensor::{Graph, Interpreter, Plan, Result, StepState, Tensor, TensorType, Var};

use crate::gpu;

/// Values of `record` for one step state at each of `steps`, on the GPU.
fn at_steps(steps: impl Iterator<Item = u32>, record: impl for<'g> Fn(Var<'g>) -> Result<Var<'g>>) -> Vec<Vec<u32>> {
    let step_state = Tensor::zeros(&gpu(), "clock", TensorType::u32([4])).expect("fits");
    let graph = Graph::new();
    let indices = record(graph.leaf(&step_state)).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[indices]).expect("fits");
    steps
        .map(|step| {
            step_state.write_u32(&[step, 0, 0, 0]).expect("four words");
            plan.run(1).expect("the device works");
            plan.read_u32(indices).expect("kept")
        })
        .collect()
}

/// The indices of one epoch in order.
fn epoch(number: usize, n: usize, batch: usize, seed: u64) -> Vec<u32> {
    let steps = number * (n / batch)..(number + 1) * (n / batch);
    at_steps(steps.map(|step| step as u32), |step_state| step_state.sample_batch(n, batch, seed)).concat()
}

#[test]
fn an_epoch_visits_distinct_examples_and_epochs_and_seeds_differ() {
    for (n, batch) in
        [(1, 1), (2, 1), (3, 2), (10, 4), (64, 64), (100, 7), (1000, 33), (65_537, 4096), (65_537, 65_537)]
    {
        let epochs: Vec<Vec<u32>> = (0..3).map(|number| epoch(number, n, batch, 5)).collect();
        for indices in &epochs {
            assert_eq!(indices.len(), n / batch * batch);
            assert!(indices.iter().all(|&index| (index as usize) < n));
            assert_eq!(indices.iter().collect::<BTreeSet<_>>().len(), indices.len(), "n {n}, batch {batch}");
        }
        if n >= 64 {
            let other_seeds = [epoch(0, n, batch, 6), epoch(0, n, batch, 5 + (1 << 32))];
            let orders: BTreeSet<&Vec<u32>> = epochs.iter().chain(&other_seeds).collect();
            assert_eq!(orders.len(), 5, "n {n}, batch {batch}");
            // Two random orders agree in about one position.
            let agree = epochs[0].iter().zip(&epochs[1]).filter(|(a, b)| a == b).count();
            assert!(agree < 12, "n {n}: epochs agree in {agree} positions");
        }
    }
}

/// Counts in f64 on the CPU (the generic test compares the two): n' = 12 of 13 per epoch, and each position.
#[test]
fn over_many_epochs_every_example_is_visited_equally_often_in_every_position() {
    let (n, batch, epochs) = (13, 4, 6000);
    let step_state = Tensor::zeros(&gpu(), "clock", TensorType::u32([4])).expect("fits");
    let graph = Graph::new();
    let indices = graph.leaf(&step_state).sample_batch(n, batch, 9).expect("legal");
    let mut reference = Interpreter::new();
    let mut visits = vec![vec![0.0; n]; n / batch * batch];
    for step in 0..epochs * (n / batch) {
        reference.set(&step_state, vec![step as f64, 0.0, 0.0, 0.0]);
        reference.run(&graph);
        for (i, &index) in reference.value(indices).iter().enumerate() {
            visits[step % (n / batch) * batch + i][index as usize] += 1.0;
        }
    }
    let expected = epochs as f64 / n as f64;
    for (position, counts) in visits.iter().enumerate() {
        // 12 degrees of freedom: above 40 once in 10,000 for a fair shuffle.
        let chi_square: f64 = counts.iter().map(|count| (count - expected).powi(2) / expected).sum();
        assert!(chi_square < 40.0, "position {position}: {chi_square:.1} of {counts:?}");
    }
    for index in 0..n {
        let total: f64 = visits.iter().map(|counts| counts[index]).sum();
        let expected = 12.0 * expected;
        // The number of epochs that leave an index out is binomial with deviation 20.6.
        assert!((total - expected).abs() < 4.5 * 20.6, "index {index}: {total} visits, not {expected:.0}");
    }
}

#[test]
fn a_batch_must_fit_and_needs_a_step_state() {
    let step_state = Tensor::zeros(&gpu(), "clock", TensorType::u32([4])).expect("fits");
    let graph = Graph::new();
    let step_state = graph.leaf(&step_state);
    let message = step_state.sample_batch(3, 4, 0).expect_err("too few").to_string();
    assert!(message.contains("3 examples do not fill a batch of 4"), "{message}");
    assert!(step_state.sample_batch(3, 0, 0).is_err());
    assert!(step_state.sequential_batch(0, 4).is_err());
    assert!(graph.constant(0.0, [4]).sample_batch(4, 2, 0).is_err());
}

#[test]
fn a_sequential_pass_masks_what_lies_past_the_end() {
    let none = u32::MAX;
    let batches = at_steps([0, 1, 2, 3, u32::MAX].into_iter(), |step_state| step_state.sequential_batch(7, 3));
    assert_eq!(batches, [[0, 1, 2], [3, 4, 5], [6, none, none], [none; 3], [none; 3]]);
}

/// A graph's value on leaves given as tensors.
fn value(tensors: &[&Tensor], record: impl for<'g> Fn(&'g Graph, &[Var<'g>]) -> Result<Var<'g>>) -> Vec<f32> {
    let graph = Graph::new();
    let leaves: Vec<Var<'_>> = tensors.iter().map(|tensor| graph.leaf(tensor)).collect();
    let output = record(&graph, &leaves).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[output]).expect("fits");
    plan.run(1).expect("the device works");
    plan.read(output).expect("kept")
}

fn indices(values: &[u32]) -> Tensor {
    Tensor::from_u32(&gpu(), "indices", [values.len()], values).expect("fits")
}

#[test]
fn gathered_rows_labels_and_images_by_hand() {
    let table = Tensor::from_f32(&gpu(), "table", [3, 2], &[1.0, f32::NAN, 3.0, 4.0, 5.0, 6.0]).expect("fits");
    let rows = value(&[&table, &indices(&[2, 0, 3, u32::MAX, 2])], |_, x| x[0].gather(x[1]));
    assert!(rows[3].is_nan());
    assert_eq!([&rows[..3], &rows[4..]].concat(), [5.0, 6.0, 1.0, 0.0, 0.0, 0.0, 0.0, 5.0, 6.0]);

    let labels = Tensor::from_u32(&gpu(), "labels", [3], &[7, 8, 9]).expect("fits");
    let graph = Graph::new();
    let batch = graph.leaf(&labels).gather_labels(graph.leaf(&indices(&[1, 3, 0]))).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[batch]).expect("fits");
    plan.run(1).expect("the device works");
    assert_eq!(plan.read_u32(batch).expect("kept"), [8, u32::MAX, 7]);

    // Images of three bytes start within a word; the fourth index names none.
    let bytes = Tensor::from_u8(&gpu(), "images", [3, 1, 1, 3], &[0, 255, 2, 3, 4, 5, 6, 7, 200]).expect("fits");
    let images = value(&[&bytes, &indices(&[2, 1, 0, 3])], |_, x| x[0].gather_images(x[1], 0.5, -1.0));
    assert_eq!(images, [2.0, 2.5, 99.0, 0.5, 1.0, 1.5, -1.0, 126.5, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn the_gradient_of_a_gather_adds_up_what_was_read_twice() {
    let table = Tensor::zeros(&gpu(), "table", TensorType::f32([4, 1])).expect("fits");
    let weights = Tensor::from_f32(&gpu(), "weights", [5, 1], &[1.0, 10.0, 100.0, 1000.0, 10_000.0]).expect("fits");
    let gradient = value(&[&table, &indices(&[2, 0, 2, 9, 2]), &weights], |graph, x| {
        let loss = x[0].gather(x[1])?.mul(x[2])?.sum_all()?;
        Ok(graph.grad(loss, &[x[0]])?[0])
    });
    assert_eq!(gradient, [10.0, 0.0, 10_101.0, 0.0]);
}

/// `record` of images, and the gradient of Σ weights · that; with as many dispatches as each takes.
fn pooled(
    shape: [usize; 4],
    images: &[f32],
    weights: &[f32],
    record: impl for<'g> Fn(Var<'g>) -> Result<Var<'g>>,
) -> (Vec<f32>, Vec<f32>, [usize; 2]) {
    let images = Tensor::from_f32(&gpu(), "images", shape, images).expect("fits");
    let graph = Graph::new();
    let x = graph.leaf(&images);
    let y = record(x).expect("legal");
    let dy = graph.leaf(&Tensor::from_f32(&gpu(), "weights", y.shape(), weights).expect("fits"));
    let loss = y.mul(dy).and_then(Var::sum_all).expect("same shape");
    let dx = graph.grad(loss, &[x]).expect("differentiable")[0];
    let launches = |keep: &[Var<'_>]| Plan::new(&gpu(), &graph, keep).expect("fits").launches().len();
    let number = launches(&[y]);
    // The product with the leaf is the only other dispatch of a gradient: it is dy · 1.
    let back = Plan::new(&gpu(), &graph, &[y, dx]).expect("fits");
    let own = back.launches().filter(|launch| launch.op != "mul").count() - number;
    back.run(1).expect("the device works");
    (back.read(y).expect("kept"), back.read(dx).expect("kept"), [number, own])
}

#[test]
fn a_max_pool_by_hand_gives_the_gradient_to_the_first_maximum() {
    let x = [1.0, 3.0, 3.0, 0.0, 2.0, 2.0, 3.0, -1.0, 0.0, 5.0, 4.0, 5.0];
    // Windows of rows 0 and 1: {1 3 2 2} {3 3 2 3} {3 0 3 -1}; of rows 1 and 2: {2 2 0 5} {2 3 5 4} {3 -1 4 5}.
    let (y, dx, dispatches) = pooled([1, 1, 3, 4], &x, &[1.0, 10.0, 100.0, 1e3, 1e4, 1e5], |x| x.max_pool(2, 1, 0));
    assert_eq!(y, [3.0, 3.0, 3.0, 5.0, 5.0, 5.0]);
    assert_eq!(dx, [0.0, 11.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 11e3, 0.0, 1e5]);
    assert_eq!(dispatches, [1, 1]);

    // Padding is −∞, not zero, and a window of −∞ alone has a first maximum too.
    let low = f32::NEG_INFINITY;
    let (y, dx, _) = pooled([1, 1, 2, 2], &[-1.0, -2.0, low, -4.0], &[1.0, 2.0, 3.0, 4.0], |x| x.max_pool(2, 2, 1));
    assert_eq!((y, dx), (vec![-1.0, -2.0, low, -4.0], vec![1.0, 2.0, 3.0, 4.0]));
    let (y, dx, _) = pooled([1, 1, 2, 2], &[low; 4], &[7.0], |x| x.max_pool(2, 1, 0));
    assert_eq!((y, dx), (vec![low], vec![7.0, 0.0, 0.0, 0.0]));
}

#[test]
fn a_max_pool_keeps_nan_whether_or_not_the_window_is_the_image() {
    for at in 0..4 {
        let mut x = [1.0, f32::INFINITY, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0];
        x[at] = f32::NAN;
        let (y, dx, _) = pooled([2, 1, 2, 2], &x, &[4.0, 9.0], |x| x.max_pool(2, 2, 0));
        assert!(y[0].is_nan() && y[1] == 8.0, "{y:?}");
        let mut expected = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 9.0];
        expected[at] = 4.0;
        assert_eq!(dx, expected);
        // Two windows side by side go through the other kernel.
        let beside = [x[0], x[1], 5.0, 6.0, x[2], x[3], 7.0, 8.0];
        let (y, _, _) = pooled([1, 1, 2, 4], &beside, &[4.0, 9.0], |x| x.max_pool(2, 2, 0));
        assert!(y[0].is_nan() && y[1] == 8.0, "{y:?}");
    }
}

#[test]
fn an_average_pool_by_hand_counts_the_padding() {
    let (y, dx, dispatches) =
        pooled([1, 1, 2, 3], &[4.0, 8.0, 12.0, 16.0, 20.0, 24.0], &[4.0, 8.0, 12.0, 16.0], |x| x.avg_pool(2, 2, 1));
    // The windows are {4} {8 12} above and {16} {20 24} below, all divided by 4.
    assert_eq!(y, [1.0, 5.0, 4.0, 11.0]);
    assert_eq!(dx, [1.0, 2.0, 2.0, 3.0, 4.0, 4.0]);
    assert_eq!(dispatches, [1, 1]);

    let (y, dx, dispatches) = pooled([1, 2, 1, 2], &[1.0, 2.0, 30.0, 50.0], &[2.0, 6.0], |x| x.global_avg_pool());
    assert_eq!((y, dx), (vec![1.5, 40.0], vec![1.0, 1.0, 3.0, 3.0]));
    assert_eq!(dispatches, [1, 1]);
}

/// llvmpipe leaves a loop early, and silently, where an invocation needs too many iterations.
#[test]
fn the_largest_windows_are_searched_to_their_end() {
    // The kernel for windows that are not the whole image; the maximum is the last pixel of the first window.
    let side = 244;
    let mut x = vec![0.0; side * (side + 1)];
    x[side * side - 1] = 1.0;
    let (y, dx, _) = pooled([1, 1, side + 1, side], &x, &[3.0], |x| x.max_pool(side, side, 0));
    assert_eq!(y, [1.0]);
    assert_eq!(dx.iter().position(|&g| g != 0.0), Some(side * side - 1));
    assert_eq!(dx[side * side - 1], 3.0);
    let (y, dx, _) = pooled([1, 1, side + 1, side], &vec![1.0; x.len()], &[1.0], |x| x.avg_pool(side, side, 0));
    assert!((y[0] - 1.0).abs() < 1e-6, "{y:?}");
    assert!((dx.iter().sum::<f32>() - 1.0).abs() < 1e-3 && dx[side * side - 1] > 0.0 && dx[side * side] == 0.0);

    // One pixel is the maximum of all 15² windows that hold it.
    let mut x = vec![0.0; 29 * 29];
    x[14 * 29 + 14] = 1.0;
    let (y, dx, _) = pooled([1, 1, 29, 29], &x, &[1.0; 225], |x| x.max_pool(15, 1, 0));
    assert_eq!(y, [1.0; 225]);
    assert_eq!(dx[14 * 29 + 14], 225.0);
    assert_eq!(dx.iter().sum::<f32>(), 225.0);
}

#[test]
fn a_pool_that_does_not_fit_says_why() {
    let graph = Graph::new();
    let images = graph.constant(0.0, [2, 3, 8, 6]);
    let large = graph.constant(0.0, [1, 1, 600, 600]);
    for (result, expected) in [
        (images.max_pool(7, 1, 0), "a 7x7 window does not fit 8x6 pixels with padding 0"),
        (images.max_pool(2, 0, 0), "stride 0"),
        (images.avg_pool(0, 1, 0), "a 0x0 window"),
        (images.avg_pool(2, usize::MAX, 0), "from 1 to 65535"),
        (images.max_pool(3, 1, 2), "padding 2 is more than half of a 3x3 window"),
        (large.max_pool(16, 1, 0), "a 16x16 window with stride 1 takes 65536 steps for a pixel, of 60000 at most"),
        (large.max_pool(245, 245, 0), "takes 60025 steps"),
        (large.avg_pool(245, 1, 0), "takes 60025 steps"),
        (graph.constant(0.0, [8, 6]).global_avg_pool(), "not f32[8, 6]"),
        (graph.constant(0.0, [6]).global_avg_pool(), "not f32[6]"),
        (graph.constant(0.0, [1, 1, 0, 6]).max_pool(2, 1, 1), "f32[1, 1, 0, 6] has no pixels"),
    ] {
        let message = result.expect_err(expected).to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert!(large.avg_pool(244, 1, 0).is_ok());
    assert!(large.avg_pool(600, 1, 0).is_ok());
    assert_eq!(graph.constant(0.0, [0, 3, 8, 6]).max_pool(2, 2, 0).expect("legal").ty(), TensorType::f32([0, 3, 4, 3]));
}

/// Of 12 classes: top-5 of an evaluation is what the CPU counts from the logits.
#[test]
fn top_5_is_counted_where_there_are_many_classes() {
    let mut rng = Rng::new(2, 0);
    let count = 60;
    let images = Images {
        channels: 1,
        height: 4,
        width: 4,
        pixels: (0..count * 16).map(|_| rng.below(256) as u8).collect(),
        labels: (0..count).map(|_| rng.below(12) as u16).collect(),
        classes: 12,
        name: "noise".to_string(),
    };
    let data = Dataset::new(&gpu(), &images, None, Some(&images)).expect("fits");
    let target = Network::new(Fcn::new(1, 8), &data, 1).expect("fits");
    let run = Trainer::new(&target, &data, Training { batch: 20, ..Training::new(3) }).run().expect("trains");
    let eval = run.last_eval("test").expect("evaluated");

    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("small"));
    let (_, split) = data.splits().last().expect("a test split");
    let batch = BatchSource::sequential(&data, split, count)
        .and_then(|batches| batches.batch(&graph, &step_state))
        .expect("fits");
    let logits = target.forward(&graph, batch.input, Mode::Eval, CapturePoint::default()).expect("fits").logits;
    let plan = Plan::new(&gpu(), &graph, &[logits]).expect("fits");
    plan.run(1).expect("works");
    let logits = plan.read(logits).expect("kept");
    let hits = |k: usize| {
        let among = |(row, &label): (&[f32], &u16)| row.iter().filter(|&&v| v > row[usize::from(label)]).count() < k;
        let hits = logits.chunks(12).zip(&images.labels).filter(|&pair| among(pair)).count();
        hits as f32 / count as f32
    };
    assert_eq!((eval.top1, eval.top5), (hits(1), Some(hits(5))));
    assert!(hits(1) < hits(5) && hits(5) < 1.0);
}
