//! Guides: frozen networks, or what one has said of each example.

mod recorded;

use std::path::Path;
use std::sync::Arc;

use trellis_data::Place;
use trellis_tensor::{Graph, Var};

use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};
use crate::network::{CapturePoint, Forward, Input, Mode, Network};
use recorded::Recorded;

/// Number of examples of a split, from the first on, that an evaluation compares layers on at most.
pub(crate) const COMPARED: usize = 256;

/// A frozen network that a target is pulled towards. Trained or not is up to who made it. Its layers may also have been recorded, by
/// any program that can run it.
#[derive(Clone, Debug)]
pub struct Guide {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Network(Box<Network>),
    Recorded(Arc<Recorded>),
}

impl Network {
    /// This network as a guide: frozen, in evaluation mode.
    pub fn freeze(self) -> Guide {
        Guide { kind: Kind::Network(Box::new(self)) }
    }
}

impl Guide {
    /// A guide whose layers lie in a safetensors file: an array `train.LAYER`, `[examples, …]`, for each layer, and `test.LAYER` if the
    /// data have a test split, of its first 256 examples at least. Rows are in the order of the examples that `trellis examples` writes. The metadata are `trellis`,
    /// copied from that file, and `layers`, names in forward order with blanks between. `examples/activations.py` writes
    /// such a file for a module of PyTorch.
    ///
    /// The arrays lie on the GPU, and a step looks its examples up. So random batches must not be cropped, shifted or flipped.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) for a file of other data, rows that are missing, numbers that are not finite, or
    /// an array that the adapter cannot bind; errors of reading.
    pub fn recorded(data: &Dataset, path: &Path) -> Result<Self> {
        Ok(Self { kind: Kind::Recorded(Arc::new(Recorded::read(data, path)?)) })
    }

    /// Records its forward pass, in evaluation mode.
    ///
    /// # Errors
    /// As [`Network::forward`]; [`Error::Config`](crate::Error::Config) for a guide whose layers were recorded.
    pub fn forward<'g>(
        &self,
        graph: &'g Graph,
        input: impl Into<Input<'g>>,
        capture: CapturePoint,
    ) -> Result<Forward<'g>> {
        match &self.kind {
            Kind::Network(network) => network.forward(graph, input, Mode::Eval, capture),
            Kind::Recorded(_) => {
                let problem = "was recorded, and cannot be run on other examples";
                Err(Error::config(Place::setting("guide"), "activations", problem, "give a network"))
            }
        }
    }

    /// Layers of this guide by number, for the examples of a batch whose input it sees as `input`.
    pub(crate) fn layers_on<'g>(
        &self,
        graph: &'g Graph,
        batch: &Batch<'g>,
        input: Input<'g>,
        capture: CapturePoint,
        layers: impl Iterator<Item = usize>,
    ) -> Result<Vec<Var<'g>>> {
        match &self.kind {
            Kind::Network(network) => {
                let activations = network.forward(graph, input, Mode::Eval, capture)?.activations;
                Ok(layers.map(|layer| activations[layer].value).collect())
            }
            Kind::Recorded(recorded) => layers.map(|layer| recorded.rows(graph, batch, layer)).collect(),
        }
    }

    /// The network, unless its layers were recorded.
    pub fn network(&self) -> Option<&Network> {
        match &self.kind {
            Kind::Network(network) => Some(network),
            Kind::Recorded(_) => None,
        }
    }

    /// Names of its layers, in forward order.
    ///
    /// # Errors
    /// As [`Network::layers`].
    pub fn layers(&self) -> Result<Vec<String>> {
        match &self.kind {
            Kind::Network(network) => network.layers(),
            Kind::Recorded(recorded) => Ok(recorded.layers().to_vec()),
        }
    }
}
