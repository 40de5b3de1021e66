//! The adapters of a machine: what there is, and which is the fastest kind.

use crate::device::gpu::Gpu;
use crate::device::mesa::name_runtime_folder;

/// One row of `trellis devices`.
#[derive(Clone, Debug)]
pub struct AdapterSummary {
    /// Adapter name.
    pub name: String,
    /// "discrete GPU", "software" and so on.
    pub kind: String,
    /// Graphics API.
    pub backend: String,
    /// Driver name and version.
    pub driver: String,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Subgroup sizes, smallest and largest.
    pub subgroup: (u32, u32),
}

impl Gpu {
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

impl AdapterSummary {
    /// Whether [`GpuOptions::adapter`](crate::GpuOptions::adapter) set to `part` takes this adapter.
    pub fn matches(&self, part: &str) -> bool {
        name_contains(&self.name, part)
    }
}

pub(crate) fn name_contains(name: &str, part: &str) -> bool {
    name.to_lowercase().contains(&part.to_lowercase())
}

pub(crate) fn adapters() -> Vec<wgpu::Adapter> {
    name_runtime_folder();
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let descriptor =
        wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle_from_env() };
    pollster::block_on(wgpu::Instance::new(descriptor).enumerate_adapters(backends))
}

pub(crate) fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}
