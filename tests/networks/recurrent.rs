//! Recurrent layers and networks: against PyTorch (`golden/recurrent.py`), over many steps, and what they cost.

use trellis_guidance::network::{LabelPer, Mode, Output, RnnCell, Stack, TokenShape};
use trellis_guidance::{CapturePoint, Network, Precision, Rnn};
use trellis_rng::Rng;
use trellis_tensor::{
    Cell, DType, Gpu, Graph, KeyMask, Optimizer, OptimizerConfig, Plan, RecurrenceForm, RecurrentLayer, Schedule,
    StepState, Tensor, TestCase, TestInput, Var,
};

use crate::networks::against_pytorch::{case, compare_network, numbers};
use crate::{gpu, gpu_with_gpu_kernels};

#[test]
fn recurrent_networks_agree_with_pytorch() {
    let rnn = |cell| Rnn { width: 3, ..Rnn::new(cell, 2, 8) };
    let (position, example) = (Output { classes: 5, label_per: LabelPer::Position }, Output::from(2));
    let (tanh, lstm, gru) = (rnn(RnnCell::Tanh), rnn(RnnCell::Lstm), rnn(RnnCell::Gru));
    for (name, rnn, output, padding) in [
        ("rnn", tanh, position, None),
        ("lstm", lstm, position, None),
        ("gru", gru, position, None),
        ("rnn, one label", tanh, example, Some(6)),
        ("lstm, one label", lstm, example, Some(6)),
        ("gru, one label", gru, example, Some(6)),
        ("rnn, odd", Rnn { hidden: 5, ..tanh }, position, None),
        ("paper", Rnn { stack: Stack::Paper, ..tanh }, position, None),
    ] {
        let case = case("recurrent", name);
        let ids: Vec<u32> = numbers(&case["inputs"]).into_iter().map(|id| id as u32).collect();
        let ids = Tensor::from_u32(&gpu(), "ids", [3, 6], &ids).expect("small");
        let shape = TokenShape { time: 6, vocabulary: 7, padding };
        let network = Network::with_shape(&gpu(), rnn, shape, output, 0).expect("fits");
        compare_network(&case, &network, &ids, Mode::Eval);
    }
}

/// Between layers and nowhere else, and only while training.
#[test]
fn dropout_stands_between_layers() {
    let logits = |layers: usize, dropout: f32, training: bool| {
        let shape = TokenShape { time: 5, vocabulary: 4, padding: None };
        let rnn = Rnn { dropout, ..Rnn::new(RnnCell::Gru, layers, 8) };
        let output = Output { classes: 4, label_per: LabelPer::Position };
        let network = Network::with_shape(&gpu(), rnn, shape, output, 3).expect("fits");
        let ids = Tensor::from_u32(&gpu(), "ids", [1, 5], &[0, 1, 2, 3, 0]).expect("small");
        let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("small"));
        let mode = Mode::Train { step_state: &step_state, seed: 0, precision: Precision::F32, recompute: 0 };
        let mode = if training { mode } else { Mode::Eval };
        let input = network.input().of(graph.leaf(&ids));
        let logits = network.forward(&graph, input, mode, CapturePoint::default()).expect("fits").logits;
        let plan = Plan::new(&gpu(), &graph, &[logits]).expect("small");
        plan.run(1).expect("works");
        plan.read(logits).expect("kept")
    };
    assert_ne!(logits(2, 0.5, true), logits(2, 0.0, true));
    assert_eq!(logits(2, 0.5, false), logits(2, 0.0, true));
    assert_eq!(logits(1, 0.5, true), logits(1, 0.0, true));
}

/// The paper's stack hands the end of a sequence to its beginning; the causal one does not.
#[test]
fn only_the_papers_stack_sees_the_future() {
    let logits = |stack: Stack, last: u32| {
        let shape = TokenShape { time: 5, vocabulary: 4, padding: None };
        let rnn = Rnn { stack, ..Rnn::new(RnnCell::Tanh, 2, 8) };
        let network = Network::with_shape(&gpu(), rnn, shape, Output { classes: 4, label_per: LabelPer::Position }, 3);
        let network = network.expect("fits");
        let ids = Tensor::from_u32(&gpu(), "ids", [1, 5], &[0, 1, 2, 3, last]).expect("small");
        let graph = Graph::new();
        let input = network.input().of(graph.leaf(&ids));
        let logits = network.forward(&graph, input, Mode::Eval, CapturePoint::default()).expect("fits").logits;
        let plan = Plan::new(&gpu(), &graph, &[logits]).expect("small");
        plan.run(1).expect("works");
        plan.read(logits).expect("kept")
    };
    let first = |stack, last| logits(stack, last)[..4 * 4].to_vec();
    assert_eq!(first(Stack::Causal, 0), first(Stack::Causal, 1));
    assert_ne!(first(Stack::Paper, 0)[..4], first(Stack::Paper, 1)[..4]);
}

/// Gradients of z, w, bias and h0 and the states of a layer over `time` steps, in pieces of `piece`; and the plan's forward
/// dispatches.
fn in_pieces(cell: Cell, hidden: usize, [time, piece]: [usize; 2], lengths: Option<&Tensor>) -> (usize, Vec<Vec<f32>>) {
    let (batch, gates) = (3, cell.gates());
    let bound = 1.0 / (hidden as f32).sqrt();
    let tensor = |shape: &[usize], stream: u64| {
        let mut rng = Rng::new(5, stream);
        let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.range(-bound, bound)).collect();
        Tensor::from_f32(&gpu(), "x", shape.to_vec(), &values).expect("small")
    };
    let graph = Graph::new();
    let leaf = |shape: &[usize], stream| graph.leaf(&tensor(shape, stream));
    let z = leaf(&[batch, time, gates * hidden], 0);
    let (w, bias) = (leaf(&[gates * hidden, hidden], 1), leaf(&[gates * hidden], 2));
    let first = leaf(&[batch, hidden], 3);
    let mut h0 = first;
    let mut states = Vec::new();
    for start in (0..time).step_by(piece) {
        let layer = RecurrentLayer { cell, w, bias, h0, c0: None };
        let steps = lengths.map(|lengths| KeyMask::Lengths(graph.leaf(lengths)));
        let y = z.slice(1, start, piece).and_then(|z| z.recurrent(layer, steps)).expect("legal");
        h0 = y.slice(1, piece - 1, 1).and_then(|y| y.reshape([batch, hidden])).expect("legal");
        states.push(y);
    }
    let y = Var::concat(&states, 1).expect("legal");
    let loss = y.mul(y).and_then(Var::sum_all).expect("legal");
    let mut keep = graph.grad(loss, &[z, w, bias, first]).expect("differentiable");
    keep.push(y);
    let plan = Plan::new(&gpu(), &graph, &keep).expect("small");
    plan.run(1).expect("works");
    let launches = plan.launches().filter(|launch| launch.kernel == "recurrence").count();
    (launches, keep.into_iter().map(|var| plan.read(var).expect("kept")).collect())
}

/// Long sequences take several dispatches where loops must stay short. Each goes on where the last one ended, forward
/// and backward.
#[test]
fn long_sequences_are_cut_where_loops_end() {
    for (cell, hidden, time) in [(Cell::Tanh, 129, 150), (Cell::Gru, 129, 150), (Cell::Gru, 128, 310)] {
        let (launches, whole) = in_pieces(cell, hidden, [time, time], None);
        if gpu().caps().software {
            assert!((2..20).contains(&launches), "{cell:?}: {launches} dispatches");
        }
        let (_, pieces) = in_pieces(cell, hidden, [time, 10], None);
        for (part, (whole, pieces)) in whole.iter().zip(&pieces).enumerate() {
            let greatest = whole.iter().fold(0f32, |m, v| m.max(v.abs()));
            assert!(greatest > 0.0 && whole.len() == pieces.len(), "{cell:?}: part {part}");
            for (a, b) in whole.iter().zip(pieces) {
                assert!((a - b).abs() <= 1e-4 * greatest, "{cell:?}: {a} for {b}");
            }
        }
    }
}

/// Past its length a sequence stands still, and nothing that is there has a gradient.
#[test]
fn a_sequence_ends_at_its_length() {
    let lengths = Tensor::from_u32(&gpu(), "lengths", [3], &[20, 7, 0]).expect("small");
    for cell in [Cell::Tanh, Cell::Gru] {
        let (_, all) = in_pieces(cell, 129, [20, 20], Some(&lengths));
        let (dz, states) = (&all[0], &all[4]);
        let step = |row: usize, t: usize| &states[(row * 20 + t) * 129..][..129];
        assert_ne!(step(1, 5), step(1, 6));
        assert!((7..20).all(|t| step(1, t) == step(1, 6)) && (1..20).all(|t| step(2, t) == step(2, 0)));
        assert_ne!(step(0, 18), step(0, 19));
        let columns = 129 * cell.gates();
        let moves = |row: usize, t: usize| dz[(row * 20 + t) * columns..][..columns].iter().any(|d| *d != 0.0);
        assert!((0..7).all(|t| moves(1, t)) && !(7..20).any(|t| moves(1, t)) && !(0..20).any(|t| moves(2, t)));
    }
}

/// Four layers of 128 units over 40 steps at batch 64: a training step, Adam included.
#[test]
fn a_training_step_takes_few_dispatches() {
    let shape = TokenShape { time: 40, vocabulary: 13, padding: None };
    let rnn = Rnn::new(RnnCell::Tanh, 4, 128);
    let network = Network::with_shape(&gpu(), rnn, shape, Output { classes: 13, label_per: LabelPer::Position }, 0);
    let network = network.expect("fits");
    let step_state = StepState::new(&gpu()).expect("small");
    let graph = Graph::new();
    let ids = graph.leaf(&Tensor::from_u32(&gpu(), "ids", [64, 40], &[1; 64 * 40]).expect("small"));
    let mode = Mode::Train { step_state: &step_state, seed: 0, precision: Precision::F32, recompute: 0 };
    let forward = network.forward(&graph, network.input().of(ids), mode, CapturePoint::default()).expect("fits");
    let labels = ids.reshape([64 * 40]).expect("legal");
    let logits = forward.logits.reshape([64 * 40, 13]).expect("legal");
    let loss = logits.cross_entropy(labels, 0.0).expect("legal");
    let optimizer = Optimizer::new(&gpu(), network.params(), OptimizerConfig::adam(Schedule::Constant(1e-3)));
    optimizer.expect("fits").update(&graph, loss, &step_state).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[]).expect("fits");
    let count = plan.launches().len();
    assert!((50..=250).contains(&count), "{count} dispatches\n{plan}");
}

/// Logits where an example has one label: those of the last state that is no padding, in the paper's stack behind a
/// ReLU.
#[test]
fn one_label_is_read_off_the_last_state() {
    let shape = TokenShape { time: 5, vocabulary: 4, padding: Some(3) };
    for (stack, positive) in [(Stack::Causal, false), (Stack::Paper, true)] {
        let rnn = Rnn { stack, ..Rnn::new(RnnCell::Tanh, 2, 8) };
        let network = Network::with_shape(&gpu(), rnn, shape, 2, 3).expect("fits");
        let ids = Tensor::from_u32(&gpu(), "ids", [2, 5], &[0, 1, 2, 1, 0, 2, 1, 3, 3, 3]).expect("small");
        let graph = Graph::new();
        let input = network.input().of(graph.leaf(&ids));
        let forward = network.forward(&graph, input, Mode::Eval, CapturePoint::default()).expect("fits");
        let states = forward.activations.last().expect("layers").value;
        let plan = Plan::new(&gpu(), &graph, &[forward.logits, states]).expect("small");
        plan.run(1).expect("works");
        let (logits, states) = (plan.read(forward.logits).expect("kept"), plan.read(states).expect("kept"));
        let values = |name: &str| {
            let tensor = network.tensors().find(|tensor| tensor.name() == name).expect("there");
            tensor.read_f32().expect("works")
        };
        let (weight, bias) = (values("logits.weight"), values("logits.bias"));
        for (example, last) in [(0, 4), (1, 1)] {
            let state = &states[(example * 5 + last) * 8..][..8];
            assert!(state.iter().any(|h| *h < 0.0));
            for class in 0..2 {
                let seen = state.iter().map(|h| if positive { h.max(0.0) } else { *h });
                let wanted: f32 = bias[class] + seen.zip(&weight[8 * class..]).map(|(h, w)| h * w).sum::<f32>();
                let got = logits[2 * example + class];
                assert!((got - wanted).abs() < 1e-5, "{stack:?}: {got} for {wanted}");
            }
        }
    }
}

/// A recurrence in one of its forms, without padding or with some.
fn in_form(form: RecurrenceForm, cell: Cell, hidden: usize, padded: bool) -> TestCase {
    let mut rng = Rng::new(9, hidden as u64);
    let ([batch, time], columns, bound) = ([3, 4], cell.gates() * hidden, 1.0 / (hidden as f32).sqrt());
    let mut sample = TestCase::new(move |x| {
        let c0 = (cell == Cell::Lstm).then(|| x[4]);
        let steps = padded.then(|| KeyMask::Lengths(x[x.len() - 1]));
        x[0].recurrent_as(RecurrentLayer { cell, w: x[1], bias: x[2], h0: x[3], c0 }, steps, Some(form))
    })
    .normal(&mut rng, [batch, time, columns])
    .uniform(&mut rng, [columns, hidden], -bound, bound)
    .uniform(&mut rng, [columns], -bound, bound)
    .uniform(&mut rng, [batch, hidden], -1.0, 1.0);
    if cell == Cell::Lstm {
        sample = sample.uniform(&mut rng, [batch, hidden], -1.0, 1.0);
    }
    if padded { sample.index(&mut rng, [batch], time + 1) } else { sample }
}

/// The plan of a sample's output and gradients, and what it gives in two runs.
fn twice(gpu: &Gpu, sample: &TestCase) -> (Vec<String>, [Vec<Vec<f32>>; 2]) {
    let graph = Graph::new();
    let leaf = |input: &TestInput| {
        let shape = input.ty.shape.clone();
        let tensor = match input.ty.dtype {
            DType::U32 => {
                Tensor::from_u32(gpu, "x", shape, &input.values.iter().map(|&v| v as u32).collect::<Vec<_>>())
            }
            _ => Tensor::from_f32(gpu, "x", shape, &input.values.iter().map(|&v| v as f32).collect::<Vec<_>>()),
        };
        graph.leaf(&tensor.expect("small"))
    };
    let inputs: Vec<Var<'_>> = sample.inputs.iter().map(leaf).collect();
    let y = (sample.record)(&inputs).expect("legal");
    let loss = y.mul(y).and_then(Var::sum_all).expect("legal");
    let mut keep = graph.grad(loss, &inputs[..4]).expect("differentiable");
    keep.push(y);
    let plan = Plan::new(gpu, &graph, &keep).expect("small");
    let run = || {
        plan.run(1).expect("works");
        keep.iter().map(|&var| plan.read(var).expect("kept")).collect()
    };
    let names = plan.launches().filter(|launch| launch.kernel.starts_with("recurrence"));
    (names.map(|launch| format!("{} {}", launch.kernel, launch.variant)).collect(), [run(), run()])
}

/// Forms, forced: states and gradients against f64, the kernel that ran, and the same bits twice. With 72 units,
/// workgroups of 64 to 1024 invocations have teams of 4 to 32 lanes, each with 1 to 18 blocks, of which 0 to 8 are
/// held.
#[test]
fn every_form_of_a_recurrence_agrees_with_f64() {
    use Cell::{Gru, Lstm, Tanh};
    let registers = |invocations, held| RecurrenceForm::Registers { invocations, held };
    let cases = [
        (registers(64, 0), [(Tanh, 72), (Gru, 21)]),
        (registers(64, 8), [(Lstm, 72), (Tanh, 21)]),
        (registers(256, 2), [(Gru, 72), (Lstm, 21)]),
        (registers(256, 8), [(Tanh, 72), (Lstm, 72)]),
        (registers(512, 4), [(Lstm, 72), (Gru, 72)]),
        (registers(1024, 1), [(Gru, 72), (Tanh, 72)]),
        (RecurrenceForm::Steps, [(Lstm, 20), (Gru, 21)]),
        (RecurrenceForm::Steps, [(Tanh, 20), (Tanh, 1)]),
        (RecurrenceForm::Sequences, [(Tanh, 20), (Gru, 2)]),
    ];
    assert!(RecurrenceForm::members().iter().all(|member| cases.iter().any(|(form, _)| form == member)));
    for (number, (form, layers)) in cases.into_iter().enumerate() {
        let kernel = match form {
            RecurrenceForm::Registers { .. } => "recurrence_registers",
            _ => "recurrence",
        };
        // Without shuffles sums are the same whatever is held.
        let in_registers = kernel == "recurrence_registers";
        let devices = [Some(gpu()), (!in_registers || (1..3).contains(&number)).then(gpu_with_gpu_kernels)];
        for (cell, hidden) in layers {
            let sample = in_form(form, cell, hidden, number % 2 == 0);
            let name = format!("{form:?} {cell:?} {hidden}");
            for gpu in devices.iter().flatten() {
                let error = sample.kernel_error(gpu).expect("a small plan runs").relative;
                assert!(error <= 1e-5, "{name}: states {error:.2e}");
                let (launches, [first, second]) = twice(gpu, &sample);
                assert_eq!(first, second, "{name}");
                let ran = |name: String| launches.iter().any(|launch| launch.split(' ').next() == Some(&name));
                assert!(ran(kernel.to_string()) && ran(format!("{kernel}_grad")), "{name}: {launches:?}");
                assert_eq!(launches.len() > 2, form == RecurrenceForm::Steps, "{name}: {launches:?}");
            }
            let errors = sample.gradient_errors(&crate::gpu()).expect("a small plan runs");
            let (rule, device) = (errors.rule, errors.device);
            assert!(rule <= 1e-5 && device <= 1e-4, "{name}: gradient {rule:.2e}, {device:.2e}");
        }
    }
}
