//! Pooling of images: the greatest value or the mean of each window.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Arg, Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::conv::geometry::MOST_PIXELS;
use crate::ops::movement::reduce::{Reduce, Reduction};
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `y[b, c, p, q]` from the window of `x[b, c]` whose first pixel is `(p·stride − padding, q·stride − padding)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Maximum or mean.
    pub pooling: Pooling,
    /// Height and width of a window.
    pub window: [usize; 2],
    /// Pixels from one window to the next, in both directions.
    pub stride: usize,
    /// Pixels around the image, on every side.
    pub padding: usize,
}

/// Function of the pixels of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// Greatest pixel of the window, NaN if any is; padding is −∞. The first maximum, row by row, gets the gradient.
    Max,
    /// The sum of its pixels over its size; padding is zeros, and counts.
    Mean,
}

/// `dx` of [`Pool`]. Inputs: `dy` for the mean; x, y and `dy` for the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolGrad {
    /// The forward pass.
    pub pool: Pool,
    /// Height and width of x: with a stride they do not follow from dy.
    pub image: [usize; 2],
}

/// Loop iterations that one invocation may need. Mesa's llvmpipe silently leaves loops after 65,535 of them, counted over all
/// loops of an invocation; the rest is for the outer loops.
const LOOP_STEPS: usize = 60_000;

/// Sizes of a pooling, as in `shaders/lib/conv/window.wgsl`.
struct Sizes {
    pool: Pool,
    planes: usize,
    image: [usize; 2],
    output: [usize; 2],
}

impl Pool {
    /// The sizes for images of type `x`, or the reason why they do not fit.
    fn sizes(self, x: &TensorType) -> Result<Sizes, String> {
        let Self { pooling, window: [kh, kw], stride, padding } = self;
        let (&[batch, channels, height, width], DType::F32) = (&x.shape[..], x.dtype) else {
            return Err(format!("takes images f32[batch, channels, height, width], not {x}"));
        };
        if height == 0 || width == 0 {
            return Err(format!("{x} has no pixels"));
        }
        let legal = 1..=MOST_PIXELS;
        if ![kh, kw, stride].iter().all(|size| legal.contains(size)) {
            return Err(format!("a {kh}x{kw} window with stride {stride}: each must be from 1 to 65535"));
        }
        if padding > kh.min(kw) / 2 {
            return Err(format!("padding {padding} is more than half of a {kh}x{kw} window"));
        }
        if kh > height + 2 * padding || kw > width + 2 * padding {
            return Err(format!("a {kh}x{kw} window does not fit {height}x{width} pixels with padding {padding}"));
        }
        let output = [(height + 2 * padding - kh) / stride + 1, (width + 2 * padding - kw) / stride + 1];
        let sizes = Sizes { pool: self, planes: batch * channels, image: [height, width], output };
        let steps = match pooling {
            Pooling::Mean if sizes.is_whole() => 0,
            Pooling::Mean => kh * kw,
            // The gradient searches every window that holds a pixel.
            Pooling::Max => kh * kw * sizes.windows_of_a_pixel(),
        };
        if steps > LOOP_STEPS {
            return Err(format!(
                "a {kh}x{kw} window with stride {stride} takes {steps} steps for a pixel, of {LOOP_STEPS} at most; use a \
                 smaller window or a larger stride"
            ));
        }
        Ok(sizes)
    }
}

impl PoolGrad {
    /// The sizes for gradients of type `dy`, or the reason why they do not fit.
    fn sizes(self, dy: &TensorType) -> Result<Sizes, String> {
        let &[batch, channels, ..] = &dy.shape[..] else { return Err(format!("dy is {dy}, without four axes")) };
        let x = TensorType::f32([batch, channels, self.image[0], self.image[1]]);
        let sizes = self.pool.sizes(&x)?;
        let expected = TensorType::f32([batch, channels, sizes.output[0], sizes.output[1]]);
        if *dy == expected { Ok(sizes) } else { Err(format!("dy is {dy}, not {expected}")) }
    }
}

impl Sizes {
    /// True if one window is the whole image.
    fn is_whole(&self) -> bool {
        self.pool.window == self.image && self.pool.padding == 0
    }

    /// Greatest number of windows that hold one pixel.
    fn windows_of_a_pixel(&self) -> usize {
        let along = |axis: usize| self.pool.window[axis].div_ceil(self.pool.stride).min(self.output[axis]);
        along(0) * along(1)
    }

    /// A launch of one of the two kernels over `n` elements.
    fn launch(&self, kernel: crate::Kernel, n: usize) -> Dispatch {
        let Pool { pooling, window: [kh, kw], stride, padding } = self.pool;
        Dispatch::linear(kernel, n)
            .constant("MAX", u32::from(pooling == Pooling::Max))
            .constant("KH", kh as u32)
            .constant("KW", kw as u32)
            .constant("STRIDE", stride as u32)
            .dims(&[n])
            .dims(&self.output)
            .dims(&self.image)
            .dims(&[padding])
    }

    /// Positions in x of each output element's window, row by row, for the elements in order.
    fn windows(&self) -> impl Iterator<Item = Vec<usize>> {
        let Pool { window, stride, padding, .. } = self.pool;
        let ([height, width], [rows, columns]) = (self.image, self.output);
        let pixels = move |number: usize, axis: usize, size: usize| {
            let first = number * stride;
            (first..first + window[axis]).filter_map(move |i| i.checked_sub(padding).filter(|&i| i < size))
        };
        (0..self.planes * rows * columns).map(move |at| {
            let plane = at / (rows * columns) * height;
            pixels(at / columns % rows, 0, height)
                .flat_map(|i| pixels(at % columns, 1, width).map(move |j| (plane + i) * width + j))
                .collect()
        })
    }
}

/// Greatest pixel of a window, NaN if any is.
fn greatest(x: &[f64], window: &[usize]) -> f64 {
    window.iter().fold(f64::NEG_INFINITY, |m, &at| if m.is_nan() || x[at] <= m { m } else { x[at] })
}

impl Op for Pool {
    fn name(&self) -> &'static str {
        match self.pooling {
            Pooling::Max => "max_pool",
            Pooling::Mean => "avg_pool",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let [x] = inputs else { return Err(format!("takes one tensor, not {}", inputs.len())) };
        let [rows, columns] = self.sizes(x)?.output;
        Ok(TensorType::f32([x.shape[0], x.shape[1], rows, columns]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let x = x[0];
        let op = PoolGrad { pool: *self, image: [x.shape()[2], x.shape()[3]] };
        let dx = match self.pooling {
            Pooling::Max => dy.graph().push(op, &[x, y, dy])?,
            Pooling::Mean => dy.graph().push(op, &[dy])?,
        };
        Ok(vec![Some(dx)])
    }

    fn lower(&self, caps: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let sizes = self.sizes(inputs[0]).expect("checked while recording");
        if sizes.is_whole() && output.elements() > 0 {
            // Many pixels for each output: invocations share them.
            let reduction = if self.pooling == Pooling::Max { Reduction::Max } else { Reduction::Mean };
            let x = TensorType::f32([sizes.planes, sizes.image[0] * sizes.image[1], 1]);
            return Reduce { reduction }.lower(caps, &[&x], &TensorType::f32([sizes.planes, 1]));
        }
        let flops = output.elements() * self.window[0] * self.window[1];
        sizes.launch(kernel!("conv/pool"), output.elements()).bind(1).flops(flops).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let x = &inputs[0];
        let value = |window: Vec<usize>| match self.pooling {
            Pooling::Max => greatest(x, &window),
            Pooling::Mean => window.iter().map(|&at| x[at]).sum::<f64>() / (self.window[0] * self.window[1]) as f64,
        };
        self.sizes(types[0]).expect("checked while recording").windows().map(value).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (op, shape) = sample_sizes(rng);
        TestCase::new(move |x| x[0].graph().push(op, x)).normal(rng, shape)
    }
}

impl Op for PoolGrad {
    fn name(&self) -> &'static str {
        match self.pool.pooling {
            Pooling::Max => "max_pool_grad",
            Pooling::Mean => "avg_pool_grad",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let (forward, dy) = match (self.pool.pooling, inputs) {
            (Pooling::Max, [x, y, dy]) => (Some((x, y)), dy),
            (Pooling::Mean, [dy]) => (None, dy),
            _ => return Err(format!("takes dy for the mean, x, y and dy for the maximum, not {inputs:?}")),
        };
        self.sizes(dy)?;
        let dx = TensorType::f32([dy.shape[0], dy.shape[1], self.image[0], self.image[1]]);
        match forward {
            Some((x, y)) if **x != dx || y != dy => Err(format!("x is {x} and y {y}, not {dx} and {dy}")),
            _ => Ok(dx),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, ddx: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        match self.pool.pooling {
            Pooling::Max => Err(y.not_differentiable()),
            Pooling::Mean => Ok(vec![Some(ddx.graph().push(self.pool, &[ddx])?)]),
        }
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let sizes = self.sizes(inputs[inputs.len() - 1]).expect("checked while recording");
        let args = match self.pool.pooling {
            Pooling::Max => [Arg::Input(0), Arg::Input(1), Arg::Input(2), Arg::Output],
            Pooling::Mean => [Arg::Unused, Arg::Unused, Arg::Input(0), Arg::Output],
        };
        let flops = output.elements() * sizes.windows_of_a_pixel();
        sizes.launch(kernel!("conv/pool_grad"), output.elements()).args(args).flops(flops).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let mut dx = vec![0.0; output.elements()];
        let Some((dy, forward)) = inputs.split_last() else { return dx };
        let sizes = self.sizes(types[types.len() - 1]).expect("checked while recording");
        let share = 1.0 / (self.pool.window[0] * self.pool.window[1]) as f64;
        for (window, &dy) in sizes.windows().zip(dy) {
            match self.pool.pooling {
                Pooling::Max => {
                    let x = &forward[0];
                    let y = greatest(x, &window);
                    let first = window.iter().find(|&&at| x[at] == y || (x[at].is_nan() && y.is_nan()));
                    dx[*first.expect("a window holds a pixel")] += dy;
                }
                Pooling::Mean => window.iter().for_each(|&at| dx[at] += share * dy),
            }
        }
        dx
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (pool, x) = sample_sizes(rng);
        let op = PoolGrad { pool, image: [x[2], x[3]] };
        let [rows, columns] = pool.sizes(&TensorType::f32(x)).expect("sampled to fit").output;
        let dy = [x[0], x[1], rows, columns];
        if pool.pooling == Pooling::Mean {
            return TestCase::new(move |v| v[0].graph().push(op, v)).normal(rng, dy);
        }
        // Whole numbers, so that many windows have several maxima; y must be the maximum of x.
        let mut sample = TestCase::new(move |v| {
            let y = v[0].graph().push(pool, &v[..1])?;
            v[0].graph().push(op, &[v[0], y, v[1]])
        });
        sample.differentiable = false;
        let values = 1 + rng.below(6);
        let levels: Vec<f64> = (0..x.iter().product()).map(|_| rng.below(values) as f64 - 2.0).collect();
        sample.input(TensorType::f32(x), levels).normal(rng, dy)
    }
}

/// A random pooling and the shape of images that it fits.
fn sample_sizes(rng: &mut Rng) -> (Pool, [usize; 4]) {
    let pooling = [Pooling::Max, Pooling::Mean][rng.below(2)];
    let planes = [1 + rng.below(4), awkward_size(rng, 70)];
    if rng.below(4) == 0 {
        let window = [awkward_size(rng, 17), awkward_size(rng, 17)];
        let pool = Pool { pooling, window, stride: 1 + rng.below(3), padding: 0 };
        return (pool, [planes[0], planes[1], window[0], window[1]]);
    }
    let window = [1 + rng.below(5), 1 + rng.below(5)];
    let padding = rng.below(window[0].min(window[1]) / 2 + 1);
    let image = window.map(|k| k.saturating_sub(2 * padding).max(1) + rng.below(12));
    (Pool { pooling, window, stride: 1 + rng.below(4), padding }, [planes[0], planes[1], image[0], image[1]])
}

impl<'g> Var<'g> {
    /// The greatest pixel of each `k` × `k` window. Shapes: f32 `[b, c, height, width]` to
    /// `[b, c, (height + 2 padding − k) / stride + 1, …]`, rounded down.
    ///
    /// As in PyTorch, padding is −∞, NaN stays, and the first of equal maxima, row by row, gets the gradient. (Of
    /// several NaNs the first does too; PyTorch takes the last.) The gradient itself cannot be differentiated.
    ///
    /// ```
    /// use trellis_tensor::{Graph, Shape};
    /// let graph = Graph::new();
    /// let images = graph.constant(0.0, [8, 3, 32, 32]);
    /// assert_eq!(images.max_pool(2, 2, 0)?.shape(), Shape::from([8, 3, 16, 16]));
    /// assert_eq!(images.max_pool(3, 2, 1)?.shape(), Shape::from([8, 3, 16, 16]));
    /// assert!(images.max_pool(33, 1, 0).is_err());
    /// # Ok::<(), trellis_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes, a window that does not fit, `padding` above k / 2, or a window
    /// too large for the gradient's search. The limit is 60,000 for k² times the number of windows that hold a pixel: k ≤ 15
    /// with stride 1, and k ≤ 244 where windows do not overlap.
    pub fn max_pool(self, k: usize, stride: usize, padding: usize) -> Result<Var<'g>> {
        self.graph().push(Pool { pooling: Pooling::Max, window: [k, k], stride, padding }, &[self])
    }

    /// The mean of each `k` × `k` window. Shapes as in [`Var::max_pool`].
    ///
    /// Padding is zeros, and counts: every sum is divided by k² (PyTorch's `count_include_pad=True`, its default).
    ///
    /// ```
    /// use trellis_tensor::{Graph, Shape};
    /// let graph = Graph::new();
    /// let images = graph.constant(1.0, [8, 3, 32, 32]);
    /// assert_eq!(images.avg_pool(4, 4, 0)?.shape(), Shape::from([8, 3, 8, 8]));
    /// let message = images.avg_pool(4, 4, 3).unwrap_err().to_string();
    /// assert_eq!(message, "avg_pool: padding 3 is more than half of a 4x4 window");
    /// # Ok::<(), trellis_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes, a window that does not fit, `padding` above k / 2, or
    /// k above 244 unless the window is the whole image.
    pub fn avg_pool(self, k: usize, stride: usize, padding: usize) -> Result<Var<'g>> {
        self.graph().push(Pool { pooling: Pooling::Mean, window: [k, k], stride, padding }, &[self])
    }

    /// The mean of each channel of each image: f32 `[b, c, height, width]` to `[b, c]`. One dispatch forward, one back.
    ///
    /// ```
    /// use trellis_tensor::{Graph, Shape};
    /// let graph = Graph::new();
    /// let features = graph.constant(1.0, [8, 64, 7, 5]);
    /// assert_eq!(features.global_avg_pool()?.shape(), Shape::from([8, 64]));
    /// # Ok::<(), trellis_tensor::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes, or images without pixels.
    pub fn global_avg_pool(self) -> Result<Var<'g>> {
        let shape = self.shape();
        let window = shape.get(2..4).map_or([1, 1], |image| [image[0], image[1]]);
        let y = self.graph().push(Pool { pooling: Pooling::Mean, window, stride: 1, padding: 0 }, &[self])?;
        y.reshape(&shape[..2])
    }
}
