//! A kernel by hand: WGSL for one cell of a grid, run for all cells at once.
//!
//! You learn the map from invocations to data, why a kernel checks its edges, why it reads one buffer and writes another, and that a
//! plan is built once and replayed. Two chemicals react and spread (Gray and Scott, Pearson 1993): a spot grows and divides like a cell.
//!
//! Run: `cargo run --release --example 01_kernel`. Try next: other rates `FEED` and `KILL` (0.055 and 0.062 give worms); remove `before`,
//! read from `after`, and give the dispatch `&[&a]`: two runs then differ, unless software Vulkan has one thread; then
//! `02_matmul_ladder`.

use trellis_tensor::{Dispatch, Gpu, Kernel, Plan, Result, Tensor};

const WIDTH: usize = 96;
const HEIGHT: usize = 56;

// ANCHOR: kernel
/// Concentrations u and v of each cell after one step: both spread, `u + 2 v → 3 v`, u is fed, v is removed.
/// Map: invocation (x, y) owns cell (x, y); a workgroup is 8 × 8 cells. FLOPs: 40 a cell. Bytes: 16 a cell, as caches hold neighbors.
const REACT: Kernel = Kernel {
    name: "react",
    source: "
const FEED: f32 = 0.035;
const KILL: f32 = 0.065;

struct Dims { width: u32, height: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> before: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> after: array<vec2f>;

// The grid is a torus: the right edge meets the left one.
fn cell(x: u32, y: u32) -> vec2f {
    return before[(y % dims.height) * dims.width + x % dims.width];
}

@compute @workgroup_size(8, 8)
fn react(@builtin(global_invocation_id) id: vec3u) {
    // There are whole workgroups only: those at the edge have invocations without a cell.
    if (id.x >= dims.width || id.y >= dims.height) {
        return;
    }
    let left = id.x + dims.width - 1u;
    let right = id.x + 1u;
    let up = id.y + dims.height - 1u;
    let down = id.y + 1u;
    let own = cell(id.x, id.y);
    let sides = cell(left, id.y) + cell(right, id.y) + cell(id.x, up) + cell(id.x, down);
    let corners = cell(left, up) + cell(right, up) + cell(left, down) + cell(right, down);
    let spread = 0.2 * sides + 0.05 * corners - own;
    let reaction = own.x * own.y * own.y;
    let change = vec2f(FEED * (1.0 - own.x) - reaction, reaction - (FEED + KILL) * own.y);
    after[id.y * dims.width + id.x] = own + vec2f(1.0, 0.5) * spread + change;
}",
};
// ANCHOR_END: kernel

fn main() -> Result<()> {
    // `make test` takes a few steps, to see that it runs.
    let steps = if std::env::var_os("TRELLIS_SHORT_EXAMPLES").is_some() { 60 } else { 9000 };
    let gpu = Gpu::new()?;
    println!("on {}\n", gpu.name());

    // u is 1 everywhere and v is 0, but for a spot.
    let spot = |at: usize| (at % WIDTH).abs_diff(WIDTH / 2) < 5 && (at / WIDTH).abs_diff(HEIGHT / 2) < 4;
    let start: Vec<f32> = (0..WIDTH * HEIGHT).flat_map(|at| if spot(at) { [0.5, 0.25] } else { [1.0, 0.0] }).collect();
    let [a, b] = ["a", "b"].map(|name| Tensor::from_f32(&gpu, name, [HEIGHT, WIDTH, 2], &start));
    let (a, b) = (a?, b?);

    // ANCHOR: plan
    // Workgroups that cover the grid, rounded up. The second dispatch reads what the first has written.
    let step = Dispatch::grid(REACT, [WIDTH.div_ceil(8), HEIGHT.div_ceil(8), 1])
        .dims(&[WIDTH, HEIGHT])
        .flops(40 * WIDTH * HEIGHT);
    let plan = Plan::of_dispatches(&gpu, &[(step.clone(), &[&a, &b]), (step, &[&b, &a])])?;
    for third in 0..=3 {
        println!("v after {} steps", third * steps / 3);
        draw(&a.read_f32()?);
        if third < 3 {
            plan.run(steps / 6)?; // a third, as each makes two steps; submits, and the read above waits
        }
    }
    // ANCHOR_END: plan
    print!("{plan}");
    println!("Nothing was compiled or allocated for a step: {:?}", gpu.counters());
    Ok(())
}

/// A letter for each two rows of cells, darker the more v they have.
fn draw(cells: &[f32]) {
    let v = |x: usize, y: usize| cells[2 * (y * WIDTH + x) + 1];
    for y in (0..HEIGHT).step_by(2) {
        let letter = |x: usize| {
            let mean = 0.5 * (v(x, y) + v(x, y + 1));
            [' ', '·', ':', '+', '*', '#', '@'][(20.0 * mean).clamp(0.0, 6.0) as usize]
        };
        println!("  {}", (0..WIDTH).map(letter).collect::<String>().trim_end());
    }
    println!();
}
