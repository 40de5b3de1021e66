//! Numbers of a run: of its steps, its evaluations, and the run as a whole.
//!
//! JSON has no NaN: a number that is not finite is written as `null` and read back as NaN, so that a diverged run is still readable.

use serde::{Deserialize, Deserializer, Serialize};

/// One optimizer step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Number of the step, counted from 0.
    pub step: u64,
    /// Task loss of the batch: cross-entropy in nats.
    #[serde(deserialize_with = "number")]
    pub loss: f32,
    /// Alignment loss Σ (1 − metric) over the layer pairs, before its weight; `None` while no guide pulls.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_number")]
    pub alignment: Option<f32>,
    /// The metric of each pair in [`RunRecord::pairs`], at most 1; empty while no guide pulls. Of several guides, NaN for the pairs
    /// of one that does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "numbers")]
    pub similarity: Vec<f32>,
    /// Factor of the alignment loss, weight included, where the norm of the task's gradient sets it; `None` elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_number")]
    pub balance: Option<f32>,
    /// Learning rate of the step.
    #[serde(deserialize_with = "number")]
    pub learning_rate: f32,
    /// Factor that the loss was multiplied by; `None` without mixed precision.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_number")]
    pub loss_scale: Option<f32>,
    /// Steps up to and with this one that were left out because a scaled gradient was not finite; `None` without mixed
    /// precision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<u64>,
}

/// One evaluation over a whole split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalRecord {
    /// Optimizer steps taken before it.
    pub step: u64,
    /// `train`, `validation` or `test`.
    pub split: String,
    /// Mean cross-entropy in nats.
    #[serde(deserialize_with = "number")]
    pub loss: f32,
    /// Share of labels whose logit is the largest, 0 to 1: of examples, or of the positions of sequences that have one.
    #[serde(deserialize_with = "number")]
    pub top1: f32,
    /// Share of labels whose logit is among the five largest, where an example has one of more than ten classes.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_number")]
    pub top5: Option<f32>,
    /// Share of sequences in which each labeled position is right, 0 to 1; `None` where an example has one label.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_number")]
    pub sequences: Option<f32>,
    /// The metric of each pair in [`RunRecord::pairs`] on the split's first images; empty if it was not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "numbers")]
    pub similarity: Vec<f32>,
    /// The confusion matrix: a row for each class that a label has, with how often each class was said of it. Of the last
    /// evaluation of the last split, where there are at most 100 classes; else empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confusion: Vec<Vec<u32>>,
}

/// One arm trained with one seed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The arm, for example `alone` or `trained_first`.
    pub arm: String,
    /// Seed of initial parameters, batches and dropout.
    pub seed: u64,
    /// Guide layer and target layer of each aligned pair, in the order of [`StepRecord::similarity`].
    pub pairs: Vec<[String; 2]>,
    /// Optimizer steps, in order; not necessarily every one.
    pub steps: Vec<StepRecord>,
    /// Evaluations, in order of their steps.
    pub evals: Vec<EvalRecord>,
    /// Wall-clock time of the run, in seconds; 0 while it is not finished.
    pub seconds: f64,
    /// Optimizer steps per second, without evaluations and the first step, which waits for kernels; 0 while the run is not finished.
    pub steps_per_s: f64,
    /// Optimizer steps before the evaluation whose weights are kept as the best by validation: the highest top-1, of equal ones
    /// the lowest loss, of those the first. `None` without a validation split, or while the run is not finished.
    pub best_step: Option<u64>,
    /// Run folder from which the run was copied, since it is the same there; `None` for one that was trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_from: Option<String>,
}

impl EvalRecord {
    /// Perplexity: e to the loss, so per token where each position has a label.
    pub fn perplexity(&self) -> f32 {
        self.loss.exp()
    }
}

impl RunRecord {
    /// The last evaluation on `split`, if there is one.
    pub fn last_eval(&self, split: &str) -> Option<&EvalRecord> {
        self.evals.iter().filter(|e| e.split == split).max_by_key(|e| e.step)
    }

    /// True if the run is finished.
    pub fn is_finished(&self) -> bool {
        self.seconds > 0.0
    }

    /// True if the run is finished, after at least `steps` steps.
    pub fn is_finished_after(&self, steps: u32) -> bool {
        self.is_finished() && self.evals.iter().any(|eval| eval.step >= u64::from(steps))
    }

    /// The last step in which each pair pulled; `None` for one that did so to the end, or never.
    pub fn pulled_until(&self) -> Vec<Option<u64>> {
        let end = self.steps.iter().map(|step| step.step).max();
        let pulled = |pair: usize| {
            let pulls = |step: &&StepRecord| step.similarity.get(pair).is_some_and(|value| !value.is_nan());
            self.steps.iter().filter(pulls).map(|step| step.step).max().filter(|&last| Some(last) < end)
        };
        (0..self.pairs.len()).map(pulled).collect()
    }

    /// The step after which the guide was taken away; `None` if there was none or it stayed to the end.
    pub fn guided_until(&self) -> Option<u64> {
        let last = self.steps.iter().filter(|s| s.alignment.is_some()).map(|s| s.step).max()?;
        self.steps.iter().any(|s| s.step > last).then_some(last)
    }
}

/// A number, or NaN for `null`.
pub fn number<'de, D: Deserializer<'de>>(json: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(json)?.unwrap_or(f32::NAN))
}

/// A field that is there holds a number, NaN for `null`; one that is not there stays `None`.
fn some_number<'de, D: Deserializer<'de>>(json: D) -> Result<Option<f32>, D::Error> {
    number(json).map(Some)
}

/// Numbers, NaN for each `null`.
fn numbers<'de, D: Deserializer<'de>>(json: D) -> Result<Vec<f32>, D::Error> {
    let values = Vec::<Option<f32>>::deserialize(json)?;
    Ok(values.into_iter().map(|value| value.unwrap_or(f32::NAN)).collect())
}
