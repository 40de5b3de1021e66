//! Matrix units: cooperative matrices in wgpu, and the features that they need.

use wgpu::wgt::{CooperativeMatrixProperties, CooperativeScalarType};

/// Features of wgpu that kernels need to use matrix units.
pub(crate) const MATRIX_UNITS: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// True if the adapter has the matrix units of [`Caps::cooperative`](crate::Caps::cooperative).
pub(crate) fn has_matrix_units(adapter: &wgpu::Adapter) -> bool {
    let info = adapter.get_info();
    let fits = |p: &CooperativeMatrixProperties| {
        let halves = p.ab_type == CooperativeScalarType::F16 && p.cr_type == CooperativeScalarType::F32;
        halves && [p.m_size, p.n_size, p.k_size] == [16; 3] && !p.saturating_accumulation
    };
    adapter.features().contains(MATRIX_UNITS)
        && [info.subgroup_min_size, info.subgroup_max_size] == [32; 2]
        && adapter.cooperative_matrix_properties().iter().any(fits)
}

#[allow(unsafe_code, reason = "the only way to say so")]
pub(crate) fn experimental() -> wgpu::ExperimentalFeatures {
    // SAFETY: the caller acknowledges that wgpu's experimental features may have bugs, and promises to report them.
    unsafe { wgpu::ExperimentalFeatures::enabled() }
}
