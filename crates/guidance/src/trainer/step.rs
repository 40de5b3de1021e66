//! One training step, as a plan replays it.
//!
//! The target runs forward once on a batch, for both losses. The guide runs forward on the same batch, frozen, and pulls (`pull.rs`).
//! [`Session`](super::Session) then records the update of the parameters and the metrics, and makes the plan.

use trellis_tensor::{Graph, StepState, Var};

use super::fixed_batches::FixedBatches;
use super::guidance::Guidance;
use super::methods::hints::Hints;
use super::pull::{GuidedStep, Pull};
use super::training::Training;
use crate::alignment::Pair;
use crate::data::{Batch, BatchSource};
use crate::error::Result;
use crate::network::{CapturePoint, Forward, Mode, Network};

/// A recorded step.
pub(super) struct Step<'g> {
    pub(super) task: Var<'g>,
    /// Task loss plus the weighted losses of guides.
    pub(super) loss: Var<'g>,
    /// Weighted loss of a step without labels, where a guide pulls.
    pub(super) pull: Option<Var<'g>>,
    /// Of each guide that pulls: statistics of its pairs, or the loss of another method than alignment.
    pub(super) metrics: Vec<Vec<Var<'g>>>,
    /// The pairs of all of them.
    pub(super) pairs: Vec<Pair<'g>>,
    /// The target's forward pass.
    pub(super) forward: Forward<'g>,
}

/// Company of the target in a step: its guides, and what was made for it before.
#[derive(Clone, Copy)]
pub(super) struct Beside<'a> {
    /// Guides that pull.
    pub(super) guides: &'a [&'a Guidance],
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
    Beside { guides, fixed, hints }: Beside<'_>,
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
    let capture = guides.first().map_or(CapturePoint::default(), |guidance| guidance.capture);
    // One forward pass of the target serves both losses.
    let forward = {
        let _scope = graph.scope("target");
        target.forward(graph, batch.input, mode, capture)?
    };
    let task = {
        let _scope = graph.scope("loss");
        let (logits, labels) = batch.rows(forward.logits)?;
        logits.cross_entropy(labels, training.label_smoothing)?
    };
    let mut step = Step { task, loss: task, pull: None, metrics: Vec::new(), pairs: Vec::new(), forward };
    for &guidance in guides {
        let state = GuidedStep { graph, batches, step_state, seed, guidance, hints, fixed: number };
        let Pull { without_labels, with_labels, metrics, pairs } = state.pull(target, &batch, &step.forward, task)?;
        step.loss = step.loss.add(with_labels)?;
        step.pull = Some(step.pull.map_or(Ok(without_labels), |before| before.add(without_labels))?);
        step.metrics.push(metrics);
        step.pairs.extend(pairs);
    }
    Ok(step)
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
