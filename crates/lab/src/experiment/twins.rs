//! Runs that are the same in two experiments of a sweep: trained in one, copied to the other.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use trellis_guidance::trainer::RunRecord;
use trellis_guidance::weights::copy_with_recipe;
use trellis_guidance::{Error, Result};

use super::beside::{Beside, Key};
use crate::checkpoints::{best_file_name, file_name};
use crate::config::{ArmGuide, Config};
use crate::recipe::Recipe;
use crate::record::names::{CONFIG, METRICS};
use crate::record::{Experiment, RunFolder};

/// Copies the runs that `experiment` has yet to train into its `folder`, weights and metrics, where one beside it has finished the same.
/// `earlier` is what the folder has of it. Returns the number of copied runs.
///
/// # Errors
/// [`Error::Data`] if a file cannot be copied. A folder that cannot be read, as while another process writes it, is left out.
pub(super) fn copy(
    config: &Config,
    experiment: &Experiment,
    folder: &mut RunFolder,
    earlier: &Experiment,
    beside: &Beside,
) -> Result<usize> {
    let begun = |run: &RunRecord| {
        let mut known = earlier.runs.iter().chain(&earlier.guides);
        known.any(|other| other.arm == run.arm && other.seed == run.seed)
    };
    let mut copied: Vec<(String, u64)> = Vec::new();
    let own = folder.path().to_path_buf();
    for other in beside.folders().iter().filter(|other| **other != own && other.join(METRICS).exists()) {
        // Metrics are long: they are read where the configuration says that there is something to take.
        let Ok(their_config) = Config::read(&other.join(CONFIG)) else { continue };
        let shared = shared(config, &their_config);
        if shared.is_empty() {
            continue;
        }
        let Ok(theirs) = Experiment::read(other) else { continue };
        if !is_of_the_same(&theirs, experiment) {
            continue;
        }
        for run in theirs.runs.iter().chain(&theirs.guides) {
            let id = (run.arm.clone(), run.seed);
            let is_same = shared.iter().any(|(name, steps)| *name == run.arm && run.is_finished_after(*steps));
            if is_same && config.seeds.contains(&run.seed) && !begun(run) && !copied.contains(&id) {
                take(run, &theirs.name, other, folder, &config.name)?;
                copied.push(id);
            }
        }
    }
    Ok(copied.len())
}

/// Copies one run that the experiment in the folder `other` has finished. `false` if it cannot be read there, or is of other data.
///
/// # Errors
/// As [`copy`].
pub(super) fn copy_run(
    other: &Path,
    (arm, seed): (&str, u64),
    config: &Config,
    experiment: &Experiment,
    folder: &mut RunFolder,
) -> Result<bool> {
    let Ok(theirs) = Experiment::read(other) else { return Ok(false) };
    let run = theirs.runs.iter().chain(&theirs.guides).find(|run| run.arm == arm && run.seed == seed);
    let Some(run) = run.filter(|run| run.is_finished() && is_of_the_same(&theirs, experiment)) else {
        return Ok(false);
    };
    folder.begin_anew(arm, seed)?;
    take(run, &theirs.name, other, folder, &config.name)?;
    Ok(true)
}

/// True if two experiments have the same data, device and version.
fn is_of_the_same(theirs: &Experiment, ours: &Experiment) -> bool {
    let of = |e: &Experiment| [e.adapter.clone(), e.version.clone(), e.data.clone()];
    of(theirs) == of(ours)
}

/// The key by which experiments share a run of an arm; `None` for one that none shares.
pub(super) fn key_of_arm(config: &Config, arm: &str, seed: u64) -> Option<Key> {
    Some((arm.to_string(), config.training_of(arm).steps, config.sameness_of_arm(arm)?, seed))
}

/// The same of a guide that is trained.
pub(super) fn key_of_guide(config: &Config, guide: &ArmGuide, seed: u64) -> Option<Key> {
    let steps = Some(config.guide_steps(guide)).filter(|&steps| steps > 0)?;
    Some((guide.name(), steps, config.sameness_of_guide(guide)?, seed))
}

/// Names of arms and of guides in training that are the same in both configurations, each with its steps.
fn shared(ours: &Config, theirs: &Config) -> Vec<(String, u32)> {
    let keys = |config: &Config| {
        let arms = config.arms.iter().filter_map(|arm| key_of_arm(config, arm, 0));
        let guides = config.guides_in_use().into_iter().filter_map(|guide| key_of_guide(config, &guide, 0));
        arms.chain(guides).collect::<Vec<_>>()
    };
    let theirs = keys(theirs);
    keys(ours).into_iter().filter(|run| theirs.contains(run)).map(|(name, steps, ..)| (name, steps)).collect()
}

/// Copies one run out of the folder `from`, its state last: a folder without it is complete, and a state without lines is not.
fn take(run: &RunRecord, experiment: &str, from: &Path, folder: &mut RunFolder, name: &str) -> Result<()> {
    let weights = [file_name(&run.arm, run.seed), best_file_name(&run.arm, run.seed)];
    for (file, needed) in weights.iter().zip([true, false]) {
        let source = from.join(file);
        if !needed && !source.exists() {
            continue;
        }
        let mut recipe = Recipe::read(&source)?;
        recipe.run.experiment = name.to_string();
        copy_with_recipe(&source, &folder.path().join(file), &recipe.to_json())?;
    }
    folder.whole(&RunRecord { copied_from: Some(experiment.to_string()), ..run.clone() })?;
    let state = folder.state(&run.arm, run.seed);
    let source = from.join(state.file_name().unwrap_or_default());
    match fs::copy(&source, &state) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io(&source, error)),
        _ => Ok(()),
    }
}
