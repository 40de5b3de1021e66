//! Activations with the mean over the batch taken off.

use crate::error::Result;
use crate::gpu::Caps;
use crate::graph::Var;
use crate::kernel;
use crate::op::{Dispatch, Lowered, Op, Sample, awkward_size};
use crate::ops::gram_grad::columns_sum_to_zero;
use crate::rng::Rng;
use crate::shape::{DType, TensorType};

/// `Xc = X − 1 meanᵀ`: activations `[n, p]` with every column centred. What is left of a constant column by rounding
/// is taken for 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Center;

/// Rows and columns of f32 activations, if there are any.
pub(crate) fn activations(x: &TensorType) -> Result<[usize; 2], String> {
    activations_of(&[DType::F32], x)
}

/// Rows and columns of activations of one of some types, if there are any.
pub(crate) fn activations_of(types: &[DType], x: &TensorType) -> Result<[usize; 2], String> {
    match x.shape[..] {
        [n, p] if n > 0 && p > 0 && types.contains(&x.dtype) => Ok([n, p]),
        _ => {
            let names: Vec<String> = types.iter().map(|dtype| format!("{dtype}[batch, features]")).collect();
            Err(format!("takes activations {}, not {x}", names.join(" or ")))
        }
    }
}

impl Op for Center {
    fn name(&self) -> &'static str {
        "center"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = inputs else { return Err("takes activations".to_string()) };
        activations(x).map(TensorType::f32)
    }

    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(if columns_sum_to_zero(dy) { dy } else { dy.sub(dy.mean(&[0], true)?)? })])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [n, p] = [inputs[0].shape[0], inputs[0].shape[1]];
        let vec4 = p.is_multiple_of(4);
        let columns = if vec4 { p / 4 } else { p };
        let (size, lanes) = if caps.software { (32, 1) } else { (256, 8) };
        Dispatch::per_group(kernel!("center"), columns.div_ceil(size / lanes))
            .flag("VEC4", vec4)
            .constant("SIZE", size as u32)
            .constant("LANES", lanes as u32)
            .dims(&[n, columns])
            .bind(1)
            .flops(3 * n * p)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [n, p] = [types[0].shape[0], types[0].shape[1]];
        let x = &inputs[0];
        let mean: Vec<f64> = (0..p).map(|j| (0..n).map(|i| x[i * p + j]).sum::<f64>() / n as f64).collect();
        x.iter().enumerate().map(|(at, v)| v - mean[at % p]).collect()
    }

    fn sample(rng: &mut Rng) -> Sample {
        let shape = [awkward_size(rng, 70), awkward_size(rng, 300)];
        let offset = [0.0, 3.0][rng.below(2)];
        Sample::new(|x| x[0].center()).values(shape, || f64::from(rng.normal()) + offset)
    }
}

impl<'g> Var<'g> {
    /// Activations `[n, …]` with the mean over the batch taken off each feature: `[n, features]`. A feature that is the
    /// same for every example gives exactly 0.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) without a batch axis.
    pub fn center(self) -> Result<Var<'g>> {
        self.graph().push(Center, &[self.flatten()?])
    }
}
