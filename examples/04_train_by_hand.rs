//! Training by hand: forward pass, gradient and optimizer as ops of one graph, which is replayed for each step.
//!
//! You learn the whole of a training loop without a trainer: parameters are tensors that stay on the GPU, and a step is a replay that
//! moves them. A second plan reads the same parameters and draws what the network says of the whole plane.
//!
//! Run: `cargo run --release --example 04_train_by_hand`. Try next: 4 units in place of 32, which cannot follow the spirals; no
//! hidden layer, which is a straight cut; `OptimizerConfig::sgd` in place of Adam; then `05_overfit`.

use trellis_rng::Rng;
use trellis_tensor::{
    Gpu, Graph, Init, InitialValues, Layout, Log, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Result,
    Schedule, StepState, Tensor, Var,
};

/// Points of each spiral, units of each hidden layer, and the plane that is drawn.
const POINTS: usize = 150;
const HIDDEN: usize = 32;
const WIDTH: usize = 66;
const HEIGHT: usize = 27;

// ANCHOR: forward
/// Logits `[n, 2]` of points `[n, 2]`: two hidden layers.
fn network<'g>(params: &Params, x: Var<'g>) -> Result<Var<'g>> {
    let leaf = |number: usize| x.graph().leaf(&params.tensors()[number]);
    let mut y = x;
    for layer in 0..3 {
        y = y.matmul(leaf(2 * layer), Layout::NT)?.add(leaf(2 * layer + 1))?;
        if layer < 2 {
            y = y.relu()?;
        }
    }
    Ok(y)
}
// ANCHOR_END: forward

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let steps: usize = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 10 } else { 200 };
    let gpu = Gpu::new()?;
    let mut rng = Rng::new(1, 0);

    // Two spirals, one the other turned by half a turn, with noise.
    let (mut points, mut labels) = (Vec::new(), Vec::new());
    for label in 0..2_u32 {
        for at in 0..POINTS {
            let radius = 0.1 + 0.85 * at as f32 / POINTS as f32;
            let angle = 9.0 * radius + std::f32::consts::PI * label as f32;
            points.extend([radius * angle.cos(), radius * angle.sin()].map(|v| v + 0.015 * rng.normal()));
            labels.push(label);
        }
    }
    let x = Tensor::from_f32(&gpu, "points", [2 * POINTS, 2], &points)?;
    let y = Tensor::from_u32(&gpu, "labels", [2 * POINTS], &labels)?;
    let plane: Vec<f32> = (0..WIDTH * HEIGHT).flat_map(|cell| place(cell % WIDTH, cell / WIDTH)).collect();
    let plane = Tensor::from_f32(&gpu, "plane", [WIDTH * HEIGHT, 2], &plane)?;

    // ANCHOR: params
    let sizes = [2, HIDDEN, HIDDEN, 2];
    let mut specs = Vec::new();
    for (layer, size) in sizes.windows(2).enumerate() {
        let (weight, bias) = ([size[1], size[0]], [size[1]]);
        let drawn = InitialValues::Drawn(Init::KaimingNormal(2f32.sqrt()), Rng::new(7, layer as u64));
        specs.push(ParamSpec { name: format!("{layer}.weight"), shape: weight.into(), values: drawn });
        specs.push(ParamSpec { name: format!("{layer}.bias"), shape: bias.into(), values: vec![0.0; size[1]].into() });
    }
    let params = Params::new(&gpu, &specs)?;
    // ANCHOR_END: params

    // ANCHOR: step
    let (step_state, mut log) = (StepState::new(&gpu)?, Log::new(&gpu, 2)?);
    let optimizer = Optimizer::new(&gpu, &params, OptimizerConfig::adam(Schedule::Constant(0.01)))?;
    let graph = Graph::new();
    let (logits, truth) = (network(&params, graph.leaf(&x))?, graph.leaf(&y));
    let loss = logits.cross_entropy(truth, 0.0)?;
    optimizer.update(&graph, loss, &step_state)?; // records the gradient, and the update of the parameters in place
    log.record(&graph, &step_state, &[loss, logits.top1(truth)?.mean_all()?])?;
    let step = Plan::new(&gpu, &graph, &[])?;
    // ANCHOR_END: step

    let graph = Graph::new(); // what the network says of each place of the plane, by the same parameters
    let said = network(&params, graph.leaf(&plane))?.softmax()?;
    let look = Plan::new(&gpu, &graph, &[said])?;

    let mut done = 0;
    for until in [1, steps / 10, steps] {
        // ANCHOR: run
        step.run(until - done)?;
        done = until;
        log.request(done as u32 - 1, 1); // the row of the last step comes back
        let rows = log.collect(true)?;
        // ANCHOR_END: run
        if let Some(last) = rows.last() {
            let [loss, right] = [0, 1].map(|metric| last.values[metric]);
            println!("step {until}: cross-entropy {loss:.3} nats, {:.0} % of the points right", 100.0 * right);
        }
        look.run(1)?;
        draw(&look.read(said)?, &points);
    }
    println!("A step is {} dispatches; the parameters never left the GPU.", step.launches().len());
    Ok(())
}

/// Place of a letter in the plane.
fn place(x: usize, y: usize) -> [f32; 2] {
    [2.2 * (x as f32 / (WIDTH - 1) as f32 - 0.5), 2.2 * (0.5 - y as f32 / (HEIGHT - 1) as f32)]
}

/// Shades for what the network says, `o` and `x` for the points.
fn draw(said: &[f32], points: &[f32]) {
    let mut lines = vec![vec![' '; WIDTH]; HEIGHT];
    for (cell, said) in said.chunks(2).enumerate() {
        lines[cell / WIDTH][cell % WIDTH] = [' ', '·', '░', '▒'][(4.0 * said[1]).clamp(0.0, 3.0) as usize];
    }
    for (number, point) in points.chunks(2).enumerate() {
        let at =
            |value: f32, size: usize| ((value / 2.2 + 0.5) * (size - 1) as f32).round().clamp(0.0, size as f32 - 1.0);
        lines[at(-point[1], HEIGHT) as usize][at(point[0], WIDTH) as usize] = ['o', 'x'][number / POINTS];
    }
    lines.iter().for_each(|line| println!("  {}", line.iter().collect::<String>()));
}
