//! The plan: a graph as a flat list of dispatches that is replayed.
//!
//! Making a plan does everything that is slow: fusion, buffers (shared by values that do not live at the same time),
//! pipelines, bind groups, the uniforms with all sizes. A step then is one compute pass over the list: nothing is
//! allocated, compiled or read back, which the [`Counters`](crate::Counters) show.

mod builder;
mod sharing;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::error::{Error, Result};
use crate::fuse::fuse;
use crate::gpu::{Gpu, Pipeline};
use crate::graph::{Graph, Var};
use crate::shape::{DType, TensorType};
use crate::tensor::{read_back, read_halves};
use builder::Builder;

/// A recorded step, ready to replay on one GPU.
pub struct Plan {
    gpu: Gpu,
    launches: Vec<Launch>,
    kept: HashMap<usize, (Place, TensorType)>,
    memory: u64,
    /// What another plan may use while this one does not run: buffers of values that are not kept.
    lendable: Vec<Arc<Buffer>>,
    // Bind groups hold the raw buffers; these handles, of leaves too, keep them from going back to the pool.
    _buffers: Vec<Arc<Buffer>>,
}

/// One dispatch of a plan, for prints and profiles.
#[derive(Clone, Debug)]
pub struct LaunchInfo {
    /// The op.
    pub op: &'static str,
    /// The kernel.
    pub kernel: &'static str,
    /// What it was compiled with, for example `SUBGROUP LHS_K4`: which loop a product runs on.
    pub variant: String,
    /// Scopes in which it was recorded.
    pub layer: String,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes bound: what it must read and write at least once.
    pub bytes: u64,
}

struct Launch {
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    groups: [u32; 3],
    info: LaunchInfo,
}

/// Part of a buffer.
#[derive(Clone)]
struct Place {
    buffer: Arc<Buffer>,
    offset: usize,
}

/// Steps that are encoded into one submission. More would not be faster, and a graphics driver may take a submission
/// of several seconds for a hang.
pub const STEPS_PER_SUBMIT: usize = 50;

impl Plan {
    /// Compiles `graph` for `gpu`. What is neither in `keep` nor needed for an in-place update (an optimiser step, a
    /// metric) is left out; only `keep` can be read afterwards.
    ///
    /// # Errors
    /// When memory or the adapter's limits do not allow it.
    pub fn new(gpu: &Gpu, graph: &Graph, keep: &[Var<'_>]) -> Result<Self> {
        Self::beside(None, gpu, graph, keep)
    }

    /// [`Plan::new`] in the memory of another plan, if there is one: values that neither keeps share buffers. As submissions
    /// follow one another, training steps and the evaluations between them take no more than the larger of the two. What a plan
    /// keeps can be read until it runs again, whatever runs in between.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn beside(other: Option<&Plan>, gpu: &Gpu, graph: &Graph, keep: &[Var<'_>]) -> Result<Self> {
        let lent = other.map_or(Vec::new(), |other| other.lendable.clone());
        let mut kept = vec![false; graph.len()];
        keep.iter().for_each(|var| kept[var.id()] = true);
        let fused = fuse(graph.nodes(), &kept);
        Builder::new(gpu, &fused, &kept, lent)?.build()
    }

    /// Submits `steps` replays and returns at once; [`Gpu::wait`] or a read waits for them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn run(&self, steps: usize) -> Result<()> {
        let mut left = if self.gpu.counts_memory() { 0 } else { steps };
        while left > 0 {
            let chunk = left.min(STEPS_PER_SUBMIT);
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            for _ in 0..chunk {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.encode(&mut pass, |_, _| {});
            }
            self.gpu.submit(encoder.finish());
            self.gpu.count_dispatches(chunk * self.launches.len());
            left -= chunk;
        }
        self.gpu.check("a step")
    }

    /// The dispatches of one step; `after` is called behind each with its number.
    pub(crate) fn encode(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        mut after: impl FnMut(&mut wgpu::ComputePass<'_>, usize),
    ) {
        for (number, launch) in self.launches.iter().enumerate() {
            pass.set_pipeline(&launch.pipeline.raw);
            pass.set_bind_group(0, &launch.bind_group, &[]);
            let [x, y, z] = launch.groups;
            pass.dispatch_workgroups(x, y, z);
            after(pass, number);
        }
    }

    pub(crate) fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Copies a kept value to the CPU after all submitted steps: f32, or f16 widened to it.
    ///
    /// # Errors
    /// [`Error::NotKept`], or [`Error::DeviceLost`].
    pub fn read(&self, var: Var<'_>) -> Result<Vec<f32>> {
        let (place, ty) = self.kept(var)?;
        if ty.dtype == DType::F16 {
            return read_halves(&self.gpu, &place.buffer, place.offset, ty.elements());
        }
        debug_assert_eq!(ty.dtype, DType::F32);
        read_back(&self.gpu, &place.buffer, place.offset, ty.elements())
    }

    /// Copies a kept u32 value to the CPU after all submitted steps.
    ///
    /// # Errors
    /// [`Error::NotKept`], or [`Error::DeviceLost`].
    pub fn read_u32(&self, var: Var<'_>) -> Result<Vec<u32>> {
        let (place, ty) = self.kept(var)?;
        debug_assert_eq!(ty.dtype, DType::U32);
        read_back(&self.gpu, &place.buffer, place.offset, ty.elements())
    }

    fn kept(&self, var: Var<'_>) -> Result<&(Place, TensorType)> {
        self.kept.get(&var.id()).ok_or_else(|| Error::NotKept { var: format!("{var:?}") })
    }

    /// The dispatches of one step, in order.
    pub fn launches(&self) -> impl ExactSizeIterator<Item = &LaunchInfo> {
        self.launches.iter().map(|launch| &launch.info)
    }

    /// Bytes in buffers that the plan holds for itself, leaves and what another plan has too not counted.
    pub fn memory(&self) -> u64 {
        self.memory
    }
}

/// A table of the step's dispatches.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>4} {:<22} {:<22} {:>14} {:>10} {:>10}  layer", "#", "op", "kernel", "groups", "MFLOP", "KiB")?;
        for (number, info) in self.launches().enumerate() {
            let [x, y, z] = info.groups;
            writeln!(
                f,
                "{number:>4} {:<22} {:<22} {:>14} {:>10.3} {:>10.1}  {}",
                info.op,
                info.kernel,
                format!("{x}x{y}x{z}"),
                info.flops as f64 / 1e6,
                info.bytes as f64 / 1024.0,
                info.layer
            )?;
        }
        writeln!(f, "{} dispatches a step, {:.1} MiB", self.launches.len(), self.memory as f64 / f64::from(1 << 20))
    }
}
