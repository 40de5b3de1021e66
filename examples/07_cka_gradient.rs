//! The gradient of CKA, two ways: by the rules of generic ops, and by the fused op. Then it pulls a cloud of points into a heart.
//!
//! You learn that CKA is the cosine of two centered Gram matrices, that its gradient needs no new mathematics, and what a fused op
//! saves. The picture shows what CKA does not see: the heart comes out turned, mirrored or scaled, and CKA is 1 all the same.
//!
//! Run: `cargo run --release --example 07_cka_gradient`. Try next: a cloud of 3 columns in place of 2; `gram` in place of `centered_gram`; 8
//! points, where chance alone gives a high CKA; then `08_guidance`.

use std::fmt::Write;

use trellis_guidance::Error;
use trellis_rng::Rng;
use trellis_tensor::{
    Gpu, Graph, LaunchInfo, Layout, Optimizer, OptimizerConfig, ParamSpec, Params, Plan, Result, Schedule, StepState,
    Tensor, Var,
};

const POINTS: usize = 72;
const FRAMES: usize = 30; // of the animation

// ANCHOR: generic
/// CKA of layers `[n, p]` and `[n, q]` as its definition says: `<K, L> / (|K| |L|)` of the Gram matrices of centered layers.
fn generic<'g>(x: Var<'g>, y: Var<'g>) -> Result<Var<'g>> {
    let gram = |x: Var<'g>| {
        let centered = x.sub(x.mean(&[0], true)?)?;
        centered.matmul(centered, Layout::NT)
    };
    let product = |k: Var<'g>, l: Var<'g>| k.mul(l)?.sum_all();
    let (k, l) = (gram(x)?, gram(y)?);
    product(k, l)?.div(product(k, k)?.mul(product(l, l)?)?.sqrt()?)
}
// ANCHOR_END: generic

/// The same by the engine's ops.
fn fused<'g>(x: Var<'g>, y: Var<'g>) -> Result<Var<'g>> {
    Ok(Var::cka(x.centered_gram()?, y.centered_gram()?)?.value)
}

fn main() -> trellis_guidance::Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let steps = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 1 } else { 8 };
    let gpu = Gpu::new()?;
    let mut rng = Rng::new(5, 0);
    let mut normal = |count: usize| (0..count).map(|_| rng.normal()).collect::<Vec<f32>>();
    println!("Layers [256, 384] and [256, 128]: CKA and its gradient with respect to the first\n");
    let [x, y] = [384, 128].map(|width| Tensor::from_f32(&gpu, "layer", [256, width], &normal(256 * width)));
    let (x, y) = (x?, y?);
    let (mut gradients, mut of_noise) = (Vec::new(), 0.0);
    println!("{:<12} {:>10} {:>11} {:>8} {:>8}", "", "CKA", "dispatches", "kFLOP", "KiB");
    for name in ["generic ops", "fused"] {
        let graph = Graph::new();
        let [x, y] = [&x, &y].map(|layer| graph.leaf(layer));
        let value = if name == "fused" { fused(x, y)? } else { generic(x, y)? };
        let gradient = graph.grad(value, &[x])?[0];
        let plan = Plan::new(&gpu, &graph, &[value, gradient])?;
        plan.run(1)?;
        let count = |each: fn(&LaunchInfo) -> u64| plan.launches().map(each).sum::<u64>();
        let [dispatches, kflop, kib] = [count(|_| 1), count(|l| l.flops) / 1000, count(|l| l.bytes) / 1024];
        of_noise = plan.read(value)?[0];
        println!("{name:<12} {of_noise:>10.7} {dispatches:>11} {kflop:>8} {kib:>8}");
        gradients.push(plan.read(gradient)?);
    }
    let most = |values: Vec<f32>| values.into_iter().map(f32::abs).fold(0.0, f32::max);
    let apart = most(gradients[0].iter().zip(&gradients[1]).map(|(a, b)| a - b).collect());
    let apart = apart / most(gradients.swap_remove(0));
    println!("\nThe two gradients differ by at most {apart:.0e} of the greatest element.");
    println!("The layers are noise, and yet CKA is {of_noise:.2}: wide layers of few examples look alike by chance.\n");
    // ANCHOR: pull
    let angle = |i: usize| std::f32::consts::TAU * i as f32 / POINTS as f32;
    let heart: Vec<f32> = (0..POINTS).map(angle).flat_map(heart).collect();
    let guide = Tensor::from_f32(&gpu, "heart", [POINTS, 2], &heart)?;
    let cloud = ParamSpec { name: "cloud".into(), shape: [POINTS, 2].into(), values: normal(2 * POINTS).into() };
    let params = Params::new(&gpu, &[cloud])?;
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu)?);
    let value = fused(graph.leaf(&params.tensors()[0]), graph.leaf(&guide))?;
    let optimizer = Optimizer::new(&gpu, &params, OptimizerConfig::adam(Schedule::Constant(0.02)))?;
    optimizer.update(&graph, value.affine(-1.0, 1.0)?, &step_state)?; // minimizes 1 - CKA
    let plan = Plan::new(&gpu, &graph, &[value])?;
    // ANCHOR_END: pull
    let mut frames = vec![placed(&params.tensors()[0].read_f32()?)];
    for frame in 1..=FRAMES {
        plan.run(steps)?;
        frames.push(placed(&params.tensors()[0].read_f32()?));
        let cka = plan.read(value)?[0];
        println!("step {:>4}  CKA {cka:.4}  {}", frame * steps, "█".repeat((40.0 * cka) as usize));
    }
    let path = std::env::temp_dir().join("trellis_07_cka_gradient.svg");
    std::fs::write(&path, picture(&placed(&heart), &frames)).map_err(|error| Error::io(&path, error))?;
    println!("\nopen: {}  (in a browser: it moves)", path.display());
    Ok(())
}

fn heart(t: f32) -> [f32; 2] {
    [16.0 * t.sin().powi(3), -(13.0 * t.cos() - 5.0 * (2.0 * t).cos() - 2.0 * (3.0 * t).cos() - (4.0 * t).cos())]
}

/// Points around 0, with a mean square distance of 1: CKA sees neither place nor scale.
fn placed(points: &[f32]) -> Vec<f32> {
    let mean = [0, 1].map(|axis| points.iter().skip(axis).step_by(2).sum::<f32>() / POINTS as f32);
    let centered: Vec<f32> = points.iter().zip([0, 1].into_iter().cycle()).map(|(v, axis)| v - mean[axis]).collect();
    let scale = (centered.iter().map(|v| v * v).sum::<f32>() / POINTS as f32).sqrt();
    centered.iter().map(|v| v / scale).collect()
}

/// The heart, and beside it the cloud as an animation; a point has the same color in both.
fn picture(heart: &[f32], frames: &[Vec<f32>]) -> String {
    let mut svg = String::from("<svg xmlns='http://www.w3.org/2000/svg' viewBox='-3 -3 12 6' width='840'>\n");
    for i in 0..POINTS {
        let color = format!("r='0.09' fill='hsl({} 80% 45%)'", 360 * i / POINTS);
        let values = |axis: usize, shift: f32| {
            let all: Vec<String> = frames.iter().map(|frame| format!("{:.2}", frame[2 * i + axis] + shift)).collect();
            format!("dur='8s' repeatCount='indefinite' values='{}'", all.join(";"))
        };
        let _ = writeln!(svg, "<circle cx='{:.2}' cy='{:.2}' {color}/>", heart[2 * i], heart[2 * i + 1]);
        let (x, y) = (values(0, 6.0), values(1, 0.0));
        let [x, y] = [("cx", x), ("cy", y)].map(|(name, values)| format!("<animate attributeName='{name}' {values}/>"));
        let _ = writeln!(svg, "<circle {color}>{x}{y}</circle>");
    }
    svg + "</svg>\n"
}
