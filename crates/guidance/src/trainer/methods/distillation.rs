//! Knowledge distillation: the target's logits are pulled to the guide's.

use trellis_tensor::ops::MaskedMean;
use trellis_tensor::{Gpu, Graph, Var};

use crate::data::Batch;
use crate::error::Result;
use crate::trainer::control::{Draws, reordered, seen_by_guide};
use crate::trainer::guidance::Guidance;

/// `T² KL` of the guide's logits on a batch from the target's `logits`: the mean over the rows that have a label, a scalar.
pub(in crate::trainer) fn distillation<'g>(
    graph: &'g Graph,
    gpu: &Gpu,
    batch: &Batch<'g>,
    logits: Var<'g>,
    guidance: &Guidance,
    draws: Draws<'_>,
    temperature: f32,
) -> Result<Var<'g>> {
    let theirs = {
        let _scope = graph.scope("guide");
        let (input, order) = seen_by_guide(graph, gpu, batch, guidance, draws)?;
        reordered(guidance.guide.forward(graph, input, guidance.capture)?.logits, order)?
    };
    let _scope = graph.scope("distillation");
    let soft = |logits: Var<'g>| -> Result<Var<'g>> {
        Ok(batch.rows(logits)?.0.affine(1.0 / temperature, 0.0)?.log_softmax()?)
    };
    let (theirs, ours) = (soft(theirs)?, soft(logits)?);
    let divergence = theirs.exp()?.mul(theirs.sub(ours)?)?.sum(&[1], false)?;
    let (_, labels) = batch.rows(logits)?;
    let mean = graph.push(MaskedMean { classes: ours.shape()[1] }, &[divergence, labels])?;
    Ok(mean.affine(temperature * temperature, 0.0)?)
}
