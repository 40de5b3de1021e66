//! A network on a GPU, and a frozen one that guides.

use std::fmt;
use std::sync::Arc;

use trellis_data::Normalization;
use trellis_rng::Rng;
use trellis_tensor::{Gpu, Graph, Init, InitialValues, ParamSpec, Params, Tensor, Var};

use super::initial::InitialWeights;
use super::input_scale::{InputScale, Rescaling};
use super::pass::{self, CapturePoint, Captured, Mode, Pass, Weighted};
use crate::data::Dataset;
use crate::data::example::{Input, InputShape, Output};
use crate::error::Result;

/// A kind of network: its layers, as calls on a [`Pass`]. The same calls declare the parameters and record the forward
/// pass, so the two cannot disagree. `examples/own_network.rs` is one from outside this crate.
pub trait Architecture: fmt::Debug + Send + Sync {
    /// A few words for tables and messages: `fcn 8x128 bn`.
    fn describe(&self) -> String;

    /// Records the forward pass on a batch; the result is logits `[batch, classes]`, or `[batch, time, classes]` where each
    /// position has a label.
    ///
    /// # Errors
    /// When the network is not for such an input or output, or a layer does not fit; the message names it.
    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>>;

    /// Initial weights. With [`InitialWeights::Lsuv`] those of [`Pass::linear`] and [`Pass::conv`] are scaled by data; all others are
    /// what the forward pass declares.
    fn initial_weights(&self) -> InitialWeights {
        InitialWeights::Default
    }
}

impl Architecture for Box<dyn Architecture> {
    fn describe(&self) -> String {
        (**self).describe()
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        (**self).forward(pass, input, output)
    }

    fn initial_weights(&self) -> InitialWeights {
        (**self).initial_weights()
    }
}

/// A network on a GPU. Cloning gives the same parameters, not a copy.
#[derive(Clone, Debug)]
pub struct Network {
    architecture: Arc<dyn Architecture>,
    params: Params,
    /// Tensors that gradients do not train: running statistics of batch norm, sinusoidal positions.
    buffers: Params,
    input: InputShape,
    output: Output,
    /// Layer that gives the logits.
    head: Option<String>,
    /// Scale of the images that it sees, where that is not the data's.
    rescaling: Option<Rescaling>,
    /// A batch of nothing, for passes that are recorded for their names.
    placeholder: Tensor,
}

/// Streams of [`Rng`] that draw weights; drawn images have the streams from 0 upwards, and a seed may serve both.
const WEIGHTS: u64 = 1 << 63;

impl Network {
    /// Draws the parameters of `architecture` for the examples and labels of `data`. Where its initial weights depend on data, they
    /// are scaled on 128 training examples, or on all of fewer.
    ///
    /// # Errors
    /// When a layer does not fit, or memory does not allow it; as [`Network::scale_to_unit_variance`].
    pub fn new(architecture: impl Architecture + 'static, data: &Dataset, seed: u64) -> Result<Self> {
        let network = Self::with_shape(data.gpu(), architecture, data.input(), data.output(), seed)?;
        network.scale_to_unit_variance(data, 128, seed)?;
        Ok(network)
    }

    /// Draws the parameters of `architecture` for examples and labels of a kind: images `[channels, height, width]` of so many
    /// classes, say. There are no data: weights of LSUV are left orthogonal, for [`Network::scale_to_unit_variance`] or for
    /// [`load`](crate::weights::load).
    ///
    /// # Errors
    /// When a layer does not fit, or memory does not allow it.
    pub fn with_shape(
        gpu: &Gpu,
        architecture: impl Architecture + 'static,
        input: impl Into<InputShape>,
        output: impl Into<Output>,
        seed: u64,
    ) -> Result<Self> {
        let (input, output) = (input.into(), output.into());
        let (graph, placeholder) = (Graph::new(), input.placeholder(gpu)?);
        let mut pass = Pass::declare(&graph, Params::largest(gpu));
        architecture.forward(&mut pass, input.of(graph.leaf(&placeholder)), output)?;
        for declared in pass.declared().0 {
            // Before the CPU draws values that no GPU would take.
            let needed = 4 * declared.shape.elements() as u64;
            let limit = gpu.caps().max_binding;
            if needed > limit && !gpu.is_dry_run() {
                let label = declared.name.clone();
                return Err(trellis_tensor::Error::BindingTooLarge { label, needed, limit }.into());
            }
        }
        let draw = |(number, declared): (usize, &pass::Declared)| ParamSpec {
            name: declared.name.clone(),
            shape: declared.shape.clone(),
            // A stream each: a layer more leaves the values of the others as they were.
            values: InitialValues::Drawn(declared.init, Rng::new(seed, WEIGHTS | number as u64)),
        };
        let (params, buffers) = pass.declared();
        let specs = |declared: &[pass::Declared]| declared.iter().enumerate().map(draw).collect::<Vec<_>>();
        let (params, buffers) = (Params::new(gpu, &specs(params))?, Params::apart(gpu, &specs(buffers))?);
        let head = pass.declared_head().map(str::to_string);
        let architecture = Arc::new(architecture);
        Ok(Self { architecture, params, buffers, input, output, head, rescaling: None, placeholder })
    }

    /// Distribution of the initial values of each tensor, parameters first, and the number of the stream of random numbers that draws
    /// them: `Rng::new(seed, stream)`. Weights that are scaled by data, or loaded, began with other values.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn initial_values(&self) -> Result<Vec<(String, Init, u64)>> {
        let graph = Graph::new();
        let mut pass = Pass::declare(&graph, Params::largest(self.placeholder.gpu()));
        self.architecture.forward(&mut pass, self.input.of(graph.leaf(&self.placeholder)), self.output)?;
        let (params, buffers) = pass.declared();
        let numbered = params.iter().enumerate().chain(buffers.iter().enumerate());
        let of = |(number, declared): (usize, &pass::Declared)| {
            (declared.name.clone(), declared.init.of(&declared.shape), WEIGHTS | number as u64)
        };
        Ok(numbered.map(of).collect())
    }

    /// Records a forward pass on a batch of `input`; a `Var` is one of images. The result is the logits and the
    /// captured activations.
    ///
    /// # Errors
    /// When `input` is not what this network takes.
    pub fn forward<'g>(
        &self,
        graph: &'g Graph,
        input: impl Into<Input<'g>>,
        mode: Mode<'_>,
        capture: CapturePoint,
    ) -> Result<Forward<'g>> {
        let mut pass = Pass::record(graph, self, mode, capture);
        let logits = self.record(graph, &mut pass, input.into())?;
        Ok(Forward { logits, activations: pass.into_activations() })
    }

    fn record<'g>(&self, graph: &'g Graph, pass: &mut Pass<'_, 'g>, input: Input<'g>) -> Result<Var<'g>> {
        self.input.check(input, graph.layer())?;
        let input = self.rescaling.as_ref().map_or(Ok(input), |rescaling| rescaling.apply(graph, input))?;
        self.architecture.forward(pass, input, self.output)
    }

    /// Outputs of its layers with weights, in evaluation mode and in forward order.
    pub(super) fn weighted<'g>(&self, graph: &'g Graph, input: Input<'g>) -> Result<Vec<Weighted<'g>>> {
        let mut pass = Pass::record(graph, self, Mode::Eval, CapturePoint::default());
        self.record(graph, &mut pass, input)?;
        Ok(pass.into_weighted())
    }

    /// Initial weights of its architecture.
    pub(super) fn initial_weights(&self) -> InitialWeights {
        self.architecture.initial_weights()
    }

    /// Names of the layers that can be aligned, in forward order.
    ///
    /// # Errors
    /// As [`Network::forward`].
    pub fn layers(&self) -> Result<Vec<String>> {
        let graph = Graph::new();
        let forward = self.forward_on_placeholder(&graph, CapturePoint::default())?;
        Ok(forward.activations.into_iter().map(|activation| activation.name).collect())
    }

    /// Records a forward pass on inputs that stand for others, to see its layers.
    pub(crate) fn forward_on_placeholder<'g>(&self, graph: &'g Graph, capture: CapturePoint) -> Result<Forward<'g>> {
        self.forward(graph, self.input.of(graph.leaf(&self.placeholder)), Mode::Eval, capture)
    }

    /// This network with another scale of its input: given images in the units `from`, it sees them in `scale`. The change is
    /// recorded in each forward pass: two elementwise steps on the GPU.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) unless it takes images of as many channels, with finite means and deviations above 0.
    pub fn with_input_scale(self, scale: &InputScale, from: Normalization) -> Result<Self> {
        let rescaling = Rescaling::new(self.placeholder.gpu(), scale, from, self.input)?;
        Ok(Self { rescaling: Some(rescaling), ..self })
    }

    /// Scale of the images that it sees; `None` where that is the data's.
    pub fn input_scale(&self) -> Option<&InputScale> {
        self.rescaling.as_ref().map(|rescaling| &rescaling.scale)
    }

    /// Layer that gives the logits, if its architecture says so.
    pub(crate) fn head(&self) -> Option<&str> {
        self.head.as_deref()
    }

    /// A few words for tables and messages.
    pub fn describe(&self) -> String {
        self.architecture.describe()
    }

    /// Parameters, which gradients train.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Everything that a checkpoint holds: parameters, then running statistics.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.params.tensors().iter().chain(self.buffers.tensors())
    }

    /// Buffers, among them the running statistics that the forward pass of training updates.
    pub(crate) fn running_statistics(&self) -> impl Iterator<Item = &Tensor> {
        self.buffers.tensors().iter()
    }

    /// Largest number of elements that one of its tensors may have.
    pub(super) fn largest_tensor(&self) -> usize {
        Params::largest(self.placeholder.gpu())
    }

    /// The tensor called `name`.
    pub(crate) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.params.get(name).or_else(|| self.buffers.get(name))
    }

    /// Input shape.
    pub fn input(&self) -> InputShape {
        self.input
    }

    /// Output classes, and what each label covers.
    pub fn output(&self) -> Output {
        self.output
    }
}

/// Result of a forward pass.
#[derive(Clone, Debug)]
pub struct Forward<'g> {
    /// `[batch, classes]`, or `[batch, time, classes]`.
    pub logits: Var<'g>,
    /// Captured activations of the layers that can be aligned, in forward order.
    pub activations: Vec<Captured<'g>>,
}
