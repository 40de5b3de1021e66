//! Random shifts and mirrorings of images.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::input::sampler::{is_step_state, sample_step_state};
use crate::shape::{DType, TensorType};
use trellis_rng::{Rng, philox};

/// Shifts each image by up to `shift` pixels along each axis and mirrors it with probability 1/2: a pure function of
/// seed, step and the image's position in the batch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Augment {
    /// Greatest shift in pixels, each way.
    pub shift: usize,
    /// True if images may be mirrored, left to right.
    pub flip: bool,
    /// Value of pixels from outside the image.
    pub fill: f32,
    /// Seed.
    pub seed: u64,
    /// The op moves pixels back: it is the gradient, and the gradient of that is the op itself.
    pub transposed: bool,
}

/// Keeps the random bits apart from those of other ops with the same seed; also in `shaders/input/augment.wgsl`.
const STREAM: u32 = 0x4155_4721;

impl Augment {
    /// Random choices for an image of the batch at a step: true if it is mirrored, and the shifts down and right.
    fn draw(&self, image: usize, step: u32) -> (bool, i64, i64) {
        let bits = philox([image as u32, step, 0, STREAM], [self.seed as u32, (self.seed >> 32) as u32]);
        let range = 2 * self.shift as u64 + 1;
        let offset = |word: u32| ((u64::from(word) * range) >> 32) as i64 - self.shift as i64;
        (self.flip && bits[0] >= 1 << 31, offset(bits[1]), offset(bits[2]))
    }
}

impl Op for Augment {
    fn name(&self) -> &'static str {
        if self.transposed { "augment_grad" } else { "augment" }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x, step_state]
                if x.dtype == DType::F32
                    && x.shape.rank() == 4
                    && is_step_state(step_state)
                    && self.shift < 1 << 15 =>
            {
                Ok((*x).clone())
            }
            _ => Err(format!("takes f32[b, c, h, w] and a step state, u32[4], and shift < 32768, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let back = Augment { transposed: !self.transposed, fill: 0.0, ..*self };
        Ok(vec![Some(dy.graph().push(back, &[dy, x[1]])?), None])
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], output: &TensorType) -> Lowered {
        let image = output.shape[1..].iter().product();
        Dispatch::linear(kernel!("input/augment"), output.elements())
            .constant("FLIP", u32::from(self.flip))
            .constant("TRANSPOSED", u32::from(self.transposed))
            .dims(&[output.elements(), image, output.shape[2], output.shape[3], self.shift])
            .floats(&[self.fill])
            .dims(&[self.seed as u32 as usize, (self.seed >> 32) as usize])
            .bind(2)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let [_, channels, height, width] = output.shape[..] else { return Vec::new() };
        let mut y = vec![f64::from(self.fill); output.elements()];
        let mirrored = |column: i64, flip| if flip { width as i64 - 1 - column } else { column };
        for i in 0..output.elements() {
            let (flip, down, right) = self.draw(i / (channels * height * width), inputs[1][0] as u32);
            let row = (i / width % height) as i64 + down;
            let column = mirrored((i % width) as i64, flip) + right;
            if !(0..height as i64).contains(&row) || !(0..width as i64).contains(&column) {
                continue;
            }
            let from = (i / (height * width) * height + row as usize) * width + column as usize;
            if self.transposed { y[from] = inputs[0][i] } else { y[i] = inputs[0][from] }
        }
        y
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let shape = [awkward_size(rng, 17), 1 + rng.below(3), awkward_size(rng, 17), awkward_size(rng, 17)];
        let op = Augment {
            shift: rng.below(5),
            flip: rng.below(2) == 0,
            fill: if rng.below(2) == 0 { 0.0 } else { rng.normal() },
            seed: u64::from(rng.next_u32()) << 20,
            transposed: rng.below(3) == 0,
        };
        TestCase::new(move |x| x[0].graph().push(op, x))
            .normal(rng, shape)
            .input(TensorType::u32([4]), sample_step_state(rng))
    }
}

impl<'g> Var<'g> {
    /// Each image shifted by up to `shift` pixels along each axis, and with `flip` mirrored with probability 1/2. `fill` comes
    /// in at the borders. Each step of `step_state` draws anew. Shapes: f32 `[b, c, h, w]` to the same.
    ///
    /// *Source*: He et al. 2016, arXiv:1512.03385, section 4.2 (there: pad by 4, crop, mirror).
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless this has four axes and `step_state` is u32 `[4]`.
    pub fn augment(self, step_state: Var<'g>, shift: usize, flip: bool, fill: f32, seed: u64) -> Result<Var<'g>> {
        self.graph().push(Augment { shift, flip, fill, seed, transposed: false }, &[self, step_state])
    }
}
