//! A matmul ladder: four kernels for the same product, each with one idea more, and the rate of each.
//!
//! You learn that a product is limited by how often numbers are read, not by multiplication. Each step reads a number from a nearer
//! place: caches, workgroup memory, registers. The kernels are in `examples/kernels`: `naive`, `tiled` and `registers`.
//!
//! Run: `cargo run --release --example 02_matmul_ladder`. Try next: blocks of 8 × 8 in `tiled.wgsl`, 8 × 4 elements an invocation in
//! `registers.wgsl`; then the loop that wins here, `shaders/lib/gemm`; then exercise 4, `cargo run -p exercises -- 4`.

use std::time::Instant;

use trellis_rng::Rng;
use trellis_tensor::{Dispatch, Gpu, GpuOptions, Graph, Kernel, Layout, Plan, Result, Tensor, TensorType};

/// Time that each kernel is measured for, in seconds.
const SECONDS: f64 = 1.0;

macro_rules! kernel {
    ($name:literal) => {
        Kernel { name: $name, source: include_str!(concat!("kernels/", $name, ".wgsl")) }
    };
}

fn main() -> Result<()> {
    // Without bounds checks in a debug build too, so that the rates are those of a release build.
    let gpu = Gpu::with(&GpuOptions { checked_shaders: false, ..GpuOptions::from_env()? })?;
    let software = gpu.caps().software;
    let short = std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some();
    let n = if short {
        128
    } else if software {
        512
    } else {
        4096
    };
    println!("C = A B of {n} × {n} on {}\n", gpu.name());

    let mut rng = Rng::new(1, 0);
    let mut normal = |name| Tensor::from_f32(&gpu, name, [n, n], &(0..n * n).map(|_| rng.normal()).collect::<Vec<_>>());
    let (a, b) = (normal("a")?, normal("b")?);
    let right = expected(&a.read_f32()?, &b.read_f32()?, n);

    // ANCHOR: ladder
    let steps = [
        (kernel!("naive"), 16, "an invocation reads two numbers from memory for each multiply-add"),
        (
            kernel!("tiled"),
            16,
            "a workgroup loads tiles once: 16 invocations share each number, for two barriers a tile",
        ),
        (kernel!("registers"), 64, "an invocation owns 4 x 4 sums: 8 reads of workgroup memory serve 16 multiply-adds"),
    ];
    let mut rates = Vec::new();
    for (kernel, block, reason) in steps {
        let c = Tensor::zeros(&gpu, "c", TensorType::f32([n, n]))?;
        let dispatch = Dispatch::grid(kernel, [n / block, n / block, 1]).dims(&[n]);
        let plan = Plan::of_dispatches(&gpu, &[(dispatch, &[&a, &b, &c])])?;
        rates.push((kernel.name, seconds(&gpu, &plan, short)?, error(&c.read_f32()?, &right, n), reason));
    }
    let graph = Graph::new();
    let product = graph.leaf(&a).matmul(graph.leaf(&b), Layout::NN)?;
    let plan = Plan::new(&gpu, &graph, &[product])?;
    let time = seconds(&gpu, &plan, short)?;
    let chosen = plan.launches().map(|launch| launch.variant.clone()).collect::<Vec<_>>().join(" ");
    let reason = match software {
        true => "for a CPU: 8 lanes exchange numbers by subgroup operations; no workgroup memory, no barrier",
        false => "sizes of blocks that were measured on this kind of adapter, loads in flight while it multiplies",
    };
    rates.push(("engine", time, error(&plan.read(product)?, &right, n), reason));
    // ANCHOR_END: ladder

    let flop = 2.0 * (n as f64).powi(3);
    let best = rates.iter().map(|(_, time, ..)| flop / time).fold(0.0, f64::max);
    println!("{:<10} {:>9} {:>9}  {:>8}  {:<24}", "kernel", "ms", "GFLOP/s", "error", "");
    for (name, time, error, reason) in &rates {
        let bar = "█".repeat((24.0 * flop / time / best).ceil() as usize);
        println!("{name:<10} {:>9.2} {:>9.1}  {error:>8.1e}  {bar:<24}  {reason}", 1e3 * time, flop / time / 1e9);
    }
    println!("\nThe engine's loop is `matmul {chosen}`. Errors are against f64, relative to the greatest element.");
    if software {
        println!(
            "This adapter is a CPU: its workgroup memory is ordinary memory and its barriers are switches between"
        );
        println!("invocations, so tiles gain less than on a GPU, or lose. Registers gain everywhere.");
    }
    Ok(())
}

/// Seconds of one product, once kernels are compiled.
fn seconds(gpu: &Gpu, plan: &Plan, short: bool) -> Result<f64> {
    let timed = |count: usize| {
        let began = Instant::now();
        plan.run(count)?;
        gpu.wait()?;
        Ok::<_, trellis_tensor::Error>(began.elapsed().as_secs_f64())
    };
    timed(1)?;
    let count = if short { 1 } else { (SECONDS / timed(1)?).clamp(3.0, 1000.0) as usize };
    Ok(timed(count)? / count as f64)
}

/// Some rows of the product, in f64: each 37th.
fn expected(a: &[f32], b: &[f32], n: usize) -> Vec<f64> {
    let mut rows = Vec::new();
    for row in (0..n).step_by(37) {
        let mut sums = vec![0.0; n];
        for k in 0..n {
            let left = f64::from(a[row * n + k]);
            sums.iter_mut().zip(&b[k * n..]).for_each(|(sum, right)| *sum += left * f64::from(*right));
        }
        rows.extend(sums);
    }
    rows
}

/// Greatest difference in those rows, relative to the greatest element.
fn error(c: &[f32], expected: &[f64], n: usize) -> f64 {
    let rows = (0..n).step_by(37).flat_map(|row| &c[row * n..(row + 1) * n]);
    let difference = rows.zip(expected).map(|(c, right)| (f64::from(*c) - right).abs()).fold(0.0, f64::max);
    difference / expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()))
}
