//! Values known from elsewhere: a formula that is wrong in both the kernel and its f64 reference shows only here.

use trellis_tensor::ops::IGNORE;
use trellis_tensor::{AttentionDropout, AttentionMask, Graph, KeyMask, Plan, Result, Tensor, Var};

use crate::gpu;

fn tensor<const N: usize>(shape: [usize; N], values: &[f32]) -> Tensor {
    Tensor::from_f32(&gpu(), "x", shape, values).expect("small")
}

fn labels(values: &[u32]) -> Tensor {
    Tensor::from_u32(&gpu(), "labels", [values.len()], values).expect("small")
}

/// Result of `record` on `tensors` in one step.
fn eval(tensors: &[&Tensor], record: impl for<'g> Fn(&[Var<'g>]) -> Result<Var<'g>>) -> Vec<f32> {
    let graph = Graph::new();
    let leaves: Vec<Var<'_>> = tensors.iter().map(|t| graph.leaf(t)).collect();
    let output = record(&leaves).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[output]).expect("small");
    plan.run(1).expect("the device works");
    plan.read(output).expect("kept")
}

fn assert_close(given: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(given.len(), expected.len());
    for (g, e) in given.iter().zip(expected) {
        assert!((g - e).abs() <= tolerance, "{given:?} is not {expected:?}");
    }
}

#[test]
fn softmax_of_logarithms_gives_their_shares() {
    let x = tensor([2, 3], &[1f32.ln(), 2f32.ln(), 5f32.ln(), 1000.0, 1000.0, -1000.0]);
    assert_close(&eval(&[&x], |x| x[0].softmax()), &[0.125, 0.25, 0.625, 0.5, 0.5, 0.0], 1e-6);
    let (half, shares) = (0.5f32.ln(), [0.125f32, 0.25, 0.625].map(f32::ln));
    let expected = [shares[0], shares[1], shares[2], half, half, half - 2000.0];
    assert_close(&eval(&[&x], |x| x[0].log_softmax()), &expected, 1e-5);
}

#[test]
fn cross_entropy_of_uniform_logits_is_the_logarithm_of_the_number_of_classes() {
    for smoothing in [0.0, 0.1, 1.0] {
        let loss = eval(&[&tensor([2, 7], &[3.0; 14]), &labels(&[0, 6])], |x| x[0].cross_entropy(x[1], smoothing));
        assert_close(&loss, &[7f32.ln()], 1e-6);
    }
}

#[test]
fn smoothed_cross_entropy_has_the_value_computed_by_hand() {
    // Probabilities 1/8, 2/8, 5/8 and label 2; q = 0.3 / 3 + (0.7 for the label).
    let x = tensor([1, 3], &[1f32.ln(), 2f32.ln(), 5f32.ln()]);
    let [a, b, c] = [0.125f32, 0.25, 0.625];
    let expected = -0.8 * c.ln() - 0.1 * a.ln() - 0.1 * b.ln();
    assert_close(&eval(&[&x, &labels(&[2])], |x| x[0].cross_entropy(x[1], 0.3)), &[expected], 1e-6);
    let gradient = eval(&[&x, &labels(&[2])], |x| Ok(x[0].graph().grad(x[0].cross_entropy(x[1], 0.3)?, &[x[0]])?[0]));
    assert_close(&gradient, &[a - 0.1, b - 0.1, c - 0.8], 1e-6);
}

#[test]
fn ignored_rows_count_neither_in_the_mean_nor_in_the_gradient() {
    let x = tensor([4, 2], &[0.0, 0.0, f32::NAN, 1.0, 0.0, 3f32.ln(), f32::INFINITY, 0.0]);
    let y = labels(&[0, IGNORE, 0, 2]);
    let expected = (2f32.ln() + 4f32.ln()) / 2.0;
    assert_close(&eval(&[&x, &y], |x| x[0].cross_entropy(x[1], 0.0)), &[expected], 1e-6);
    assert_close(&eval(&[&x, &y], |x| x[0].cross_entropy_rows(x[1], 0.0)), &[2f32.ln(), 0.0, 4f32.ln(), 0.0], 1e-6);
    let gradient = eval(&[&x, &y], |x| Ok(x[0].graph().grad(x[0].cross_entropy(x[1], 0.0)?, &[x[0]])?[0]));
    assert_close(&gradient, &[-0.25, 0.25, 0.0, 0.0, -0.375, 0.375, 0.0, 0.0], 1e-6);
}

#[test]
fn cross_entropy_of_huge_logits_is_finite_and_of_nan_is_nan() {
    let x = tensor([3, 2], &[1e30, -1e30, 0.0, f32::NEG_INFINITY, f32::NAN, 0.0]);
    let rows = eval(&[&x, &labels(&[0, 0, 0])], |x| x[0].cross_entropy_rows(x[1], 0.0));
    assert_eq!(rows[..2], [0.0, 0.0]);
    assert!(rows[2].is_nan(), "{rows:?}");
}

#[test]
fn cross_entropy_is_four_dispatches_with_its_gradient() {
    let graph = Graph::new();
    let (x, y) = (tensor([4, 10], &[0.5; 40]), labels(&[1, 2, 3, 4]));
    let x = graph.leaf(&x);
    let loss = x.cross_entropy(graph.leaf(&y), 0.1).expect("legal");
    let gradient = graph.grad(loss, &[x]).expect("differentiable")[0];
    assert_eq!(Plan::new(&gpu(), &graph, &[loss, gradient]).expect("small").launches().len(), 4);
}

#[test]
fn top1_takes_the_first_maximum_and_rejects_nan() {
    let x = tensor([5, 3], &[1., 2., 2., 1., 2., 2., 3., f32::NAN, 1., 3., 2., 1., f32::INFINITY, 0., 0.]);
    assert_eq!(eval(&[&x, &labels(&[1, 2, 0, IGNORE, 0])], |x| x[0].top1(x[1])), [1., 0., 0., 0., 1.]);
}

#[test]
fn smoothing_outside_its_range_is_an_error() {
    let graph = Graph::new();
    let (x, y) = (tensor([1, 2], &[0.0; 2]), labels(&[0]));
    let error = graph.leaf(&x).cross_entropy(graph.leaf(&y), 1.5).expect_err("not in [0, 1]");
    assert!(error.to_string().contains("1.5 is not in [0, 1]"), "{error}");
}

const X: [f32; 6] = [1.0, 10.0, 2.0, 10.0, 6.0, 40.0]; // [3, 2]: channel means 3 and 20, variances 14/3 and 200

#[test]
fn layer_norm_gives_rows_of_mean_0_and_variance_1() {
    let values: Vec<f32> = (0..300).map(|i| 1000.0 + (i * i % 97) as f32).collect();
    let y = eval(&[&tensor([3, 100], &values), &tensor([100], &[1.0; 100]), &tensor([100], &[0.0; 100])], |x| {
        x[0].layer_norm(x[1], x[2], 0.0)
    });
    for row in y.chunks(100) {
        assert_close(&[row.iter().sum::<f32>() / 100.0], &[0.0], 1e-5);
        assert_close(&[row.iter().map(|y| y * y).sum::<f32>() / 100.0], &[1.0], 1e-5);
    }
    let y = eval(&[&tensor([2, 2], &[1., 3., 5., 5.]), &tensor([2], &[2., 3.]), &tensor([2], &[10., 20.])], |x| {
        x[0].layer_norm(x[1], x[2], 3.0)
    });
    assert_close(&y, &[9.0, 21.5, 10.0, 20.0], 1e-5);
}

#[test]
fn batch_norm_of_known_data() {
    let (gamma, beta) = (tensor([2], &[2.0, 1.0]), tensor([2], &[0.5, 0.0]));
    let y = eval(&[&tensor([3, 2], &X), &gamma, &beta], |x| x[0].batch_norm(x[1], x[2], 0.0));
    let (a, b) = ((14f32 / 3.0).sqrt(), 200f32.sqrt());
    let expected = [0.5 - 4.0 / a, -10.0 / b, 0.5 - 2.0 / a, -10.0 / b, 0.5 + 6.0 / a, 20.0 / b];
    assert_close(&y, &expected, 1e-5);
    // The same data as [batch, channels, 1, 3] of one example: channel means 13/3 and 56/3.
    let y = eval(&[&tensor([1, 2, 1, 3], &X), &gamma, &beta], |x| x[0].batch_norm(x[1], x[2], 1.0));
    let c = (146f32 / 9.0 + 1.0).sqrt(); // (1 + 100 + 4) / 3 - 169/9 = 146/9
    assert_close(&y[..3], &[0.5 - 20.0 / 3.0 / c, 0.5 + 34.0 / 3.0 / c, 0.5 - 14.0 / 3.0 / c], 1e-5);
}

#[test]
fn batch_norm_training_keeps_running_statistics_as_pytorch_does() {
    let (gamma, beta) = (tensor([2], &[1.0; 2]), tensor([2], &[0.0; 2]));
    let (mean, variance) = (tensor([2], &[0.0; 2]), tensor([2], &[1.0; 2]));
    let x = tensor([3, 2], &X);
    let graph = Graph::new();
    let [gamma, beta, m, v] = [&gamma, &beta, &mean, &variance].map(|t| graph.leaf(t));
    let y = graph.leaf(&x).batch_norm_train(gamma, beta, m, v, 0.1, 1e-5).expect("legal").relu().expect("f32");
    let gradient = graph.grad(y.sum_all().expect("f32"), &[graph.leaf(&x)]).expect("differentiable")[0];
    let forward = Plan::new(&gpu(), &graph, &[y]).expect("small");
    let names: Vec<&str> = forward.launches().map(|launch| launch.op).collect();
    assert_eq!(names, ["batch_stats", "running_statistics", "batch_norm_relu"]);
    // BatchStats, update, normalize with relu, relu's gradient, sums, dx.
    assert_eq!(Plan::new(&gpu(), &graph, &[y, gradient]).expect("small").launches().len(), 6);
    forward.run(1).expect("the device works");
    // Unbiased variances: 14/3 · 3/2 = 7 and 300.
    assert_close(&mean.read_f32().expect("works"), &[0.3, 2.0], 1e-6);
    assert_close(&variance.read_f32().expect("works"), &[0.9 + 0.7, 0.9 + 30.0], 1e-5);
    forward.run(1).expect("the device works");
    assert_close(&mean.read_f32().expect("works"), &[0.57, 3.8], 1e-6);
}

#[test]
fn batch_norm_with_stored_statistics_is_affine() {
    let (gamma, beta) = (tensor([2], &[2.0, 1.0]), tensor([2], &[0.5, 0.0]));
    let (mean, variance) = (tensor([2], &[1.0, 20.0]), tensor([2], &[4.0, 25.0]));
    let leaves = [&tensor([3, 2], &X), &gamma, &beta, &mean, &variance];
    let y = eval(&leaves, |x| x[0].batch_norm_eval(x[1], x[2], x[3], x[4], 0.0));
    assert_close(&y, &[0.5, -2.0, 1.5, -2.0, 5.5, 4.0], 1e-5);
    let gradient = |wanted: usize| {
        eval(&leaves, move |x| {
            let y = x[0].batch_norm_eval(x[1], x[2], x[3], x[4], 0.0)?;
            Ok(x[0].graph().grad(y.sum_all()?, &[x[wanted]])?[0])
        })
    };
    assert_close(&gradient(0), &[1.0, 0.2, 1.0, 0.2, 1.0, 0.2], 1e-6);
    assert_close(&gradient(1), &[3.0, 0.0], 1e-6);
    assert_close(&gradient(2), &[3.0, 3.0], 1e-6);
}

#[test]
fn batch_norm_survives_large_offsets_and_single_rows() {
    let near: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.0) / 32.0).collect();
    let far: Vec<f32> = near.iter().map(|x| x + 1024.0).collect(); // exact in f32
    let (gamma, beta) = (tensor([1], &[1.0]), tensor([1], &[0.0]));
    let normal = |x: &[f32]| eval(&[&tensor([512, 1], x), &gamma, &beta], |x| x[0].batch_norm(x[1], x[2], 0.0));
    assert_close(&normal(&far), &normal(&near), 1e-4);
    let single = [&tensor([1, 1], &[3.0]), &gamma, &tensor([1], &[7.0]), &tensor([1], &[1.0]), &tensor([1], &[1.0])];
    let y = eval(&single, |x| x[0].batch_norm_train(x[1], x[2], x[3], x[4], 0.5, 1e-5));
    assert_eq!((y, single[3].read_f32(), single[4].read_f32()), (vec![7.0], Ok(vec![2.0]), Ok(vec![0.5])));
}

#[test]
fn dropout_keeps_the_mean_and_draws_another_mask_each_step_and_stream() {
    let x = tensor([40_001], &[1.0; 40_001]);
    let draw = |step: u32, seed: u64, stream: u32| {
        let step_state = labels(&[step, 9, 9, 9]);
        eval(&[&x, &step_state], |x| x[0].dropout(x[1], 0.25, seed, stream))
    };
    let y = draw(1, 5, 0);
    assert!(y.iter().all(|&v| v == 0.0 || v == 1.0 / 0.75));
    let mean = y.iter().sum::<f32>() / y.len() as f32;
    assert!((mean - 1.0).abs() < 0.01, "{mean}"); // four standard deviations are 0.0115
    for other in [draw(2, 5, 0), draw(1, 5, 1), draw(1, 6, 0), draw(1, 5 | 1 << 40, 0)] {
        let same = y.iter().zip(&other).filter(|(a, b)| a == b).count() as f32 / y.len() as f32;
        assert!((same - 0.625).abs() < 0.02, "{same}: independent masks agree on 1 - 2 p (1 - p)");
    }
    assert_eq!(draw(1, 5, 0), y);
    // The four words of a block are independent too.
    let pairs = y.chunks_exact(4).filter(|c| c[0] == 0.0 && c[1] == 0.0).count() as f32 / 10_000.0;
    assert!((pairs - 0.0625).abs() < 0.01, "{pairs}");
}

#[test]
fn dropout_of_probability_0_is_the_input_and_of_1_an_error() {
    let graph = Graph::new();
    let (x, step_state) = (tensor([3], &[1.0; 3]), labels(&[0; 4]));
    let (x, step_state) = (graph.leaf(&x), graph.leaf(&step_state));
    let recorded = graph.len();
    x.dropout(step_state, 0.0, 1, 1).expect("legal");
    assert_eq!(graph.len(), recorded);
    for p in [1.0, -0.1, f32::NAN] {
        let error = x.dropout(step_state, p, 1, 1).expect_err("not a probability below 1");
        assert!(error.to_string().contains("is not in [0, 1)"), "{error}");
    }
}

/// Mesa's llvmpipe leaves loops after 65,535 iterations of one invocation and says nothing.
#[test]
fn rows_longer_than_a_software_adapters_loops_are_whole() {
    const N: usize = 100_000;
    let values: Vec<f32> = (0..N).map(|i| if i < N / 2 { 1.0 } else { -1.0 }).collect();
    let leaves = [&tensor([N], &values), &tensor([N], &[1.0; N]), &tensor([N], &[0.0; N]), &tensor([1], &[1.0])];
    let whole = |record: for<'g> fn(&[Var<'g>]) -> Result<Var<'g>>| {
        let y = eval(&leaves, record);
        [y[0], y[N - 1]]
    };
    assert_close(&eval(&leaves, |x| x[0].sum_all()), &[0.0], 0.0);
    assert_close(&eval(&leaves, |x| x[1].sum_all()), &[N as f32], 0.0);
    assert_close(&whole(|x| x[0].layer_norm(x[1], x[2], 0.0)), &[1.0, -1.0], 1e-5);
    assert_close(&whole(|x| x[0].reshape([N, 1])?.batch_norm(x[3], x[3], 0.0)), &[2.0, 0.0], 1e-5);
    assert_close(&whole(|x| x[0].reshape([1, 1, N])?.batch_norm(x[3], x[3], 0.0)), &[2.0, 0.0], 1e-5);
    let e = 1f32.exp();
    let share = 2.0 / (N as f32 * (e + 1.0 / e));
    assert_close(&whole(|x| x[0].softmax()), &[e * share, share / e], 1e-9);
    // So long that a whole workgroup goes over one row.
    let long = 1_000_000;
    let zeros = Tensor::from_f32(&gpu(), "zeros", [1, long], &vec![0.0; long]).expect("fits");
    assert!(eval(&[&zeros], |x| x[0].softmax()).iter().all(|share| (share * long as f32 - 1.0).abs() < 1e-3));
}

#[test]
fn empty_tensors_need_no_work() {
    let graph = Graph::new();
    let x = graph.leaf(&tensor([0, 3], &[]));
    let (y, sum) = (x.relu().expect("legal"), x.sum(&[1], false).expect("legal"));
    let plan = Plan::new(&gpu(), &graph, &[y, sum]).expect("nothing fits anywhere");
    plan.run(1).expect("the device works");
    assert_eq!((plan.launches().len(), plan.read(y), plan.read(sum)), (0, Ok(vec![]), Ok(vec![])));
}

/// Bases and exponents where exp(a log x) alone would go wrong; values by PyTorch.
#[test]
fn powers_of_zero_and_of_negative_numbers() {
    let x = [0.0, 1.0, 2.0, -1.0, -2.0];
    let nan = f32::NAN;
    for (exponent, wanted, derivative) in [
        (0.0, [1.0, 1.0, 1.0, 1.0, 1.0], [0.0; 5]),
        (1.0, [0.0, 1.0, 2.0, -1.0, -2.0], [1.0; 5]),
        (2.0, [0.0, 1.0, 4.0, 1.0, 4.0], [0.0, 2.0, 4.0, -2.0, -4.0]),
        (3.0, [0.0, 1.0, 8.0, -1.0, -8.0], [0.0, 3.0, 12.0, 3.0, 12.0]),
        (0.5, [0.0, 1.0, 2f32.sqrt(), nan, nan], [f32::INFINITY, 0.5, 0.5 / 2f32.sqrt(), nan, nan]),
    ] {
        let graph = Graph::new();
        let leaf = graph.leaf(&tensor([5], &x));
        let y = leaf.pow(exponent).expect("f32");
        let dx = graph.grad(y.sum_all().expect("f32"), &[leaf]).expect("differentiable")[0];
        let plan = Plan::new(&gpu(), &graph, &[y, dx]).expect("fits");
        plan.run(1).expect("works");
        for (got, wanted) in [(y, wanted), (dx, derivative)].map(|(var, w)| (plan.read(var).expect("kept"), w)) {
            let same = |a: f32, b: f32| a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() < 1e-5;
            assert!(got.iter().zip(wanted).all(|(a, b)| same(*a, b)), "x^{exponent}: {got:?} for {wanted:?}");
        }
    }
}

#[test]
fn equal_maxima_over_any_axes_share_the_gradient() {
    let graph = Graph::new();
    let x = graph.leaf(&tensor([2, 1, 2], &[5.0, 1.0, 5.0, 5.0]));
    let y = x.max(&[0, 2], true).expect("legal");
    assert_eq!(y.shape()[..], [1, 1, 1]);
    let dx = graph.grad(y.sum_all().expect("f32"), &[x]).expect("differentiable")[0];
    let plan = Plan::new(&gpu(), &graph, &[y, dx]).expect("fits");
    plan.run(1).expect("works");
    let third = 1.0 / 3.0;
    assert_eq!((plan.read(y), plan.read(dx)), (Ok(vec![5.0]), Ok(vec![third, 0.0, third, third])));
}

/// Software adapters would leave these loops half done.
#[test]
fn loops_too_long_for_a_software_adapter_are_refused() {
    if !gpu().caps().software {
        return;
    }
    let graph = Graph::new();
    let table = graph.leaf(&tensor([3, 1], &[1.0; 3]));
    let index = trellis_tensor::Tensor::from_u32(&gpu(), "index", [70_000], &[0; 70_000]).expect("fits");
    let rows = table.gather(graph.leaf(&index)).expect("legal");
    let gradient = graph.grad(rows.sum_all().expect("f32"), &[table]).expect("differentiable")[0];
    let error = Plan::new(&gpu(), &graph, &[gradient]).err().expect("refused").to_string();
    assert!(error.contains("gather_grad") && error.contains("70000 loop iterations"), "{error}");
}

/// With q and k of zeros all probabilities are alike, and with v the unit matrix a row of the output shows them.
#[test]
fn dropout_of_attention_keeps_the_mean_and_has_a_mask_for_each_head_step_and_stream() {
    const T: usize = 61;
    let unit: Vec<f32> = (0..T * 2 * 64).map(|at| f32::from(at / 128 == at % 64)).collect();
    let (q, v) = (tensor([1, T, 128], &[0.0; T * 128]), tensor([1, T, 128], &unit));
    let draw = |step: u32, seed: u64, stream: u32| {
        let step_state = labels(&[step, 9, 9, 9]);
        let y = eval(&[&q, &v, &step_state], |x| {
            let dropout = Some(AttentionDropout { step_state: x[2], p: 0.25, seed, stream });
            x[0].attention(x[0], x[1], 2, AttentionMask { dropout, ..AttentionMask::default() })
        });
        // A key's probability for each query of each head.
        let pairs = (0..2 * T * T).map(|at| T as f32 * y[at / T % T * 128 + at / T / T * 64 + at % T]);
        pairs.map(|factor| (factor > 0.0).then_some(factor)).collect::<Vec<_>>()
    };
    let pairs = draw(1, 5, 0);
    assert!(pairs.iter().flatten().all(|factor| (factor - 1.0 / 0.75).abs() < 1e-5), "{pairs:?}");
    let dropped = pairs.iter().filter(|pair| pair.is_none()).count() as f32 / pairs.len() as f32;
    assert!((dropped - 0.25).abs() < 0.02, "{dropped}"); // four standard deviations
    let alike = |a: &[Option<f32>], b: &[Option<f32>], what: &str| {
        let same =
            a.iter().zip(b).filter(|(a, b)| a.is_some() == b.is_some()).count() as f32 / a.len().min(b.len()) as f32;
        assert!((same - 0.625).abs() < 0.035, "{what}: independent masks agree on 1 - 2 p (1 - p), not {same}");
    };
    for other in [draw(2, 5, 0), draw(1, 5, 1), draw(1, 6, 0), draw(1, 5 | 1 << 40, 0)] {
        alike(&pairs, &other, "another draw");
    }
    assert!(draw(1, 5, 0) == pairs);
    alike(&pairs[..T * T], &pairs[T * T..], "the heads");
    for shift in [1, 2, 4, T, 2 * T, 4 * T] {
        alike(&pairs, &pairs[shift..], &format!("pairs {shift} apart"));
    }
}

#[test]
fn attention_without_keys_gives_zeros_and_costs_few_dispatches_with_its_gradient() {
    let graph = Graph::new();
    let values: Vec<f32> = (0..2 * 200 * 48).map(|i| (i % 17) as f32 - 8.0).collect();
    let (qkv, lengths) = (tensor([2, 200, 48], &values), labels(&[0, 200]));
    let (qkv, lengths) = (graph.leaf(&qkv), graph.leaf(&lengths));
    let mask = AttentionMask { keys: Some(KeyMask::Lengths(lengths)), ..AttentionMask::default() };
    let output = qkv.self_attention(2, mask).expect("legal");
    let loss = output.mul(output).and_then(Var::sum_all).expect("legal");
    let gradient = graph.grad(loss, &[qkv]).expect("differentiable")[0];
    let plan = Plan::new(&gpu(), &graph, &[output, gradient]).expect("small");
    // Nothing is copied to part q, k and v, or to join heads or gradients.
    let count = |op: &str| plan.launches().filter(|launch| launch.op.starts_with(op)).count();
    let software = gpu().caps().software;
    // On hardware keys are split over workgroups, whose parts are joined.
    let attention = if software { 4 } else { 5 };
    assert_eq!([count("attention"), count("permute"), count("slice"), count("pad")], [attention, 0, 0, 0]);
    assert!(
        !software || plan.memory() < 4 * 2 * 2 * 200 * 200,
        "{} bytes: as much as scores would take",
        plan.memory()
    );
    plan.run(1).expect("the device works");
    for var in [output, gradient] {
        let values = plan.read(var).expect("kept");
        let (masked, seen) = values.split_at(values.len() / 2);
        assert!(masked.iter().all(|&v| v == 0.0) && seen.iter().any(|&v| v != 0.0), "{values:?}");
        assert!(seen.iter().all(|v| v.is_finite()));
    }
}
