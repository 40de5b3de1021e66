//! Weights that a run leaves behind: those after its last step, and the best by validation.

use std::path::{Path, PathBuf};

use crate::recipe::{Recipe, Score};
use trellis_guidance::weights::save_with_recipe;
use trellis_guidance::{Event, Network, Result};

/// Files of weights of one run, each with its recipe.
pub(crate) struct Checkpoints<'a> {
    network: &'a Network,
    recipe: Recipe,
    last: PathBuf,
    /// The best by validation, if it is kept.
    best: Option<PathBuf>,
    /// Score of the file that is there, and the step that it is of.
    found: Option<(u64, Score)>,
}

impl<'a> Checkpoints<'a> {
    /// Files in `folder` that are called after the arm and the seed of `recipe`.
    pub(crate) fn new(network: &'a Network, folder: &Path, recipe: Recipe) -> Self {
        let last = folder.join(file_name(&recipe.run.arm, recipe.run.seed));
        Self { network, recipe, last, best: None, found: None }
    }

    /// Keeps the best by validation too, as `<arm>-<seed>.best.safetensors`.
    pub(crate) fn with_best(self) -> Self {
        let best = self.last.with_file_name(best_file_name(&self.recipe.run.arm, self.recipe.run.seed));
        Self { best: Some(best), ..self }
    }

    /// Follows a run: where the validation split was told better than ever, the network is saved as it is. A run that goes on
    /// compares with what an earlier process saved; evaluations after the state that it goes on from come again, with the same bits.
    pub(crate) fn follow(&mut self, event: &Event<'_>) -> Result<()> {
        match (event, &self.best) {
            (Event::Resumed(_), Some(best)) if best.exists() => {
                let run = Recipe::read(best)?.run;
                self.found = run.validation.map(|score| (run.step, score));
            }
            (Event::Eval(eval), best) if eval.split == "validation" => {
                let score = Score::of(eval);
                (self.recipe.run.step, self.recipe.run.validation) = (eval.step, Some(score));
                if let Some(best) = best
                    && self.found.is_none_or(|(_, found)| score.is_better_than(found))
                {
                    save_with_recipe(self.network, best, &self.recipe.to_json())?;
                    self.found = Some((eval.step, score));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Saves the network as it is after `step` steps; gives the step of the best.
    pub(crate) fn finish(mut self, step: u64) -> Result<Option<u64>> {
        if self.recipe.run.step != step {
            (self.recipe.run.step, self.recipe.run.validation) = (step, None);
        }
        save_with_recipe(self.network, &self.last, &self.recipe.to_json())?;
        Ok(self.found.map(|(step, _)| step))
    }
}

/// Name of the weights after the last step.
pub(crate) fn file_name(arm: &str, seed: u64) -> String {
    format!("{arm}-{seed}.safetensors")
}

/// Name of the best weights by validation.
pub(crate) fn best_file_name(arm: &str, seed: u64) -> String {
    format!("{arm}-{seed}.best.safetensors")
}
