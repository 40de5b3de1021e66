//! Scores of sequences: the number of correct labeled positions, and whether all are correct.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// Score of each sequence: hits at labeled positions, labeled positions, and 1 if there are any and all are hits. Inputs: hits
/// `[batch, time]` of 0 and 1, labels u32 `[batch, time]`; a label that is not below `classes` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceScore {
    /// Labels are below this.
    pub classes: usize,
}

impl Op for SequenceScore {
    fn name(&self) -> &'static str {
        "sequence_score"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [hits, labels]
                if hits.dtype == DType::F32
                    && labels.dtype == DType::U32
                    && hits.shape.rank() == 2
                    && hits.shape == labels.shape =>
            {
                Ok(TensorType::f32([hits.shape[0], 3]))
            }
            _ => Err(format!("takes hits f32[batch, time] and labels u32[batch, time], not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let [batch, time] = [inputs[0].shape[0], inputs[0].shape[1]];
        Dispatch::linear(kernel!("loss/sequence_score"), batch)
            .dims(&[batch, time, self.classes])
            .iterations(time)
            .flops(2 * batch * time)
            .bind(2)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let time = types[0].shape[1].max(1);
        let score = |(hits, labels): (&[f64], &[f64])| {
            let labeled = || hits.iter().zip(labels).filter(|(_, label)| **label < self.classes as f64);
            let (right, count) = (labeled().map(|(hit, _)| hit).sum::<f64>(), labeled().count() as f64);
            [right, count, f64::from(u8::from(count > 0.0 && right == count))]
        };
        inputs[0].chunks(time).zip(inputs[1].chunks(time)).flat_map(score).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (shape, classes) = ([awkward_size(rng, 300), awkward_size(rng, 40)], 1 + rng.below(5));
        // Mostly hits, so that whole sequences are right now and then.
        let sample = TestCase::forward_only(SequenceScore { classes });
        sample.values(shape, || f64::from(u8::from(rng.below(12) > 0))).index(rng, shape, classes + 2)
    }
}

impl<'g> Var<'g> {
    /// Scores of sequences from hits `[batch, time]` (1 right, 0 wrong) and labels u32 `[batch, time]`: `[batch, 3]`. They are
    /// the hits at labeled positions, their number, and 1 if there are any and all are hits. A label that is not below
    /// `classes` is none. It has no gradient.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) for other shapes.
    pub fn sequence_score(self, labels: Var<'g>, classes: usize) -> Result<Var<'g>> {
        self.graph().push(SequenceScore { classes }, &[self, labels])
    }
}
