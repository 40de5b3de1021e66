//! One forward pass: the layers that networks are written in.

use std::collections::HashSet;

use trellis_tensor::{
    AttentionDropout, AttentionOptions, DType, Graph, Init, Layout, LossScale, Recompute, Shape, StepState, Var,
};

use super::Network;
use crate::error::Result;

/// Mode of a forward pass: training or evaluation.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// Batch norm uses the batch's statistics and updates the running ones; dropout is on.
    Train {
        /// The step counter that dropout follows.
        step_state: &'a StepState,
        /// Seed of dropout.
        seed: u64,
        /// Element type that linear layers multiply.
        precision: Precision,
        /// Number of blocks whose activations are recomputed together for the backward pass; 0: all are kept.
        recompute: usize,
    },
    /// Batch norm uses the running statistics; dropout is off.
    Eval,
}

/// Precision in which a network is trained. Parameters, moments, losses, norms and sums are f32 in either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Everything is f32.
    #[default]
    F32,
    /// Linear layers multiply f16 copies of activations and weights, and of gradients in the backward pass, with f32
    /// sums. The loss is scaled so that small gradients survive. So do convolutions, except depthwise ones, and attention on matrix units.
    /// Alignment stays f32, and so do evaluations.
    Mixed(LossScale),
}

impl Precision {
    /// Scaling of the loss, if it is scaled.
    pub fn loss_scale(self) -> Option<LossScale> {
        match self {
            Self::F32 => None,
            Self::Mixed(scale) => Some(scale),
        }
    }
}

/// Point at which a layer's activations are captured for alignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CapturePoint {
    /// The output of the linear or convolution layer, as the paper's authors do (their hooks sit on those modules).
    #[default]
    BeforeNorm,
    /// After normalization and activation.
    AfterActivation,
}

/// A layer's activations.
#[derive(Clone, Debug)]
pub struct Captured<'g> {
    /// Name of the layer: `fc1`, `conv2`, `pool`.
    pub name: String,
    /// `[batch, …]`.
    pub value: Var<'g>,
}

/// The kernel of a convolution: square, of odd size, so that zeros around the image can keep it in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvKernel {
    /// Height and width.
    pub size: usize,
    /// Pixels from one kernel to the next, in both directions.
    pub stride: usize,
}

/// A parameter or buffer before it exists.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) name: String,
    pub(super) shape: Shape,
    pub(super) init: Init,
}

/// A layer's output, and the weights that it is proportional to, its bias aside.
#[derive(Clone, Debug)]
pub(super) struct Weighted<'g> {
    pub(super) layer: String,
    pub(super) weights: Vec<String>,
    pub(super) output: Var<'g>,
}

/// A forward pass that is being recorded, or, before a network exists, played through to see which parameters it asks
/// for.
pub struct Pass<'n, 'g> {
    graph: &'g Graph,
    /// `None` while parameters are declared.
    network: Option<&'n Network>,
    mode: Mode<'n>,
    capture_point: CapturePoint,
    activations: Vec<Captured<'g>>,
    weighted: Vec<Weighted<'g>>,
    dropouts: u32,
    blocks: usize,
    segment: Option<Recompute<'g>>,
    /// Largest number of elements of one tensor.
    largest: usize,
    /// Layer that gives the logits.
    head: Option<String>,
    params: Vec<Declared>,
    buffers: Vec<Declared>,
    /// Names of both.
    names: HashSet<String>,
}

/// ε of batch norm, and the weight of a new batch in the running statistics: PyTorch's.
const EPSILON: f32 = 1e-5;
const MOMENTUM: f32 = 0.1;

impl<'n, 'g> Pass<'n, 'g> {
    pub(super) fn declare(graph: &'g Graph, largest: usize) -> Self {
        Self {
            graph,
            network: None,
            mode: Mode::Eval,
            capture_point: CapturePoint::default(),
            activations: Vec::new(),
            weighted: Vec::new(),
            dropouts: 0,
            blocks: 0,
            segment: None,
            largest,
            head: None,
            params: Vec::new(),
            buffers: Vec::new(),
            names: HashSet::new(),
        }
    }

    pub(super) fn record(graph: &'g Graph, network: &'n Network, mode: Mode<'n>, capture_point: CapturePoint) -> Self {
        Self { network: Some(network), mode, capture_point, ..Self::declare(graph, network.largest_tensor()) }
    }

    /// Parameters and buffers that were asked for.
    pub(super) fn declared(&self) -> (&[Declared], &[Declared]) {
        (&self.params, &self.buffers)
    }

    pub(super) fn into_activations(self) -> Vec<Captured<'g>> {
        self.activations
    }

    /// Outputs of the linear, convolution and recurrent layers, in forward order.
    pub(super) fn into_weighted(self) -> Vec<Weighted<'g>> {
        self.weighted
    }

    /// Notes the output of a layer, and the weights that it is proportional to.
    pub(super) fn weighted(&mut self, layer: &str, weights: Vec<String>, output: Var<'g>) {
        self.weighted.push(Weighted { layer: layer.to_string(), weights, output });
    }

    /// Begins a block: a hidden layer, a residual block, layers that belong together. Where memory is to be saved, a few
    /// neighboring blocks are computed again for the backward pass in place of being kept, see [`Graph::recompute`].
    pub fn block(&mut self) {
        let Mode::Train { recompute: blocks @ 1.., .. } = self.mode else { return };
        if self.blocks.is_multiple_of(blocks) {
            self.segment = None;
            self.segment = Some(self.graph.recompute());
        }
        self.blocks += 1;
    }

    /// A trained parameter. Asked for again under the same name, it is the same one.
    pub fn param(&mut self, name: String, shape: impl Into<Shape>, init: Init) -> Var<'g> {
        self.tensor(name, shape.into(), init, false)
    }

    /// A tensor that no gradient trains, kept in checkpoints: running statistics, sinusoidal positions.
    pub fn buffer(&mut self, name: String, shape: impl Into<Shape>, init: Init) -> Var<'g> {
        self.tensor(name, shape.into(), init, true)
    }

    /// Point at which activations are captured.
    pub fn capture_point(&self) -> CapturePoint {
        self.capture_point
    }

    fn tensor(&mut self, name: String, shape: Shape, init: Init, buffer: bool) -> Var<'g> {
        if let Some(network) = self.network {
            let tensor = network.tensor(&name);
            return self.graph.leaf(tensor.expect("the pass that declared the parameters asked for the same ones"));
        }
        if self.names.insert(name.clone()) {
            let declared = if buffer { &mut self.buffers } else { &mut self.params };
            declared.push(Declared { name, shape: shape.clone(), init });
        }
        self.graph.constant(0.0, shape)
    }

    /// `x wᵀ + b`. Shapes: x `[batch, in]`, w `[out, in]`, b `[out]`, to `[batch, out]`, f32 in every precision.
    /// Weights that the adapter cannot bind at once are several parameters, `name.weight[0..1000]` and so on, each some
    /// of the rows. A file of weights has them as one.
    ///
    /// # Errors
    /// When `x` is no matrix.
    pub fn linear(&mut self, name: &str, x: Var<'g>, out: usize, bias: bool, init: Init) -> Result<Var<'g>> {
        let bound = 1.0 / (x.shape().last_axis().max(1) as f32).sqrt();
        self.linear_from(name, x, out, bias.then_some(Init::Uniform(bound)), init)
    }

    /// [`Pass::linear`] whose bias, if it has one, begins as it is told to.
    pub(super) fn linear_from(
        &mut self,
        name: &str,
        x: Var<'g>,
        out: usize,
        bias: Option<Init>,
        init: Init,
    ) -> Result<Var<'g>> {
        let _scope = self.graph.scope(name);
        let inputs = x.shape().last_axis();
        let rows = self.largest / inputs.max(1);
        let mut names = Vec::new();
        let y = if out <= rows || rows == 0 || matches!(init, Init::Orthogonal(_)) {
            names.push(format!("{name}.weight"));
            let w = self.param(format!("{name}.weight"), [out, inputs], init);
            self.product(x, w)?
        } else {
            let init = init.of(&[out, inputs].into());
            let mut parts = Vec::new();
            for first in (0..out).step_by(rows) {
                let end = out.min(first + rows);
                names.push(format!("{name}.weight[{first}..{end}]"));
                let w = self.param(format!("{name}.weight[{first}..{end}]"), [end - first, inputs], init);
                parts.push(self.product(x, w)?);
            }
            Var::concat(&parts, 1)?
        };
        let z = match bias {
            Some(init) => y.add(self.param(format!("{name}.bias"), [out], init))?,
            None => y,
        };
        self.weighted(name, names, z);
        Ok(z)
    }

    /// `x wᵀ` in the precision of the pass. Shapes: `[batch, in]`, `[out, in]` to `[batch, out]`, f32.
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn product(&self, x: Var<'g>, w: Var<'g>) -> Result<Var<'g>> {
        Ok(match self.is_mixed() {
            true => x.cast(DType::F16)?.matmul(w.cast(DType::F16)?, Layout::NT)?,
            false => x.matmul(w, Layout::NT)?,
        })
    }

    /// Options of attention in the precision of the pass.
    pub(super) fn attention_options(&self) -> AttentionOptions {
        AttentionOptions { half: self.is_mixed(), ..AttentionOptions::default() }
    }

    fn is_mixed(&self) -> bool {
        matches!(self.mode, Mode::Train { precision: Precision::Mixed(_), .. })
    }

    /// A convolution with zeros around the image. Shapes: x `[batch, in, h, w]` to
    /// `[batch, out, ⌈h / stride⌉, ⌈w / stride⌉]`.
    ///
    /// # Errors
    /// When `x` is no batch of images.
    pub fn conv(
        &mut self,
        name: &str,
        x: Var<'g>,
        out: usize,
        ConvKernel { size, stride }: ConvKernel,
        bias: bool,
        init: Init,
    ) -> Result<Var<'g>> {
        let _scope = self.graph.scope(name);
        let inputs = x.shape().get(1).copied().unwrap_or(0);
        let w = self.param(format!("{name}.weight"), [out, inputs, size, size], init);
        let bound = 1.0 / ((size * size * inputs.max(1)) as f32).sqrt();
        let bias = bias.then(|| self.param(format!("{name}.bias"), [out], Init::Uniform(bound)));
        let z = match self.is_mixed() {
            true => x.conv2d_mixed(w, bias, stride, size / 2)?,
            false => x.conv2d(w, bias, stride, size / 2)?,
        };
        self.weighted(name, vec![format!("{name}.weight")], z);
        Ok(z)
    }

    /// A convolution of each channel by itself, without a bias, f32 in every precision. Shapes: x `[batch, channels, h, w]` to
    /// `[batch, channels, ⌈h / stride⌉, ⌈w / stride⌉]`, weights `[channels, 1, size, size]`.
    ///
    /// # Errors
    /// When `x` is no batch of images.
    pub fn depthwise(
        &mut self,
        name: &str,
        x: Var<'g>,
        ConvKernel { size, stride }: ConvKernel,
        init: Init,
    ) -> Result<Var<'g>> {
        let _scope = self.graph.scope(name);
        let channels = x.shape().get(1).copied().unwrap_or(0);
        let w = self.param(format!("{name}.weight"), [channels, 1, size, size], init);
        let z = x.grouped_conv2d(w, stride, size / 2, channels)?;
        self.weighted(name, vec![format!("{name}.weight")], z);
        Ok(z)
    }

    /// Batch norm if wanted, then ReLU, after a linear or convolution layer. The activations are captured before or
    /// after.
    ///
    /// # Errors
    /// When `x` has no channels.
    pub fn norm_relu(&mut self, name: &str, x: Var<'g>, batch_norm: bool) -> Result<Var<'g>> {
        if self.capture_point == CapturePoint::BeforeNorm {
            self.capture(name, x);
        }
        let _scope = self.graph.scope(name);
        let y = if batch_norm { self.batch_norm(&format!("{name}.bn"), x)?.relu()? } else { x.relu()? };
        if self.capture_point == CapturePoint::AfterActivation {
            self.capture(name, y);
        }
        Ok(y)
    }

    /// Normalizes each channel (axis 1). Parameters are `name.weight` and `name.bias`, buffers `name.running_mean` and
    /// `name.running_var`.
    ///
    /// # Errors
    /// When `x` has no channels.
    pub fn batch_norm(&mut self, name: &str, x: Var<'g>) -> Result<Var<'g>> {
        self.batch_norm_from(name, x, 1.0)
    }

    /// [`Pass::batch_norm`] whose γ begins with another number than 1.
    pub(super) fn batch_norm_from(&mut self, name: &str, x: Var<'g>, gamma: f32) -> Result<Var<'g>> {
        let channels = [x.shape().get(1).copied().unwrap_or(0)];
        let gamma = self.param(format!("{name}.weight"), channels, Init::Constant(gamma));
        let beta = self.param(format!("{name}.bias"), channels, Init::Constant(0.0));
        let mean = self.tensor(format!("{name}.running_mean"), channels.into(), Init::Constant(0.0), true);
        let var = self.tensor(format!("{name}.running_var"), channels.into(), Init::Constant(1.0), true);
        Ok(match self.mode {
            Mode::Train { .. } => x.batch_norm_train(gamma, beta, mean, var, MOMENTUM, EPSILON)?,
            Mode::Eval => x.batch_norm_eval(gamma, beta, mean, var, EPSILON)?,
        })
    }

    /// Zeroes elements with probability `p` while training; each call has a mask of its own.
    ///
    /// # Errors
    /// When `p` is outside `[0, 1)`.
    pub fn dropout(&mut self, x: Var<'g>, p: f32) -> Result<Var<'g>> {
        let Mode::Train { step_state, seed, .. } = self.mode else { return Ok(x) };
        self.dropouts += 1;
        Ok(x.dropout(self.graph.leaf(step_state.tensor()), p, seed, self.dropouts)?)
    }

    /// Dropout of an attention's probabilities while training; each call has a mask of its own.
    pub fn attention_dropout(&mut self, p: f32) -> Option<AttentionDropout<'g>> {
        let Mode::Train { step_state, seed, .. } = self.mode else { return None };
        self.dropouts += 1;
        Some(AttentionDropout { step_state: self.graph.leaf(step_state.tensor()), p, seed, stream: self.dropouts })
    }

    /// Notes the layer that gives the logits; its bias is `name.bias`, if it has one.
    pub fn head(&mut self, name: &str) {
        self.head = Some(name.to_string());
    }

    pub(super) fn declared_head(&self) -> Option<&str> {
        self.head.as_deref()
    }

    /// Notes a layer's activations `[batch, …]`, as one that a guide can pull at. [`Pass::norm_relu`] does so itself; another
    /// layer that has activations before and after a norm follows [`Pass::capture_point`].
    pub fn capture(&mut self, name: &str, value: Var<'g>) {
        self.activations.push(Captured { name: name.to_string(), value });
    }
}
