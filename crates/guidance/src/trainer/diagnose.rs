//! Diagnosis of a number that is not finite. Updates stop at that step, so it can be run again with every layer kept.

use trellis_tensor::{Graph, Plan, StepState};

use super::methods::Method;
use super::step::{Beside, record};
use super::training::Training;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::network::Network;

/// The error that tells which layer was the first, in forward order, to hold a number that is not finite at `step`.
pub(super) fn diagnose(
    target: &Network,
    data: &Dataset,
    training: &Training,
    step: u32,
    beside: Beside<'_>,
) -> Result<Error> {
    let diverged = |layer: &str, what: &str| Error::Diverged {
        step: u64::from(step),
        layer: layer.to_string(),
        what: what.to_string(),
        guided: !beside.guides.is_empty(),
    };
    let step_state = StepState::new(data.gpu())?;
    step_state.set(step)?;
    let mut batches = training.batches(data)?;
    let graph = Graph::new();
    let played = record(&graph, target, &batches, training, &step_state, beside)?;
    let params: Vec<_> = target.params().tensors().iter().map(|tensor| graph.leaf(tensor)).collect();
    let gradients = graph.grad(played.loss, &params)?;
    let activations = &played.forward.activations;
    let mut keep: Vec<_> = activations.iter().map(|activation| activation.value).collect();
    keep.push(played.forward.logits);
    keep.push(played.task);
    keep.extend(played.metrics.iter().flatten());
    keep.push(played.loss);
    keep.extend(&gradients);
    let plan = Plan::new(data.gpu(), &graph, &keep)?;
    batches.prepare(step, 1)?;
    beside.guides.iter().try_for_each(|guidance| guidance.guide.prepare(step, 1))?;
    plan.run(1)?;
    let bad = |var| Ok::<bool, Error>(!plan.read(var)?.iter().all(|value| value.is_finite()));

    for activation in activations {
        if bad(activation.value)? {
            return Ok(diverged(&activation.name, "its output is not finite"));
        }
    }
    if bad(played.forward.logits)? {
        return Ok(diverged("logits", "they are not finite"));
    }
    if bad(played.task)? {
        return Ok(diverged("logits", "the task loss is not finite"));
    }
    // Another method than alignment has one number for all its pairs.
    let method = beside.guides.first().map_or(Method::Align, |guidance| guidance.method);
    let mut pairs = played.pairs.iter().filter(|_| method == Method::Align);
    for &metric in played.metrics.iter().flatten() {
        if method != Method::Align && bad(metric)? {
            return Ok(diverged(&method.to_string(), "its loss is not finite"));
        }
        let values = plan.read(metric)?;
        // One pair, or one a row.
        let rows = if metric.shape().rank() == 2 { metric.shape()[0] } else { 1 };
        for (row, pair) in values.chunks(values.len() / rows).zip(&mut pairs) {
            if row.iter().any(|value| !value.is_finite()) {
                return Ok(diverged(&pair.name(), "its similarity is not finite"));
            }
        }
    }
    // Gradients flow backwards: the last parameter is the first to see a bad one.
    for (tensor, &gradient) in target.params().tensors().iter().zip(&gradients).rev() {
        if bad(gradient)? {
            return Ok(diverged(tensor.name(), "its gradient is not finite"));
        }
    }
    Ok(diverged("optimizer", "a gradient was not finite"))
}
