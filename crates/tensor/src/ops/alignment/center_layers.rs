//! Mean-centering of several layers in one dispatch.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Lowered, Op, TestCase, awkward_size};
use crate::ops::alignment::center::{CENTERED_TOGETHER, Center, center_one, center_several};
use crate::ops::movement::concat::Pack;
use crate::shape::TensorType;
use trellis_rng::Rng;

/// [`Center`] of each of several small layers `[n, p]` of the same examples, seven in one dispatch: laid out by
/// [`Pack::layout`]. Gaps between two layers are not written. Widths are multiples of 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CenterLayers;

impl CenterLayers {
    fn layout(inputs: &[&TensorType]) -> Pack {
        Pack::layout(inputs.iter().map(|x| x.elements()))
    }
}

impl Op for CenterLayers {
    fn name(&self) -> &'static str {
        "center_layers"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let alike = |x: &&TensorType| {
            Center.infer(&[x]).is_ok() && x.shape[0] == inputs[0].shape[0] && x.shape[1].is_multiple_of(4)
        };
        if inputs.is_empty() || !inputs.iter().all(alike) {
            return Err(format!("takes layers [n, features] of the same examples, features by fours, not {inputs:?}"));
        }
        Ok(TensorType::f32([Self::layout(inputs).size]))
    }

    fn backward<'g>(&self, x: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let types: Vec<TensorType> = x.iter().map(|layer| layer.ty()).collect();
        let layout = Self::layout(&types.iter().collect::<Vec<_>>());
        let gradient =
            |(layer, &offset): (&Var<'g>, &usize)| dy.packed_layer(offset, layer.shape())?.without_mean().map(Some);
        x.iter().zip(&layout.offsets).map(gradient).collect()
    }

    // The kernel for several chooses its layer in the inner loop, which costs nothing on a GPU; software adapters run both sides
    // of a branch.
    fn lower(&self, caps: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let (n, layout) = (inputs[0].shape[0], Self::layout(inputs));
        let width = |input: usize| inputs[input].shape[1];
        let layers = layout.offsets.iter().enumerate().map(|(input, &start)| [input, width(input), start]);
        let layers: Vec<[usize; 3]> = layers.collect();
        let dispatches = if caps.software {
            layers.iter().map(|&[input, p, start]| center_one(caps, [n, p], input, start)).collect()
        } else {
            layers.chunks(CENTERED_TOGETHER).map(|layers| center_several(caps, n, layers)).collect()
        };
        Lowered { dispatches, scratch: Vec::new() }
    }

    fn reference(&self, inputs: &mut [Vec<f64>], types: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let mut centered = vec![0.0; output.elements()];
        for (number, offset) in Self::layout(types).offsets.into_iter().enumerate() {
            let layer = Center.reference(&mut inputs[number..=number], &types[number..=number], types[number]);
            centered[offset..offset + layer.len()].copy_from_slice(&layer);
        }
        centered
    }

    fn sample(rng: &mut Rng) -> TestCase {
        // With a multiple of 16 examples and 4 features there are no gaps between layers.
        let n = 16 * (1 + rng.below(3));
        let widths: Vec<usize> = (0..1 + rng.below(9)).map(|_| 4 * awkward_size(rng, 20)).collect();
        let offset = [0.0, 3.0][rng.below(2)];
        let sample = TestCase::new(|x| x[0].graph().push(CenterLayers, x));
        widths.into_iter().fold(sample, |sample, p| sample.values([n, p], || f64::from(rng.normal()) + offset))
    }
}
