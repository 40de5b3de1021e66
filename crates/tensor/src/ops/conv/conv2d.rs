//! Convolution of images, as a matrix product whose right side is read in place (implicit GEMM).

use std::any::Any;
use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::conv::conv2d_grad::{Conv2dInputGrad, Conv2dWeightGrad};
use crate::ops::conv::geometry::{Geometry, folded_norm};
use crate::ops::elementwise::unary::UnaryFunction;
use crate::ops::gemm::epilogue::Epilogue;
use crate::ops::gemm::members::Layout;
use crate::ops::norm::batch_norm::{BatchNorm, Statistics};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `y[b, o, i, j] = Σ x[b, c, i·stride + ky − padding, j·stride + kx − padding] · w[o, c, ky, kx]`, zeros outside.
/// Inputs: x, w, then those that the epilogue names; its bias `[o]` is per output channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2d {
    /// Pixels from one window to the next, in both directions.
    pub stride: usize,
    /// Zeros around the image, on every side.
    pub padding: usize,
    /// Operations on each element before it is stored.
    pub epilogue: Epilogue,
    /// The product, and those of the gradients, may round their sides to f16, with sums of f32: they do on matrix units.
    pub half: bool,
}

impl Op for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x, w, extra @ ..] = inputs else { return Err("takes images and weights".to_string()) };
        if inputs.iter().any(|x| x.dtype != DType::F32) || extra.len() != self.epilogue.inputs() {
            return Err(format!("takes f32 tensors, not {inputs:?}"));
        }
        let g = Geometry::new(&x.shape, &w.shape, self.stride, self.padding)?;
        let by_channel = self.epilogue.norms() + usize::from(self.epilogue.bias);
        if let Some(other) = extra[..by_channel].iter().find(|x| ***x != TensorType::f32([g.channels[1]])) {
            return Err(format!("the bias or norm has {other}, not f32[{}]", g.channels[1]));
        }
        Ok(TensorType::f32([g.batch, g.channels[1], g.output[0], g.output[1]]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        if self.epilogue != (Epilogue { bias: self.epilogue.bias, ..Epilogue::default() }) {
            return Err(y.not_differentiable());
        }
        let Self { stride, padding, half, .. } = *self;
        let (&[.., height, width], &[.., kh, kw]) = (&x[0].shape()[..], &x[1].shape()[..]) else {
            return Ok(Vec::new());
        };
        let dx = dy.graph().push(Conv2dInputGrad::new(stride, padding, [height, width], half), &[dy, x[1]])?;
        let dw = dy.graph().push(Conv2dWeightGrad { stride, padding, window: [kh, kw], half }, &[x[0], dy])?;
        let mut gradients = vec![Some(dx), Some(dw)];
        if self.epilogue.bias {
            gradients.push(Some(dy.sum(&[0, 2, 3], false)?));
        }
        Ok(gradients)
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let (x, w) = (&inputs[0].shape, &inputs[1].shape);
        let g = Geometry::new(x, w, self.stride, self.padding).expect("checked while recording");
        let [m, n, k] = [w[0], g.batch * g.output_pixels(), w[1..].iter().product()];
        if let Some(lowered) = g.by_tap(caps, [false, self.half], [m, n, k], self.epilogue) {
            return lowered;
        }
        let chosen = caps.gemm_variant(Layout::NN, [m, n, k]);
        let spread = !chosen.in_registers();
        let flags = |dispatch: Dispatch| dispatch.flag("NEAR", spread).flag("LHS_K4", spread && k.is_multiple_of(4));
        let mut lowered = Lowered { dispatches: Vec::new(), scratch: Vec::new() };
        let folded = folded_norm(&mut lowered, self.epilogue, m);
        let ranges = g.product(kernel!("conv/conv2d"), caps, chosen, [m, n, k], self.epilogue, folded);
        lowered.dispatches.extend(ranges.map(flags));
        lowered
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let g = Geometry::new(&types[0].shape, &types[1].shape, self.stride, self.padding)
            .expect("checked while recording");
        let mut y = vec![0.0; output.elements()];
        g.for_each_product(|x_at, w_at, y_at| y[y_at] += inputs[0][x_at] * inputs[1][w_at]);
        let channel = |at: usize| at / g.output_pixels() % g.channels[1];
        y.iter().enumerate().map(|(at, &v)| self.epilogue.reference(v, at, channel(at), &inputs[2..])).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (x, w, stride, padding) = Geometry::sample(rng);
        let bias = rng.below(2) == 0;
        if rng.below(2) == 0 {
            let sample = TestCase::new(move |v| v[0].conv2d(v[1], v.get(2).copied(), stride, padding));
            let sample = sample.normal(rng, x).normal(rng, w);
            return if bias { sample.normal(rng, [w[0]]) } else { sample };
        }
        let activation = [None, Some(UnaryFunction::Relu), Some(UnaryFunction::Tanh)][rng.below(3)];
        let norm = (!bias && rng.below(2) == 0).then(|| rng.range(1e-3, 0.1));
        let epilogue = Epilogue { norm, bias, activation, residual: rng.below(2) == 0, gradient: None };
        let op = Conv2d { stride, padding, epilogue, half: false };
        let mut sample = TestCase::forward_only(op).normal(rng, x).normal(rng, w);
        if norm.is_some() {
            sample = sample.normal(rng, [w[0]]).normal(rng, [w[0]]).normal(rng, [w[0]]).uniform(rng, [w[0]], 0.2, 2.0);
        }
        if bias {
            sample = sample.normal(rng, [w[0]]);
        }
        if epilogue.residual {
            let g = Geometry::new(&x, &w, stride, padding).expect("sampled to fit");
            sample = sample.normal(rng, [x[0], w[0], g.output[0], g.output[1]]);
        }
        sample
    }

    fn fuse_consumer(
        &self,
        consumer: &dyn Op,
        position: usize,
        own: &TensorType,
        inputs: &[&TensorType],
    ) -> Option<Rc<dyn Op>> {
        let any: &dyn Any = consumer;
        let norm = any.downcast_ref::<BatchNorm>().filter(|norm| norm.statistics == Statistics::Running);
        if let Some(norm) = norm.filter(|_| position == 0 && self.epilogue == Epilogue::default()) {
            let activation = norm.relu.then_some(UnaryFunction::Relu);
            let epilogue = Epilogue { norm: Some(norm.eps), activation, ..self.epilogue };
            return Some(Rc::new(Conv2d { epilogue, ..*self }));
        }
        let epilogue = self.epilogue.then(consumer, position, own, inputs)?;
        // The bias of a product is per column, that of a convolution per channel: only `Var::conv2d` gives it one.
        (epilogue.bias == self.epilogue.bias).then(|| Rc::new(Conv2d { epilogue, ..*self }) as Rc<dyn Op>)
    }
}

impl<'g> Var<'g> {
    /// Convolution (PyTorch's: a cross-correlation). Shapes: x `[batch, in, height, width]`, w `[out, in, kh, kw]`,
    /// bias `[out]`, to `[batch, out, (height + 2 padding − kh) / stride + 1, …]`.
    ///
    /// Cost: 2 · batch · out · in · kh · kw flop per output pixel; no patches are copied.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes, or a window that does not fit.
    pub fn conv2d(self, w: Var<'g>, bias: Option<Var<'g>>, stride: usize, padding: usize) -> Result<Var<'g>> {
        self.convolved(w, bias, stride, padding, false)
    }

    /// [`Var::conv2d`] in mixed precision: its product and those of its gradients may round their sides to f16, with sums of f32.
    /// They do on matrix units; elsewhere it is [`Var::conv2d`]. Errors as there.
    pub fn conv2d_mixed(self, w: Var<'g>, bias: Option<Var<'g>>, stride: usize, padding: usize) -> Result<Var<'g>> {
        self.convolved(w, bias, stride, padding, true)
    }

    /// [`Var::conv2d`], or with `half` [`Var::conv2d_mixed`].
    pub(super) fn convolved(
        self,
        w: Var<'g>,
        bias: Option<Var<'g>>,
        stride: usize,
        padding: usize,
        half: bool,
    ) -> Result<Var<'g>> {
        let epilogue = Epilogue { bias: bias.is_some(), ..Epilogue::default() };
        let inputs: Vec<Var<'g>> = [self, w].into_iter().chain(bias).collect();
        self.graph().push(Conv2d { stride, padding, epilogue, half }, &inputs)
    }
}
