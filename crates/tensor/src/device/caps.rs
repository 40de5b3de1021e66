//! Capabilities of an adapter.

use std::sync::Arc;

use crate::ops::gemm::members::Tuning;

/// What an adapter can do, as far as kernels are chosen by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caps {
    /// The adapter runs on the CPU (lavapipe, SwiftShader, WARP).
    pub software: bool,
    /// Invocations of a subgroup where that number is fixed and subgroup operations are available, else 0.
    pub subgroup: u32,
    /// The same where neighboring invocations of a workgroup are neighbors in the subgroup, tried out when the adapter is
    /// opened: sums over a workgroup then go through shuffles. Else 0.
    pub shuffle: u32,
    /// Timestamps can be written inside a compute pass.
    pub timestamps: bool,
    /// Matrix units that multiply 16 × 16 of f16 and add in f32, for subgroups of 32.
    pub cooperative: bool,
    /// Most invocations of a workgroup.
    pub invocations: u32,
    /// Most bytes of workgroup memory.
    pub workgroup_memory: u32,
    /// Largest storage binding in bytes.
    pub max_binding: u64,
    /// Largest buffer in bytes.
    pub max_buffer: u64,
    /// What `trellis tune` found here.
    pub tuning: Arc<Tuning>,
}

/// The least that WebGPU allows an adapter to offer.
impl Default for Caps {
    fn default() -> Self {
        let limits = wgpu::Limits::default();
        Self {
            software: false,
            subgroup: 0,
            shuffle: 0,
            timestamps: false,
            cooperative: false,
            invocations: limits.max_compute_invocations_per_workgroup,
            workgroup_memory: limits.max_compute_workgroup_storage_size,
            max_binding: limits.max_storage_buffer_binding_size,
            max_buffer: limits.max_buffer_size,
            tuning: Arc::default(),
        }
    }
}
