//! Settings of layers, data and optimizers arrive where they are used, and loops are cut in pieces.

use trellis_data::Images;
use trellis_guidance::network::{Architecture, Input, InputShape, Mode, NormOrder, Output, Pass, RnnCell, TokenShape};
use trellis_guidance::{BatchSource, CapturePoint, Dataset, Fcn, Mobilenet, Network, Precision, Rnn, Transformer, Vit};
use trellis_rng::Rng;
use trellis_tensor::{
    Graph, LaunchInfo, Layout, Log, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Rule, Schedule, StepState,
    Tensor, Var,
};

use crate::gpu;

fn tensor(shape: &[usize], value: impl Fn(usize) -> f32) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(value).collect();
    Tensor::from_f32(&gpu(), "x", shape, &values).expect("fits")
}

/// Captured activations of a training pass over `images`.
fn activations(network: &Network, images: &Tensor, at: CapturePoint) -> Vec<Vec<f32>> {
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
    let mode = Mode::Train { step_state: &step_state, seed: 4, precision: Precision::F32, recompute: 0 };
    let forward = network.forward(&graph, graph.leaf(images), mode, at).expect("fits");
    let values: Vec<Var<'_>> = forward.activations.iter().map(|activation| activation.value).collect();
    let plan = Plan::new(&gpu(), &graph, &values).expect("fits");
    plan.run(1).expect("works");
    values.into_iter().map(|value| plan.read(value).expect("kept")).collect()
}

/// Every place that has dropout, of every network that has some.
#[test]
fn dropout_stands_wherever_a_network_has_it() {
    let dropout = 0.25;
    let tokens = TokenShape { time: 4, vocabulary: 5, padding: None };
    let encoder = Transformer { dropout, ..Transformer::encoder(1, 8, 2) };
    let (image, tokens) = (InputShape::from([1, 4, 4]), InputShape::from(tokens));
    let of = |norm| Box::new(Transformer { norm, ..encoder }) as Box<dyn Architecture>;
    let networks: [(Box<dyn Architecture>, InputShape, usize); 9] = [
        // After the positions, of probabilities, after attention, within and after the feed-forward part.
        (of(NormOrder::Pre), tokens, 5),
        (of(NormOrder::Post), tokens, 5),
        (of(NormOrder::Inside), tokens, 5),
        (Box::new(Transformer { cross: true, ..encoder }), tokens, 7),
        (Box::new(Vit { dropout, ..Vit::new(2, 8, 2, 2) }), image, 7),
        (Box::new(Vit { attention_dropout: dropout, ..Vit::new(2, 8, 2, 2) }), image, 2),
        (Box::new(Rnn { dropout, ..Rnn::new(RnnCell::Tanh, 3, 8) }), tokens, 2),
        (Box::new(Fcn { dropout, ..Fcn::new(3, 8) }), image, 3),
        (Box::new(Mobilenet { dropout, ..Mobilenet::default() }), image, 1),
    ];
    for (architecture, input, wanted) in networks {
        let network = Network::with_shape(&gpu(), architecture, input, 2, 0).expect("fits");
        let ids = Tensor::from_u32(&gpu(), "ids", [2, 4], &[1; 8]).expect("fits");
        let pixels = tensor(&[2, 1, 4, 4], |at| at as f32);
        let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
        let mode = Mode::Train { step_state: &step_state, seed: 4, precision: Precision::F32, recompute: 0 };
        let leaf = graph.leaf(if input == image { &pixels } else { &ids });
        let logits = network.forward(&graph, input.of(leaf), mode, CapturePoint::default()).expect("fits").logits;
        let plan = Plan::new(&gpu(), &graph, &[logits]).expect("fits");
        let drops = |launch: &&LaunchInfo| launch.op == "dropout" || launch.variant.contains("DROPOUT");
        let count = plan.launches().filter(drops).count();
        assert_eq!(count, wanted, "{}", network.describe());
    }
}

/// ε and momentum are PyTorch's, 1e-5 and 0.1. The numbers are so small that ε counts.
#[test]
fn batch_norm_of_a_network_has_pytorchs_settings() {
    const N: usize = 32;
    let network = || Network::with_shape(&gpu(), Fcn::new(1, 8), [1, 2, 3], 4, 9).expect("fits");
    let mut rng = Rng::new(1, 1);
    let values: Vec<f32> = (0..6 * N).map(|_| 5e-3 * rng.normal()).collect();
    let images = Tensor::from_f32(&gpu(), "images", [N, 1, 2, 3], &values).expect("fits");
    let network = network();
    let before = activations(&network, &images, CapturePoint::BeforeNorm).remove(0);
    let column = |j: usize| (0..N).map(move |i| 8 * i + j);
    let mean: Vec<f64> = (0..8).map(|j| column(j).map(|at| f64::from(before[at])).sum::<f64>() / N as f64).collect();
    let squares = |j: usize| column(j).map(|at| (f64::from(before[at]) - mean[j]).powi(2)).sum::<f64>();
    let running = |name: &str| {
        let all = network.tensors().find(|tensor| tensor.name().ends_with(name)).expect("a batch norm");
        all.read_f32().expect("works")
    };
    for (j, (got, mean)) in running("running_mean").into_iter().zip(&mean).enumerate() {
        assert!((f64::from(got) - 0.1 * mean).abs() < 1e-6, "mean of unit {j}");
    }
    for (j, got) in running("running_var").into_iter().enumerate() {
        let unbiased = squares(j) / (N - 1) as f64;
        assert!((f64::from(got) - 0.9 - 0.1 * unbiased).abs() < 1e-6, "variance of unit {j}");
    }
    let after = activations(&network, &images, CapturePoint::AfterActivation).remove(0);
    for (at, &got) in after.iter().enumerate() {
        let (j, variance) = (at % 8, squares(at % 8) / N as f64);
        assert!(variance < 1e-4, "ε counts");
        let wanted = ((f64::from(before[at]) - mean[j]) / (variance + 1e-5).sqrt()).max(0.0);
        assert!((f64::from(got) - wanted).abs() < 1e-4, "{got} for {wanted}");
    }
}

/// Two dropouts of the same input, both captured.
#[derive(Debug)]
struct TwoDropouts;

impl Architecture for TwoDropouts {
    fn describe(&self) -> String {
        "two dropouts".to_string()
    }

    fn forward<'g>(
        &self,
        pass: &mut Pass<'_, 'g>,
        input: Input<'g>,
        output: Output,
    ) -> trellis_guidance::Result<Var<'g>> {
        let (images, classes) = (input.images()?, output.of_examples()?);
        let x = images.flatten()?;
        for name in ["first", "second"] {
            let y = pass.dropout(x, 0.5)?;
            pass.capture(name, y);
        }
        pass.linear("logits", x, classes, true, trellis_tensor::Init::Default)
    }
}

#[test]
fn each_dropout_of_a_network_has_a_mask_of_its_own() {
    let network = Network::with_shape(&gpu(), TwoDropouts, [1, 32, 32], 2, 1).expect("fits");
    let activations = activations(&network, &tensor(&[4, 1, 32, 32], |_| 1.0), CapturePoint::default());
    let same =
        activations[0].iter().zip(&activations[1]).filter(|(a, b)| a == b).count() as f32 / activations[0].len() as f32;
    assert!((same - 0.5).abs() < 0.05, "{same} of the masks agree");
}

#[test]
fn training_images_have_mean_0_and_variance_1_and_the_test_split_their_scale() {
    let pixels: Vec<u8> = (0..40 * 9).map(|at| if at % 9 == 0 { 255 } else { (at * 7 % 100) as u8 }).collect();
    let labels: Vec<u16> = (0..40).map(|at| at % 2).collect();
    let images = |pixels, labels| Images {
        channels: 1,
        height: 3,
        width: 3,
        pixels,
        labels,
        classes: 2,
        name: "squares".to_string(),
    };
    let (images, test) = (images(pixels, labels), images(vec![255; 9], vec![0]));
    let data = Dataset::new(&gpu(), &images, None, Some(&test)).expect("fits");
    let read = |name: &str, batch: usize| {
        let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
        let split = data.splits().find(|(split, _)| *split == name).expect("there").1;
        let images = BatchSource::sequential(&data, split, batch)
            .and_then(|batches| batches.batch(&graph, &step_state)?.input.images())
            .expect("fits");
        let plan = Plan::new(&gpu(), &graph, &[images]).expect("fits");
        plan.run(1).expect("works");
        plan.read(images).expect("kept")
    };
    let train = read("train", 40);
    let mean = |values: &[f32], power: i32| {
        values.iter().map(|&v| f64::from(v).powi(power)).sum::<f64>() / values.len() as f64
    };
    assert!(mean(&train, 1).abs() < 1e-5 && (mean(&train, 2) - 1.0).abs() < 1e-4, "{}", mean(&train, 2));
    let white = train.iter().copied().fold(f32::MIN, f32::max);
    assert!(read("test", 1).iter().all(|&v| (v - white).abs() < 1e-5));
}

/// With no moments yet, step s moves a weight by rate · (1 − β₁)/(1 − β₁ˢ⁺¹) / √((1 − β₂)/(1 − β₂ˢ⁺¹)). Early on 1 − βˢ⁺¹ is
/// a small difference of numbers near 1, and a series takes its place.
#[test]
fn adams_corrections_keep_their_digits_at_every_step() {
    for step in [0u32, 1, 2, 3, 20, 250, 298, 299, 300, 301, 1000, 30_000] {
        let config =
            OptimizerConfig { rate: Schedule::Constant(0.01), rule: Rule::Adam, weight_decay: 0.0, clip_norm: None };
        let spec = ParamSpec { name: "w".into(), shape: [1].into(), values: vec![0.0].into() };
        let params = Params::new(&gpu(), &[spec]).expect("fits");
        let optimizer = Optimizer::new(&gpu(), &params, config).expect("fits");
        let (step_state, graph) = (StepState::new(&gpu()).expect("fits"), Graph::new());
        step_state.set(step).expect("works");
        let loss = graph.leaf(&params.tensors()[0]).affine(3.0, 0.0).and_then(Var::sum_all).expect("legal");
        optimizer.update(&graph, loss, &step_state).expect("records");
        Plan::new(&gpu(), &graph, &[]).expect("fits").run(1).expect("works");
        let count = f64::from(step + 1);
        let (first, second) = (0.1 / (1.0 - 0.9f64.powf(count)), 0.001 / (1.0 - 0.999f64.powf(count)));
        let wanted = -0.01 * first / second.sqrt();
        let got = f64::from(params.tensors()[0].read_f32().expect("works")[0]);
        assert!((got / wanted - 1.0).abs() < 5e-6, "step {step}: {got} for {wanted}");
    }
}

/// Software adapters leave a loop after 65,535 iterations, so sums over more are cut; each kernel adds what came
/// before.
#[test]
fn sums_over_long_inner_axes_are_whole() {
    const K: usize = 70_000;
    let long = tensor(&[2, K], |at| if at % K < K / 2 { 1.0 } else { 2.0 });
    let tall = tensor(&[K, 2], |at| if at / 2 < K / 2 { 1.0 } else { 2.0 });
    let graph = Graph::new();
    let (x, y) = (graph.leaf(&long), graph.leaf(&tall));
    // A bias must be added once, and not in every piece.
    let bias = graph.leaf(&tensor(&[2], |_| 7.0));
    let image = graph.leaf(&tensor(&[1, 8000, 1, 1], |_| 1.0));
    let filters = graph.leaf(&tensor(&[2, 8000, 3, 3], |_| 1.0));
    let field = graph.leaf(&tensor(&[1, 1, 280, 250], |_| 1.0));
    let filter = graph.leaf(&tensor(&[1, 1, 3, 3], |_| 1.0));
    let swept = field.conv2d(filter, None, 1, 1).and_then(Var::sum_all).expect("fits");
    let values = [
        (x.matmul(y, Layout::NN).and_then(|xy| xy.add(bias)).expect("fits"), 2.5 * K as f32 + 7.0),
        (x.matmul(x, Layout::NT).expect("fits"), 2.5 * K as f32),
        (y.matmul(y, Layout::TN).expect("fits"), 2.5 * K as f32),
        (x.gram().expect("fits"), 2.5 * K as f32),
        (y.feature_gram().expect("fits"), 2.5 * K as f32),
        // One pixel of nine is inside.
        (image.conv2d(filters, Some(bias), 1, 1).expect("fits"), 8000.0 + 7.0),
    ];
    // The middle row of the filter: its center sees every pixel, its ends miss a column.
    let seen = graph.grad(swept, &[filter]).expect("differentiable")[0].slice(2, 1, 1).expect("fits");
    let keep: Vec<Var<'_>> = values.iter().map(|(value, _)| *value).chain([seen]).collect();
    let plan = Plan::new(&gpu(), &graph, &keep).expect("fits");
    plan.run(1).expect("works");
    for (value, wanted) in &values {
        let got = plan.read(*value).expect("kept");
        assert!(got.iter().all(|v| v == wanted), "{got:?}, {wanted}");
    }
    assert_eq!(plan.read(seen).expect("kept"), [280.0 * 249.0, 280.0 * 250.0, 280.0 * 249.0]);
}

/// Copies of one example say nothing of how far examples lie apart.
#[test]
fn the_median_distance_leaves_duplicates_out() {
    const N: usize = 12;
    // Nine copies of one point, and three others at known distances from it and from each other.
    let place = |row: usize| match row {
        9 => 3.0,
        10 => 4.0,
        11 => 12.0,
        _ => 0.0,
    };
    // The difference between the copies is smaller than rounding.
    let x = tensor(&[N, 3], |at| [1e-4 * (at / 3 % 9) as f32, 2.0 + place(at / 3), -7.0][at % 3]);
    let graph = Graph::new();
    let variance = graph.leaf(&x).centered_gram().and_then(|gram| gram.median_variance(1.0)).expect("square");
    let plan = Plan::new(&gpu(), &graph, &[variance]).expect("fits");
    plan.run(1).expect("works");
    // Distances that count: nine each of 3, 4 and 12, and 1, 8, 9: the median of 30 is the 15th, 4.
    let got = plan.read(variance).expect("kept")[0];
    assert!((got - 16.0).abs() < 1e-2, "{got}");
}

/// Each thread that waits for its rows gets them, though another may be the one that the device tells of them.
#[test]
fn rows_arrive_whichever_thread_polls() {
    let gpu = gpu();
    let rows = |value: f32| {
        let (graph, step_state) = (Graph::new(), StepState::new(&gpu).expect("fits"));
        let mut log = Log::new(&gpu, 1).expect("fits");
        log.record(&graph, &step_state, &[graph.constant(value, [])]).expect("one metric");
        step_state.advance(&graph).expect("once");
        let plan = Plan::new(&gpu, &graph, &[]).expect("fits");
        let once = |step| {
            plan.run(1).expect("works");
            log.request(step, 1);
            log.collect(true).expect("works").into_iter().map(|row| row.values[0]).collect::<Vec<_>>()
        };
        assert!((0..150).map(once).all(|values| values == [value]));
    };
    std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || rows(thread as f32)))));
}
