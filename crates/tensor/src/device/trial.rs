//! A trial of the kernels for cooperative matrices, on a device of its own.

use crate::device::gpu::Gpu;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::attention::layer::AttentionOptions;
use crate::ops::attention::mask::AttentionMask;
use crate::ops::gemm::members::{GemmVariant, Layout, Units};
use crate::plan::Plan;
use crate::tensor::Tensor;

/// True if the kernels for matrix units compile on `trial`, a device of its own, and multiply right. It runs each layout by
/// each member of the family, with edges, on numbers whose sums are exact in any order; then convolution and attention.
///
/// # Errors
/// An error if the driver cannot compile them, or loses the device over it.
pub(crate) fn multiplies_right(trial: &Gpu) -> Result<bool> {
    for units in Units::FAMILY {
        // Two blocks down and one across, less an edge.
        let [m, n, k] = [2 * usize::from(units.rows) - 4, usize::from(units.columns) - 4, 40];
        let values = |elements: usize, stream| (0..elements).map(|i| small_number(i, stream)).collect::<Vec<f32>>();
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
                    small_number(l, 0) * small_number(r, 5)
                };
                out[row * n + column] == (0..k).map(at).sum::<f32>()
            });
            if !right {
                return Ok(false);
            }
        }
    }
    Ok(convolves_right(trial)? && attends_right(trial)?)
}

/// The same for convolution and its gradients, against the kernels without matrix units. All sums are exact.
fn convolves_right(trial: &Gpu) -> Result<bool> {
    let tensor = |name: &str, shape: [usize; 4], stream: usize| {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| small_number(i, stream)).collect();
        Tensor::from_f32(trial, name, shape, &values)
    };
    let [x, w, r] = [tensor("x", [2, 64, 7, 6], 0)?, tensor("w", [64, 64, 3, 3], 3)?, tensor("r", [2, 64, 7, 6], 8)?];
    let [own, plain] = [true, false].map(|mixed| -> Result<_> {
        let graph = Graph::new();
        let [x, w, r] = [&x, &w, &r].map(|tensor| graph.leaf(tensor));
        let y = if mixed { x.conv2d_mixed(w, None, 1, 1)? } else { x.conv2d(w, None, 1, 1)? };
        let gradients = graph.grad(y.mul(r)?.sum_all()?, &[x, w])?;
        read_all(trial, &graph, &[y, gradients[0], gradients[1]])
    });
    Ok(own? == plain?)
}

/// The same for attention and its gradient, but for rounding.
fn attends_right(trial: &Gpu) -> Result<bool> {
    let [batch, time, heads, head] = [2, 70, 2, 32];
    let tensor = |columns: usize, stream: usize| {
        let values: Vec<f32> = (0..batch * time * columns).map(|i| 0.25 * small_number(i, stream)).collect();
        Tensor::from_f32(trial, "trial", [batch, time, columns], &values)
    };
    let (qkv, r) = (tensor(3 * heads * head, 0)?, tensor(heads * head, 5)?);
    let [own, plain] = [true, false].map(|half| -> Result<_> {
        let graph = Graph::new();
        let [qkv, r] = [&qkv, &r].map(|tensor| graph.leaf(tensor));
        let options = AttentionOptions { half, form: None };
        let y = qkv.self_attention_with(heads, AttentionMask::default(), options)?;
        let gradients = graph.grad(y.mul(r)?.sum_all()?, &[qkv])?;
        read_all(trial, &graph, &[y, gradients[0]])
    });
    let near = |own: &Vec<f32>, plain: &Vec<f32>| {
        let greatest = plain.iter().fold(0.0, |most: f32, value| most.max(value.abs()));
        own.iter().zip(plain).all(|(own, plain)| (own - plain).abs() <= 0.01 * greatest)
    };
    Ok(own?.iter().zip(&plain?).all(|(own, plain)| near(own, plain)))
}

fn read_all(trial: &Gpu, graph: &Graph, wanted: &[Var<'_>]) -> Result<Vec<Vec<f32>>> {
    let plan = Plan::new(trial, graph, wanted)?;
    plan.run(1)?;
    wanted.iter().map(|&var| plan.read(var)).collect()
}

/// Whole numbers from -8 to 8.
fn small_number(i: usize, stream: usize) -> f32 {
    ((i * 7 + i / 13 + stream) % 17) as f32 - 8.0
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
