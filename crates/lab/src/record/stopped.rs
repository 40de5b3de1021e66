//! Experiments that ended before their last run did.

use std::fs;
use std::path::Path;

use super::folder::lock;
use super::names::{CONFIG, METRICS};
use super::{Experiment, RunRecord};
use crate::config::Config;

/// Point at which an experiment stopped before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The run that was going on, as in `trained, seed 2`, and its last step; `None` between two runs.
    pub run: Option<(String, u64)>,
    /// Number of finished runs.
    pub finished: usize,
    /// Number of runs of the configuration, arms times seeds.
    pub of: usize,
    /// Reason, where it was an error and no kill.
    pub failure: Option<String>,
}

/// The experiment of just this configuration in `<root>/<name>/` that stopped before its end, and at which point.
/// `None` without such a folder, for one of another configuration, one that is finished, one that another process
/// writes to, and one that cannot be read.
pub fn stopped(root: &Path, config: &Config) -> Option<Stopped> {
    let folder = root.join(&config.name);
    if !folder.join(METRICS).exists() || fs::read_to_string(folder.join(CONFIG)).ok()? != config.to_toml() {
        return None;
    }
    lock(&folder).ok()?;
    let experiment = Experiment::read(&folder).ok()?;
    let finished =
        experiment.runs.iter().filter(|run| run.is_finished_after(config.training_of(&run.arm).steps)).count();
    let of = config.seeds.len() * config.arms.len();
    let going_on = experiment.runs.iter().chain(&experiment.guides).find(|run| !run.is_finished());
    let place = |run: &RunRecord| {
        let steps = run.steps.last().map_or(0, |step| step.step + 1);
        (format!("{}, seed {}", run.arm, run.seed), steps)
    };
    (finished < of).then(|| Stopped { run: going_on.map(place), finished, of, failure: experiment.failure })
}
