//! Opening a device: choice of the adapter and of its features.

use crate::device::adapter::{AdapterSummary, adapters, name_contains, rank};
use crate::device::cooperative::has_matrix_units;
use crate::device::gpu::Gpu;
use crate::device::mesa::one_thread_a_device;
use crate::device::options::GpuOptions;
use crate::device::trial::multiplies_right;
use crate::error::{Error, Result};

impl Gpu {
    /// Opens the adapter named by `TRELLIS_ADAPTER`, or the fastest kind there is.
    ///
    /// A process of one thread without `XDG_RUNTIME_DIR` gets that variable, since Mesa would complain that it is missing.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] or [`Error::Device`].
    pub fn new() -> Result<Self> {
        Self::with(&GpuOptions::from_env()?)
    }

    /// Opens an adapter as `options` say.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] or [`Error::Device`].
    pub fn with(options: &GpuOptions) -> Result<Self> {
        if options.devices > 1 {
            one_thread_a_device();
        }
        let adapters = adapters();
        let found: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
        let no_adapter = || Error::NoAdapter { wanted: options.adapter.clone(), found: found.clone() };
        let adapter = adapters
            .into_iter()
            .filter(|adapter| match &options.adapter {
                Some(part) => name_contains(&adapter.get_info().name, part),
                None => true,
            })
            .min_by_key(|adapter| rank(adapter.get_info().device_type))
            .ok_or_else(no_adapter)?;
        // Experimental features must not make an adapter unusable. Some drivers cannot compile their kernels and lose the
        // device, so they are tried out on a device of their own.
        let units = has_matrix_units(&adapter)
            && !options.dry_run
            && !options.portable
            && Self::open(&adapter, options, true).and_then(|trial| multiplies_right(&trial)).unwrap_or(false);
        Self::open(&adapter, options, units)
    }

    /// Every adapter of this machine.
    pub fn list() -> Vec<AdapterSummary> {
        adapters()
            .iter()
            .map(|adapter| {
                let info = adapter.get_info();
                AdapterSummary {
                    name: info.name,
                    kind: match info.device_type {
                        wgpu::DeviceType::DiscreteGpu => "discrete GPU",
                        wgpu::DeviceType::IntegratedGpu => "integrated GPU",
                        wgpu::DeviceType::VirtualGpu => "virtual GPU",
                        wgpu::DeviceType::Cpu => "software",
                        wgpu::DeviceType::Other => "other",
                    }
                    .to_string(),
                    backend: info.backend.to_string(),
                    driver: format!("{} {}", info.driver, info.driver_info),
                    max_binding: adapter.limits().max_storage_buffer_binding_size,
                    subgroup: (info.subgroup_min_size, info.subgroup_max_size),
                }
            })
            .collect()
    }
}
