//! Initial values that depend on data: LSUV, which scales weights until each layer's output has variance 1, and the bias of a head.

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::{Graph, Plan, StepState, Var};

use super::{InitialWeights, Network};
use crate::data::{BatchSource, Dataset};
use crate::error::{Error, Result};

/// Largest distance from a variance of 1. The paper has 0.1; a layer without a bias is exact after one division.
const TOLERANCE: f32 = 0.01;

/// Largest number of divisions of a layer, that of the paper.
const TRIALS: u32 = 10;

/// Initial bias of a network's head, the layer that gives the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadBias {
    /// PyTorch's default, drawn like the other biases.
    #[default]
    Default,
    /// `ln p`, where p is the share of each class among the training labels. With small weights the
    /// network then begins at the trivial solution, and need not find it.
    LabelPrior,
}

impl Network {
    /// Sets the bias of the head as `bias` says; the default leaves it as it was drawn.
    ///
    /// # Errors
    /// [`Error::Config`] if the head has no bias, as with tied weights, or other classes than `data`; any error of
    /// reading labels.
    pub fn set_head_bias(&self, bias: HeadBias, data: &Dataset) -> Result<()> {
        if bias == HeadBias::Default {
            return Ok(());
        }
        let refused =
            |problem: String| Err(Error::config(Place::setting("network"), "bias", problem, "remove the key"));
        let head = self.head().map(|head| format!("{head}.bias"));
        let Some(tensor) = head.and_then(|name| self.tensor(&name)) else {
            return refused(format!("the head of {} has none", self.describe()));
        };
        let (ours, theirs) = (tensor.ty().elements(), data.output().classes);
        if ours != theirs {
            return refused(format!("the head has {ours} classes, and the data {theirs}"));
        }
        if data.gpu().is_dry_run() {
            return Ok(());
        }
        let shares = data.label_shares()?;
        let logarithms: Vec<f32> = shares.iter().map(|share| share.ln() as f32).collect();
        Ok(tensor.write_f32(&logarithms)?)
    }

    /// Scales the weights of each layer so that its output, before norm and activation, has variance 1 over all its elements on one
    /// batch (LSUV: Mishkin and Matas 2016, arXiv:1511.06422, algorithm 1). The batch is that of the first training step of `seed`,
    /// of `batch` examples or all of fewer. Batch norm has its first running statistics, that is, changes nothing, and there is no
    /// dropout. Nothing is done unless the architecture asks for [`InitialWeights::Lsuv`], or where the GPU only counts memory.
    ///
    /// Cost: a forward pass and a read-back for each layer, and again for layers with a bias.
    ///
    /// # Errors
    /// [`Error::Config`] naming a layer whose output does not vary, is not finite, or does not come to variance 1 in ten divisions; any
    /// error of reading examples.
    pub fn scale_to_unit_variance(&self, data: &Dataset, batch: usize, seed: u64) -> Result<()> {
        if self.initial_weights() != InitialWeights::Lsuv || data.gpu().is_dry_run() {
            return Ok(());
        }
        let (graph, step_state) = (Graph::new(), StepState::new(data.gpu())?);
        let mut batches = BatchSource::shuffled(data, batch.min(data.train_count()), seed)?;
        let examples = batches.batch(&graph, &step_state)?;
        let layers = self.weighted(&graph, examples.input)?;
        let variances = layers.iter().map(|layer| variance(layer.output)).collect::<Result<Vec<_>>>()?;
        let plan = Plan::new(data.gpu(), &graph, &variances)?;
        batches.prepare(0, 1)?;
        for (layer, &variance) in layers.iter().zip(&variances) {
            let refused = |problem: String| {
                let problem = format!("cannot be `lsuv`: the output of layer {} {problem}", layer.layer);
                Err(Error::config(Place::setting("network"), "init", problem, "choose other initial weights"))
            };
            for trial in 0.. {
                plan.run(1)?;
                let found = plan.read(variance)?[0];
                if !found.is_finite() {
                    return refused("is not finite".to_string());
                }
                if found == 0.0 {
                    return refused("does not vary, so no factor gives it variance 1".to_string());
                }
                if (found - 1.0).abs() <= TOLERANCE {
                    break;
                }
                if trial == TRIALS {
                    return refused(format!(
                        "has variance {found} after {TRIALS} divisions: its bias outweighs its input"
                    ));
                }
                for name in &layer.weights {
                    let Some(tensor) = self.tensor(name) else { continue };
                    let scaled: Vec<f32> = tensor.read_f32()?.iter().map(|weight| weight / found.sqrt()).collect();
                    tensor.write_f32(&scaled)?;
                }
            }
        }
        Ok(())
    }
}

/// Variance over all elements.
fn variance(x: Var<'_>) -> Result<Var<'_>> {
    let flat = x.reshape([x.ty().elements()])?;
    let deviation = flat.sub(flat.mean_all()?.reshape([1])?)?;
    Ok(deviation.mul(deviation)?.mean_all()?)
}
