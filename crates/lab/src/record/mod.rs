//! Records of a run: its numbers, their summary, and the folder they lie in.
//!
//! An [`Experiment`] is several arms (`alone`, `untrained`, …), each trained with several seeds; one arm with one seed is
//! a [`RunRecord`]. [`Experiment::summary`] boils it down to one [`ArmSummary`] an arm, [`RunFolder`] keeps it on disk
//! while it grows, and [`report`](crate::report) draws it.
//!
//! JSON has no NaN: a number that is not finite is written as `null` and read back as NaN, so that a diverged run is
//! still readable.

mod diverged;
mod extension;
mod folder;
mod metrics;
mod missing;
pub(crate) mod names;
mod speed;
mod stopped;
mod summary;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use trellis_data::LeftOut;
use trellis_guidance::trainer::{EvalRecord, RunRecord, StepRecord};

pub use diverged::Diverged;
pub use extension::further_seeds;
pub(crate) use extension::other_in;
pub use folder::{Existing, LOCKED, RunFolder};
pub use missing::Missing;
pub use names::ARMS;
pub use speed::Speed;
pub use stopped::{Stopped, stopped};
pub use summary::{ArmSummary, Difference};

/// All runs of one configuration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Experiment {
    /// Name of the experiment; also the name of its folder.
    pub name: String,
    /// The device it ran on, as the driver names it.
    pub adapter: String,
    /// Version of Trellis.
    pub version: String,
    /// Description of its data, [`Dataset::describe`](trellis_guidance::Dataset::describe).
    #[serde(default)]
    pub data: String,
    /// Names of classes or tokens, [`Dataset::class_names`](trellis_guidance::Dataset::class_names).
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
    /// Runs that diverged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diverged: Vec<Diverged>,
    /// Examples that were left out because they could not be read, a row for each class that has some; see
    /// [`Dataset::left_out`](trellis_guidance::Dataset::left_out).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Gaps in its metrics, a row for each run that has some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<Missing>,
    /// Greatest number of bytes on the GPU that each arm, and the training of each guide, has in use at once, as counted before it began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memory: BTreeMap<String, u64>,
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

    /// True if a run is finished, after as many steps as the longest of its arm that is. While an experiment is extended to
    /// more steps, the runs that have not gone on yet are shorter and cannot be compared with those that have.
    pub(crate) fn is_complete(&self, run: &RunRecord) -> bool {
        let steps = |run: &RunRecord| run.evals.iter().map(|eval| eval.step).max();
        let longest = self.runs_of(&run.arm).filter(|run| run.is_finished()).filter_map(steps).max();
        run.is_finished() && steps(run) >= longest
    }

    /// The runs of `arm`, in order.
    pub fn runs_of<'a>(&'a self, arm: &'a str) -> impl Iterator<Item = &'a RunRecord> {
        self.runs.iter().filter(move |run| run.arm == arm)
    }
}
