//! Random boxes of images.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::input::sampler::{is_step_state, sample_step_state};
use crate::shape::{DType, TensorType};
use trellis_rng::{Rng, philox};

/// A random box of each image as `size` × `size` pixels: a pure function of seed, step and the image's position in the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crop {
    /// Height and width of the result.
    pub size: usize,
    /// Least and greatest share of the image that a box may cover, 0 to 1; `None` for boxes of `size` × `size` whole pixels.
    pub share: Option<[f32; 2]>,
    /// Seed.
    pub seed: u64,
}

/// Keeps the random bits apart from those of other ops with the same seed; also in `shaders/input/crop.wgsl`.
const STREAM: u32 = 0x4352_4f50;

impl Crop {
    /// Top, left, height and width of the box of an image of the batch at a step.
    fn draw(&self, image: usize, step: u32, [height, width]: [usize; 2]) -> [f64; 4] {
        let bits = philox([image as u32, step, 0, STREAM], [self.seed as u32, (self.seed >> 32) as u32]);
        let Some([low, high]) = self.share.map(|share| share.map(f64::from)) else {
            let offset = |word: u32, of: usize| ((u64::from(word) * (of - self.size + 1) as u64) >> 32) as f64;
            let size = self.size as f64;
            return [offset(bits[0], height), offset(bits[1], width), size, size];
        };
        let unit = bits.map(|word| f64::from(word >> 8) / f64::from(1 << 24));
        let (height, width) = (height as f64, width as f64);
        let area = height * width * (low + unit[2] * (high - low));
        let ratio = ((2.0 * unit[3] - 1.0) * (4.0_f64 / 3.0).ln()).exp();
        let (tall, wide) = ((area / ratio).sqrt().min(height), (area * ratio).sqrt().min(width));
        [unit[0] * (height - tall), unit[1] * (width - wide), tall, wide]
    }
}

impl Op for Crop {
    fn name(&self) -> &'static str {
        "crop"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let Self { size, share, .. } = *self;
        let [x, step_state] = inputs else {
            return Err(format!("takes images and a step state, not {} inputs", inputs.len()));
        };
        let (&[b, c, height, width], true) = (&x.shape[..], x.dtype == DType::F32 && is_step_state(step_state)) else {
            return Err(format!("takes f32[b, c, h, w] and a step state, u32[4], not {inputs:?}"));
        };
        if share.is_none() && (size > height || size > width) {
            return Err(format!("images of {height} x {width} hold no box of {size} x {size}"));
        }
        if share.is_some_and(|[low, high]| !(low > 0.0 && low <= high && high <= 1.0)) {
            return Err(format!("takes shares above 0, at most 1, in order, not {share:?}"));
        }
        if size == 0 { Err("a box of no pixels".to_string()) } else { Ok(TensorType::f32([b, c, size, size])) }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], output: &TensorType) -> Lowered {
        let Self { size, share, seed } = *self;
        Dispatch::linear(kernel!("input/crop"), output.elements())
            .constant("RESIZED", u32::from(share.is_some()))
            .dims(&[output.elements()])
            .dims(&inputs[0].shape[1..])
            .dims(&[size, seed as u32 as usize, (seed >> 32) as usize])
            .floats(&share.unwrap_or_default())
            .bind(2)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let [_, channels, height, width] = types[0].shape[..] else { return Vec::new() };
        let size = self.size;
        let pixel = |i: usize| {
            let plane = i / (size * size);
            let [top, left, tall, wide] = self.draw(plane / channels, inputs[1][0] as u32, [height, width]);
            let place = |start: f64, at: usize, length: f64, whole: usize| {
                let place = start + (at as f64 + 0.5) * length / size as f64 - 0.5;
                place.clamp(0.0, (whole - 1) as f64)
            };
            let (row, column) = (place(top, i / size % size, tall, height), place(left, i % size, wide, width));
            let at = |row: usize, column: usize| inputs[0][(plane * height + row) * width + column];
            let along = |row: usize| {
                let next = (column as usize + 1).min(width - 1);
                at(row, column as usize) * (1.0 - column.fract()) + at(row, next) * column.fract()
            };
            let next = (row as usize + 1).min(height - 1);
            along(row as usize) * (1.0 - row.fract()) + along(next) * row.fract()
        };
        (0..output.elements()).map(pixel).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let [height, width] = [0, 0].map(|_: usize| awkward_size(rng, 23));
        let share = (rng.below(3) > 0).then(|| {
            let high = 0.1 + 0.9 * rng.uniform();
            [high * (0.1 + 0.9 * rng.uniform()), high]
        });
        let size = if share.is_some() { awkward_size(rng, 23) } else { 1 + rng.below(height.min(width)) };
        let op = Crop { size, share, seed: u64::from(rng.next_u32()) << 20 };
        let shape = [awkward_size(rng, 9), 1 + rng.below(3), height, width];
        TestCase::forward_only(op).normal(rng, shape).input(TensorType::u32([4]), sample_step_state(rng))
    }
}

impl<'g> Var<'g> {
    /// A box of `size` × `size` pixels of each image, somewhere else at each step of `step_state`; it has no gradient. Shapes: f32
    /// `[b, c, h, w]` to f32 `[b, c, size, size]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless this has four axes, the box fits and `step_state` is u32 `[4]`.
    pub fn random_crop(self, step_state: Var<'g>, size: usize, seed: u64) -> Result<Var<'g>> {
        self.graph().push(Crop { size, share: None, seed }, &[self, step_state])
    }

    /// A box of each image, resized to `size` × `size` pixels; another at each step of `step_state`. The box covers a share of the
    /// image in `share` and is up to 4/3 as wide as high, or as high as wide. It has no gradient. Shapes as
    /// [`Var::random_crop`].
    ///
    /// *Source*: Szegedy et al. 2015, arXiv:1409.4842, section 6. PyTorch: `RandomResizedCrop(size, share, antialias=False)`,
    /// with two differences. Boxes that do not fit are cut here and drawn again there. Edges lie between pixels here, and see
    /// the pixels beyond them.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless this has four axes, 0 < least share ≤ greatest ≤ 1 and `step_state` is u32 `[4]`.
    pub fn random_resized_crop(self, step_state: Var<'g>, size: usize, share: [f32; 2], seed: u64) -> Result<Var<'g>> {
        self.graph().push(Crop { size, share: Some(share), seed }, &[self, step_state])
    }
}
