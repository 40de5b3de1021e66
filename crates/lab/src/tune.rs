//! `trellis tune`: which loop is fastest for which product, measured on this adapter.

use std::time::Instant;

use trellis_rng::Rng;
use trellis_tensor::{GemmVariant, Gpu, Graph, Layout, Plan, Shape, Tensor, TunedProduct, Tuning};

use trellis_guidance::Result;

/// A product and the time of every loop on it.
#[derive(Clone, Debug)]
pub struct TimedProduct {
    /// Layout: which side is transposed.
    pub layout: Layout,
    /// Rows, columns and inner axis.
    pub size: [usize; 3],
    /// Least milliseconds of each loop that the adapter can run, fastest first.
    pub times: Vec<(GemmVariant, f64)>,
}

impl TimedProduct {
    /// The table's line for it.
    pub fn fastest(&self) -> TunedProduct {
        TunedProduct { layout: self.layout, size: self.size, fastest: self.times[0].0 }
    }
}

/// Products that stand for those of the networks: layers and their gradients, Gram matrices, large ones.
const SIZES: [[usize; 3]; 8] = [
    [64, 64, 64],
    [128, 128, 512],
    [128, 128, 4096],
    [128, 512, 512],
    [256, 2048, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [4096, 4096, 4096],
];

/// Largest number of floating-point operations of a product that is tried on a software adapter.
const SOFTWARE_FLOPS: usize = 1 << 29;

/// The products that are tried on this adapter.
pub fn products(gpu: &Gpu) -> Vec<(Layout, [usize; 3])> {
    let fits = |size: &[usize; 3]| !gpu.caps().software || 2 * size.iter().product::<usize>() <= SOFTWARE_FLOPS;
    let layouts = [Layout::NN, Layout::NT, Layout::TN];
    layouts.into_iter().flat_map(|layout| SIZES.into_iter().filter(fits).map(move |size| (layout, size))).collect()
}

/// Times one product on every loop that the adapter can run.
///
/// # Errors
/// When memory does not allow it, or the device is lost.
pub fn time(gpu: &Gpu, layout: Layout, size: [usize; 3]) -> Result<TimedProduct> {
    let mut times = GemmVariant::tuned(gpu.caps())
        .into_iter()
        .map(|gemm_variant| Ok((gemm_variant, least(gpu, layout, size, gemm_variant)?)))
        .collect::<Result<Vec<_>>>()?;
    times.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    Ok(TimedProduct { layout, size, times })
}

/// The table of these products.
pub fn table(timed: &[TimedProduct]) -> Tuning {
    Tuning(timed.iter().map(TimedProduct::fastest).collect())
}

/// Least milliseconds of one product over at least 5 rounds and 50 ms, 10 products in a round.
fn least(gpu: &Gpu, layout: Layout, [m, n, k]: [usize; 3], gemm_variant: GemmVariant) -> Result<f64> {
    const PRODUCTS: usize = 10;
    let graph = Graph::new();
    let lhs = normal(gpu, if layout == Layout::TN { [k, m] } else { [m, k] })?;
    let rhs = normal(gpu, if layout == Layout::NT { [n, k] } else { [k, n] })?;
    let product = graph.leaf(&lhs).matmul_on(graph.leaf(&rhs), layout, gemm_variant)?;
    let plan = Plan::new(gpu, &graph, &[product])?;
    plan.run(2)?; // the first runs compile
    gpu.wait()?;
    let (mut least, started, mut rounds) = (f64::INFINITY, Instant::now(), 0);
    while rounds < 5 || started.elapsed().as_millis() < 50 {
        let began = Instant::now();
        plan.run(PRODUCTS)?;
        gpu.wait()?;
        least = least.min(1e3 * began.elapsed().as_secs_f64() / PRODUCTS as f64);
        rounds += 1;
    }
    Ok(least)
}

fn normal(gpu: &Gpu, shape: impl Into<Shape>) -> Result<Tensor> {
    let (shape, mut rng) = (shape.into(), Rng::new(0, 1));
    let values: Vec<f32> = (0..shape.elements()).map(|_| rng.normal()).collect();
    Ok(Tensor::from_f32(gpu, "x", shape, &values)?)
}
