//! Convolution in groups of channels, each by itself; with a channel in each it is the depthwise convolution.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase};
use crate::kernel;
use crate::ops::conv::geometry::Geometry;
use crate::ops::conv::grouped_grad::{GroupedConv2dInputGrad, GroupedConv2dWeightGrad};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// [`Conv2d`](crate::ops::Conv2d) of each of `groups` equal parts of the channels: output channel o sums over the input channels of its own
/// group. Inputs: x `[batch, in, height, width]`, w `[out, in / groups, kh, kw]`.
///
/// A thread computes an element by itself: a group has too few channels for the blocks of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupedConv2d {
    /// Pixels from one window to the next, in both directions.
    pub stride: usize,
    /// Zeros around the image, on every side.
    pub padding: usize,
    /// Number of groups. It divides the channels of x and those of y.
    pub groups: usize,
}

/// Sizes of a grouped convolution; the gradients share them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// Sizes of the convolution of a group.
    pub(super) of_group: Geometry,
    pub(super) groups: usize,
}

impl GroupedConv2d {
    /// The sizes of a convolution of `x` with `w`, or the reason why there is none.
    pub(super) fn sizes(self, x: &[usize], w: &[usize]) -> Result<Sizes, String> {
        let Self { stride, padding, groups } = self;
        let (&[batch, channels, height, width], &[out, per_group, kh, kw]) = (x, w) else {
            return Err(format!(
                "takes x[batch, in, height, width] and w[out, in / groups, kh, kw], not {x:?} and {w:?}"
            ));
        };
        if groups == 0 || !channels.is_multiple_of(groups) || !out.is_multiple_of(groups) {
            return Err(format!("{channels} input and {out} output channels do not divide into {groups} groups"));
        }
        if channels / groups != per_group {
            return Err(format!(
                "x has {} channels in each of {groups} groups, w takes {per_group}",
                channels / groups
            ));
        }
        let w = [out / groups, per_group, kh, kw];
        let of_group = Geometry::new(&[batch, per_group, height, width], &w, stride, padding)?;
        Ok(Sizes { of_group, groups })
    }
}

impl Sizes {
    /// Shape of x.
    pub(super) fn images(&self) -> [usize; 4] {
        let Geometry { batch, channels, image, .. } = self.of_group;
        [batch, self.groups * channels[0], image[0], image[1]]
    }

    /// Shape of w.
    pub(super) fn weights(&self) -> [usize; 4] {
        let Geometry { channels, window, .. } = self.of_group;
        [self.groups * channels[1], channels[0], window[0], window[1]]
    }

    /// Shape of y.
    pub(super) fn outputs(&self) -> [usize; 4] {
        let Geometry { batch, channels, output, .. } = self.of_group;
        [batch, self.groups * channels[1], output[0], output[1]]
    }

    /// Appends the kernels' sizes for `n` elements of the result.
    pub(super) fn dims(&self, dispatch: Dispatch, n: usize) -> Dispatch {
        let Geometry { channels, image, output, padding, .. } = self.of_group;
        let dispatch = self.of_group.window_constants(dispatch).flops(self.groups * self.of_group.flops());
        dispatch.dims(&[n]).dims(&output).dims(&image).dims(&[padding]).dims(&channels).dims(&[self.groups])
    }

    /// Calls `visit` with the indices into x, w and y of every product that the convolution sums.
    pub(super) fn for_each_product(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([_, channels, height, width], [_, out, rows, columns]) = (self.images(), self.outputs());
        let [per_x, per_y] = [[channels, height * width], [out, rows * columns]];
        for group in 0..self.groups {
            // An index within the images of a group, in those of all.
            let in_all = |at: usize, [all, pixels]: [usize; 2]| {
                let of_group = all / self.groups * pixels;
                at / of_group * all * pixels + group * of_group + at % of_group
            };
            let weights = self.weights().iter().product::<usize>() / self.groups;
            self.of_group.for_each_product(|x, w, y| visit(in_all(x, per_x), group * weights + w, in_all(y, per_y)));
        }
    }

    /// A random convolution, and its sizes.
    pub(super) fn sample(rng: &mut Rng) -> (GroupedConv2d, Self) {
        let (x, w, stride, padding) = Geometry::sample(rng);
        let groups = 1 + rng.below(5);
        let outputs = if rng.below(2) == 0 { 1 } else { w[0].min(6) };
        // Depthwise, half of the time.
        let inputs = if rng.below(2) == 0 { 1 } else { w[1].min(6) };
        let op = GroupedConv2d { stride, padding, groups };
        let (x, w) = ([x[0], groups * inputs, x[2], x[3]], [groups * outputs, inputs, w[2], w[3]]);
        (op, op.sizes(&x, &w).expect("sampled to fit"))
    }
}

/// Iterations of three loops within each other, those of the outer ones included.
pub(super) fn turns(outer: usize, rows: usize, columns: usize) -> usize {
    outer * (1 + rows * (1 + columns))
}

impl Op for GroupedConv2d {
    fn name(&self) -> &'static str {
        "grouped_conv2d"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x, w] if x.dtype == DType::F32 && w.dtype == DType::F32 => {
                Ok(TensorType::f32(self.sizes(&x.shape, &w.shape)?.outputs()))
            }
            _ => Err(format!("takes f32 images and weights, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let (&[.., height, width], &[.., kh, kw]) = (&x[0].shape()[..], &x[1].shape()[..]) else {
            return Ok(Vec::new());
        };
        let dx = GroupedConv2dInputGrad { forward: *self, image: [height, width] };
        let dw = GroupedConv2dWeightGrad { forward: *self, window: [kh, kw] };
        Ok(vec![Some(dy.graph().push(dx, &[dy, x[1]])?), Some(dy.graph().push(dw, &[x[0], dy])?)])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let sizes = self.sizes(&inputs[0].shape, &inputs[1].shape).expect("checked while recording");
        let launch = Dispatch::linear(kernel!("conv/grouped_conv2d"), output.elements());
        let [_, inputs, kh, kw] = sizes.weights();
        sizes.dims(launch, output.elements()).iterations(turns(inputs, kh, kw)).bind(2).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let sizes = self.sizes(&types[0].shape, &types[1].shape).expect("checked while recording");
        let mut y = vec![0.0; output.elements()];
        sizes.for_each_product(|x_at, w_at, y_at| y[y_at] += inputs[0][x_at] * inputs[1][w_at]);
        y
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (op, sizes) = Sizes::sample(rng);
        let case = TestCase::new(move |v| v[0].grouped_conv2d(v[1], op.stride, op.padding, op.groups));
        case.normal(rng, sizes.images()).normal(rng, sizes.weights())
    }
}

impl<'g> Var<'g> {
    /// Convolution of each of `groups` parts of the channels by itself, PyTorch's `groups`. Shapes: x `[batch, in, height, width]`, w
    /// `[out, in / groups, kh, kw]`, to `[batch, out, (height + 2 padding − kh) / stride + 1, …]`. With `groups = in` it is the
    /// depthwise convolution of MobileNets (arXiv:1704.04861).
    ///
    /// Cost: 2 · batch · out · in / groups · kh · kw flop per output pixel. Depthwise ones are bound by memory. For a single
    /// group use [`Var::conv2d`].
    ///
    /// ```
    /// use trellis_tensor::{Graph, Shape};
    /// let graph = Graph::new();
    /// let (images, weights) = (graph.constant(1.0, [8, 16, 14, 14]), graph.constant(0.1, [16, 1, 3, 3]));
    /// assert_eq!(images.grouped_conv2d(weights, 2, 1, 16)?.shape(), Shape::from([8, 16, 7, 7]));
    /// let message = images.grouped_conv2d(weights, 2, 1, 3).unwrap_err().to_string();
    /// assert_eq!(message, "grouped_conv2d: 16 input and 16 output channels do not divide into 3 groups");
    /// # Ok::<(), trellis_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes, channels that `groups` does not divide, or a window that does not fit.
    pub fn grouped_conv2d(self, w: Var<'g>, stride: usize, padding: usize, groups: usize) -> Result<Var<'g>> {
        self.graph().push(GroupedConv2d { stride, padding, groups }, &[self, w])
    }
}
