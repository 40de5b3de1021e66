//! Pull of a guide in a step: the alignment of layers, or distillation or hints in its place.
//!
//! The guide runs forward on the batch, or what a control puts there. Each pair of layers adds `1 − metric` to the alignment loss, which
//! the schedule weights.

use trellis_tensor::{Graph, StepState, Var};

use super::control::guide_sides;
use super::fixed_batches::FixedBatches;
use super::guidance::Guidance;
use super::methods::Method;
use super::methods::distillation::distillation;
use super::methods::hints::Hints;
use crate::alignment::{LayerMap, Pair};
use crate::data::{Batch, BatchSource};
use crate::error::Result;
use crate::network::{Forward, Network};

/// Losses of a guide in a step, and what is to be logged of them.
pub(super) struct Pull<'g> {
    /// Weighted loss that is added to that of the task.
    pub(super) with_labels: Var<'g>,
    /// Weighted loss of a step without labels.
    pub(super) without_labels: Var<'g>,
    /// Statistics of the pairs, or the loss of another method than alignment.
    pub(super) metrics: Vec<Var<'g>>,
    /// The pairs.
    pub(super) pairs: Vec<Pair<'g>>,
}

/// A step at which a guide pulls.
pub(super) struct GuidedStep<'a, 'g> {
    pub(super) graph: &'g Graph,
    pub(super) batches: &'a BatchSource<'g>,
    pub(super) step_state: &'a StepState,
    pub(super) seed: u64,
    pub(super) guidance: &'a Guidance,
    pub(super) hints: Option<&'a Hints>,
    /// Batches that are cut once, and the number of this one.
    pub(super) fixed: Option<(&'a FixedBatches, Var<'g>)>,
}

impl<'g> GuidedStep<'_, 'g> {
    /// Records the pull on a target whose forward pass on `batch` is `forward`, and whose loss there is `task`.
    pub(super) fn pull(
        &self,
        target: &Network,
        batch: &Batch<'g>,
        forward: &Forward<'g>,
        task: Var<'g>,
    ) -> Result<Pull<'g>> {
        let Self { graph, guidance, step_state, .. } = *self;
        let schedule = guidance.schedule.weight(guidance.weight);
        if let Method::Distill { temperature } = guidance.method {
            let (gpu, draws) = (self.batches.data().gpu(), Some((step_state, self.seed)));
            let divergence = distillation(graph, gpu, batch, forward.logits, guidance, draws, temperature)?;
            let weight = step_state.value(graph, schedule)?;
            // (1 − α) task + α divergence.
            let with_labels = divergence.sub(task)?.mul(weight)?;
            let without_labels = divergence.mul(weight)?;
            return Ok(Pull { with_labels, without_labels, metrics: vec![divergence], pairs: Vec::new() });
        }
        let pairs = self.pairs(target, batch, forward)?;
        let _scope = graph.scope("alignment");
        let (loss, metrics) = match self.hints {
            Some(hints) => {
                let errors = hints.errors(graph, &pairs)?;
                (errors.mul(step_state.value(graph, schedule)?)?, vec![errors])
            }
            None => {
                let alignment = match guidance.map {
                    LayerMap::All => guidance.align.weighted_loss(graph, step_state, schedule, &pairs)?,
                    _ => guidance.align.loss(graph, step_state, schedule, &pairs)?,
                };
                (alignment.loss, alignment.stats)
            }
        };
        Ok(Pull { with_labels: loss, without_labels: loss, metrics, pairs })
    }

    /// Layers of the target, each with the guide's side of it.
    fn pairs(&self, target: &Network, batch: &Batch<'g>, forward: &Forward<'g>) -> Result<Vec<Pair<'g>>> {
        let Self { graph, guidance, step_state, .. } = *self;
        let indices = guidance.pairs(target)?;
        let sides = {
            let _scope = graph.scope("guide");
            match self.fixed {
                // Looked up where the batches are fixed.
                Some((fixed, number)) => fixed.guide_sides(graph, number)?,
                None => {
                    let (data, draws) = (self.batches.data(), Some((step_state, self.seed)));
                    guide_sides(graph, data.gpu(), batch, data.output(), guidance, &indices, draws)?
                }
            }
        };
        guidance.pair_up(&forward.activations, &indices, sides)
    }
}
