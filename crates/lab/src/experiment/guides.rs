//! Guides of a seed: drawn, trained or loaded, and saved.

use super::initial::origin;
use super::{Journal, Progress, train, twins};
use crate::checkpoints::{Checkpoints, file_name};
use crate::config::{ArmGuide, Config};
use crate::recipe::{Recipe, RecipeInput};
use crate::record::names::activations_of;
use std::io::ErrorKind;
use std::path::Path;
use trellis_data::io::write_atomic;
use trellis_data::{Normalization, Place};
use trellis_guidance::network::InputScale;
use trellis_guidance::trainer::RunRecord;
use trellis_guidance::weights::load;
use trellis_guidance::{Dataset, Error, Guide, Network, Result, Trainer};

/// Loads a file of weights that a configuration names. Gives the tensors that the guide has no use for.
///
/// # Errors
/// As [`load`]; [`Error::Data`] if there is no such file, with the place where its origin may stand.
pub(crate) fn load_given(guide: &Network, weights: &Path) -> Result<Vec<String>> {
    load(guide, weights).map_err(|error| match error {
        Error::Data(trellis_data::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let hint =
                "put the file there, or correct `weights`; the first lines of the configuration may say how to get it";
            Error::data(weights, "is not there, and `weights` of a guide names it", hint)
        }
        other => other,
    })
}

/// True if a file of activations is of these data. Elsewhere than on a GPU that was opened for a dry run that is an error.
pub(super) fn check_activations(data: &Dataset, file: &Path) -> Result<bool> {
    Guide::check_recorded(data, file).map_err(|error| match error {
        Error::Data(trellis_data::Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            let hint = "put the file there, or correct `activations`; docs/cli.md says how to make one";
            Error::data(file, "is not there, and `activations` of a guide names it", hint)
        }
        other => other,
    })
}

/// Refuses activations that are not those with which the run in `folder` began, before anything is written.
pub(super) fn check_kept(config: &Config, data: &Dataset, folder: &Path) -> Result<()> {
    for of in config.guides_in_use() {
        let kept = folder.join(activations_of(&of.name()));
        if let Some(file) = config.guide_activations(&of).filter(|_| kept.exists()) {
            same_activations(&config.guide(&of, data, 0)?, file, &kept)?;
        }
    }
    Ok(())
}

/// Refuses activations that are not those with which the run began, of which `kept` tells; or keeps what tells of them.
fn same_activations(guide: &Guide, file: &Path, kept: &Path) -> Result<()> {
    let found = format!("{:016x}\n", guide.fingerprint().unwrap_or_default());
    if kept.exists() {
        let before = std::fs::read_to_string(kept).map_err(|error| Error::io(kept, error))?;
        if before != found {
            let hint = "restore the file, or train anew without --resume";
            return Err(Error::data(file, "is not the file with which this run began", hint));
        }
        return Ok(());
    }
    Ok(write_atomic(kept, found.as_bytes())?)
}

/// Guides of a seed that some arm uses, each drawn by itself from the seed of the guides.
pub(super) struct Guides(Vec<(ArmGuide, Guide)>);

impl Guides {
    /// Draws the guides and trains them, or loads those whose training is among the runs that `earlier` finished. Each is saved in the
    /// folder.
    pub(super) fn make(
        config: &Config,
        data: &Dataset,
        seed: u64,
        earlier: &[RunRecord],
        journal: &Journal<'_>,
    ) -> Result<Self> {
        let mut guides = Vec::new();
        for of in config.guides_in_use() {
            let name = of.name();
            if let Some(file) = config.guide_activations(&of) {
                let guide = config.guide(&of, data, 0)?;
                same_activations(&guide, file, &journal.path.join(activations_of(&name)))?;
                guides.push((of.clone(), guide));
                continue;
            }
            let guide = config.draw_guide(&of, data, guide_seed(seed))?;
            if of == ArmGuide::Untrained {
                Checkpoints::new(&guide, journal.path, recipe(config, &of, &guide, data, seed)).finish(0)?;
            } else {
                journal.tell(Progress::Run(&name, seed));
                let done = earlier.iter().any(|run| run.arm == name && run.seed == seed && run.is_finished());
                let train = |done| Self::train(&guide, &of, config, data, seed, done, journal);
                let key = twins::key_of_guide(config, &of, seed);
                if done || !journal.train_or_copy(config, (&name, seed), key, || train(false))? {
                    train(true)?;
                }
            }
            guides.push((of, guide.freeze()));
        }
        Ok(Self(guides))
    }

    fn train(
        guide: &Network,
        of: &ArmGuide,
        config: &Config,
        data: &Dataset,
        seed: u64,
        done: bool,
        journal: &Journal<'_>,
    ) -> Result<()> {
        let (name, steps) = (of.name(), config.guide_steps(of));
        let kept = journal.path.join(file_name(&name, seed));
        if let Some(weights) = config.guide_weights(of) {
            load_given(guide, weights)?;
        }
        if done {
            if !kept.exists() {
                let hint = "restore it, or train anew without --resume";
                return Err(Error::data(kept, "is not there, although the guide's training is finished", hint));
            }
            load(guide, &kept)?;
            journal.tell(Progress::Steps(&name, seed, u64::from(steps), None));
            return Ok(());
        }
        let checkpoints = Checkpoints::new(guide, journal.path, recipe(config, of, guide, data, seed));
        if steps == 0 {
            same_weights(guide, of, config, data, seed, &kept)?;
            return checkpoints.finish(0).map(drop);
        }
        train(Trainer::new(guide, data, config.guide_training(of, seed)), steps, checkpoints, &name, seed, journal)
    }

    pub(super) fn get(&self, guide: &ArmGuide) -> Option<&Guide> {
        self.0.iter().find(|(of, _)| of == guide).map(|(_, guide)| guide)
    }
}

fn recipe(config: &Config, of: &ArmGuide, guide: &Network, data: &Dataset, seed: u64) -> Recipe {
    Recipe::new(config, config.table_of(of).network.clone(), guide, data, origin(config, &of.name(), seed))
}

/// Refuses a guide with other weights than those in `kept`, the file that an earlier process of the run wrote, if it is
/// there. In that case the file that the configuration names has changed since.
fn same_weights(guide: &Network, of: &ArmGuide, config: &Config, data: &Dataset, seed: u64, kept: &Path) -> Result<()> {
    if !kept.exists() {
        return Ok(());
    }
    let before = config.draw_guide(of, data, guide_seed(seed))?;
    load(&before, kept)?;
    for (before, now) in before.tensors().zip(guide.tensors()) {
        if before.read_f32()? != now.read_f32()? {
            let problem = format!(
                "began with other weights of the guide: `{}` is not that of {}.weights",
                now.name(),
                of.table()
            );
            return Err(Error::checkpoint(kept, problem, "give the file that it began with, or do not resume"));
        }
    }
    Ok(())
}

/// Sentence about a guide whose weights come from a file and are changed before it guides.
pub(super) fn trained_further(config: &Config, of: &ArmGuide) -> Option<String> {
    let weights = config.guide_weights(of)?.display();
    let (table, steps) = (of.table(), config.guide_steps(of));
    (steps > 0).then(|| {
        format!("{weights}: trained further for {steps} steps; remove `steps` of [{table}] to keep it as it is")
    })
}

/// Sentence about a guide from a file whose images may have had another scale than they have here, where nobody says which.
///
/// # Errors
/// [`Error::Config`] where the file says which, and the configuration another or none.
pub(super) fn unknown_scale(config: &Config, of: &ArmGuide, data: &Dataset) -> Result<Option<String>> {
    let (Some(weights), Some(units)) = (config.guide_weights(of), data.normalization()) else { return Ok(None) };
    let (table, given) = (of.table(), config.table_of(of).input_scale());
    // One of our own says what it saw.
    let own = Recipe::read(weights).ok().map(|recipe| recipe.input);
    if let Some(RecipeInput::Images { scale: Some(scale), .. }) = &own
        && given.as_ref() != Some(scale)
    {
        let InputScale { mean, std } = scale;
        let other = if given.is_some() { "another is set" } else { "none is set" };
        let problem = format!("{} was trained on mean {mean:?} and std {std:?}, and {other}", weights.display());
        let hint = format!("set {table}.mean = {mean:?} and {table}.std = {std:?}");
        return Err(Error::config(Place::setting("configuration"), format!("{table}.mean"), problem, hint));
    }
    let same =
        |input: &RecipeInput| matches!(input, RecipeInput::Images { normalization, .. } if *normalization == units);
    if given.is_some() || own.as_ref().is_some_and(same) {
        return Ok(None);
    }
    let Normalization { mean, deviation } = units;
    let seen = match own {
        Some(RecipeInput::Images { normalization: Normalization { mean, deviation }, .. }) => {
            format!(
                "it was trained on mean {mean}, std {deviation}: set {table}.mean and {table}.std to these for each channel"
            )
        }
        _ => format!(
            "if it was trained on another scale, set {table}.mean and {table}.std (\"imagenet\" for torchvision's)"
        ),
    };
    let weights = weights.display();
    Ok(Some(format!("{weights}: the guide sees images as the target does, mean {mean}, std {deviation}; {seen}")))
}

/// Seed of a guide's weights: another one for each seed, all 64 bits of it, and never the seed itself, by which the target is
/// drawn. A rotation by 33 has one cycle of 64 bits, and an odd number of flips on it leaves no number as it was.
pub(crate) fn guide_seed(seed: u64) -> u64 {
    seed.rotate_left(33) ^ (1 << 32)
}

#[cfg(test)]
mod tests {
    use super::guide_seed;

    #[test]
    fn every_bit_of_a_seed_reaches_its_guide() {
        // Seeds below 2^31 have the guides that they always had.
        assert_eq!([0, 1, 2, 1 << 30].map(guide_seed), [1 << 32, 3 << 32, 5 << 32, (1 << 63) | (1 << 32)]);
        let seeds: Vec<u64> = (0..64).map(|bit| 1_u64 ^ (1 << bit)).chain([1, u64::MAX]).collect();
        let mut guides: Vec<u64> = seeds.iter().map(|&seed| guide_seed(seed)).collect();
        assert!(seeds.iter().zip(&guides).all(|(seed, guide)| seed != guide));
        guides.sort_unstable();
        guides.dedup();
        assert_eq!(guides.len(), seeds.len());
    }
}
