//! Capabilities of an adapter.

use std::sync::Arc;

use crate::ops::gemm::members::Tuning;

/// Capabilities of an adapter that decide which kernels run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The adapter runs on the CPU (lavapipe, SwiftShader, WARP).
    pub software: bool,
    /// Invocations of a subgroup if that number is fixed and subgroup operations are available, else 0.
    pub subgroup: u32,
    /// The same if neighboring invocations of a workgroup are neighbors in the subgroup, else 0. This is tried out when the
    /// adapter is opened. Sums over a workgroup then go through shuffles.
    pub shuffle: u32,
    /// Timestamps can be written inside a compute pass.
    pub timestamps: bool,
    /// Matrix units that multiply 16 × 16 of f16 and add in f32, for subgroups of 32.
    pub cooperative: bool,
    /// These units are emulated, see [`GpuOptions::emulated_units`](crate::GpuOptions::emulated_units).
    pub emulated: bool,
    /// Greatest number of invocations of a workgroup.
    pub invocations: u32,
    /// Greatest number of bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// Results of `trellis tune` on this adapter.
    pub tuning: Arc<Tuning>,
}

/// The lowest limits that WebGPU allows an adapter to offer.
impl Default for Caps {
    fn default() -> Self {
        let limits = wgpu::Limits::default();
        Self {
            software: false,
            subgroup: 0,
            shuffle: 0,
            timestamps: false,
            cooperative: false,
            emulated: false,
            invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            tuning: Arc::default(),
        }
    }
}
