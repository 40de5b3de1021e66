//! The adapters of a machine, and their order by kind, fastest first.

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

impl AdapterSummary {
    /// True if [`GpuOptions::adapter`](crate::GpuOptions::adapter) set to `part` selects this adapter.
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
