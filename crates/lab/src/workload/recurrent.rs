//! Workloads of recurrent layers and networks.

use trellis_tensor::{
    Cell, Gpu, Graph, Layout, Log, Optimizer, OptimizerConfig, Plan, RecurrenceForm, RecurrentLayer, Schedule,
    StepState, Tensor,
};

use super::{Kind, Prepared, Workload, normal, scaled};
use trellis_guidance::network::{LabelPer, Mode, Output, RnnCell, TokenShape};
use trellis_guidance::{CapturePoint, Network, Precision, Result, Rnn};

/// Layers and hidden units of a network without an output, in a form of its own or the chosen one.
pub(super) fn workload(
    name: &'static str,
    cell: Cell,
    [layers, hidden]: [usize; 2],
    backward: bool,
    form: Option<RecurrenceForm>,
) -> Workload {
    Workload { name, kind: Kind::Recurrence { cell, layers, hidden, backward, form } }
}

/// Forms of recurrences against each other, and the chosen ones.
pub(super) fn large_workloads() -> Vec<Workload> {
    use Cell::{Gru, Lstm, Tanh};
    let small = |name, cell, form| workload(name, cell, [4, 128], true, form);
    let wide = |name, form| workload(name, Tanh, [1, 512], true, form);
    let registers = |invocations, held| Some(RecurrenceForm::Registers { invocations, held });
    let (sequences, steps) = (Some(RecurrenceForm::Sequences), Some(RecurrenceForm::Steps));
    vec![
        Workload { name: "rnn_step_4x128_t40_b64", kind: Kind::Rnn },
        workload("rnn_fwd_4x128_t40_b64", Tanh, [4, 128], false, None),
        workload("rnn_fwd_4x128_t40_b64_sequences", Tanh, [4, 128], false, sequences),
        small("rnn_fwdbwd_4x128_t40_b64", Tanh, None),
        small("rnn_fwdbwd_4x128_t40_b64_sequences", Tanh, sequences),
        small("rnn_fwdbwd_4x128_t40_b64_steps", Tanh, steps),
        small("rnn_fwdbwd_4x128_t40_b64_registers_256", Tanh, registers(256, 4)),
        small("rnn_fwdbwd_4x128_t40_b64_registers_1024", Tanh, registers(1024, 1)),
        small("lstm_fwdbwd_4x128_t40_b64", Lstm, None),
        small("lstm_fwdbwd_4x128_t40_b64_steps", Lstm, steps),
        small("lstm_fwdbwd_4x128_t40_b64_registers_512_held_0", Lstm, registers(512, 0)),
        small("lstm_fwdbwd_4x128_t40_b64_registers_512_held_6", Lstm, registers(512, 6)),
        small("gru_fwdbwd_4x128_t40_b64", Gru, None),
        wide("rnn_fwdbwd_1x512_t40_b64", None),
        wide("rnn_fwdbwd_1x512_t40_b64_registers_512", registers(512, 4)),
    ]
}

/// One training step of a causal recurrent network.
pub(super) fn training_step(gpu: &Gpu) -> Result<Prepared> {
    let [batch, time, layers, hidden, vocabulary] = [64, 40, 4, 128, 13];
    let shape = TokenShape { time, vocabulary, padding: None };
    let output = Output { classes: vocabulary, label_per: LabelPer::Position };
    let target = Network::with_shape(gpu, Rnn::new(RnnCell::Tanh, layers, hidden), shape, output, 1)?;
    let tokens: Vec<u32> = (0..(batch * time) as u32).map(|i| i % vocabulary as u32).collect();
    let tokens = Tensor::from_u32(gpu, "tokens", [batch, time], &tokens)?;
    let step_state = StepState::new(gpu)?;
    let optimizer = Optimizer::new(gpu, target.params(), OptimizerConfig::adam(Schedule::Constant(1e-3)))?;
    let graph = Graph::new();
    let ids = graph.leaf(&tokens);
    let mode = Mode::Train { step_state: &step_state, seed: 0, precision: Precision::F32, recompute: 0 };
    let logits = target.forward(&graph, target.input().of(ids), mode, CapturePoint::default())?.logits;
    let loss = logits.reshape([batch * time, vocabulary])?.cross_entropy(ids.reshape([batch * time])?, 0.0)?;
    let metrics = [vec![loss], optimizer.update(&graph, loss, &step_state)?].concat();
    Log::new(gpu, metrics.len())?.record(&graph, &step_state, &metrics)?;
    let rows = (batch * time) as u64;
    let flops = 6 * rows * (2 * layers * hidden * hidden + hidden * vocabulary) as u64;
    Ok(Prepared { plan: Plan::new(gpu, &graph, &[])?, flops })
}

/// Layers of a recurrent network, each with the projection of its input.
pub(super) fn layers(
    gpu: &Gpu,
    cell: Cell,
    [layers, hidden]: [usize; 2],
    backward: bool,
    form: Option<RecurrenceForm>,
) -> Result<Prepared> {
    let [batch, time] = [64, 40];
    let columns = cell.gates() * hidden;
    let graph = Graph::new();
    let (h0, bias) = (graph.constant(0.0, [batch, hidden]), graph.constant(0.0, [columns]));
    let mut weights = Vec::new();
    let mut x = graph.leaf(&normal(gpu, [batch, time, hidden], 100)?);
    for layer in 0..layers as u64 {
        let weight = |stream| scaled(gpu, [columns, hidden], stream, 1.0 / (hidden as f32).sqrt());
        let (w, recurrent) = (graph.leaf(&weight(2 * layer)?), graph.leaf(&weight(2 * layer + 1)?));
        let z = x.reshape([batch * time, hidden])?.matmul(w, Layout::NT)?.reshape([batch, time, columns])?;
        let layer = RecurrentLayer { cell, w: recurrent, bias, h0, c0: (cell == Cell::Lstm).then_some(h0) };
        x = z.recurrent_as(layer, None, form)?;
        weights.extend([w, recurrent]);
    }
    let mut keep = vec![x];
    if backward {
        keep.extend(graph.grad(x.mul(x)?.sum_all()?, &weights)?);
    }
    // Of each matrix forward; backward, by its gradient and by that of what it multiplies, which the first layer's lacks.
    let product = 2 * batch * time * columns * hidden;
    let products = if backward { 6 * layers - 1 } else { 2 * layers };
    Ok(Prepared { plan: Plan::new(gpu, &graph, &keep)?, flops: (products * product) as u64 })
}

/// Forward, by two products for each step of a layer.
pub(super) fn per_step(gpu: &Gpu) -> Result<Prepared> {
    let [batch, time, layers, hidden] = [64, 40, 4, 128];
    let graph = Graph::new();
    let weight = |stream| {
        Ok::<_, trellis_guidance::Error>(graph.leaf(&scaled(
            gpu,
            [hidden, hidden],
            stream,
            1.0 / (hidden as f32).sqrt(),
        )?))
    };
    let h0 = graph.constant(0.0, [batch, hidden]);
    // Each step's input as a matrix, which is how a user would keep it here.
    let steps = |step: usize| Ok(graph.leaf(&normal(gpu, [batch, hidden], 100 + step as u64)?));
    let mut steps = (0..time).map(steps).collect::<Result<Vec<_>>>()?;
    for layer in 0..layers as u64 {
        let (w, recurrent) = (weight(2 * layer)?, weight(2 * layer + 1)?);
        let mut h = h0;
        for step in &mut steps {
            h = h.matmul(recurrent, Layout::NT)?.add(step.matmul(w, Layout::NT)?)?.tanh()?;
            *step = h;
        }
    }
    let flops = (4 * layers * batch * time * hidden * hidden) as u64;
    Ok(Prepared { plan: Plan::new(gpu, &graph, &steps)?, flops })
}
