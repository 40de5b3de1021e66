//! Matrix units: what wgpu calls cooperative matrices, and what it asks of those who use them.

use crate::device::gpu::Gpu;
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::Layout;
use crate::ops::gemm::variant::Units;
use crate::plan::Plan;
use crate::tensor::Tensor;

use wgpu::wgt::{CooperativeMatrixProperties, CooperativeScalarType};

/// What kernels need of wgpu to reach matrix units.
pub(crate) const MATRIX_UNITS: wgpu::Features =
    wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX.union(wgpu::Features::SHADER_F16);

/// Whether the adapter has those of [`Caps::cooperative`](crate::Caps::cooperative).
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

/// Whether the kernels for matrix units compile on `trial`, a device of its own, and multiply right: each layout by each member of
/// the family, with edges, on numbers whose sums are exact in any order.
///
/// # Errors
/// Where the driver cannot compile them, or loses the device over it.
pub(crate) fn multiplies_right(trial: &Gpu) -> Result<bool> {
    for units in Units::FAMILY {
        // More blocks than for the member's limit, fewer than for the next.
        let [m, n, k] = if *units == Units::LARGE { [12 * 128 - 4, 11 * 128 - 4, 40] } else { [124, 60, 40] };
        debug_assert_eq!(Units::for_size([m, n]), *units);
        let number = |i: usize, stream: usize| ((i * 7 + i / 13 + stream) % 17) as f32 - 8.0;
        let values = |elements: usize, stream| (0..elements).map(|i| number(i, stream)).collect::<Vec<f32>>();
        for layout in [Layout::NN, Layout::NT, Layout::TN] {
            let graph = Graph::new();
            let lhs = if layout == Layout::TN { [k, m] } else { [m, k] };
            let rhs = if layout == Layout::NT { [n, k] } else { [k, n] };
            let lhs = Tensor::from_f16(trial, "trial", lhs, &values(m * k, 0))?;
            let rhs = Tensor::from_f16(trial, "trial", rhs, &values(k * n, 5))?;
            let product = graph.leaf(&lhs).matmul(graph.leaf(&rhs), layout)?;
            let plan = Plan::new(trial, &graph, &[product])?;
            plan.run(1)?;
            let out = plan.read(product)?;
            // A row and a column far apart, and the corners.
            let checked = (0..m).map(|row| (row, n - 1)).chain((0..n).map(|column| (m / 2, column)));
            let right = checked.into_iter().all(|(row, column)| {
                let at = |i: usize| {
                    let l = if layout == Layout::TN { i * m + row } else { row * k + i };
                    let r = if layout == Layout::NT { column * k + i } else { i * n + column };
                    number(l, 0) * number(r, 5)
                };
                out[row * n + column] == (0..k).map(at).sum::<f32>()
            });
            if !right {
                return Ok(false);
            }
        }
    }
    Ok(true)
}
