//! The gradient of a Gram matrix: one product, `2 M X`.

use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::alignment::gram::{FLOATS, Layer, gram_type, layer};
use crate::ops::elementwise::cast::Stored;
use crate::ops::gemm::members::Layout;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `dX = 2 M X`, for a symmetric `M`. Inputs: `M [n, n]`, activations `[n, p]`, f32 or f16; or `[time, n, n]` and
/// `[n, time, p]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GramGrad {
    /// Storage type of the result.
    pub stored: Stored,
}

impl Op for GramGrad {
    fn name(&self) -> &'static str {
        "gram_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [m, x] = inputs else { return Err("takes M and activations".to_string()) };
        let wanted = gram_type(x)?;
        if **m != wanted {
            return Err(format!("M is {m}, not {wanted}"));
        }
        Ok(TensorType { shape: x.shape.clone(), dtype: self.stored.dtype() })
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn facts(&self, inputs: &[Facts]) -> Facts {
        Facts { columns_sum_to_zero: inputs[0].rows_sum_to_zero, ..Facts::default() }
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let args = [Arg::Input(0), Arg::Unused, Arg::Unused, Arg::Unused, Arg::Input(1), Arg::Output];
        self.stored.on(grad_dispatch(caps, inputs[1])).args(args).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let Layer { n, time, p } = layer(types[1]).expect("checked while recording");
        let (m, x) = (&inputs[0], &inputs[1]);
        let element = |at: usize| {
            let (i, t, k) = (at / (time * p), at / p % time, at % p);
            2.0 * (0..n).map(|j| m[(t * n + i) * n + j] * x[(j * time + t) * p + k]).sum::<f64>()
        };
        (0..x.len()).map(element).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (m, x) = grad_shapes(rng);
        let (casts, dtype) = (rng.below(3), FLOATS[rng.below(2)]);
        let mut sample = TestCase::new(move |x| casts_of(x[0].graph().push(GramGrad::default(), x)?, casts));
        sample.differentiable = false;
        sample.rounds_to_f16 = casts > 0;
        sample.normal(rng, m).normal_of(rng, dtype, x)
    }

    fn fuse_consumer(&self, consumer: &dyn Op, _: usize, own: &TensorType, _: &[&TensorType]) -> Option<Rc<dyn Op>> {
        let stored = self.stored.then(consumer, own.shape.last_axis(), true)?;
        Some(Rc::new(GramGrad { stored }))
    }
}

/// Shapes of `M` and of the activations, with and without time.
pub(super) fn grad_shapes(rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    let [n, p, time] = [awkward_size(rng, 70), awkward_size(rng, 200), 1 + rng.below(3)];
    if rng.below(2) == 0 { (vec![n, n], vec![n, p]) } else { (vec![time, n, n], vec![n, time, p]) }
}

/// Product with the casts that fusion may move into it: none, to f16, to f16 and back.
pub(super) fn casts_of(product: Var<'_>, casts: usize) -> Result<Var<'_>> {
    let half = if casts > 0 { product.cast(DType::F16)? } else { product };
    if casts > 1 { half.cast(DType::F32) } else { Ok(half) }
}

pub(super) fn grad_dispatch(caps: &Caps, x: &TensorType) -> Dispatch {
    let Layer { n, time, p } = layer(x).expect("checked while recording");
    let chosen = caps.gemm_variant(Layout::NN, [n, p, n]);
    let (half, fours) = (x.dtype == DType::F16, p.is_multiple_of(4));
    chosen
        .dispatch(kernel!("alignment/gram_grad"), [n, p], time)
        .flag("WHOLE", chosen.whole_turns(n))
        .flag("LHS_K4", chosen.reads_vec4() && n.is_multiple_of(4))
        .flag("VEC4", fours)
        .flag("X_HALF4", half && fours)
        .flag("X_HALF", half && !fours)
        .dims(&[n, p, time * p])
        .floats(&[1.0 / time as f32])
        .flops(2 * time * n * n * p)
}
