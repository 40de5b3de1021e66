//! The GPU: device, queue, pipelines, counters and errors.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::device::caps::Caps;
use crate::device::cooperative::{MATRIX_UNITS, experimental};
use crate::device::counters::{AtomicCounters, Counters};
use crate::device::options::GpuOptions;
use crate::device::pool::Pool;
use crate::device::subgroups::neighbors_share;
use crate::error::{Error, Result};
use crate::ops::gemm::members::Tuning;
use crate::plan::kernel::{Access, Variant};

/// Offsets of sub-buffers and uniform slots: the largest alignment any adapter asks for.
pub(crate) const ALIGNMENT: usize = 256;

/// An opened GPU device. Cloning is cheap and gives the same device.
#[derive(Clone)]
pub struct Gpu {
    inner: Arc<Inner>,
}

struct Inner {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    caps: Caps,
    tuning_path: Option<PathBuf>,
    checked_shaders: bool,
    /// By key and text: kernels of two programs may have one name.
    pipelines: Mutex<HashMap<(String, &'static str), Arc<Pipeline>>>,
    layouts: Mutex<HashMap<Vec<Access>, wgpu::BindGroupLayout>>,
    pool: Arc<Mutex<Pool>>,
    counters: Arc<AtomicCounters>,
    failure: Arc<Mutex<Option<Failure>>>,
    dry_run_buffer: Option<wgpu::Buffer>,
}

enum Failure {
    Lost(String),
    Rejected(String),
}

/// A compiled kernel variant.
pub(crate) struct Pipeline {
    pub(crate) raw: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
    pub(crate) bindings: Vec<Access>,
}

impl Gpu {
    pub(super) fn open(adapter: &wgpu::Adapter, options: &GpuOptions, cooperative: bool) -> Result<Self> {
        let info = adapter.get_info();
        let wanted =
            wgpu::Features::TIMESTAMP_QUERY | wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES | wgpu::Features::SUBGROUP;
        let (features, limits) = match options.portable {
            true => (wgpu::Features::empty(), wgpu::Limits::default()),
            false => (adapter.features() & wanted, adapter.limits()),
        };
        let experimental_features = if cooperative { experimental() } else { wgpu::ExperimentalFeatures::disabled() };
        let opened = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("trellis"),
            required_features: match (cooperative, options.emulated_units) {
                (true, _) => features | MATRIX_UNITS,
                (false, true) => features | wgpu::Features::SHADER_F16,
                (false, false) => features,
            },
            required_limits: limits.clone(),
            memory_hints: wgpu::MemoryHints::Performance,
            experimental_features,
            ..Default::default()
        }));
        let (device, queue) =
            opened.map_err(|e| Error::Device { adapter: info.name.clone(), message: e.to_string() })?;

        let failure = Arc::new(Mutex::new(None));
        let slot = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            lock(&slot).get_or_insert(Failure::Rejected(error.to_string()));
        }));
        let slot = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                *lock(&slot) = Some(Failure::Lost(message));
            }
        });

        let tuning_path = options.tuning_path(&info);
        let tuning = tuning_path.as_deref().map_or(Ok(Tuning::default()), Tuning::read)?;
        let software = info.device_type == wgpu::DeviceType::Cpu;
        let fixed_subgroup =
            features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size == info.subgroup_max_size;
        let subgroup = if fixed_subgroup && options.subgroups { info.subgroup_min_size } else { 0 };
        let shuffle = if subgroup > 0 && neighbors_share(&device, &queue, subgroup) { subgroup } else { 0 };
        let gpu_kernels = options.gpu_kernels || options.portable;
        let caps = Caps {
            software: software && !gpu_kernels,
            subgroup: if gpu_kernels { 0 } else { subgroup },
            shuffle,
            cooperative: cooperative || options.emulated_units,
            emulated: !cooperative && options.emulated_units,
            timestamps: features.contains(wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES),
            invocations: limits.max_compute_invocations_per_workgroup.min(limits.max_compute_workgroup_size_x),
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            tuning: Arc::new(tuning),
        };
        let dry_run_buffer = options.dry_run.then(|| placeholder(&device));
        let budget = options.memory_budget.unwrap_or(if software { half_of_memory() } else { u64::MAX });
        let counters = Arc::new(AtomicCounters::default());
        let pool = Arc::new(Mutex::new(Pool::new(budget, counters.clone())));
        let inner = Inner {
            device,
            queue,
            info,
            caps,
            tuning_path,
            checked_shaders: options.checked_shaders,
            pipelines: Mutex::new(HashMap::new()),
            layouts: Mutex::new(HashMap::new()),
            pool,
            counters,
            failure,
            dry_run_buffer,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same device, but one that counts memory without allocating it ([`GpuOptions::dry_run`]), with accounts of its
    /// own.
    pub fn counting(&self) -> Self {
        let Inner { device, queue, info, caps, tuning_path, checked_shaders, .. } = &*self.inner;
        let counters = Arc::new(AtomicCounters::default());
        let inner = Inner {
            device: device.clone(),
            queue: queue.clone(),
            info: info.clone(),
            caps: caps.clone(),
            tuning_path: tuning_path.clone(),
            checked_shaders: *checked_shaders,
            pipelines: Mutex::default(),
            layouts: Mutex::default(),
            pool: Arc::new(Mutex::new(Pool::new(self.memory_budget(), counters.clone()))),
            counters,
            failure: self.inner.failure.clone(),
            dry_run_buffer: Some(placeholder(device)),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The adapter's name.
    pub fn name(&self) -> &str {
        &self.inner.info.name
    }

    /// Capabilities of the adapter.
    pub fn caps(&self) -> &Caps {
        &self.inner.caps
    }

    /// Path of the table of `trellis tune` for this adapter and driver, whether or not it exists; `None` if tables are off.
    pub fn tuning_path(&self) -> Option<&Path> {
        self.inner.tuning_path.as_deref()
    }

    /// Counts since the device was opened.
    pub fn counters(&self) -> Counters {
        let c = &self.inner.counters;
        Counters {
            dispatches: c.dispatches.load(Ordering::Relaxed),
            submits: c.submits.load(Ordering::Relaxed),
            readbacks: c.readbacks.load(Ordering::Relaxed),
            buffers_created: c.buffers_created.load(Ordering::Relaxed),
            pipelines_created: c.pipelines_created.load(Ordering::Relaxed),
        }
    }

    /// Greatest number of bytes that buffers may hold; [`u64::MAX`] without a limit.
    pub fn memory_budget(&self) -> u64 {
        lock(&self.inner.pool).budget()
    }

    /// Bytes now held in buffers, in use or pooled.
    pub fn memory_used(&self) -> u64 {
        lock(&self.inner.pool).held()
    }

    /// Bytes in use by buffer name, largest first, and the peak of bytes in use.
    pub fn memory_by_name(&self) -> (Vec<(String, u64)>, u64) {
        lock(&self.inner.pool).uses()
    }

    /// Name and bytes of the largest buffer ever in use.
    pub fn largest_buffer(&self) -> (String, u64) {
        lock(&self.inner.pool).largest()
    }

    /// Blocks until everything submitted so far has run.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], or [`Error::Gpu`] if wgpu rejected something since the last check.
    pub fn wait(&self) -> Result<()> {
        let polled = self.inner.device.poll(wgpu::PollType::wait_indefinitely());
        self.check("the submitted work")?;
        polled.map(|_| ()).map_err(|e| Error::DeviceLost { message: e.to_string() })
    }

    /// Submits pending writes and blocks until they have arrived. The copies that wgpu keeps of them are then free.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub fn flush(&self) -> Result<()> {
        self.queue().submit([]);
        self.wait()
    }

    /// Runs callbacks of finished work, without blocking.
    pub(crate) fn poll(&self) {
        // A failure shows in the next `check`.
        let _ = self.inner.device.poll(wgpu::PollType::Poll);
    }

    /// The error that wgpu has reported since the last call, if any, with `label` as the place.
    pub(crate) fn check(&self, label: &str) -> Result<()> {
        let mut slot = lock(&self.inner.failure);
        match &*slot {
            None => Ok(()),
            Some(Failure::Lost(message)) => Err(Error::DeviceLost { message: message.clone() }),
            Some(Failure::Rejected(message)) => {
                let error = Error::Gpu { label: label.to_string(), message: message.clone() };
                *slot = None;
                Err(error)
            }
        }
    }

    /// Runs `work` and turns a validation error of wgpu in it into an [`Error::Gpu`] with `label`.
    pub(crate) fn scoped<T>(&self, label: &str, work: impl FnOnce(&wgpu::Device) -> T) -> Result<T> {
        let scope = self.inner.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let value = work(&self.inner.device);
        match pollster::block_on(scope.pop()) {
            None => self.check(label).map(|()| value),
            Some(error) => Err(Error::Gpu { label: label.to_string(), message: error.to_string() }),
        }
    }

    pub(crate) fn device(&self) -> &wgpu::Device {
        &self.inner.device
    }

    pub(crate) fn queue(&self) -> &wgpu::Queue {
        &self.inner.queue
    }

    /// Placeholder for every buffer if memory is only counted, see [`GpuOptions::dry_run`].
    pub(crate) fn dry_run_buffer(&self) -> Option<&wgpu::Buffer> {
        self.inner.dry_run_buffer.as_ref()
    }

    /// True if memory is only counted, see [`GpuOptions::dry_run`]: nothing runs, and everything reads as 0.
    pub fn is_dry_run(&self) -> bool {
        self.inner.dry_run_buffer.is_some()
    }

    pub(crate) fn write(&self, buffer: &wgpu::Buffer, offset: u64, bytes: &[u8]) {
        if !self.is_dry_run() {
            self.inner.queue.write_buffer(buffer, offset, bytes);
        }
    }

    pub(crate) fn pool(&self) -> &Arc<Mutex<Pool>> {
        &self.inner.pool
    }

    pub(crate) fn submit(&self, commands: wgpu::CommandBuffer) -> wgpu::SubmissionIndex {
        self.inner.counters.submits.fetch_add(1, Ordering::Relaxed);
        self.inner.queue.submit([commands])
    }

    pub(crate) fn count_dispatches(&self, number: usize) {
        self.inner.counters.dispatches.fetch_add(number as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_readback(&self) {
        self.inner.counters.readbacks.fetch_add(1, Ordering::Relaxed);
    }

    /// The pipeline of a variant, compiled at its first use.
    pub(crate) fn pipeline(&self, variant: &Variant) -> Result<Arc<Pipeline>> {
        let key = variant.key();
        let known = (key, variant.kernel.source);
        if let Some(pipeline) = lock(&self.inner.pipelines).get(&known) {
            return Ok(pipeline.clone());
        }
        let bindings = variant.kernel.bindings()?;
        let layout = self.bind_group_layout(&bindings);
        let text = variant.text()?;
        let raw = self.scoped(&format!("kernel {}", known.0), |device| {
            let module = self.shader_module(variant.kernel.name, text);
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(variant.kernel.name),
                bind_group_layouts: &[Some(&layout)],
                immediate_size: 0,
            });
            device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(variant.kernel.name),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(variant.kernel.name),
                compilation_options: wgpu::PipelineCompilationOptions {
                    constants: &variant.constants,
                    // Every kernel writes workgroup memory before it reads it.
                    zero_initialize_workgroup_memory: false,
                },
                cache: None,
            })
        })?;
        self.inner.counters.pipelines_created.fetch_add(1, Ordering::Relaxed);
        let pipeline = Arc::new(Pipeline { raw, layout, bindings });
        lock(&self.inner.pipelines).insert(known, pipeline.clone());
        Ok(pipeline)
    }

    #[allow(unsafe_code, reason = "release runs skip wgpu's bounds checks; tests run every kernel with them")]
    fn shader_module(&self, name: &str, text: String) -> wgpu::ShaderModule {
        let descriptor =
            wgpu::ShaderModuleDescriptor { label: Some(name), source: wgpu::ShaderSource::Wgsl(text.into()) };
        if self.inner.checked_shaders {
            return self.inner.device.create_shader_module(descriptor);
        }
        // SAFETY: kernels are this crate's own; each checks its edges, and the test suite runs them checked.
        unsafe { self.inner.device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
    }

    fn bind_group_layout(&self, bindings: &[Access]) -> wgpu::BindGroupLayout {
        lock(&self.inner.layouts)
            .entry(bindings.to_vec())
            .or_insert_with(|| {
                let entry = |binding: u32, ty| wgpu::BindGroupLayoutEntry {
                    binding,
                    visibility: wgpu::ShaderStages::COMPUTE,
                    ty: wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None },
                    count: None,
                };
                let storage = bindings.iter().zip(1..).map(|(access, number)| {
                    entry(number, wgpu::BufferBindingType::Storage { read_only: *access == Access::Read })
                });
                let entries: Vec<_> =
                    std::iter::once(entry(0, wgpu::BufferBindingType::Uniform)).chain(storage).collect();
                self.inner
                    .device
                    .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &entries })
            })
            .clone()
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({})", self.name())
    }
}

/// Empty buffer that stands for every other if memory is only counted.
fn placeholder(device: &wgpu::Device) -> wgpu::Buffer {
    let usage = wgpu::BufferUsages::STORAGE;
    device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 0, usage, mapped_at_creation: false })
}

/// Half of the machine's memory, or 4 GiB where /proc/meminfo does not say.
fn half_of_memory() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kilobytes.map_or(4 << 30, |kb| kb * 1024 / 2)
}

/// Locks a mutex, even after a panic on another thread: the guarded values stay consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
