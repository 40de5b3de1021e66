//! Dropout whose mask is computed, not stored.

use crate::device::caps::Caps;
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::{Rng, philox, unit};

/// `y = x · mask / (1 − p)`, where the mask is 0 with probability `p`, else 1. Inputs: x, and `step_state` u32 `[4]` whose
/// word 0 is the step.
///
/// The mask is a pure function of seed, stream, step and index, so the gradient is the same op applied to `dy`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Probability of a zero, in `[0, 1)`.
    pub p: f32,
    /// Seed of the run.
    pub seed: u64,
    /// Tells the dropout layers of a run apart.
    pub stream: u32,
}

/// Fourth counter word, "DROP": apart from the numbers that [`Rng`] draws under the same seed.
const DOMAIN: u32 = 0x4452_4f50;

impl Dropout {
    fn check(&self) -> Result<(), String> {
        let legal = (0.0..1.0).contains(&self.p);
        if legal { Ok(()) } else { Err(format!("probability {} is not in [0, 1)", self.p)) }
    }

    fn key(&self) -> [u32; 2] {
        [self.seed as u32, (self.seed >> 32) as u32]
    }

    /// Factor of element `i` in a step.
    fn factor(&self, step: u32, i: usize) -> f64 {
        let words = philox([(i / 4) as u32, step, self.stream, DOMAIN], self.key());
        if unit(words[i % 4]) < self.p { 0.0 } else { 1.0 / (1.0 - f64::from(self.p)) }
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        self.check()?;
        match inputs {
            [x, step_state] if x.dtype == DType::F32 && **step_state == TensorType::u32([4]) => Ok((*x).clone()),
            _ => Err(format!("takes one f32 tensor and a step state u32[4], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.graph().push(*self, &[dy, x[1]])?), None])
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].elements();
        let [low, high] = self.key().map(|word| word as usize);
        Dispatch::linear(kernel!("elementwise/dropout"), n.div_ceil(4))
            .flag("VEC4", n.is_multiple_of(4))
            .dims(&[n.div_ceil(4), n, low, high, self.stream as usize])
            .floats(&[self.p, 1.0 / (1.0 - self.p)])
            .bind(2)
            .flops(n)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let step = inputs[1][0] as u32;
        inputs[0].iter().enumerate().map(|(i, x)| x * self.factor(step, i)).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (p, seed, stream) = (rng.range(0.05, 0.9), u64::from(rng.next_u32()) << 20, rng.next_u32());
        let shape = [awkward_size(rng, 300), awkward_size(rng, 20)];
        let step = f64::from(rng.next_u32());
        TestCase::new(move |x| x[0].dropout(x[1], p, seed, stream))
            .normal(rng, shape)
            .input(TensorType::u32([4]), vec![step, 0.0, 0.0, 0.0])
    }
}

impl<'g> Var<'g> {
    /// Zeroes each element with probability `p` and divides the others by `1 − p`, so that the mean stays. `p = 0`
    /// returns this value itself.
    ///
    /// `step_state` is a u32 `[4]` leaf whose word 0 counts the steps: each draws another mask. `stream` tells the dropout
    /// layers of a run apart. Same seed, stream and step, same mask, on every adapter.
    /// *Source:* Srivastava et al. 2014, "Dropout: a simple way to prevent neural networks from overfitting".
    ///
    /// # Errors
    /// [`Error::Shape`] when `p` is outside `[0, 1)`, or for other types.
    pub fn dropout(self, step_state: Var<'g>, p: f32, seed: u64, stream: u32) -> Result<Var<'g>> {
        let op = Dropout { p, seed, stream };
        let types = [&self.ty(), &step_state.ty()];
        op.infer(&types).map_err(|problem| Error::Shape { op: op.name(), layer: self.graph().layer(), problem })?;
        if p == 0.0 { Ok(self) } else { self.graph().push(op, &[self, step_state]) }
    }
}
