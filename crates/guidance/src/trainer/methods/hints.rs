//! Hints: regressors from layers of the target to layers of the guide, learned along with the target.

use trellis_data::Place;
use trellis_rng::Rng;
use trellis_tensor::{Gpu, Graph, Init, InitialValues, Layout, ParamSpec, Params, Shape, Var};

use crate::alignment::{GuideSide, Pair};
use crate::error::{Error, Result};
use crate::network::{CapturePoint, Network};
use crate::trainer::guidance::Guidance;

/// Stream of [`Rng`] that draws regressors.
const STREAM: u64 = 0x6869_6e74_7300;

/// A regressor `W x + b` for each pair of layers. Its features are those of a position where both layers have the same positions
/// (height and width, or time); else each layer is one vector.
#[derive(Clone, Debug)]
pub(in crate::trainer) struct Hints {
    /// Weight `[theirs, ours]` and bias `[theirs]` of each pair.
    params: Params,
}

impl Hints {
    /// Draws the regressors of the pairs of `guidance` as PyTorch draws a linear layer.
    ///
    /// # Errors
    /// When the layer map names a layer that does not exist, or memory does not allow it.
    pub(in crate::trainer) fn new(gpu: &Gpu, target: &Network, guidance: &Guidance, seed: u64) -> Result<Self> {
        let ours = shapes(target, guidance.capture)?;
        // Guides that were recorded are refused before.
        let theirs =
            guidance.guide.network().map(|guide| shapes(guide, guidance.capture)).transpose()?.unwrap_or_default();
        let mut specs = Vec::new();
        for (number, (g, t)) in guidance.pairs(target)?.into_iter().enumerate() {
            let [p, q] = features(&ours[t].1, &theirs[g].1).1;
            let init = Init::Uniform(1.0 / (p as f32).sqrt());
            for (what, shape) in [("weight", Shape::from([q, p])), ("bias", Shape::from([q]))] {
                let rng = Rng::new(seed, STREAM | specs.len() as u64);
                let name = format!("hint{number}.{}-{}.{what}", ours[t].0, theirs[g].0);
                specs.push(ParamSpec { name, shape, values: InitialValues::Drawn(init, rng) });
            }
        }
        Ok(Self { params: Params::new(gpu, &specs)? })
    }

    /// Parameters of the regressors.
    pub(in crate::trainer) fn params(&self) -> &Params {
        &self.params
    }

    /// Sum over `pairs` of the mean squared error of their regressors: a scalar.
    ///
    /// # Errors
    /// When the layers are of other sizes than those of the networks, or a pair has a Gram matrix in place of the guide's layer.
    pub(in crate::trainer) fn errors<'g>(&self, graph: &'g Graph, pairs: &[Pair<'g>]) -> Result<Var<'g>> {
        let mut sum = graph.constant(0.0, []);
        for (pair, regressor) in pairs.iter().zip(self.params.tensors().chunks(2)) {
            let GuideSide::Activations(theirs) = pair.gram else {
                let problem = "are regressed on activations, and fixed batches look up Gram matrices";
                return Err(Error::config(Place::setting("guidance"), "method", problem, "batches = \"random\""));
            };
            let _scope = graph.scope(&pair.name());
            let [weight, bias] = [0, 1].map(|at| graph.leaf(&regressor[at]));
            let ours = pair.target.value;
            let (positions, _) = features(&ours.shape(), &theirs.shape());
            let error = positions.rows(ours)?.matmul(weight, Layout::NT)?.add(bias)?.sub(positions.rows(theirs)?)?;
            sum = sum.add(error.mul(error)?.mean_all()?)?;
        }
        Ok(sum)
    }
}

/// Positions that two layers have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Positions {
    /// None: `[n, …]` is one vector for each example.
    None,
    /// Height and width of `[n, channels, height, width]`.
    Pixels,
    /// Time steps of `[n, time, features]`.
    Steps,
}

impl Positions {
    /// A layer as a matrix: a row for each position of each example.
    fn rows(self, layer: Var<'_>) -> Result<Var<'_>> {
        let shape = layer.shape();
        Ok(match self {
            Self::None => layer.flatten()?,
            Self::Pixels => {
                let [n, channels, height, width] = shape[..] else { unreachable!("planes") };
                layer.permute(&[0, 2, 3, 1])?.reshape([n * height * width, channels])?
            }
            Self::Steps => layer.reshape([shape[0] * shape[1], shape[2]])?,
        })
    }
}

/// Positions in common of layers `[n, …]`, and the numbers of their features.
fn features(ours: &Shape, theirs: &Shape) -> (Positions, [usize; 2]) {
    let size = |shape: &Shape| shape[1..].iter().product();
    match (&ours[1..], &theirs[1..]) {
        ([p, at @ ..], [q, other @ ..]) if at.len() == 2 && at == other => (Positions::Pixels, [*p, *q]),
        ([time, p], [other, q]) if time == other => (Positions::Steps, [*p, *q]),
        _ => (Positions::None, [size(ours), size(theirs)]),
    }
}

/// Name and shape `[n, …]` of each layer that can be captured.
fn shapes(network: &Network, capture: CapturePoint) -> Result<Vec<(String, Shape)>> {
    let graph = Graph::new();
    let activations = network.forward_on_placeholder(&graph, capture)?.activations;
    Ok(activations.into_iter().map(|layer| (layer.name, layer.value.shape().clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_share_positions_where_they_have_the_same() {
        let of = |ours: &[usize], theirs: &[usize]| features(&ours.into(), &theirs.into());
        assert_eq!(of(&[5, 8, 4, 4], &[5, 3, 4, 4]), (Positions::Pixels, [8, 3]));
        assert_eq!(of(&[5, 8, 4, 4], &[5, 3, 2, 2]), (Positions::None, [128, 12]));
        assert_eq!(of(&[5, 7, 4], &[5, 7, 9]), (Positions::Steps, [4, 9]));
        assert_eq!(of(&[5, 7, 4], &[5, 9]), (Positions::None, [28, 9]));
        assert_eq!(of(&[5, 4], &[5, 9]), (Positions::None, [4, 9]));
    }
}
