//! Ceilings of the adapter, measured.

use std::thread;

use serde::{Deserialize, Serialize};
use trellis_tensor::ops::FmaChain;
use trellis_tensor::{Gpu, Graph, Plan, Tensor, TensorType};

use trellis_guidance::Result;

/// The two slopes of the roofline, and the least time of a dispatch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ceilings {
    /// Bytes read and written per second by a copy that is larger than the caches.
    pub copy_bytes_per_s: f64,
    /// Floating-point operations per second of independent multiply-adds in registers.
    pub fma_flop_per_s: f64,
    /// Milliseconds of a dispatch that does next to nothing, with its timestamps.
    #[serde(default)]
    pub launch_ms: f64,
    /// Number of workgroups that keep it busy.
    #[serde(default)]
    pub groups: u32,
}

/// Bytes copied: 64 MiB each way.
const ELEMENTS: usize = 16 << 20;

impl Ceilings {
    /// Bytes of memory on the GPU that measuring them takes.
    ///
    /// # Errors
    /// None but those of [`trellis_tensor::Plan::new`].
    pub fn bytes(gpu: &Gpu) -> Result<u64> {
        let counting = gpu.counting();
        drop(copy(&counting, ELEMENTS)?);
        drop(chain(&counting)?);
        Ok(counting.memory_by_name().1)
    }

    /// Measures them; the best of some runs.
    ///
    /// # Errors
    /// [`trellis_tensor::Error::Device`] on an adapter without timestamps; when memory is short.
    pub(crate) fn measure(gpu: &Gpu) -> Result<Self> {
        let copy_seconds = best_seconds(&copy(gpu, ELEMENTS)?.1)?;
        let chain_seconds = best_seconds(&chain(gpu)?.1)?;
        let launch_seconds = best_seconds(&copy(gpu, 1)?.1)?;
        let (elements, rounds) = chain_size(gpu);
        Ok(Self {
            copy_bytes_per_s: 8.0 * ELEMENTS as f64 / copy_seconds,
            fma_flop_per_s: 64.0 * elements as f64 * f64::from(rounds) / chain_seconds,
            launch_ms: 1e3 * launch_seconds,
            groups: busy_groups(gpu),
        })
    }

    /// The least time in milliseconds that an amount of work can take.
    pub(crate) fn floor_ms(&self, flops: u64, bytes: u64) -> f64 {
        1e3 * (flops as f64 / self.fma_flop_per_s).max(bytes as f64 / self.copy_bytes_per_s)
    }

    /// Operations per byte where the two ceilings meet.
    pub(crate) fn ridge(&self) -> f64 {
        self.fma_flop_per_s / self.copy_bytes_per_s
    }
}

/// Number of workgroups that keep an adapter busy: one for each core of a CPU, and two for each of the 132 multiprocessors of a large GPU.
fn busy_groups(gpu: &Gpu) -> u32 {
    match gpu.caps().software {
        true => thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        false => 264,
    }
}

/// A plan that copies, and the tensor that it reads.
fn copy(gpu: &Gpu, elements: usize) -> Result<(Tensor, Plan)> {
    let large = Tensor::zeros(gpu, "ceiling", TensorType::f32([elements]))?;
    let graph = Graph::new();
    let copy = graph.leaf(&large).affine(1.0, 0.5)?;
    let plan = Plan::new(gpu, &graph, &[copy])?;
    Ok((large, plan))
}

/// A plan of multiply-adds, and the tensor that it reads.
fn chain(gpu: &Gpu) -> Result<(Tensor, Plan)> {
    let (elements, rounds) = chain_size(gpu);
    let small = Tensor::zeros(gpu, "ceiling", TensorType::f32([elements]))?;
    let graph = Graph::new();
    let chain = graph.push(FmaChain { rounds }, &[graph.leaf(&small)])?;
    let plan = Plan::new(gpu, &graph, &[chain])?;
    Ok((small, plan))
}

/// Elements of the chain, and its rounds. A CPU's cores are few and its loops limited; a GPU wants all its lanes busy for some
/// milliseconds.
fn chain_size(gpu: &Gpu) -> (usize, u32) {
    if gpu.caps().software { (1 << 14, 5000) } else { (1 << 22, 1024) }
}

/// The least time of a plan of one dispatch, of six single runs.
fn best_seconds(plan: &Plan) -> Result<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..6 {
        let time = plan.profile(1)?;
        best = best.min(time.launches.iter().map(|launch| launch.nanoseconds).sum::<f64>() / 1e9);
    }
    Ok(best.max(1e-9))
}
