//! The gradients of a grouped convolution. With [`GroupedConv2d`] they are closed under differentiation.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::conv::conv2d_grad::{POSITIONS, in_parts};
use crate::ops::conv::grouped::{GroupedConv2d, Sizes, turns};
use crate::shape::{DType, Shape, TensorType};
use trellis_rng::Rng;

/// `dx` from `dy` and `w`. Inputs: dy, w.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupedConv2dInputGrad {
    /// The forward pass.
    pub forward: GroupedConv2d,
    /// Height and width of x: with a stride they do not follow from dy.
    pub image: [usize; 2],
}

/// `dw` from `x` and `dy`. Inputs: x, dy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupedConv2dWeightGrad {
    /// The forward pass.
    pub forward: GroupedConv2d,
    /// Height and width of w.
    pub window: [usize; 2],
}

/// Neighbors that share an element of dw on a GPU.
const LANES: usize = 64;

impl GroupedConv2dInputGrad {
    fn sizes(&self, dy: &Shape, w: &Shape) -> Result<Sizes, String> {
        let (&[batch, ..], &[_, per_group, ..]) = (&dy[..], &w[..]) else {
            return Err(format!(
                "takes dy[batch, out, rows, columns] and w[out, in / groups, kh, kw], not {dy} and {w}"
            ));
        };
        let x = [batch, self.forward.groups * per_group, self.image[0], self.image[1]];
        checked(self.forward.sizes(&x, w)?, dy)
    }
}

impl GroupedConv2dWeightGrad {
    fn sizes(&self, x: &Shape, dy: &Shape) -> Result<Sizes, String> {
        let (&[_, channels, ..], &[_, out, ..]) = (&x[..], &dy[..]) else {
            return Err(format!(
                "takes x[batch, in, height, width] and dy[batch, out, rows, columns], not {x} and {dy}"
            ));
        };
        let w = [out, channels / self.forward.groups.max(1), self.window[0], self.window[1]];
        checked(self.forward.sizes(x, &w)?, dy)
    }
}

/// The sizes, if their output has the shape of `dy`.
fn checked(sizes: Sizes, dy: &Shape) -> Result<Sizes, String> {
    let expected = Shape::from(sizes.outputs());
    if *dy == expected { Ok(sizes) } else { Err(format!("dy is {dy}, not {expected}")) }
}

impl Op for GroupedConv2dInputGrad {
    fn name(&self) -> &'static str {
        "grouped_conv2d_input_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [dy, w] if dy.dtype == DType::F32 && w.dtype == DType::F32 => {
                Ok(TensorType::f32(self.sizes(&dy.shape, &w.shape)?.images()))
            }
            _ => Err(format!("takes f32 dy and weights, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, ddx: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let [.., kh, kw] = x[1].shape()[..] else { return Ok(Vec::new()) };
        let dw = GroupedConv2dWeightGrad { forward: self.forward, window: [kh, kw] };
        Ok(vec![Some(ddx.graph().push(self.forward, &[ddx, x[1]])?), Some(ddx.graph().push(dw, &[ddx, x[0]])?)])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let sizes = self.sizes(&inputs[0].shape, &inputs[1].shape).expect("checked while recording");
        let launch = Dispatch::linear(kernel!("conv/grouped_conv2d_input_grad"), output.elements());
        let [out, _, kh, kw] = sizes.weights();
        let [rows, columns] = [kh, kw].map(|k| k.div_ceil(self.forward.stride));
        let iterations = turns(out / self.forward.groups, rows, columns);
        sizes.dims(launch, output.elements()).iterations(iterations).bind(2).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let sizes = self.sizes(&types[0].shape, &types[1].shape).expect("checked while recording");
        let mut dx = vec![0.0; output.elements()];
        sizes.for_each_product(|x_at, w_at, y_at| dx[x_at] += inputs[0][y_at] * inputs[1][w_at]);
        dx
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (forward, sizes) = Sizes::sample(rng);
        let op = Self { forward, image: sizes.of_group.image };
        let case = TestCase::new(move |v| v[0].graph().push(op, v));
        case.normal(rng, sizes.outputs()).normal(rng, sizes.weights())
    }
}

impl Op for GroupedConv2dWeightGrad {
    fn name(&self) -> &'static str {
        "grouped_conv2d_weight_grad"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x, dy] if x.dtype == DType::F32 && dy.dtype == DType::F32 => {
                Ok(TensorType::f32(self.sizes(&x.shape, &dy.shape)?.weights()))
            }
            _ => Err(format!("takes f32 images and dy, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, ddw: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let [.., height, width] = x[0].shape()[..] else { return Ok(Vec::new()) };
        let dx = GroupedConv2dInputGrad { forward: self.forward, image: [height, width] };
        Ok(vec![Some(ddw.graph().push(dx, &[x[1], ddw])?), Some(ddw.graph().push(self.forward, &[x[0], ddw])?)])
    }

    // A small output with a long sum: parts of it are added up side by side, then in order.
    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let sizes = self.sizes(&inputs[0].shape, &inputs[1].shape).expect("checked while recording");
        let (n, positions) = (output.elements(), sizes.of_group.batch * sizes.of_group.output_pixels());
        let parts = positions.div_ceil(POSITIONS).max(1);
        let lanes = if caps.software || positions < LANES { 1 } else { LANES };
        let launch = Dispatch::per_group(kernel!("conv/grouped_conv2d_weight_grad"), parts * n.div_ceil(256 / lanes));
        let launch = sizes.dims(launch.lanes(caps, lanes).constant("PARTS", parts as u32), n);
        let launch = launch.dims(&[positions, positions.div_ceil(parts)]);
        in_parts(caps, launch, parts, n)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let sizes = self.sizes(&types[0].shape, &types[1].shape).expect("checked while recording");
        let mut dw = vec![0.0; output.elements()];
        sizes.for_each_product(|x_at, w_at, y_at| dw[w_at] += inputs[0][x_at] * inputs[1][y_at]);
        dw
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (forward, sizes) = Sizes::sample(rng);
        let (mut x, mut dy) = (sizes.images(), sizes.outputs());
        if rng.below(4) == 0 {
            (x[0], dy[0]) = (POSITIONS / (dy[2] * dy[3]) + 3, POSITIONS / (dy[2] * dy[3]) + 3); // more than one part
        }
        let op = Self { forward, window: sizes.of_group.window };
        TestCase::new(move |v| v[0].graph().push(op, v)).normal(rng, x).normal(rng, dy)
    }
}
