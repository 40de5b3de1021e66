//! Warnings of lines that the metrics of a resumed experiment lack.

use crate::config::Config;
use crate::record::names::is_guide;
use crate::record::{Experiment, Missing, RunFolder};
use trellis_guidance::Training;
use trellis_guidance::trainer::RunRecord;

/// Gaps in the metrics of each run of `experiment` that has some; of `finished` runs alone, or of all.
pub(super) fn gaps(config: &Config, experiment: &Experiment, splits: &[&str], finished: bool) -> Vec<Missing> {
    let guides = config.guides_in_use();
    let gap = |run: &RunRecord| {
        let training = match is_guide(&run.arm) {
            true => config.guide_training(guides.iter().find(|guide| guide.name() == run.arm)?, run.seed),
            false => config.training(&run.arm, run.seed),
        };
        let wanted = !finished || Missing::is_done(run, &training);
        wanted.then(|| Missing::of(run, &training, splits)).flatten()
    };
    experiment.guides.iter().chain(&experiment.runs).filter_map(gap).collect()
}

/// Warning of the lines that the metrics in `folder` lack of a run of `arm` that goes on after `step` steps. `earlier` is the
/// experiment as it was found.
pub(super) fn gap_before(
    step: u32,
    arm: &str,
    training: &Training,
    splits: &[&str],
    earlier: &Experiment,
    folder: &RunFolder,
) -> Option<String> {
    let seed = training.seed;
    let found = earlier.runs.iter().chain(&earlier.guides).find(|run| run.arm == arm && run.seed == seed).cloned();
    let run = found.unwrap_or_else(|| RunRecord { arm: arm.to_string(), seed, ..RunRecord::default() });
    let gap = Missing::before(step.into(), false, &run, training, splits)?;
    let rest = format!(
        "it goes on from its state, and its record tells of the gap; to train it anew, remove {} and resume",
        folder.state(arm, seed).display()
    );
    Some(gap_warning(folder, &gap, &rest))
}

/// Warning of a gap, with the file, the run and its steps.
pub(super) fn gap_warning(folder: &RunFolder, gap: &Missing, rest: &str) -> String {
    format!("{}: {gap}, whose lines were written and are not there; {rest}", folder.metrics_path().display())
}
