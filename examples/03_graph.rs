//! A graph, its gradient and its plan, printed: the three forms of a training step.
//!
//! You learn that a step is recorded, not run; that the gradient is more of the same graph, written by the rule of each op; and
//! that a plan is a short list of kernels, as ops are fused. In the end a gradient is checked by hand.
//!
//! Run: `cargo run --release --example 03_graph`. Try next: keep the product before the ReLU in the plan, and see a ReLU of its
//! own, as somebody reads the product now; put `gelu` in place of `relu`; read `crates/tensor/src/graph/autograd.rs`.

use trellis_rng::Rng;
use trellis_tensor::{Gpu, Graph, Layout, Plan, Result, Tensor};

fn main() -> Result<()> {
    let gpu = Gpu::new()?;
    let mut rng = Rng::new(3, 0);
    let mut normal = |name, shape: [usize; 2]| {
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(|_| rng.normal()).collect();
        Tensor::from_f32(&gpu, name, shape, &values)
    };
    let (images, first, second) = (normal("images", [6, 4])?, normal("first", [8, 4])?, normal("second", [3, 8])?);
    let labels = Tensor::from_u32(&gpu, "labels", [6], &[0, 1, 2, 0, 1, 2])?;

    // ANCHOR: record
    let graph = Graph::new();
    let [w1, w2] = [&first, &second].map(|tensor| graph.leaf(tensor));
    let hidden = {
        let _scope = graph.scope("layer1"); // names the layer, in errors and profiles too
        graph.leaf(&images).matmul(w1, Layout::NT)?.relu()?
    };
    let logits = {
        let _scope = graph.scope("layer2");
        hidden.matmul(w2, Layout::NT)?
    };
    let loss = logits.cross_entropy(graph.leaf(&labels), 0.0)?;
    // ANCHOR_END: record
    let recorded = graph.len();
    println!("1. The graph. Nothing has run; shapes are checked. A line is `%number = op %inputs : shape  layer`.\n");
    print_from(&graph, 0);

    // ANCHOR: grad
    let grads = graph.grad(loss, &[w1, w2])?;
    // ANCHOR_END: grad
    println!("\n2. Its gradient: {} more lines of the same graph.", graph.len() - recorded);
    println!(
        "Read it from the loss backward. A product has two backward products, and ReLU lets through what was positive.\n"
    );
    print_from(&graph, recorded);

    // ANCHOR: plan
    let plan = Plan::new(&gpu, &graph, &[loss, grads[0], grads[1]])?;
    // ANCHOR_END: plan
    let dispatches = plan.launches().len();
    println!("\n3. The plan: {} recorded values became {dispatches} dispatches. A `|` is a barrier.", graph.len());
    println!("A ReLU runs within the product before it. Leaves, constants and reshapes cost nothing.\n");
    print!("{plan}");

    println!(
        "\n4. It runs. d loss / d first[2, 1] by the plan, and by central differences, for smaller and smaller steps:\n"
    );
    plan.run(1)?;
    let at = 2 * 4 + 1;
    let (value, slope, weights) = (plan.read(loss)?[0], plan.read(grads[0])?[at], first.read_f32()?);
    println!("   loss {value:.6}, gradient {slope:.6}\n");
    println!("   {:>8}  {:>11}  {:>9}", "step", "difference", "error");
    for exponent in 1..=6 {
        let step = 10f32.powi(-exponent);
        let loss_at = |weight: f32| {
            first.write_f32_at(at, &[weight])?;
            plan.run(1)?;
            Ok::<_, trellis_tensor::Error>(plan.read(loss)?[0])
        };
        let difference = (loss_at(weights[at] + step)? - loss_at(weights[at] - step)?) / (2.0 * step);
        println!("   {step:>8.0e}  {difference:>11.6}  {:>9.1e}", (difference - slope).abs());
    }
    println!(
        "\nLarge steps cross the bend of a ReLU, small ones drown in the rounding of f32. So the engine's own tests compare in f64."
    );
    Ok(())
}

/// Lines of the graph from number `first` on.
fn print_from(graph: &Graph, first: usize) {
    for line in graph.to_string().lines().skip(first) {
        println!("   {line}");
    }
}
