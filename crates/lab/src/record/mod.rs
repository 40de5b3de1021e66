//! What a run leaves behind: its numbers, what they amount to, and the folder they lie in.
//!
//! An [`Experiment`] is several arms (`alone`, `untrained`, …), each trained with several seeds; one arm with one seed is
//! a [`RunRecord`]. [`Experiment::summary`] boils it down to one [`ArmSummary`] an arm, [`RunFolder`] keeps it on disk
//! while it grows, and [`report`](crate::report) draws it.
//!
//! JSON has no NaN: a number that is not finite is written as `null` and read back as NaN, so that a diverged run is
//! still readable.

mod extension;
mod folder;
mod left_out;
mod metrics;
mod stopped;
mod summary;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Deserializer, Serialize};

pub use folder::{Existing, RunFolder, write_atomic};
pub(crate) use folder::{GUIDE, PREDICT, UNTRAINED_GUIDE};
pub(crate) use folder::{checked_name, replace};
pub use left_out::LeftOut;
pub use stopped::{Stopped, stopped};
pub use summary::{ArmSummary, Difference};

/// Names of the four arms of the standard experiment, in the order in which they are shown.
pub const ARMS: [&str; 4] = ["alone", "untrained", "trained", "trained_first"];

/// One optimiser step.
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
    /// The metric of each pair in [`RunRecord::pairs`], at most 1; empty if it was not measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "numbers")]
    pub similarity: Vec<f32>,
    /// Learning rate of the step.
    #[serde(deserialize_with = "number")]
    pub learning_rate: f32,
    /// What the loss was multiplied by; `None` without mixed precision.
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
    /// Optimiser steps taken before it.
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
    /// Share of sequences in which each labelled position is right, 0 to 1; `None` where an example has one label.
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
    /// Optimiser steps, in order; not necessarily every one.
    pub steps: Vec<StepRecord>,
    /// Evaluations, in order of their steps.
    pub evals: Vec<EvalRecord>,
    /// Wall-clock time of the run, in seconds; 0 while it is not finished.
    pub seconds: f64,
    /// Optimiser steps per second, without evaluations; 0 while the run is not finished.
    pub steps_per_s: f64,
    /// Optimizer steps before the evaluation whose weights are kept as the best by validation: the highest top-1, of equal ones
    /// the lowest loss, of those the first. `None` without a validation split, or while the run is not finished.
    pub best_step: Option<u64>,
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

    /// Whether it is at its end.
    pub fn is_finished(&self) -> bool {
        self.seconds > 0.0
    }

    /// Whether it is at its end, after at least `steps` steps.
    pub fn is_finished_after(&self, steps: u32) -> bool {
        self.is_finished() && self.evals.iter().any(|eval| eval.step >= u64::from(steps))
    }

    /// The step after which the guide was taken away; `None` if there was none or it stayed to the end.
    pub fn guided_until(&self) -> Option<u64> {
        let last = self.steps.iter().filter(|s| s.alignment.is_some()).map(|s| s.step).max()?;
        self.steps.iter().any(|s| s.step > last).then_some(last)
    }
}

/// All runs of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// What it is called; also the name of its folder.
    pub name: String,
    /// The device it ran on, as the driver names it.
    pub adapter: String,
    /// Version of Trellis.
    pub version: String,
    /// What data it was given, [`Dataset::describe`](crate::Dataset::describe).
    #[serde(default)]
    pub data: String,
    /// What classes or tokens are called, [`Dataset::class_names`](crate::Dataset::class_names).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub class_names: Vec<String>,
    /// The configuration as it was resolved, defaults filled in (TOML).
    pub config_toml: String,
    /// One record per arm and seed.
    pub runs: Vec<RunRecord>,
    /// The guides' own training, one record per seed; without steps it is not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guides: Vec<RunRecord>,
    /// Wall-clock time of everything, in seconds.
    pub seconds: f64,
    /// Why it stopped before its end, if it did.
    pub failure: Option<String>,
    /// Examples that were left out because they could not be read, a row for each class that has some; see
    /// [`Dataset::left_out`](crate::Dataset::left_out).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// `predict.py`: a program that predicts with its networks in PyTorch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predict_py: Option<String>,
}

impl Experiment {
    /// Names of the arms that occur: those of [`ARMS`] first and in that order, then others as they come.
    pub fn arms(&self) -> Vec<&str> {
        let ran = |arm: &str| self.runs.iter().any(|run| run.arm == arm);
        let mut arms: Vec<&str> = ARMS.into_iter().filter(|arm| ran(arm)).collect();
        for run in &self.runs {
            if !arms.contains(&run.arm.as_str()) {
                arms.push(&run.arm);
            }
        }
        arms
    }

    /// Whether a run is at its end, after as many steps as the longest one that is. While an experiment is extended to more
    /// steps, the runs that have not gone on yet are shorter and cannot be compared with those that have.
    pub fn is_complete(&self, run: &RunRecord) -> bool {
        let steps = |run: &RunRecord| run.evals.iter().map(|eval| eval.step).max();
        let longest = self.runs.iter().filter(|run| run.is_finished()).filter_map(steps).max();
        run.is_finished() && steps(run) >= longest
    }

    /// The runs of `arm`, in order.
    pub fn runs_of<'a>(&'a self, arm: &'a str) -> impl Iterator<Item = &'a RunRecord> {
        self.runs.iter().filter(move |run| run.arm == arm)
    }
}

/// A number, or NaN for `null`.
pub(crate) fn number<'de, D: Deserializer<'de>>(json: D) -> Result<f32, D::Error> {
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
