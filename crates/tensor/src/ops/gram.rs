//! The Gram matrix of a layer's activations, and its gradient.

use std::any::Any;

use crate::error::Result;
use crate::gpu::Caps;
use crate::graph::Var;
use crate::kernel;
use crate::op::{Arg, Dispatch, Lowered, Op, Sample, awkward_size};
use crate::ops::binary::{Binary, BinaryFunction};
use crate::ops::center::{Center, activations};
use crate::ops::center_gram::{CenterGram, Centering};
use crate::ops::cka::CkaGrad;
use crate::ops::matmul::Layout;
use crate::ops::rbf::RbfKernelGrad;
use crate::ops::unary::{Unary, UnaryFunction};
use crate::product::{ProductLoop, k_ranges};
use crate::rng::Rng;
use crate::shape::TensorType;

/// `K = X Xᵀ` of activations `[n, p]`: symmetric; of centred ones ([`Center`]) every row sums to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gram;

/// `dX = 2 M X`, for a symmetric `M`. Inputs: `M [n, n]`, activations `[n, p]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GramGrad;

/// `dX = 2 M X` where `M` is the gradient of CKA, formed while it is read: [`CkaGrad`] and [`GramGrad`] in one.
/// Inputs: own and other Gram matrix, CKA's statistics, gradient of the CKA value, activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaGramGrad {
    /// The gradient is for CKA's second argument.
    pub right: bool,
}

impl Op for Gram {
    fn name(&self) -> &'static str {
        "gram"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = inputs else { return Err("takes activations".to_string()) };
        let [n, _] = activations(x)?;
        Ok(TensorType::f32([n, n]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dk: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dk.graph().push(GramGrad, &[symmetric(dk)?, x[0]])?)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [n, p] = [inputs[0].shape[0], inputs[0].shape[1]];
        let chosen = caps.product_loop(Layout::NT, [n, n, p]);
        let part = |(start, end): (usize, usize)| {
            gram_dispatch(chosen, n)
                .flag("K4", chosen == ProductLoop::Registers && p.is_multiple_of(4))
                .constant("CONTINUE", u32::from(start > 0))
                .dims(&[n, p, start, end])
                .bind(1)
                .flops(n * (n + 1) * (end - start))
        };
        Lowered { dispatches: k_ranges(caps, p).map(part).collect(), scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [n, p] = [types[0].shape[0], types[0].shape[1]];
        let x = &inputs[0];
        let dot = |i: usize, j: usize| (0..p).map(|k| x[i * p + k] * x[j * p + k]).sum();
        (0..n * n).map(|at| dot(at / n, at % n)).collect()
    }

    fn sample(rng: &mut Rng) -> Sample {
        let shape = [awkward_size(rng, 70), awkward_size(rng, 300)];
        let centered = rng.below(2) == 0;
        Sample::new(move |x| if centered { x[0].centered_gram() } else { x[0].gram() }).normal(rng, shape)
    }
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

/// Whether the columns of a [`GramGrad`] are known to sum to 0, because the rows of its `M` do.
pub(crate) fn columns_sum_to_zero(dx: Var<'_>) -> bool {
    let is_product = dx.op().is_some_and(|op| (op.as_ref() as &dyn Any).is::<GramGrad>());
    is_product && structure(dx.inputs()[0]).rows_sum_to_zero
}

impl Op for GramGrad {
    fn name(&self) -> &'static str {
        "gram_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [m, x] = inputs else { return Err("takes M and activations".to_string()) };
        let [n, p] = activations(x)?;
        if **m != TensorType::f32([n, n]) {
            return Err(format!("M is {m}, not f32[{n}, {n}]"));
        }
        Ok(TensorType::f32([n, p]))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let args = [Arg::Input(0), Arg::Unused, Arg::Unused, Arg::Unused, Arg::Input(1), Arg::Output];
        grad_dispatch(caps, inputs[1]).args(args).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let [n, p] = [types[1].shape[0], types[1].shape[1]];
        let x = &inputs[1];
        let dot = |i: usize, k: usize| (0..n).map(|j| inputs[0][i * n + j] * x[j * p + k]).sum::<f64>();
        (0..n * p).map(|at| 2.0 * dot(at / p, at % p)).collect()
    }

    fn sample(rng: &mut Rng) -> Sample {
        let [n, p] = [awkward_size(rng, 70), awkward_size(rng, 300)];
        Sample::forward_only(GramGrad).normal(rng, [n, n]).normal(rng, [n, p])
    }
}

impl Op for CkaGramGrad {
    fn name(&self) -> &'static str {
        "cka_gram_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [own, other, stats, dc, x] = inputs else { return Err("takes five inputs".to_string()) };
        CkaGrad { right: self.right, centering: None }.infer(&[own, other, stats, dc])?;
        GramGrad.infer(&[own, x])
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        grad_dispatch(caps, inputs[4]).constant("CKA", 1).constant("RIGHT", u32::from(self.right)).bind(5).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let (cka, gram) = inputs.split_at_mut(4);
        let m = CkaGrad { right: self.right, centering: None }.reference(cka, &types[..4], types[0]);
        GramGrad.reference(&mut [m, gram[0].clone()], &[types[0], types[4]], output)
    }

    fn sample(rng: &mut Rng) -> Sample {
        let [n, p] = [awkward_size(rng, 70), awkward_size(rng, 200)];
        Sample::forward_only(CkaGramGrad { right: rng.below(2) == 0 })
            .normal(rng, [n, n])
            .normal(rng, [n, n])
            .uniform(rng, [8], 0.5, 2.0)
            .normal(rng, [])
            .normal(rng, [n, p])
    }
}

/// A launch over the blocks of an `[n, n]` product that are not wholly above the diagonal.
fn gram_dispatch(chosen: ProductLoop, n: usize) -> Dispatch {
    let [rows, columns] = chosen.block();
    let blocks = n.div_ceil(rows);
    chosen.flags(Dispatch::per_group(kernel!("gram"), rows / columns * blocks * (blocks + 1) / 2))
}

fn grad_dispatch(caps: &Caps, x: &TensorType) -> Dispatch {
    let [n, p] = [x.shape[0], x.shape[1]];
    let chosen = caps.product_loop(Layout::NN, [n, p, n]);
    chosen
        .dispatch(kernel!("gram_grad"), [n, p], 1)
        .flag("LHS_K4", chosen == ProductLoop::Registers && n.is_multiple_of(4))
        .flag("VEC4", p.is_multiple_of(4))
        .dims(&[n, p])
        .flops(2 * n * n * p)
}

impl<'g> Var<'g> {
    /// The centred Gram matrix of activations `[n, …]`, everything but the first axis taken as features: `[n, n]`.
    ///
    /// Columns are centred before the product, not the product after it, so that a common offset costs no digits.
    /// Cost: n²·p flop, half of a matrix product.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) without a batch axis.
    pub fn centered_gram(self) -> Result<Var<'g>> {
        self.graph().push(Center, &[self.flatten()?])?.gram()
    }

    /// The Gram matrix `X Xᵀ` of activations `[n, …]`, everything but the first axis taken as features: `[n, n]`. Cost
    /// and errors as [`Var::centered_gram`].
    pub fn gram(self) -> Result<Var<'g>> {
        self.graph().push(Gram, &[self.flatten()?])
    }
}
