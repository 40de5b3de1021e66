//! A trial of the kernels for cooperative matrices, on a device of its own.

use crate::device::gpu::Gpu;
use crate::error::Result;
use crate::graph::Graph;
use crate::ops::gemm::members::{Layout, Units};
use crate::plan::Plan;
use crate::tensor::Tensor;

/// True if the kernels for matrix units compile on `trial`, a device of its own, and multiply right. It runs each layout by
/// each member of the family, with edges, on numbers whose sums are exact in any order.
///
/// # Errors
/// An error if the driver cannot compile them, or loses the device over it.
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
