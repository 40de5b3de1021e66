//! The gradients of a convolution. With [`Conv2d`](super::Conv2d) they are closed under differentiation.

use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::conv::geometry::Geometry;
use crate::ops::gemm::epilogue::Epilogue;
use crate::ops::gemm::members::Layout;
use crate::ops::movement::reduce::{Reduce, Reduction};
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// `dx` from `dy` and `w`. Inputs: dy, w, then those that the epilogue names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conv2dInputGrad {
    /// As in the forward pass.
    pub stride: usize,
    /// As in the forward pass.
    pub padding: usize,
    /// Height and width of x: with a stride they do not follow from dy.
    pub image: [usize; 2],
    /// Operations on each element before it is stored. Only fusion sets it.
    pub epilogue: Epilogue,
    /// As in the forward pass.
    pub half: bool,
}

/// `dw` from `x` and `dy`. Inputs: x, dy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dWeightGrad {
    /// As in the forward pass.
    pub stride: usize,
    /// As in the forward pass.
    pub padding: usize,
    /// Height and width of w.
    pub window: [usize; 2],
    /// As in the forward pass.
    pub half: bool,
}

impl Conv2dInputGrad {
    /// The gradient alone.
    pub(crate) fn new(stride: usize, padding: usize, image: [usize; 2], half: bool) -> Self {
        Self { stride, padding, image, epilogue: Epilogue::default(), half }
    }

    fn geometry(&self, dy: &Shape, w: &Shape) -> Result<Geometry, String> {
        let (&[batch, ..], &[_, channels, ..]) = (&dy[..], &w[..]) else {
            return Err(format!("takes dy[batch, out, height, width] and w[out, in, kh, kw], not {dy} and {w}"));
        };
        let x = [batch, channels, self.image[0], self.image[1]];
        checked(Geometry::new(&x, w, self.stride, self.padding)?, dy)
    }
}

impl Conv2dWeightGrad {
    fn geometry(&self, x: &Shape, dy: &Shape) -> Result<Geometry, String> {
        let (&[_, channels, ..], &[_, out, ..]) = (&x[..], &dy[..]) else {
            return Err(format!(
                "takes x[batch, in, height, width] and dy[batch, out, rows, columns], not {x} and {dy}"
            ));
        };
        let w = [out, channels, self.window[0], self.window[1]];
        checked(Geometry::new(x, &w, self.stride, self.padding)?, dy)
    }
}

/// The geometry, if its output has the shape of `dy`.
fn checked(g: Geometry, dy: &Shape) -> Result<Geometry, String> {
    let expected = [g.batch, g.channels[1], g.output[0], g.output[1]];
    if **dy == expected { Ok(g) } else { Err(format!("dy is {dy}, not {}", Shape::from(expected))) }
}

impl Op for Conv2dInputGrad {
    fn name(&self) -> &'static str {
        "conv2d_input_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [dy, w, extra @ ..] = inputs else { return Err("takes dy and weights".to_string()) };
        if inputs.iter().any(|x| x.dtype != DType::F32) || extra.len() != self.epilogue.inputs() {
            return Err(format!("takes f32 tensors, not {inputs:?}"));
        }
        let g = self.geometry(&dy.shape, &w.shape)?;
        Ok(TensorType::f32([g.batch, g.channels[0], g.image[0], g.image[1]]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, ddx: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        if self.epilogue != Epilogue::default() {
            return Err(y.not_differentiable());
        }
        let Self { stride, padding, half, .. } = *self;
        let [.., kh, kw] = x[1].shape()[..] else { return Ok(Vec::new()) };
        let d_dy = ddx.convolved(x[1], None, stride, padding, half)?;
        let dw = ddx.graph().push(Conv2dWeightGrad { stride, padding, window: [kh, kw], half }, &[ddx, x[0]])?;
        Ok(vec![Some(d_dy), Some(dw)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let g = self.geometry(&inputs[0].shape, &inputs[1].shape).expect("checked while recording");
        let [m, n, k] = [g.channels[0], g.batch * g.image[0] * g.image[1], g.channels[1] * g.window[0] * g.window[1]];
        if let Some(lowered) = g.by_tap(caps, [true, self.half], [m, n, k], self.epilogue) {
            return lowered;
        }
        let chosen = caps.gemm_variant(Layout::TN, [m, n, k]);
        let ranges = g.product(kernel!("conv/conv2d_input_grad"), caps, chosen, [m, n, k], self.epilogue, None);
        Lowered { dispatches: ranges.collect(), scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let g = self.geometry(&types[0].shape, &types[1].shape).expect("checked while recording");
        let mut dx = vec![0.0; output.elements()];
        g.for_each_product(|x_at, w_at, y_at| dx[x_at] += inputs[0][y_at] * inputs[1][w_at]);
        dx.iter().enumerate().map(|(at, &v)| self.epilogue.reference(v, at, 0, &inputs[2..])).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (x, w, stride, padding) = Geometry::sample(rng);
        let g = Geometry::new(&x, &w, stride, padding).expect("sampled to fit");
        let dy = [x[0], w[0], g.output[0], g.output[1]];
        let mut op = Conv2dInputGrad::new(stride, padding, g.image, false);
        if rng.below(2) == 0 {
            return TestCase::new(move |v| v[0].graph().push(op, v)).normal(rng, dy).normal(rng, w);
        }
        op.epilogue.residual = true;
        TestCase::forward_only(op).normal(rng, dy).normal(rng, w).normal(rng, x)
    }

    fn fuse_consumer(
        &self,
        consumer: &dyn Op,
        position: usize,
        own: &TensorType,
        inputs: &[&TensorType],
    ) -> Option<Rc<dyn Op>> {
        let epilogue = self.epilogue.then(consumer, position, own, inputs)?;
        (!epilogue.bias).then(|| Rc::new(Conv2dInputGrad { epilogue, ..*self }) as Rc<dyn Op>)
    }
}

/// Greatest number of window positions that one dispatch sums: enough to keep an adapter busy, few enough for llvmpipe's loops.
pub(super) const POSITIONS: usize = 2048;

/// A gradient of weights from x and dy, as the sum of `parts` of it, of `elements` each, that `launch` writes. Summing many parts may take
/// several dispatches, with a scratch buffer between them.
pub(super) fn in_parts(caps: &Caps, launch: Dispatch, parts: usize, elements: usize) -> Lowered {
    if parts == 1 {
        return launch.bind(2).into();
    }
    let partial = TensorType::f32([1, parts, elements]);
    let sum = Reduce { reduction: Reduction::Sum }.lower(caps, &[&partial], &TensorType::f32([1, elements]));
    let mut lowered = Lowered::from(launch.args([Arg::Input(0), Arg::Input(1), Arg::Scratch(0)]));
    lowered.scratch.push(4 * parts * elements);
    lowered.scratch.extend(sum.scratch);
    let shifted = |arg: &Arg| match *arg {
        Arg::Input(_) => Arg::Scratch(0),
        Arg::Scratch(number) => Arg::Scratch(number + 1),
        other => other,
    };
    for dispatch in sum.dispatches {
        let args: Vec<Arg> = dispatch.args.iter().map(shifted).collect();
        lowered.dispatches.push(dispatch.args(args));
    }
    lowered
}

impl Op for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x, dy] = inputs else { return Err("takes x and dy".to_string()) };
        if x.dtype != DType::F32 || dy.dtype != DType::F32 {
            return Err(format!("takes f32 tensors, not {inputs:?}"));
        }
        let g = self.geometry(&x.shape, &dy.shape)?;
        Ok(TensorType::f32([g.channels[1], g.channels[0], g.window[0], g.window[1]]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, ddw: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let Self { stride, padding, half, .. } = *self;
        let [.., height, width] = x[0].shape()[..] else { return Ok(Vec::new()) };
        let dx = ddw.graph().push(Conv2dInputGrad::new(stride, padding, [height, width], half), &[x[1], ddw])?;
        let d_dy = x[0].convolved(ddw, None, stride, padding, half)?;
        Ok(vec![Some(dx), Some(d_dy)])
    }

    // A small output with a long inner axis: parts of it are summed side by side, then added up in order.
    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let g = self.geometry(&inputs[0].shape, &inputs[1].shape).expect("checked while recording");
        let [m, n, k] = [g.channels[1], output.elements() / g.channels[1], g.batch * g.output_pixels()];
        let parts = k.div_ceil(POSITIONS).max(1);
        let product = g.weight_grad_by_tap(caps, self.half, [m, n, k], parts).unwrap_or_else(|| {
            let chosen = caps.gemm_variant(Layout::NT, [m, n, k]);
            let dispatch = chosen.dispatch(kernel!("conv/conv2d_weight_grad"), [m, n], parts).flag("RHS_K", true);
            g.dims(dispatch.dims(&[m, n, k, k.div_ceil(parts)])).flops(g.flops())
        });
        in_parts(caps, product, parts, m * n)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let g = self.geometry(&types[0].shape, &types[1].shape).expect("checked while recording");
        let mut dw = vec![0.0; output.elements()];
        g.for_each_product(|x_at, w_at, y_at| dw[w_at] += inputs[0][x_at] * inputs[1][y_at]);
        dw
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (mut x, w, stride, padding) = Geometry::sample(rng);
        if rng.below(4) == 0 {
            x = [70, x[1], 8, 9]; // more window positions than one part sums
        }
        let g = Geometry::new(&x, &w, stride, padding).expect("sampled to fit");
        let op = Conv2dWeightGrad { stride, padding, window: g.window, half: false };
        TestCase::new(move |v| v[0].graph().push(op, v))
            .normal(rng, x)
            .normal(rng, [x[0], w[0], g.output[0], g.output[1]])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first convolution of a ResNet, in batches of 64: 392 parts, whose sum on a GPU takes two dispatches.
    #[test]
    fn a_sum_of_many_parts_passes_through_a_buffer_of_its_own() {
        let (x, dy) = (TensorType::f32([64, 3, 224, 224]), TensorType::f32([64, 64, 112, 112]));
        let op = Conv2dWeightGrad { stride: 2, padding: 3, window: [7, 7], half: false };
        let output = op.infer(&[&x, &dy]).expect("fits");
        let Lowered { dispatches, scratch } = op.lower(&Caps::default(), &[&x, &dy], &output);
        let args: Vec<&[Arg]> = dispatches.iter().map(|dispatch| &dispatch.args[..]).collect();
        let [first, second, third] = args[..] else { panic!("{args:?}") };
        assert_eq!(first, [Arg::Input(0), Arg::Input(1), Arg::Scratch(0)]);
        assert_eq!((second, third), (&[Arg::Scratch(0), Arg::Scratch(1)][..], &[Arg::Scratch(1), Arg::Output][..]));
        assert_eq!((scratch.len(), scratch[0]), (2, 4 * 392 * output.elements()));
    }
}
