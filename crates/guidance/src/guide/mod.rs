//! Guides: frozen networks, or what one has said of each example.

mod recorded;

use std::path::Path;
use std::sync::Arc;

use trellis_data::Place;
use trellis_tensor::ops::Centering;
use trellis_tensor::{Graph, Log, StepState, Var};

use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};
use crate::network::{CapturePoint, Forward, Input, Mode, Network};
use recorded::{Recorded, Stream};

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
    /// Layers, and their stream in a run.
    Recorded(Arc<Recorded>, Option<Arc<Stream>>),
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
    /// Layers that the metadata `grams` names are Gram matrices `[examples, examples]`, not centered, for linear CKA.
    ///
    /// The arrays lie on the GPU, and a step looks its examples up. Where they do not fit, or the data stream, the rows of a step are read
    /// before it. Random batches must not be cropped, shifted or flipped.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) for a file of other data, rows that are missing, numbers that are not finite, or
    /// an array that the adapter cannot bind; errors of reading.
    pub fn recorded(data: &Dataset, path: &Path) -> Result<Self> {
        Ok(Self { kind: Kind::Recorded(Arc::new(Recorded::read(data, path)?), None) })
    }

    /// Checks a recording on a GPU that was opened for a dry run: [`Guide::recorded`] would refuse the same there, but for other
    /// data. True if the data are those that it was recorded on; data that are only counted never are.
    ///
    /// # Errors
    /// As [`Guide::recorded`].
    pub fn check_recorded(data: &Dataset, path: &Path) -> Result<bool> {
        Recorded::read(data, path)?.check(data)
    }

    /// Number that tells a recorded guide from others; `None` for a network.
    pub fn fingerprint(&self) -> Option<u64> {
        if let Kind::Recorded(recorded, _) = &self.kind { Some(recorded.fingerprint()) } else { None }
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
            Kind::Recorded(..) => {
                let problem = "was recorded, and cannot be run on other examples";
                Err(Error::config(Place::setting("guide"), "activations", problem, "give a network"))
            }
        }
    }

    /// This guide in a run of random batches under a seed.
    pub(crate) fn begin(&self, data: &Dataset, batch: usize, seed: u64) -> Result<Self> {
        match &self.kind {
            Kind::Network(_) => Ok(self.clone()),
            Kind::Recorded(recorded, _) => {
                let stream = recorded.stream(data, batch, seed)?.map(Arc::new);
                Ok(Self { kind: Kind::Recorded(recorded.clone(), stream) })
            }
        }
    }

    /// Number of steps of a run that can be prepared at once.
    pub(crate) fn depth(&self) -> usize {
        if let Kind::Recorded(_, Some(stream)) = &self.kind { stream.depth() } else { Log::CAPACITY }
    }

    /// Makes ready `steps` steps of a run from step `first` on, before they are submitted.
    pub(crate) fn prepare(&self, first: u32, steps: usize) -> Result<()> {
        match &self.kind {
            Kind::Recorded(recorded, Some(stream)) => recorded.fill(stream, first, steps),
            Kind::Recorded(_, None) | Kind::Network(_) => Ok(()),
        }
    }

    /// True for a recorded guide whose rows are read before each step.
    pub fn is_streamed(&self) -> bool {
        matches!(&self.kind, Kind::Recorded(recorded, _) if recorded.is_streamed())
    }

    /// Layers of this guide by number, for the examples of a batch whose input it sees as `input`; of a training step where there is a
    /// step state.
    pub(crate) fn layers_on<'g>(
        &self,
        graph: &'g Graph,
        (batch, step_state): (&Batch<'g>, Option<&StepState>),
        input: Input<'g>,
        capture: CapturePoint,
        layers: impl Iterator<Item = usize>,
    ) -> Result<Vec<Var<'g>>> {
        match &self.kind {
            Kind::Network(network) => {
                let activations = network.forward(graph, input, Mode::Eval, capture)?.activations;
                Ok(layers.map(|layer| activations[layer].value).collect())
            }
            Kind::Recorded(recorded, stream) => layers
                .map(|layer| {
                    let rows = match (stream, step_state) {
                        (Some(stream), Some(now)) => stream.rows(graph, now, layer)?,
                        _ => recorded.rows(graph, batch, layer)?,
                    };
                    if !recorded.is_gram(layer) {
                        return Ok(rows);
                    }
                    // Rows of a symmetric matrix, then the same columns.
                    Ok(rows.permute(&[1, 0])?.gather(batch.index)?.center_gram(Centering::Double)?)
                })
                .collect(),
        }
    }

    /// True if [`Guide::layers_on`] gives the centered Gram matrix of a layer in place of its activations.
    pub(crate) fn is_gram(&self, layer: usize) -> bool {
        matches!(&self.kind, Kind::Recorded(recorded, _) if recorded.is_gram(layer))
    }

    /// The network, unless its layers were recorded.
    pub fn network(&self) -> Option<&Network> {
        match &self.kind {
            Kind::Network(network) => Some(network),
            Kind::Recorded(..) => None,
        }
    }

    /// Names of its layers, in forward order.
    ///
    /// # Errors
    /// As [`Network::layers`].
    pub fn layers(&self) -> Result<Vec<String>> {
        match &self.kind {
            Kind::Network(network) => network.layers(),
            Kind::Recorded(recorded, _) => Ok(recorded.layers().to_vec()),
        }
    }
}
