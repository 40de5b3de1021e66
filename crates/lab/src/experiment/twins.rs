//! Runs that are the same in two experiments of a sweep: trained in one, copied to the other.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use trellis_guidance::trainer::RunRecord;
use trellis_guidance::weights::copy_with_recipe;
use trellis_guidance::{Error, Result};

use crate::checkpoints::{best_file_name, file_name};
use crate::config::Config;
use crate::recipe::Recipe;
use crate::record::names::{CONFIG, METRICS, is_guide};
use crate::record::{Experiment, RunFolder};

/// Copies the runs that `experiment` has yet to train into its `folder`, weights and metrics, where one of `others` has finished the same.
/// `earlier` is what the folder has of it. Returns the number of copied runs.
///
/// # Errors
/// [`Error::Data`] if a file cannot be copied. A folder that cannot be read, as while another process writes it, is left out.
pub(super) fn copy(
    config: &Config,
    experiment: &Experiment,
    folder: &mut RunFolder,
    earlier: &Experiment,
    others: &[PathBuf],
) -> Result<usize> {
    let begun = |run: &RunRecord| {
        let mut known = earlier.runs.iter().chain(&earlier.guides);
        known.any(|other| other.arm == run.arm && other.seed == run.seed)
    };
    let mut copied: Vec<(String, u64)> = Vec::new();
    let own = folder.path().to_path_buf();
    for other in others.iter().filter(|other| **other != own && other.join(METRICS).exists()) {
        let Ok(theirs) = Experiment::read(other) else { continue };
        let Ok(their_config) = Config::parse(&theirs.config_toml, &other.join(CONFIG)) else { continue };
        let of = |e: &Experiment| [e.adapter.clone(), e.version.clone(), e.data.clone()];
        if of(&theirs) != of(experiment) {
            continue;
        }
        for run in theirs.runs.iter().chain(&theirs.guides) {
            let id = (run.arm.clone(), run.seed);
            if config.seeds.contains(&run.seed)
                && !begun(run)
                && !copied.contains(&id)
                && is_same(config, &their_config, run)
            {
                take(run, &theirs.name, other, folder, &config.name)?;
                copied.push(id);
            }
        }
    }
    Ok(copied.len())
}

/// True if a run is finished, and is what this configuration would train under its name.
fn is_same(ours: &Config, theirs: &Config, run: &RunRecord) -> bool {
    if is_guide(&run.arm) {
        let of = |config: &Config| {
            let guides = config.guides_in_use();
            let guide = guides.into_iter().find(|guide| guide.name() == run.arm && config.guide_steps(guide) > 0)?;
            Some((config.sameness_of_guide(&guide)?, config.guide_steps(&guide)))
        };
        return of(ours).is_some_and(|own| run.is_finished_after(own.1) && Some(own) == of(theirs));
    }
    let of = |config: &Config| config.arms.contains(&run.arm).then(|| config.sameness_of_arm(&run.arm)).flatten();
    run.is_finished_after(ours.training_of(&run.arm).steps) && of(ours).is_some_and(|own| Some(own) == of(theirs))
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
