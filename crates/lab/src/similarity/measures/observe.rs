//! Layers and predictions of a network, read back to the CPU.

use trellis_data::Place;
use trellis_tensor::{Graph, Plan, StepState, Var};

use super::activations::Activations;
use super::predictions::Predictions;
use trellis_guidance::network::{Captured, Mode};
use trellis_guidance::{BatchSource, Dataset, Split};
use trellis_guidance::{CapturePoint, Network};
use trellis_guidance::{Error, Result};

/// Bytes of activations that are held on the CPU at a time, unless one layer takes more. The network runs once for each such group.
const HELD: usize = 1 << 30;

/// Runs `network` in evaluation mode on all examples of `split`, `batch` at a time, hands its layers to `take` in forward order, a few
/// at a time, and gives its predictions. Each layer is read back once. Sequences are flattened, time is more features.
///
/// Memory: the layers of a group for one batch on the GPU, for all examples on the CPU (up to 1 GiB, or the largest layer).
///
/// # Errors
/// When the network does not take such data, memory does not allow it, or a layer or prediction is not finite; the first of `take`.
pub fn observe(
    network: &Network,
    data: &Dataset,
    split: &Split,
    batch: usize,
    capture: CapturePoint,
    mut take: impl FnMut(Vec<Activations>) -> Result<()>,
) -> Result<Predictions> {
    let examples = split.count();
    let batch = batch.min(examples);
    let (graph, step_state) = (Graph::new(), StepState::new(data.gpu())?);
    let mut batches = BatchSource::sequential(data, split, batch)?;
    let recorded = batches.batch(&graph, &step_state)?;
    let forward = network.forward(&graph, recorded.input, Mode::Eval, capture)?;
    let (logits, labels) = (forward.logits, recorded.labels);
    let classes = network.output().classes;
    let mut predictions = Predictions::default();
    let mut layers = &forward.activations[..];
    let mut first = true;
    while first || !layers.is_empty() {
        let group = group(layers, examples, batch);
        layers = &layers[group.len()..];
        let layer = group.iter().map(|layer| layer.value);
        let keep: Vec<Var<'_>> = layer.chain(if first { vec![logits, labels] } else { Vec::new() }).collect();
        let plan = Plan::new(data.gpu(), &graph, &keep)?;
        let mut values = vec![Vec::new(); group.len()];
        for step in 0..examples.div_ceil(batch) {
            step_state.set(step as u32)?;
            batches.prepare(step as u32, 1)?;
            plan.run(1)?;
            // Past the end there is nothing.
            let whole = batch.min(examples - step * batch);
            for (values, layer) in values.iter_mut().zip(group) {
                values.extend_from_slice(&plan.read(layer.value)?[..whole * layer.value.ty().elements() / batch]);
            }
            if first {
                predictions.add(&plan.read(logits)?, &plan.read_u32(labels)?, whole, batch, classes)?;
            }
        }
        let read = group.iter().zip(values).map(|(layer, values)| Activations::new(&layer.name, examples, values));
        take(read.collect::<Result<_>>()?)?;
        first = false;
    }
    Ok(predictions)
}

/// The first layers that fit into memory together, at least one.
fn group<'a, 'g>(layers: &'a [Captured<'g>], examples: usize, batch: usize) -> &'a [Captured<'g>] {
    let mut bytes = 0;
    let fits = |layer: &&Captured<'_>| {
        bytes += 4 * layer.value.ty().elements() / batch * examples;
        bytes <= HELD
    };
    &layers[..layers.iter().take_while(fits).count().max(1).min(layers.len())]
}

impl Predictions {
    /// Adds the first `whole` of `batch` examples. Labels that are no class are those of padding, or of images that cannot be read.
    fn add(&mut self, logits: &[f32], labels: &[u32], whole: usize, batch: usize, classes: usize) -> Result<()> {
        let rows = labels.len() / batch * whole;
        for (logits, &label) in
            logits.chunks(classes).zip(&labels[..rows]).filter(|(_, label)| (**label as usize) < classes)
        {
            if let Some(value) = logits.iter().find(|value| !value.is_finite()) {
                let hint = "compare networks that have not diverged";
                return Err(Error::config(
                    Place::setting("similarity"),
                    "predictions",
                    format!("a logit is {value}"),
                    hint,
                ));
            }
            // Of equal ones the first, as everywhere.
            let best = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class);
            self.labels.push(label);
            self.classes.push(best as u32);
        }
        Ok(())
    }
}
