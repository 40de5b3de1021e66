//! Convolution of images, as a matrix product whose right side is read in place (implicit GEMM).

use std::rc::Rc;

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::conv::conv2d_grad::{Conv2dInputGrad, Conv2dWeightGrad};
use crate::ops::elementwise::unary::UnaryFunction;
use crate::ops::gemm::epilogue::Epilogue;
use crate::ops::gemm::members::Layout;
use crate::ops::gemm::variant::k_ranges;
use crate::rng::Rng;
use crate::shape::{DType, TensorType};

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
}

/// Sizes of a convolution; the gradients share them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    /// Channels of x and of y.
    pub(crate) channels: [usize; 2],
    /// Height and width of x.
    pub(crate) image: [usize; 2],
    /// Height and width of w.
    pub(crate) window: [usize; 2],
    /// Height and width of y.
    pub(crate) output: [usize; 2],
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

impl Geometry {
    /// The sizes of a convolution of `x` with `w`.
    pub(crate) fn new(x: &[usize], w: &[usize], stride: usize, padding: usize) -> Result<Self, String> {
        let (&[batch, channels, height, width], &[out_channels, in_channels, kh, kw]) = (x, w) else {
            return Err(format!("takes x[batch, channels, height, width] and w[out, in, kh, kw], not {x:?} and {w:?}"));
        };
        if channels != in_channels {
            return Err(format!("x has {channels} channels, w takes {in_channels}"));
        }
        if stride == 0 || kh == 0 || kw == 0 || kh > height + 2 * padding || kw > width + 2 * padding {
            return Err(format!(
                "a {kh}x{kw} window with stride {stride} does not fit {height}x{width} with padding {padding}"
            ));
        }
        Ok(Self {
            batch,
            channels: [channels, out_channels],
            image: [height, width],
            window: [kh, kw],
            output: [(height + 2 * padding - kh) / stride + 1, (width + 2 * padding - kw) / stride + 1],
            stride,
            padding,
        })
    }

    /// Pixels of one channel of y.
    pub(crate) fn output_pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }

    /// Floating-point operations of the forward pass and of either gradient.
    pub(crate) fn flops(&self) -> usize {
        let [channels, out_channels] = self.channels;
        2 * self.batch * self.output_pixels() * channels * out_channels * self.window[0] * self.window[1]
    }

    /// Appends the kernels' sizes, after those of the product.
    pub(crate) fn dims(&self, dispatch: Dispatch) -> Dispatch {
        let Self { channels, image, window, output, stride, padding, .. } = *self;
        dispatch
            .dims(&channels)
            .dims(&image)
            .dims(&output)
            .dims(&[padding])
            .constant("STRIDE", stride as u32)
            .constant("KH", window[0] as u32)
            .constant("KW", window[1] as u32)
    }

    /// Calls `visit` with the indices into x, w and y of every product that the convolution sums.
    pub(crate) fn for_each_product(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let ([channels, out_channels], [height, width]) = (self.channels, self.image);
        let ([kh, kw], [rows, columns]) = (self.window, self.output);
        for y_at in 0..self.batch * out_channels * rows * columns {
            let (j, i) = (y_at % columns, y_at / columns % rows);
            let (o, b) = (y_at / (rows * columns) % out_channels, y_at / (rows * columns * out_channels));
            for tap in 0..channels * kh * kw {
                let (kx, ky, c) = (tap % kw, tap / kw % kh, tap / (kw * kh));
                let (row, column) = (i * self.stride + ky, j * self.stride + kx);
                if (self.padding..self.padding + height).contains(&row)
                    && (self.padding..self.padding + width).contains(&column)
                {
                    let (row, column) = (row - self.padding, column - self.padding);
                    visit(((b * channels + c) * height + row) * width + column, o * channels * kh * kw + tap, y_at);
                }
            }
        }
    }

    /// A random geometry with one to three channels of blocks, as `(x, w, stride, padding)`.
    pub(crate) fn sample(rng: &mut Rng) -> ([usize; 4], [usize; 4], usize, usize) {
        let (kh, kw) = (1 + rng.below(4), 1 + rng.below(4));
        let (stride, padding) = (1 + rng.below(3), rng.below(3));
        let [height, width] = [kh, kw].map(|k| k.saturating_sub(2 * padding).max(1) + rng.below(9));
        let channels = [1 + rng.below(5), awkward_size(rng, 20)];
        ([1 + rng.below(6), channels[0], height, width], [channels[1], channels[0], kh, kw], stride, padding)
    }
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
        if self.epilogue.bias && *extra[0] != TensorType::f32([g.channels[1]]) {
            return Err(format!("the bias is {}, not f32[{}]", extra[0], g.channels[1]));
        }
        Ok(TensorType::f32([g.batch, g.channels[1], g.output[0], g.output[1]]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        if self.epilogue != (Epilogue { bias: self.epilogue.bias, ..Epilogue::default() }) {
            return Err(y.not_differentiable());
        }
        let Self { stride, padding, .. } = *self;
        let (&[.., height, width], &[.., kh, kw]) = (&x[0].shape()[..], &x[1].shape()[..]) else {
            return Ok(Vec::new());
        };
        let dx = dy.graph().push(Conv2dInputGrad::new(stride, padding, [height, width]), &[dy, x[1]])?;
        let dw = dy.graph().push(Conv2dWeightGrad { stride, padding, window: [kh, kw] }, &[x[0], dy])?;
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
        let chosen = caps.gemm_variant(Layout::NN, [m, n, k]);
        let spread = !chosen.in_registers();
        let part = |(start, end): (usize, usize)| {
            let epilogue = if end == k { self.epilogue } else { Epilogue::default() };
            let [bias, residual, saved] = epilogue.args(2);
            let dispatch = chosen
                .dispatch(kernel!("conv/conv2d"), [m, n], 1)
                .flag("SPREAD", spread)
                .flag("NEAR", spread)
                .flag("WHOLE", chosen.whole_turns(end - start))
                .flag("LHS_K4", spread && k.is_multiple_of(4))
                .flag("OUT4", !spread && g.output_pixels().is_multiple_of(4))
                .constant("CONTINUE", u32::from(start > 0))
                .dims(&[m, n, k, start, end])
                .args([Arg::Input(0), Arg::Input(1), bias, residual, saved, Arg::Output])
                .flops(2 * m * n * (end - start));
            g.dims(epilogue.constants(dispatch))
        };
        Lowered { dispatches: k_ranges(caps, k).map(part).collect(), scratch: Vec::new() }
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
        let epilogue = Epilogue { bias, activation, residual: rng.below(2) == 0, gradient: None };
        let op = Conv2d { stride, padding, epilogue };
        let mut sample = TestCase::forward_only(op).normal(rng, x).normal(rng, w);
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
        let epilogue = Epilogue { bias: bias.is_some(), ..Epilogue::default() };
        let inputs: Vec<Var<'g>> = [self, w].into_iter().chain(bias).collect();
        self.graph().push(Conv2d { stride, padding, epilogue }, &inputs)
    }
}
