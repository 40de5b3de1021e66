//! Sizes of a convolution, and the products that it and its gradients are.

use crate::Kernel;
use crate::device::caps::Caps;
use crate::graph::op::{Arg, Dispatch, Lowered, awkward_size};
use crate::kernel;
use crate::ops::gemm::epilogue::Epilogue;
use crate::ops::gemm::members::GemmVariant;
use crate::ops::gemm::variant::k_ranges;
use trellis_rng::Rng;

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

/// Largest window, stride and padding.
pub(super) const MOST_PIXELS: usize = 65_535;

/// Appends a dispatch that makes the norm of an epilogue a multiply-add per element, and returns its output; `None` without a norm.
pub(super) fn folded_norm(lowered: &mut Lowered, epilogue: Epilogue, channels: usize) -> Option<Arg> {
    let eps = epilogue.norm?;
    let folded = scratch(lowered, 8 * channels);
    let dispatch = Dispatch::linear(kernel!("norm/folded_norm"), channels).dims(&[channels]).floats(&[eps]);
    let inputs = [2, 3, 4, 5].map(Arg::Input);
    lowered.dispatches.push(dispatch.args(inputs.into_iter().chain([folded])).flops(5 * channels));
    Some(folded)
}

/// Appends a scratch buffer.
pub(super) fn scratch(lowered: &mut Lowered, bytes: usize) -> Arg {
    lowered.scratch.push(bytes);
    Arg::Scratch(lowered.scratch.len() - 1)
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
        if [kh, kw, stride, padding].iter().any(|&size| size > MOST_PIXELS) {
            return Err(format!(
                "a {kh}x{kw} window, stride {stride} and padding {padding}: none may be above {MOST_PIXELS}"
            ));
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
        let Self { channels, image, output, padding, .. } = *self;
        self.window_constants(dispatch.dims(&channels).dims(&image).dims(&output).dims(&[padding]))
    }

    /// Sets stride and window.
    pub(super) fn window_constants(&self, dispatch: Dispatch) -> Dispatch {
        let [kh, kw] = self.window;
        dispatch.constant("STRIDE", self.stride as u32).constant("KH", kh as u32).constant("KW", kw as u32)
    }

    /// Dispatches of a product `[m, n, k]` that imports `shaders/lib/conv/conv2d_out.wgsl`: its columns count the pixels of
    /// images. Each sums over a range of k, and the last one applies the epilogue.
    pub(crate) fn product(
        &self,
        kernel: Kernel,
        caps: &Caps,
        chosen: GemmVariant,
        [m, n, k]: [usize; 3],
        epilogue: Epilogue,
        folded: Option<Arg>,
    ) -> impl Iterator<Item = Dispatch> {
        let (spread, pixels) = (!chosen.in_registers(), n / self.batch);
        k_ranges(caps, k).map(move |(start, end)| {
            let epilogue = if end == k { epilogue } else { Epilogue::default() };
            let [bias, residual, saved] = epilogue.args(2);
            let bias = folded.filter(|_| epilogue.norm.is_some()).unwrap_or(bias);
            let dispatch = chosen
                .dispatch(kernel, [m, n], 1)
                .flag("SPREAD", spread)
                .flag("WHOLE", chosen.whole_turns(end - start))
                .flag("OUT4", !spread && pixels.is_multiple_of(4))
                .constant("CONTINUE", u32::from(start > 0))
                .dims(&[m, n, k, start, end])
                .args([Arg::Input(0), Arg::Input(1), bias, residual, saved, Arg::Output])
                .flops(2 * m * n * (end - start));
            self.dims(epilogue.constants(dispatch).constant("SCALES", m as u32))
        })
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
        let (mut batch, mut channels) = (1 + rng.below(6), [1 + rng.below(5), awkward_size(rng, 20)]);
        if rng.below(4) == 0 {
            // Whole iterations and blocks of the kernels that go tap by tap.
            (batch, channels) = (1 + rng.below(2), [[16, 32, 64, 128][rng.below(4)], [16, 32][rng.below(2)]]);
        }
        ([batch, channels[0], height, width], [channels[1], channels[0], kh, kw], stride, padding)
    }
}
