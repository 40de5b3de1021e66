//! The gradient of a Gram matrix: one product, `2 M X`.

use std::any::Any;
use std::rc::Rc;

use crate::device::gpu::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, Sample, awkward_size};
use crate::kernel;
use crate::ops::alignment::center_gram::{CenterGram, Centering};
use crate::ops::alignment::cka::CkaGrad;
use crate::ops::alignment::cka_features::CkaFeaturesGrad;
use crate::ops::alignment::gram::{FLOATS, Layer, gram_type, layer};
use crate::ops::alignment::layer_grams::LayerGramsGrad;
use crate::ops::elementwise::binary::{Binary, BinaryFunction};
use crate::ops::elementwise::cast::{Stored, before_casts};
use crate::ops::elementwise::unary::{Unary, UnaryFunction};
use crate::ops::gemm::matmul::Layout;
use crate::ops::measures::rbf::RbfKernelGrad;
use crate::ops::movement::view::Slice;
use crate::rng::Rng;
use crate::shape::{DType, TensorType};

/// `dX = 2 M X`, for a symmetric `M`. Inputs: `M [n, n]`, activations `[n, p]`, f32 or f16; or `[time, n, n]` and
/// `[n, time, p]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GramGrad {
    /// How it is stored.
    pub stored: Stored,
}

/// `dX = 2 M X` where `M` is the gradient of CKA, formed while it is read: [`CkaGrad`] and [`GramGrad`] in one.
/// Inputs: own and other Gram matrix, CKA's statistics, gradient of the CKA value, activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaGramGrad {
    /// The gradient is for CKA's second argument.
    pub right: bool,
    /// How it is stored.
    pub stored: Stored,
}

/// What is known of a gradient of a Gram matrix from how it was made.
#[derive(Clone, Copy)]
struct Structure {
    symmetric: bool,
    rows_sum_to_zero: bool,
}

fn structure(dk: Var<'_>) -> Structure {
    let nothing = Structure { symmetric: false, rows_sum_to_zero: false };
    let Some(op) = dk.op() else { return nothing };
    let any: &dyn Any = op.as_ref();
    let all = |vars: &[Var<'_>], rows: fn(Var<'_>) -> bool| vars.iter().all(|&var| rows(var));
    let inputs = dk.inputs();
    if let Some(CkaGrad { centering, .. }) = any.downcast_ref() {
        let rows_sum_to_zero = matches!(centering, Some(Centering::Double | Centering::Unbiased));
        return Structure { symmetric: true, rows_sum_to_zero };
    }
    if any.is::<RbfKernelGrad>() {
        return Structure { symmetric: true, rows_sum_to_zero: true };
    }
    if let Some(CenterGram { centering }) = any.downcast_ref() {
        let rows_sum_to_zero = *centering != Centering::OffDiagonal;
        return Structure { symmetric: structure(inputs[0]).symmetric, rows_sum_to_zero };
    }
    let linear = any.downcast_ref::<Binary>().is_some_and(|op| op.function == BinaryFunction::Add)
        || matches!(any.downcast_ref(), Some(Unary { function: UnaryFunction::Affine { shift: 0.0, .. } }));
    if linear {
        let symmetric = all(&inputs, |var| structure(var).symmetric);
        return Structure { symmetric, rows_sum_to_zero: all(&inputs, |var| structure(var).rows_sum_to_zero) };
    }
    nothing
}

/// `M` itself where it is known to be symmetric, else (M + Mᵀ)/2: a Gram matrix is symmetric, so only that part of its
/// gradient counts.
pub(crate) fn symmetric(m: Var<'_>) -> Result<Var<'_>> {
    if structure(m).symmetric { Ok(m) } else { m.add(m.transpose()?)?.affine(0.5, 0.0) }
}

/// Whether the columns of a gradient are known to sum to 0, rounding aside: of a [`GramGrad`], because the rows of its `M`
/// do; of a [`CkaFeaturesGrad`] by its definition.
pub(crate) fn columns_sum_to_zero(dx: Var<'_>) -> bool {
    let dx = before_casts(dx);
    let Some(op) = dx.op() else {
        return dx.reshaped().is_some_and(|from| match from.op() {
            // A layer out of several.
            Some(op) if (op.as_ref() as &dyn Any).is::<Slice>() => {
                let layers = from.inputs()[0];
                let product = layers.op().is_some_and(|op| (op.as_ref() as &dyn Any).is::<LayerGramsGrad>());
                product && structure(layers.inputs()[0]).rows_sum_to_zero
            }
            // Time steps folded into features keep their columns.
            _ => from.shape()[..1] == dx.shape()[..1] && columns_sum_to_zero(from),
        });
    };
    let any: &dyn Any = op.as_ref();
    any.is::<CkaFeaturesGrad>() || (any.is::<GramGrad>() && structure(dx.inputs()[0]).rows_sum_to_zero)
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

    fn sample(rng: &mut Rng) -> Sample {
        let (m, x) = grad_shapes(rng);
        let (casts, dtype) = (rng.below(3), FLOATS[rng.below(2)]);
        let mut sample = Sample::new(move |x| casts_of(x[0].graph().push(GramGrad::default(), x)?, casts));
        sample.differentiable = false;
        sample.halved = casts > 0;
        sample.normal(rng, m).normal_of(rng, dtype, x)
    }

    fn absorb(&self, consumer: &dyn Op, _: usize, own: &TensorType, _: &[&TensorType]) -> Option<Rc<dyn Op>> {
        let stored = self.stored.then(consumer, own.shape.last_axis(), true)?;
        Some(Rc::new(GramGrad { stored }))
    }
}

impl Op for CkaGramGrad {
    fn name(&self) -> &'static str {
        "cka_gram_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [own, other, stats, dc, x] = inputs else { return Err("takes five inputs".to_string()) };
        CkaGrad { right: self.right, centering: None }.infer(&[own, other, stats, dc])?;
        GramGrad { stored: self.stored }.infer(&[own, x])
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let dispatch = self.stored.on(grad_dispatch(caps, inputs[4]));
        dispatch.constant("CKA", 1).constant("RIGHT", u32::from(self.right)).bind(5).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let (cka, gram) = inputs.split_at_mut(4);
        let m = CkaGrad { right: self.right, centering: None }.reference(cka, &types[..4], types[0]);
        GramGrad::default().reference(&mut [m, gram[0].clone()], &[types[0], types[4]], output)
    }

    fn sample(rng: &mut Rng) -> Sample {
        let (m, x) = grad_shapes(rng);
        let (right, casts, dtype) = (rng.below(2) == 0, rng.below(3), FLOATS[rng.below(2)]);
        let op = CkaGramGrad { right, stored: Stored::default() };
        let mut sample = Sample::new(move |x| casts_of(x[0].graph().push(op, x)?, casts));
        sample.differentiable = false;
        sample.halved = casts > 0;
        let mut stats = m[..m.len() - 2].to_vec();
        stats.push(8);
        let sample = sample.normal(rng, m.clone()).normal(rng, m).uniform(rng, stats, 0.5, 2.0);
        sample.normal(rng, []).normal_of(rng, dtype, x)
    }

    fn absorb(&self, consumer: &dyn Op, _: usize, own: &TensorType, _: &[&TensorType]) -> Option<Rc<dyn Op>> {
        let stored = self.stored.then(consumer, own.shape.last_axis(), true)?;
        Some(Rc::new(CkaGramGrad { stored, ..*self }))
    }
}

/// Shapes of `M` and of the activations, with and without time.
fn grad_shapes(rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    let [n, p, time] = [awkward_size(rng, 70), awkward_size(rng, 200), 1 + rng.below(3)];
    if rng.below(2) == 0 { (vec![n, n], vec![n, p]) } else { (vec![time, n, n], vec![n, time, p]) }
}

/// Casts that fusion takes into a product: none, to f16, to f16 and back.
fn casts_of(product: Var<'_>, casts: usize) -> Result<Var<'_>> {
    let half = if casts > 0 { product.cast(DType::F16)? } else { product };
    if casts > 1 { half.cast(DType::F32) } else { Ok(half) }
}

fn grad_dispatch(caps: &Caps, x: &TensorType) -> Dispatch {
    let Layer { n, time, p } = layer(x).expect("checked while recording");
    let chosen = caps.product_loop(Layout::NN, [n, p, n]);
    let (half, fours) = (x.dtype == DType::F16, p.is_multiple_of(4));
    chosen
        .dispatch(kernel!("alignment/gram_grad"), [n, p], time)
        .flag("WHOLE", chosen.whole_turns(n))
        .flag("LHS_K4", chosen.by_fours() && n.is_multiple_of(4))
        .flag("VEC4", fours)
        .flag("X_HALF4", half && fours)
        .flag("X_HALF", half && !fours)
        .dims(&[n, p, time * p])
        .floats(&[1.0 / time as f32])
        .flops(2 * time * n * n * p)
}
