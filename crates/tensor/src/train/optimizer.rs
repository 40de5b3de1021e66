//! Optimizers: update rules of parameters. Each owns its moments; the learning rate is evaluated on the GPU.

use crate::device::gpu::Gpu;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::ops::update::loss_scale::LossScale;
use crate::ops::{AdamStep, LossScaleStep, LossScaleValue, Reduce, Reduction, SgdStep};
use crate::tensor::Tensor;
use crate::train::params::Params;
use crate::train::schedule::{Schedule, StepState};

/// Settings of an optimizer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// Learning rate.
    pub rate: Schedule,
    /// The update rule.
    pub rule: Rule,
    /// L2 penalty, or decoupled decay for AdamW.
    pub weight_decay: f32,
    /// Largest global norm of the gradients; larger ones are scaled down to it.
    pub clip_norm: Option<f32>,
}

/// An update rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Gradient descent with momentum (0 for none).
    Sgd {
        /// Factor of the old momentum.
        momentum: f32,
        /// Nesterov's form.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015) with β = (0.9, 0.999), ε = 1e-8.
    Adam,
    /// Adam with decoupled weight decay (Loshchilov and Hutter 2019).
    AdamW,
}

impl OptimizerConfig {
    /// Adam at a learning rate, no decay, no clipping.
    pub fn adam(rate: Schedule) -> Self {
        Self { rate, rule: Rule::Adam, weight_decay: 0.0, clip_norm: None }
    }

    /// AdamW at a learning rate with PyTorch's decay 0.01.
    pub fn adamw(rate: Schedule) -> Self {
        Self { rate, rule: Rule::AdamW, weight_decay: 0.01, clip_norm: None }
    }

    /// Gradient descent with momentum.
    pub fn sgd(rate: Schedule, momentum: f32) -> Self {
        Self { rate, rule: Rule::Sgd { momentum, nesterov: false }, weight_decay: 0.0, clip_norm: None }
    }
}

/// An optimizer over the parameters that it was given: no others are trained.
#[derive(Debug)]
pub struct Optimizer {
    config: OptimizerConfig,
    scale: Option<LossScale>,
    params: Params,
    /// First and, for Adam, second moments of each arena.
    moments: Vec<Vec<Tensor>>,
}

impl Optimizer {
    /// An optimizer with zero moments.
    ///
    /// # Errors
    /// When memory does not allow the moments.
    pub fn new(gpu: &Gpu, params: &Params, config: OptimizerConfig) -> Result<Self> {
        let kinds: &[&str] = match config.rule {
            Rule::Sgd { .. } => &["momentum"],
            Rule::Adam | Rule::AdamW => &["first moments", "second moments"],
        };
        let of_arena = |(number, arena): (usize, &crate::train::params::Arena)| -> Result<Vec<Tensor>> {
            let tensor = |kind: &&str| Tensor::zeros(gpu, &format!("{kind} {number}"), arena.whole.ty().clone());
            kinds.iter().map(tensor).collect()
        };
        let moments = params.arenas().iter().enumerate().map(of_arena).collect::<Result<_>>()?;
        Ok(Self { config, scale: None, params: params.clone(), moments })
    }

    /// Scales the loss before it is differentiated, for gradients that pass through f16; `None` leaves it as it is.
    pub fn with_loss_scale(self, scale: impl Into<Option<LossScale>>) -> Self {
        Self { scale: scale.into(), ..self }
    }

    /// Records the gradients of `loss` and one update of every parameter. With a loss scale it returns two values for a log:
    /// the scale, and the number of steps skipped so far.
    ///
    /// A gradient that is not finite, or too large for its norm to be, stops the training: the step state remembers the step, and
    /// neither that update nor a later one changes anything. With a loss scale only that step is skipped, until the scale is
    /// down to 1.
    ///
    /// # Errors
    /// As [`Graph::grad`].
    pub fn update<'g>(&self, graph: &'g Graph, loss: Var<'g>, step_state: &StepState) -> Result<Vec<Var<'g>>> {
        self.update_since(0, graph, loss, step_state)
    }

    /// [`Optimizer::update`] for an optimizer whose moments were cleared before step `first` ([`Optimizer::clear`]): Adam's
    /// corrections count the updates from there on. The learning rate follows the steps as ever.
    ///
    /// # Errors
    /// As [`Graph::grad`].
    pub fn update_since<'g>(
        &self,
        first: u32,
        graph: &'g Graph,
        loss: Var<'g>,
        step_state: &StepState,
    ) -> Result<Vec<Var<'g>>> {
        let (now, scale) = self.loss_scale(graph, step_state)?;
        let packed = self.gradients(graph, loss, scale)?;
        self.push_steps(first, graph, packed, now, scale)
    }

    /// [`Optimizer::update_since`] along `∇ task + share · ‖∇ task‖ / ‖∇ pull‖ · ∇ pull`, where norms are over all parameters: `share` is a
    /// scalar. So `pull` counts as much as it says, whatever the sizes of both losses. Cost: a backward pass for each of the two.
    ///
    /// # Errors
    /// As [`Graph::grad`].
    pub fn update_balanced<'g>(
        &self,
        first: u32,
        graph: &'g Graph,
        [task, pull]: [Var<'g>; 2],
        share: Var<'g>,
        step_state: &StepState,
    ) -> Result<(Vec<Var<'g>>, Var<'g>)> {
        let (now, scale) = self.loss_scale(graph, step_state)?;
        let [task, pull] = [self.gradients(graph, task, scale)?, self.gradients(graph, pull, scale)?];
        let _scope = graph.scope("optimizer");
        let squares = |packed: &[Var<'g>]| squares(packed)?.sum_all();
        // Without a gradient of its own a pull of any factor is 0.
        let ratio = squares(&task)?.div(squares(&pull)?.add(graph.constant(1e-20, []))?)?;
        let factor = ratio.sqrt()?.mul(share)?;
        let sum = |(task, pull): (Var<'g>, Var<'g>)| task.add(pull.mul(factor)?);
        let packed = task.into_iter().zip(pull).map(sum).collect::<Result<Vec<_>>>()?;
        Ok((self.push_steps(first, graph, packed, now, scale)?, factor))
    }

    /// The step state in a graph, and the factor of the loss.
    fn loss_scale<'g>(&self, graph: &'g Graph, step_state: &StepState) -> Result<(Var<'g>, Option<Var<'g>>)> {
        let now = graph.leaf(step_state.tensor());
        let value = |scale| {
            let _scope = graph.scope("optimizer");
            graph.push(LossScaleValue { scale }, &[now])
        };
        Ok((now, self.scale.map(value).transpose()?))
    }

    /// The gradient of a loss, times its factor, for each arena.
    fn gradients<'g>(&self, graph: &'g Graph, loss: Var<'g>, scale: Option<Var<'g>>) -> Result<Vec<Var<'g>>> {
        let leaves: Vec<Var<'_>> = self.params.tensors().iter().map(|tensor| graph.leaf(tensor)).collect();
        let gradients = match scale {
            None => graph.grad(loss, &leaves)?,
            Some(scale) => graph.grad_from(loss, scale.reshape(loss.shape())?, &leaves)?,
        };
        let _scope = graph.scope("optimizer");
        let mut rest = gradients.as_slice();
        let mut packed = Vec::new();
        for arena in self.params.arenas() {
            let (now, later) = rest.split_at(arena.tensors.len());
            packed.push(graph.push(arena.layout.clone(), now)?);
            rest = later;
        }
        Ok(packed)
    }

    /// Records the update of every arena.
    fn push_steps<'g>(
        &self,
        first: u32,
        graph: &'g Graph,
        packed: Vec<Var<'g>>,
        now: Var<'g>,
        scale: Option<Var<'g>>,
    ) -> Result<Vec<Var<'g>>> {
        let _scope = graph.scope("optimizer");
        // This is needed without clipping too: a norm that is not finite stops the training before anything changes.
        let squares = squares(&packed)?;
        for ((arena, moments), gradient) in self.params.arenas().iter().zip(&self.moments).zip(packed) {
            let mut inputs = vec![graph.leaf(&arena.whole), gradient];
            inputs.extend(moments.iter().map(|tensor| graph.leaf(tensor)));
            inputs.push(now);
            inputs.push(squares);
            self.push_step(first, graph, &inputs)?;
        }
        let mut shown = Vec::from_iter(scale);
        if let Some(scale) = self.scale {
            shown.push(graph.push(LossScaleStep { scale }, &[now, squares])?);
        }
        Ok(shown)
    }

    fn push_step<'g>(&self, first: u32, graph: &'g Graph, inputs: &[Var<'g>]) -> Result<Var<'g>> {
        let OptimizerConfig { rate, rule, weight_decay, clip_norm } = self.config;
        let (max_norm, scale) = (clip_norm.unwrap_or(0.0), self.scale);
        let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
        let adam =
            |decoupled| AdamStep { rate, beta1, beta2, epsilon, weight_decay, decoupled, first, max_norm, scale };
        match rule {
            Rule::Sgd { momentum, nesterov } => {
                graph.push(SgdStep { rate, momentum, nesterov, weight_decay, max_norm, scale }, inputs)
            }
            Rule::Adam => graph.push(adam(false), inputs),
            Rule::AdamW => graph.push(adam(true), inputs),
        }
    }

    /// Sets the moments to 0, as a new optimizer has them, and forgets skipped steps. The steps from now on are recorded by
    /// [`Optimizer::update_since`].
    ///
    /// # Errors
    /// When the device is lost.
    pub fn clear(&self, step_state: &StepState) -> Result<()> {
        self.state().for_each(Tensor::clear);
        if self.scale.is_some() {
            // The number of skipped steps, which Adam's corrections leave out.
            let mut words = step_state.tensor().read_u32()?;
            words[3] &= 0xffff;
            step_state.tensor().write_u32(&words)?;
        }
        Ok(())
    }

    /// The moments, for checkpoints.
    pub fn state(&self) -> impl Iterator<Item = &Tensor> {
        self.moments.iter().flatten()
    }
}

/// 64 partial sums of squares: enough to keep a GPU busy, few enough for every workgroup of the update to add up.
fn partial_squares(gradient: Var<'_>) -> Result<Var<'_>> {
    let n = gradient.ty().elements();
    let rows = gradient.reshape([64, n / 64, 1])?;
    rows.graph().push(Reduce { reduction: Reduction::SumOfSquares }, &[rows])?.reshape([64])
}

/// Partial sums of squares over all arenas.
fn squares<'g>(packed: &[Var<'g>]) -> Result<Var<'g>> {
    let parts = packed.iter().map(|gradient| partial_squares(*gradient)).collect::<Result<Vec<_>>>()?;
    if let [only] = parts[..] { Ok(only) } else { Var::concat(&parts, 0) }
}
