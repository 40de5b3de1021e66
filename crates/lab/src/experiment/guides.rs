//! Guides of a seed: drawn, trained or loaded, and saved.

use super::{Journal, Progress, origin, train};
use crate::checkpoints::{Checkpoints, file_name};
use crate::config::{ArmGuide, Config};
use crate::recipe::{Recipe, RecipeInput};
use crate::record::names::{GUIDE, UNTRAINED_GUIDE};
use std::path::Path;
use trellis_guidance::data::Dataset;
use trellis_guidance::data::Normalization;
use trellis_guidance::error::{Error, Result};
use trellis_guidance::network::{Guide, InputScale, Network};
use trellis_guidance::trainer::Trainer;
use trellis_guidance::weights::load;

/// Guides of a seed that some arm uses: one draw of weights, as it is and trained.
pub(super) struct Guides {
    untrained: Option<Guide>,
    trained: Option<Guide>,
}

impl Guides {
    /// Draws the guides and trains one, or loads it where that is `done`. Each is saved in the folder.
    pub(super) fn make(config: &Config, data: &Dataset, seed: u64, done: bool, journal: &Journal<'_>) -> Result<Self> {
        let wanted = |guide: ArmGuide| config.arm_with(guide).is_some();
        let draw = || config.draw_guide(data, guide_seed(seed));
        let untrained = wanted(ArmGuide::Untrained).then(draw).transpose()?;
        if let Some(guide) = &untrained {
            let recipe =
                Recipe::new(config, config.guide.network.clone(), guide, data, origin(config, UNTRAINED_GUIDE, seed));
            Checkpoints::new(guide, journal.path, recipe).finish(0)?;
        }
        let trained = wanted(ArmGuide::Trained).then(draw).transpose()?;
        if let Some(guide) = &trained {
            journal.tell(Progress::Run(GUIDE, seed));
            Self::train(guide, config, data, seed, done, journal)?;
        }
        Ok(Self { untrained: untrained.map(Network::freeze), trained: trained.map(Network::freeze) })
    }

    fn train(
        guide: &Network,
        config: &Config,
        data: &Dataset,
        seed: u64,
        done: bool,
        journal: &Journal<'_>,
    ) -> Result<()> {
        if let Some(weights) = &config.guide.weights {
            load(guide, weights)?;
        }
        if done {
            load(guide, &journal.path.join(file_name(GUIDE, seed)))?;
            journal.tell(Progress::Steps(GUIDE, seed, u64::from(config.guide.steps), None));
            return Ok(());
        }
        let recipe = Recipe::new(config, config.guide.network.clone(), guide, data, origin(config, GUIDE, seed));
        let checkpoints = Checkpoints::new(guide, journal.path, recipe);
        if config.guide.steps == 0 {
            same_weights(guide, config, data, seed, &journal.path.join(file_name(GUIDE, seed)))?;
            return checkpoints.finish(0).map(drop);
        }
        if guide.output() != data.output() {
            let problem = "are not those of the data, which it is to be trained on";
            return Err(Error::config("configuration", "guide.classes", problem, "remove it, or `steps`"));
        }
        let trainer = Trainer::new(guide, data, config.guide_training(seed));
        train(trainer, config.guide.steps, checkpoints, GUIDE, seed, journal)
    }

    pub(super) fn get(&self, guide: ArmGuide) -> Option<&Guide> {
        match guide {
            ArmGuide::None => None,
            ArmGuide::Untrained => self.untrained.as_ref(),
            ArmGuide::Trained => self.trained.as_ref(),
        }
    }
}

/// Refuses a guide with other weights than those in `kept`, the file that an earlier process of the run wrote, if it is
/// there. In that case the file that the configuration names has changed since.
fn same_weights(guide: &Network, config: &Config, data: &Dataset, seed: u64, kept: &Path) -> Result<()> {
    if !kept.exists() {
        return Ok(());
    }
    let before = config.draw_guide(data, guide_seed(seed))?;
    load(&before, kept)?;
    for (before, now) in before.tensors().zip(guide.tensors()) {
        if before.read_f32()? != now.read_f32()? {
            let problem =
                format!("began with other weights of the guide: `{}` is not that of guide.weights", now.name());
            return Err(Error::checkpoint(kept, problem, "give the file that it began with, or do not resume"));
        }
    }
    Ok(())
}

/// Sentence about a guide from a file whose images may have had another scale than they have here, where nobody says which.
///
/// # Errors
/// [`Error::Config`] where the file says which, and the configuration another or none.
pub(super) fn unknown_scale(config: &Config, data: &Dataset) -> Result<Option<String>> {
    let (Some(weights), Some(units)) = (config.guide.weights.as_ref(), data.normalization()) else { return Ok(None) };
    if config.arm_with(ArmGuide::Trained).is_none() {
        return Ok(None);
    }
    let given = config.guide.input_scale();
    // One of our own says what it saw.
    let own = Recipe::read(weights).ok().map(|recipe| recipe.input);
    if let Some(RecipeInput::Images { scale: Some(scale), .. }) = &own
        && given.as_ref() != Some(scale)
    {
        let InputScale { mean, std } = scale;
        let other = if given.is_some() { "another is set" } else { "none is set" };
        let problem = format!("{} was trained on mean {mean:?} and std {std:?}, and {other}", weights.display());
        let hint = format!("set guide.mean = {mean:?} and guide.std = {std:?}");
        return Err(Error::config("configuration", "guide.mean", problem, hint));
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
                "it was trained on mean {mean}, std {deviation}: set guide.mean and guide.std to these for each channel"
            )
        }
        _ => "if it was trained on another scale, set guide.mean and guide.std (\"imagenet\" for torchvision's)"
            .to_string(),
    };
    let weights = weights.display();
    Ok(Some(format!("{weights}: the guide sees images as the target does, mean {mean}, std {deviation}; {seen}")))
}

/// Seed of a guide's weights: another one for each seed, all 64 bits of it, and never the seed itself, by which the target is
/// drawn. A rotation by 33 has one cycle of 64 bits, and an odd number of flips on it leaves no number as it was.
fn guide_seed(seed: u64) -> u64 {
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
