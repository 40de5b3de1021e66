//! A trial of the kernels for cooperative matrices, on a device of its own.

use crate::device::gpu::Gpu;
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::gemm::members::{GemmVariant, Layout, Units};
use crate::plan::Plan;
use crate::tensor::Tensor;

/// True if the kernels for matrix units compile on `trial`, a device of its own, and multiply right. It runs each layout by
/// each member of the family, with edges, on numbers whose sums are exact in any order.
///
/// # Errors
/// An error if the driver cannot compile them, or loses the device over it.
pub(crate) fn multiplies_right(trial: &Gpu) -> Result<bool> {
    for units in Units::FAMILY {
        // Two blocks down and one across, less an edge.
        let [m, n, k] = [2 * usize::from(units.rows) - 4, usize::from(units.columns) - 4, 40];
        let number = |i: usize, stream: usize| ((i * 7 + i / 13 + stream) % 17) as f32 - 8.0;
        let values = |elements: usize, stream| (0..elements).map(|i| number(i, stream)).collect::<Vec<f32>>();
        for layout in [Layout::NN, Layout::NT, Layout::TN] {
            let graph = Graph::new();
            let lhs = if layout == Layout::TN { [k, m] } else { [m, k] };
            let rhs = if layout == Layout::NT { [n, k] } else { [k, n] };
            let lhs = Tensor::from_f16(trial, "trial", lhs, &values(m * k, 0))?;
            let rhs = Tensor::from_f16(trial, "trial", rhs, &values(k * n, 5))?;
            let product = graph.leaf(&lhs).matmul_on(graph.leaf(&rhs), layout, GemmVariant::Cooperative(*units))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::options::GpuOptions;

    #[test]
    fn the_loop_around_matrix_units_multiplies_right() {
        let options =
            GpuOptions { gpu_kernels: true, emulated_units: true, checked_shaders: true, ..Default::default() };
        let gpu = Gpu::with(&options).expect("a software adapter has f16");
        assert!(gpu.caps().emulated || !gpu.caps().software, "a GPU with matrix units has tried them out already");
        assert_eq!(multiplies_right(&gpu), Ok(true));
    }
}
