//! Networks as a run begins with them: their origin, and targets that begin with the checkpoint of another arm or run.

use std::path::Path;

use crate::checkpoints::file_name;
use crate::config::{Config, NetworkConfig};
use crate::recipe::{Origin, Recipe, RecipeInput};
use trellis_guidance::weights::load;
use trellis_guidance::{Dataset, Error, Network, Result};

/// Origin of the weights of an arm, or of a guide, before it begins.
pub(super) fn origin(config: &Config, arm: &str, seed: u64) -> Origin {
    Origin { experiment: config.name.clone(), arm: arm.to_string(), seed, step: 0, validation: None }
}

/// Recipe of an arm's checkpoints before it begins.
pub(super) fn recipe_of(config: &Config, arm: &str, target: &Network, data: &Dataset, seed: u64) -> Recipe {
    Recipe::new(config, config.target_of(arm).network, target, data, origin(config, arm, seed))
}

/// Loads the checkpoint that `target`, drawn for `arm` and `seed`, begins with, if it begins with one. `own` is what its own checkpoint
/// will say of it, and `folder` that of the experiment. Returns a sentence about images that had another scale there.
///
/// # Errors
/// [`Error::Checkpoint`] or [`Error::Data`], naming the file and what differs, where it is not of such a network or of such tokens.
pub(super) fn load_initial(
    config: &Config,
    arm: &str,
    seed: u64,
    target: &Network,
    own: &Recipe,
    folder: &Path,
) -> Result<Option<String>> {
    let Some(from) = config.init_from(arm) else { return Ok(None) };
    let file = from.run.as_deref().unwrap_or(folder).join(file_name(&from.arm, seed));
    // Another program's file has no recipe; its shapes are compared all the same.
    let theirs = Recipe::read(&file).ok();
    if let Some(theirs) = &theirs {
        fits(theirs, own, &file)?;
    }
    load(target, &file)?;
    Ok(theirs.and_then(|theirs| other_scale(&theirs.input, &own.input, &file)))
}

/// Checks the checkpoints of other runs before anything is trained. Those of the experiment itself are not there yet, and are of the
/// same target. Gives a sentence for each arm whose images had another scale there.
pub(super) fn check(config: &Config, data: &Dataset) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    for arm in &config.arms {
        if config.init_from(arm).is_none_or(|from| from.run.is_none()) {
            continue;
        }
        let target = config.draw_target(arm, data, 0)?;
        for (number, &seed) in config.seeds.iter().enumerate() {
            let own = recipe_of(config, arm, &target, data, seed);
            let scale = load_initial(config, arm, seed, &target, &own, Path::new(""))?;
            warnings.extend(scale.filter(|_| number == 0));
        }
    }
    Ok(warnings)
}

fn fits(theirs: &Recipe, own: &Recipe, file: &Path) -> Result<()> {
    // Numbers of a file do not depend on how they were drawn, nor on dropout.
    let plain = |network: &NetworkConfig| {
        let mut network = network.clone();
        network.set_init(Default::default());
        network.set_dropout(0.0);
        network
    };
    let refused = |problem: String| Err(Error::checkpoint(file, problem, "name an arm whose target is the same"));
    if plain(&theirs.network) != plain(&own.network) {
        let [theirs, own] = [theirs, own].map(|recipe| recipe.network.architecture().describe());
        let other = if theirs == own { " with other keys".to_string() } else { format!(": {theirs}") };
        return refused(format!("is of another network than {own}{other}"));
    }
    match (&theirs.input, &own.input) {
        (RecipeInput::Tokens { tokens: theirs, .. }, RecipeInput::Tokens { tokens: own, .. }) if theirs != own => {
            refused("is of other tokens: its ids do not mean what they mean here".to_string())
        }
        _ => Ok(()),
    }
}

fn other_scale(theirs: &RecipeInput, own: &RecipeInput, file: &Path) -> Option<String> {
    match (theirs, own) {
        (RecipeInput::Images { normalization: theirs, .. }, RecipeInput::Images { normalization: own, .. })
            if theirs != own =>
        {
            Some(format!(
                "{}: its images had mean {} and std {}, and here they have mean {} and std {}",
                file.display(),
                theirs.mean,
                theirs.deviation,
                own.mean,
                own.deviation
            ))
        }
        _ => None,
    }
}
