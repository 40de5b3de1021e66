//! The plan: a graph as a flat list of dispatches that is replayed.
//!
//! Making a plan does everything that is slow: fusion, buffers (shared by values that do not live at the same time), pipelines,
//! bind groups, the uniforms with all sizes. A step then is one compute pass over the list. Nothing is allocated, compiled or
//! read back, which the [`Counters`](crate::Counters) show.

mod barriers;
mod builder;
pub(crate) mod execution_order;
pub(crate) mod export;
pub(crate) mod fuse;
pub(crate) mod kernel;
mod memory;
mod order;
mod pending;
mod preprocessor;
pub(crate) mod timing;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use crate::device::gpu::{Gpu, Pipeline};
use crate::device::pool::Buffer;
use crate::error::{Error, Result};
use crate::graph::op::Dispatch;
use crate::graph::{Graph, Var};
use crate::plan::fuse::fuse;
use crate::shape::{DType, TensorType};
use crate::tensor::{Tensor, read_back, read_halves};
use builder::Builder;
use export::Export;
use pending::Pending;

/// A recorded step, ready to replay on one GPU.
pub struct Plan {
    gpu: Gpu,
    launches: Vec<Launch>,
    kept: HashMap<usize, (BufferSlice, TensorType)>,
    memory: u64,
    /// Buffers that another plan may use while this one does not run: those of values that are not kept.
    shareable: Vec<Arc<Buffer>>,
    /// Slices whose contents a step finds: leaves, constants, zeros; each with its number of bytes.
    given: Vec<(BufferSlice, usize)>,
    // Bind groups hold the raw buffers; these handles keep them from going back to the pool.
    _owned: Vec<Arc<Buffer>>,
}

/// One dispatch of a plan, for prints and profiles.
#[derive(Clone, Debug)]
pub struct LaunchInfo {
    /// The op.
    pub op: &'static str,
    /// The kernel.
    pub kernel: &'static str,
    /// Flags and constants that it was compiled with, for example `SUBGROUP LHS_K4`: they name the loop of a product.
    pub variant: String,
    /// Scopes in which it was recorded.
    pub layer: String,
    /// Workgroups.
    pub groups: [u32; 3],
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes bound: the least number that it must read and write.
    pub bytes: u64,
    /// True if wgpu puts a barrier in front of it: it then waits until every dispatch before it has ended.
    pub barrier: bool,
}

struct Launch {
    /// Buffers that it and later dispatches read, moved to that state before it in one barrier.
    moved: Vec<wgpu::Buffer>,
    pipeline: Arc<Pipeline>,
    bind_group: wgpu::BindGroup,
    groups: [u32; 3],
    info: LaunchInfo,
    /// The dispatch as it was asked for.
    pending: Pending,
}

/// Buffer slice.
#[derive(Clone)]
struct BufferSlice {
    buffer: Arc<Buffer>,
    offset: usize,
}

/// Number of dispatches that are encoded into one submission, in whole steps. The device starts on a submission when all of it
/// is encoded, at 2 µs a dispatch, and runs it while the next is encoded. So large submissions start late: 500 dispatches take
/// 2.3 ms in one submission and 1.5 ms in eight on an H100. A graphics driver may also take a submission of several seconds for
/// a hang.
const DISPATCHES_PER_SUBMIT: usize = 256;

impl Plan {
    /// Compiles `graph` for `gpu`. If the graph updates parameters, the plan ends their step: the step counter advances by one.
    /// Values that are neither in `keep` nor needed for an in-place update (an optimizer step, a metric) are left out; only
    /// `keep` can be read afterwards.
    ///
    /// # Errors
    /// An error if memory or the adapter's limits do not allow it. [`Error::AdvancedTwice`] if a step ends twice, and
    /// [`Error::NotAdvanced`] if metrics are recorded of one that does not end.
    pub fn new(gpu: &Gpu, graph: &Graph, keep: &[Var<'_>]) -> Result<Self> {
        Self::beside(None, gpu, graph, keep)
    }

    /// [`Plan::new`] in the memory of another plan, if there is one: values that neither keeps share buffers. As submissions
    /// follow one another, training steps and the evaluations between them need no more than the larger of the two. The values
    /// that a plan keeps can be read until it runs again, whatever runs in between.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn beside(other: Option<&Plan>, gpu: &Gpu, graph: &Graph, keep: &[Var<'_>]) -> Result<Self> {
        graph.end_steps()?;
        let shared = other.map_or(Vec::new(), |other| other.shareable.clone());
        let mut kept = vec![false; graph.len()];
        keep.iter().for_each(|var| kept[var.id()] = true);
        let fused = fuse(graph.nodes(), &kept);
        Builder::new(gpu, &fused, &kept, shared)?.build(order::by_dependency)
    }

    /// A plan of kernels that are no ops: to try one out, to measure it, to teach with it. Each dispatch comes with its tensors, which are
    /// bound to the storage bindings 1, 2, … of its kernel; its own `args` are not read. A dispatch sees what those before it wrote.
    ///
    /// ```
    /// use trellis_tensor::{Dispatch, Gpu, Kernel, Plan, Tensor, TensorType};
    ///
    /// let source = "
    /// @group(0) @binding(0) var<uniform> n: u32;
    /// @group(0) @binding(1) var<storage, read> x: array<f32>;
    /// @group(0) @binding(2) var<storage, read_write> y: array<f32>;
    /// @compute @workgroup_size(256)
    /// fn double(@builtin(global_invocation_id) id: vec3u) {
    ///     if (id.x < n) { y[id.x] = 2.0 * x[id.x]; }
    /// }";
    /// let gpu = Gpu::new()?;
    /// let x = Tensor::from_f32(&gpu, "x", [3], &[1.0, 2.0, 3.0])?;
    /// let y = Tensor::zeros(&gpu, "y", TensorType::f32([3]))?;
    /// let double = Dispatch::linear(Kernel { name: "double", source }, 3).dims(&[3]);
    /// Plan::of_dispatches(&gpu, &[(double, &[&x, &y])])?.run(1)?;
    /// assert_eq!(y.read_f32()?, [2.0, 4.0, 6.0]);
    /// # Ok::<(), trellis_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Kernel`] when a kernel has not as many storage bindings as there are tensors, or writes one that is bound twice;
    /// [`Error::Gpu`] when its text does not compile.
    pub fn of_dispatches(gpu: &Gpu, dispatches: &[(Dispatch, &[&Tensor])]) -> Result<Self> {
        let fused = fuse(Vec::new(), &[]);
        Builder::new(gpu, &fused, &[], Vec::new())?.on_tensors(dispatches, order::by_dependency)
    }

    /// Submits `steps` replays and returns at once; [`Gpu::wait`] or a read waits for them.
    ///
    /// # Errors
    /// [`Error::DeviceLost`].
    pub fn run(&self, steps: usize) -> Result<()> {
        let steps = if self.gpu.is_dry_run() { 0 } else { steps };
        for chunk in self.submissions(steps) {
            let mut encoder = self.gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
            // A value that a step overwrites does not wait for the step before if it begins a pass. A pass costs a GPU 8 µs and
            // a barrier 2, so steps of few dispatches that do not wait anyway share one.
            let passes = if self.launches.len() > self.barriers() + 3 { chunk } else { 1 };
            for _ in 0..passes {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                (0..chunk / passes).for_each(|_| self.encode(&mut pass, |_, _| {}));
            }
            self.gpu.submit(encoder.finish());
            self.gpu.count_dispatches(chunk * self.launches.len());
        }
        self.gpu.check("a step")
    }

    /// Numbers of steps in each submission of [`Plan::run`] with this many steps: 1, 2, 4 and so on, so that the device starts
    /// early. They grow up to the number with 256 dispatches, at least one.
    pub fn submissions(&self, steps: usize) -> impl Iterator<Item = usize> {
        let most = (DISPATCHES_PER_SUBMIT / self.launches.len().max(1)).max(1);
        let (mut left, mut next) = (steps, 1);
        std::iter::from_fn(move || {
            let chunk = left.min(next);
            left -= chunk;
            next = most.min(2 * next);
            (chunk > 0).then_some(chunk)
        })
    }

    /// Encodes the dispatches of one step; `after` is called behind each with its number.
    pub(crate) fn encode(
        &self,
        pass: &mut wgpu::ComputePass<'_>,
        mut after: impl FnMut(&mut wgpu::ComputePass<'_>, usize),
    ) {
        for (number, launch) in self.launches.iter().enumerate() {
            if !launch.moved.is_empty() {
                let state = wgpu::BufferUses::STORAGE_READ_ONLY;
                let moves = launch.moved.iter().map(|buffer| wgpu::BufferTransition { buffer, state });
                pass.transition_resources(moves, std::iter::empty());
            }
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

    fn kept(&self, var: Var<'_>) -> Result<&(BufferSlice, TensorType)> {
        self.kept.get(&var.id()).ok_or_else(|| Error::NotKept { var: format!("{var:?}") })
    }

    /// This plan as a document that another program can replay, see [`Export`]; it is called `step`.
    ///
    /// # Errors
    /// [`Error::NotPortable`] with the kernel and the limit if it needs more than every WebGPU adapter has; [`Error::DeviceLost`].
    pub fn export(&self) -> Result<Export> {
        let mut export = Export::new(&self.gpu);
        export.plan("step", self, &[])?;
        Ok(export)
    }

    /// The dispatches of one step, in order.
    pub fn launches(&self) -> impl ExactSizeIterator<Item = &LaunchInfo> {
        self.launches.iter().map(|launch| &launch.info)
    }

    /// Number of barriers within a step, see [`LaunchInfo::barrier`].
    pub fn barriers(&self) -> usize {
        self.launches().filter(|launch| launch.barrier).count()
    }

    /// Bytes in buffers of the plan alone: leaves, and buffers that it shares with another plan, do not count.
    pub fn memory(&self) -> u64 {
        self.memory
    }
}

/// A table of the step's dispatches; a `|` before the number is a barrier.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>5} {:<22} {:<22} {:>14} {:>10} {:>10}  layer", "#", "op", "kernel", "groups", "MFLOP", "KiB")?;
        for (number, info) in self.launches().enumerate() {
            let [x, y, z] = info.groups;
            writeln!(
                f,
                "{}{number:>4} {:<22} {:<22} {:>14} {:>10.3} {:>10.1}  {}",
                if info.barrier { '|' } else { ' ' },
                info.op,
                info.kernel,
                format!("{x}x{y}x{z}"),
                info.flops as f64 / 1e6,
                info.bytes as f64 / 1024.0,
                info.layer
            )?;
        }
        let (dispatches, barriers) = (self.launches.len(), self.barriers());
        let mebibytes = self.memory as f64 / f64::from(1 << 20);
        writeln!(f, "{dispatches} dispatches a step, {barriers} barriers, {mebibytes:.1} MiB")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GpuOptions, Layout, Optimizer, OptimizerConfig, ParamSpec, Params, Schedule, StepState, Tensor};

    fn normal(stream: u64, count: usize) -> Vec<f32> {
        let mut rng = trellis_rng::Rng::new(1, stream);
        (0..count).map(|_| rng.normal()).collect()
    }

    #[test]
    fn dispatches_and_barriers_of_small_graphs() {
        // As on a GPU: on a CPU small values share buffers.
        let gpu = Gpu::with(&GpuOptions { gpu_kernels: true, ..GpuOptions::default() }).expect("an adapter");
        let x = Tensor::from_f32(&gpu, "x", [64], &normal(0, 64)).expect("small");
        let counts = |record: &dyn for<'g> Fn(Var<'g>) -> Result<Vec<Var<'g>>>| {
            let graph = Graph::new();
            let keep = record(graph.leaf(&x)).expect("sane");
            let plan = Plan::new(&gpu, &graph, &keep).expect("small");
            (plan.launches().len(), plan.barriers())
        };
        assert_eq!(counts(&|x| Ok(vec![x.exp()?.sqrt()?.tanh()?])), (3, 2), "a chain waits between any two");
        assert_eq!(counts(&|x| Ok(vec![x.exp()?, x.tanh()?, x.relu()?])), (3, 0), "all read what none writes");
        assert_eq!(counts(&|x| Ok(vec![x.exp()?.sqrt()?, x.tanh()?.sqrt()?])), (4, 1), "one moves both inputs");
        assert_eq!(counts(&|x| Ok(vec![x.exp()?.add(x.tanh()?)?])), (3, 1), "one dispatch reads both");
    }

    #[test]
    fn dispatches_by_hand_run_in_order_and_errors_name_the_binding() {
        let gpu = Gpu::with(&GpuOptions { gpu_kernels: true, ..GpuOptions::default() }).expect("an adapter");
        let source = "@group(0) @binding(0) var<uniform> n: u32;\n\
            @group(0) @binding(1) var<storage, read> x: array<f32>;\n\
            @group(0) @binding(2) var<storage, read_write> y: array<f32>;\n\
            @compute @workgroup_size(256) fn more(@builtin(global_invocation_id) id: vec3u) {\n\
            if (id.x < n) { y[id.x] = 2.0 * x[id.x] + 1.0; } }";
        let more = |source| Dispatch::linear(crate::Kernel { name: "more", source }, 3).dims(&[3]);
        let [x, y] = [1.0, 0.0].map(|value| Tensor::from_f32(&gpu, "x", [3], &[value; 3]).expect("small"));
        let plan = Plan::of_dispatches(&gpu, &[(more(source), &[&x, &y]), (more(source), &[&y, &x])]).expect("sane");
        plan.run(2).expect("runs");
        assert_eq!((x.read_f32().expect("read"), plan.barriers()), (vec![31.0; 3], 1), "1, 3, 7, 15, 31");
        let message = |source, tensors: &[&Tensor]| match Plan::of_dispatches(&gpu, &[(more(source), tensors)]) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        assert!(message(source, &[&x]).contains("has 2 storage bindings, and 1 tensors are given"));
        assert!(message(source, &[&x, &x]).contains("writes binding 2, and x is bound twice"));
        assert!(message(source.replace("2.0 *", "2u *").leak(), &[&x, &y]).contains("kernel more"));
    }

    #[test]
    fn the_order_by_dependency_gives_the_bits_of_the_recorded_one() {
        let gpu = Gpu::with(&GpuOptions { gpu_kernels: true, ..GpuOptions::default() }).expect("an adapter");
        let tensor = |name: &str, stream, shape: [usize; 2]| {
            Tensor::from_f32(&gpu, name, shape, &normal(stream, shape[0] * shape[1])).expect("small")
        };
        let (x, guide) = (tensor("x", 1, [16, 24]), tensor("guide", 2, [16, 12]));
        let labels: Vec<u32> = (0..16).map(|i| i % 5).collect();
        let labels = Tensor::from_u32(&gpu, "labels", [16], &labels).expect("small");
        // A guided network of four layers; its parameters after some steps, and dispatches with their barriers.
        let train = |order: fn(&[Vec<barriers::Use>]) -> Vec<order::Turn>| -> Result<_> {
            let sizes = [24, 20, 20, 20, 5];
            let spec = |name: String, shape: &[usize], stream| {
                let values = normal(stream, shape.iter().product());
                ParamSpec {
                    name,
                    shape: shape.to_vec().into(),
                    values: values.iter().map(|v| 0.2 * v).collect::<Vec<f32>>().into(),
                }
            };
            let layers = sizes.windows(2).zip(0..).flat_map(|(size, i)| {
                let weight = spec(format!("{i}.weight"), &[size[1], size[0]], 10 + i);
                [weight, spec(format!("{i}.bias"), &[size[1]], 20 + i)]
            });
            let params = Params::new(&gpu, &layers.collect::<Vec<_>>())?;
            let (step_state, graph) = (StepState::new(&gpu)?, Graph::new());
            let mut y = graph.leaf(&x);
            let mut loss = graph.constant(0.0, []);
            let guide = graph.leaf(&guide).centered_gram()?;
            for (number, layer) in params.tensors().chunks(2).enumerate() {
                y = y.matmul(graph.leaf(&layer[0]), Layout::NT)?.add(graph.leaf(&layer[1]))?;
                if number < 3 {
                    y = y.relu()?;
                    loss = loss.sub(Var::cka(y.centered_gram()?, guide)?.value)?;
                }
            }
            loss = loss.add(y.cross_entropy(graph.leaf(&labels), 0.0)?)?;
            let optimizer = Optimizer::new(&gpu, &params, OptimizerConfig::adam(Schedule::Constant(1e-2)))?;
            optimizer.update(&graph, loss, &step_state)?;
            graph.end_steps()?;
            let kept = vec![false; graph.len()];
            let fused = fuse(graph.nodes(), &kept);
            let plan = Builder::new(&gpu, &fused, &kept, Vec::new())?.build(order)?;
            plan.run(5)?;
            let bits = |tensor: &Tensor| Ok(tensor.read_f32()?.into_iter().map(f32::to_bits).collect::<Vec<_>>());
            let bits = params.tensors().iter().map(bits).collect::<Result<Vec<_>>>()?;
            let kernels: Vec<_> = plan.launches().map(|launch| (launch.op, launch.layer.clone())).collect();
            Ok((bits, kernels, plan.barriers()))
        };
        let (recorded, as_recorded, many) = train(order::as_recorded).expect("trains");
        let (ordered, by_dependency, few) = train(order::by_dependency).expect("trains");
        assert_eq!(recorded, ordered);
        assert!(as_recorded != by_dependency && 4 * few < 3 * many, "{few} barriers, {many} as recorded");
    }
}
