//! One training step, as a plan replays it.
//!
//! The target runs forward once on a batch, for both losses. The guide runs forward on the same batch, frozen. Each pair of layers adds
//! `1 − metric` to the alignment loss, which is weighted by the schedule and added to the task loss. Distillation and hints take its
//! place where a guide teaches by them. [`Session`](super::Session) then records the update of the parameters and the metrics, and
//! makes the plan.

use trellis_tensor::{Graph, StepState, Var};

use super::control::guide_sides;
use super::fixed_batches::FixedBatches;
use super::guidance::Guidance;
use super::methods::Method;
use super::methods::distillation::distillation;
use super::methods::hints::Hints;
use super::training::Training;
use crate::alignment::{GuideSide, Pair};
use crate::data::{Batch, BatchSource};
use crate::error::Result;
use crate::network::{CapturePoint, Forward, Mode, Network};

/// A recorded step.
pub(super) struct Step<'g> {
    /// Task loss plus weighted alignment loss.
    pub(super) loss: Var<'g>,
    /// The guide's weighted part of it, where there is a guide.
    pub(super) pull: Option<Var<'g>>,
    /// Task loss, then statistics of the pairs, or the loss of another method than alignment.
    pub(super) metrics: Vec<Var<'g>>,
    /// The pairs.
    pub(super) pairs: Vec<Pair<'g>>,
    /// The target's forward pass.
    pub(super) forward: Forward<'g>,
}

/// Company of the target in a step: its guidance, and what was made for it before.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    /// Guidance of a guided step.
    pub(super) guidance: Option<&'a Guidance>,
    /// Batches that are cut once, and the guide's side of each.
    pub(super) fixed: Option<&'a FixedBatches>,
    /// Regressors, where the guide gives hints.
    pub(super) hints: Option<&'a Hints>,
}

/// Records batch, forward passes and losses of one step.
pub(super) fn record<'g>(
    graph: &'g Graph,
    target: &Network,
    batches: &BatchSource<'g>,
    training: &Training,
    step_state: &StepState,
    Beside { guidance, fixed, hints }: Beside<'_>,
) -> Result<Step<'g>> {
    let (batch, number) = match fixed {
        Some(fixed) => {
            let _scope = graph.scope("data");
            let number = fixed.number(graph, step_state)?;
            (fixed.examples(batches.data(), graph, number)?, Some((fixed, number)))
        }
        None => (batch(graph, batches, training, step_state)?, None),
    };
    let Training { seed, precision, recompute, .. } = *training;
    let mode = Mode::Train { step_state, seed, precision, recompute };
    let capture = guidance.map_or(CapturePoint::default(), |g| g.capture);
    // One forward pass of the target serves both losses.
    let forward = {
        let _scope = graph.scope("target");
        target.forward(graph, batch.input, mode, capture)?
    };
    let task = {
        let _scope = graph.scope("loss");
        let (logits, labels) = rows(forward.logits, batch.labels)?;
        logits.cross_entropy(labels, training.label_smoothing)?
    };
    let mut step = Step { loss: task, pull: None, metrics: vec![task], pairs: Vec::new(), forward };
    let Some(guidance) = guidance else { return Ok(step) };

    let weight = guidance.schedule.weight(guidance.weight);
    let draws = Some((step_state, training.seed));
    if let Method::Distill { temperature } = guidance.method {
        let divergence =
            distillation(graph, batches.data().gpu(), &batch, step.forward.logits, guidance, draws, temperature)?;
        // (1 − α) task + α divergence.
        let weight = step_state.value(graph, weight)?;
        step.loss = task.add(divergence.sub(task)?.mul(weight)?)?;
        step.pull = Some(divergence.mul(weight)?);
        step.metrics.push(divergence);
        return Ok(step);
    }
    let indices = guidance.pairs(target)?;
    let sides = {
        let _scope = graph.scope("guide");
        match number {
            // Looked up where the batches are fixed.
            Some((fixed, number)) => fixed.guide_sides(graph, number)?,
            None => {
                let data = batches.data();
                guide_sides(graph, data.gpu(), &batch, data.output(), guidance, &indices, draws)?
            }
        }
    };
    let _scope = graph.scope("alignment");
    let names = guidance.guide.network().layers()?;
    let pair = |(&(g, t), gram): (&(usize, usize), GuideSide<'g>)| Pair {
        target: step.forward.activations[t].clone(),
        guide: names[g].clone(),
        gram,
    };
    step.pairs = indices.iter().zip(sides).map(pair).collect();
    if let Some(hints) = hints {
        let errors = hints.errors(graph, &step.pairs)?;
        let pull = errors.mul(step_state.value(graph, weight)?)?;
        (step.loss, step.pull) = (task.add(pull)?, Some(pull));
        step.metrics.push(errors);
        return Ok(step);
    }
    let alignment = guidance.align.loss(graph, step_state, weight, &step.pairs)?;
    (step.loss, step.pull) = (task.add(alignment.loss)?, Some(alignment.loss));
    step.metrics.extend(alignment.stats);
    Ok(step)
}

/// Logits `[rows, classes]` and labels `[rows]`: a row for each example, or for each of its positions.
pub(super) fn rows<'g>(logits: Var<'g>, labels: Var<'g>) -> Result<(Var<'g>, Var<'g>)> {
    let rows = labels.ty().elements();
    Ok((logits.reshape([rows, logits.shape().last_axis()])?, labels.reshape([rows])?))
}

fn batch<'g>(
    graph: &'g Graph,
    batches: &BatchSource<'g>,
    training: &Training,
    step_state: &StepState,
) -> Result<Batch<'g>> {
    let _scope = graph.scope("data");
    let mut batch = batches.batch(graph, step_state)?;
    if training.shift > 0 || training.flip {
        let now = graph.leaf(step_state.tensor());
        let images = batch.input.images()?;
        batch.input = images.augment(now, training.shift, training.flip, batches.data().black(), training.seed)?.into();
    }
    Ok(batch)
}
