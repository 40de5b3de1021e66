//! Two trained networks on the same examples: how alike their layers are, beside what chance gives, and their mistakes.

mod find;
mod layer_matrix;
pub mod measures;

use std::path::{Path, PathBuf};

use trellis_guidance::{CapturePoint, Dataset, Error, Network, Result, Split};
use trellis_tensor::Gpu;

use crate::config::Config;
use crate::recipe::{Chosen, Recipe, RecipeInput};
use crate::record::names::CONFIG;
pub use find::find_checkpoint;
pub use layer_matrix::{LayerMatrix, layer_matrix};
use measures::{
    Activations, Agreement, Predictions, PreparedLayer, SimilarityMatrix, SimilarityMeasure, observe, permutations,
};

/// A checkpoint and its recipe.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The file.
    pub checkpoint: PathBuf,
    /// Its recipe.
    pub recipe: Recipe,
}

/// Two checkpoints of the same data.
#[derive(Clone, Debug)]
pub struct NetworkPair {
    /// The first network.
    pub a: Trained,
    /// The second network.
    pub b: Trained,
}

/// Settings of a comparison.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The measure.
    pub measure: SimilarityMeasure,
    /// Largest number of examples: the first of the test split.
    pub examples: usize,
    /// Number of orders of the examples that give the null distribution.
    pub permutations: usize,
}

/// Result of a comparison.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The measure.
    pub measure: SimilarityMeasure,
    /// Number of orders of the examples.
    pub permutations: usize,
    /// Short names of the networks: experiment, arm and seed.
    pub names: [String; 2],
    /// Name of the data.
    pub data: String,
    /// Split of the examples; `all` is the whole set.
    pub split: &'static str,
    /// Number of examples.
    pub examples: usize,
    /// Layers of the first network (rows) with those of the second (columns).
    pub matrix: SimilarityMatrix,
    /// Agreement of predictions and mistakes.
    pub agreement: Agreement,
    /// Layers of each network that are the same for every example. They are left out.
    pub left_out: [Vec<String>; 2],
    /// Things that a person should know.
    pub notes: Vec<String>,
}

/// Seed of the permutations: a comparison has the same numbers each time.
const SEED: u64 = 1;

impl Trained {
    fn read(checkpoint: PathBuf) -> Result<Self> {
        let recipe = Recipe::read(&checkpoint)?;
        Ok(Self { checkpoint, recipe })
    }

    /// Experiment, arm and seed.
    pub fn name(&self) -> String {
        let run = &self.recipe.run;
        format!("{}:{}:{}", run.experiment, run.arm, run.seed)
    }

    /// Layers of the network, prepared, the names of those that are constant, and the predictions.
    fn observe(
        &self,
        network: &Network,
        chosen: &Chosen,
        split: &Split,
        measure: SimilarityMeasure,
    ) -> Result<(Vec<PreparedLayer>, Vec<String>, Predictions)> {
        let (mut prepared, mut constant) = (Vec::new(), Vec::new());
        let take = |layers: Vec<Activations>| {
            let (flat, others): (Vec<_>, Vec<_>) = layers.into_iter().partition(Activations::is_constant);
            constant.extend(flat.iter().map(|layer| layer.name().to_string()));
            prepared.extend(measure.prepare_all(&others)?);
            Ok(())
        };
        let capture = CapturePoint::default();
        let predictions = observe(network, &chosen.data, split, chosen.batch, capture, take)
            .map_err(|error| error.in_run(self.name()))?;
        if prepared.is_empty() {
            let problem = format!("has no layer that differs between examples ({})", constant.join(", "));
            return Err(Error::checkpoint(&self.checkpoint, problem, "compare a network that has learned something"));
        }
        Ok((prepared, constant, predictions))
    }
}

impl NetworkPair {
    /// Reads the recipes of two checkpoints.
    ///
    /// # Errors
    /// As [`Recipe::read`]; [`Error::Checkpoint`] for networks of other data, splits, preparation or normalization: they do not see the
    /// same examples.
    pub fn read(a: PathBuf, b: PathBuf) -> Result<Self> {
        let pair = Self { a: Trained::read(a)?, b: Trained::read(b)? };
        pair.check()?;
        Ok(pair)
    }

    fn check(&self) -> Result<()> {
        let Self { a, b } = self;
        let differs = |what: &str, theirs: String, ours: String, hint: &str| {
            let problem = format!("{what} than {}: {theirs}, there {ours}", a.checkpoint.display());
            Err(Error::checkpoint(&b.checkpoint, problem, hint))
        };
        let hint = "compare networks that were trained on the same data, cut into the same splits";
        let data = |side: &Trained| {
            let set = serde_json::to_string(&side.recipe.data.set).unwrap_or_default();
            format!("{} of {}", set.trim_matches('"'), side.recipe.data.contents)
        };
        if a.recipe.data != b.recipe.data {
            return differs("was trained on other data", data(b), data(a), hint);
        }
        // Drawn sequences are known by their settings only.
        let settings = |side: &Trained| {
            let file = side.checkpoint.with_file_name(CONFIG);
            let drawn = matches!(side.recipe.input, RecipeInput::Tokens { tokens: None, .. }) && file.is_file();
            drawn.then(|| Config::read(&file)).transpose()
        };
        if let (Some(ours), Some(theirs)) = (settings(a)?, settings(b)?) {
            let table = |config: &Config| toml::Table::try_from(&config.data).unwrap_or_default();
            let (ours, theirs) = (table(&ours), table(&theirs));
            if let Some(key) = ours.keys().chain(theirs.keys()).find(|key| ours.get(*key) != theirs.get(*key)) {
                let shown = |table: &toml::Table| table.get(key).map_or("none".to_string(), toml::Value::to_string);
                return differs(&format!("has another `data.{key}`"), shown(&theirs), shown(&ours), hint);
            }
        }
        let hint = "compare networks that see their examples alike";
        if let (RecipeInput::Images { normalization: ours, .. }, RecipeInput::Images { normalization: theirs, .. }) =
            (&a.recipe.input, &b.recipe.input)
            && ours != theirs
        {
            let shown = |units: &trellis_data::Normalization| format!("{} ± {}", units.mean, units.deviation);
            return differs("has another normalization of images", shown(theirs), shown(ours), hint);
        }
        // Scales that a network gives its input by itself are its own affair.
        let seen = |side: &Trained| {
            let mut input = side.recipe.input.clone();
            if let RecipeInput::Images { scale, .. } = &mut input {
                *scale = None;
            }
            (input, side.recipe.output, side.recipe.class_names.clone())
        };
        if seen(a) != seen(b) {
            let shown = |side: &Trained| {
                let facts = side.recipe.describe().into_iter().filter(|(what, _)| ["input", "classes"].contains(what));
                facts.map(|(what, value)| format!("{what} {value}")).collect::<Vec<_>>().join("; ")
            };
            return differs("has other inputs or classes", shown(b), shown(a), hint);
        }
        Ok(())
    }

    /// Compares every layer of the one network with every layer of the other on the first examples of the test split, or of the split that
    /// [`Recipe::dataset`] finds at `place`. Layers are captured where linear and convolutional layers end. `told` is called
    /// from any thread when one of `settings.permutations + 1` orders is done.
    ///
    /// # Errors
    /// As [`Recipe::dataset`], [`observe`] and [`SimilarityMatrix::measure`].
    pub fn compare(
        &self,
        gpu: &Gpu,
        place: Option<&Path>,
        settings: Settings,
        told: impl Fn() + Sync,
    ) -> Result<Comparison> {
        let Settings { measure, examples, permutations: count } = settings;
        let chosen = self.a.recipe.dataset(gpu, &self.a.checkpoint, place, None)?;
        let mut notes = chosen.notes.clone();
        let split = first_readable(&chosen.data, &chosen.examples(), examples)?;
        if split.count() < examples {
            notes.push(format!("the split has only {} examples that can be read, not {examples}", split.count()));
        }
        let side = |side: &Trained| {
            let network = side.recipe.network(gpu, &side.checkpoint)?;
            side.observe(&network, &chosen, &split, measure)
        };
        let ((a, constant_a, right_a), (b, constant_b, right_b)) = (side(&self.a)?, side(&self.b)?);
        for (side, layer) in [(&self.a, &a), (&self.b, &b)].into_iter().flat_map(|(s, l)| l.iter().map(move |l| (s, l)))
        {
            if layer.ties() > 0 {
                let (ties, name) = (layer.ties(), layer.name());
                notes.push(format!(
                    "{} of {} examples have equally near neighbors in {name} of {}: of those the first count",
                    ties,
                    split.count(),
                    side.name()
                ));
            }
        }
        let matrix = SimilarityMatrix::measure_with(&a, &b, &permutations(split.count(), count, SEED), told)?;
        let saturated = matrix.pairs.iter().filter(|pair| pair.is_saturated()).count();
        if saturated > 0 {
            notes.push(format!(
                "{saturated} of {} pairs are 1 whatever the order of the examples, so {measure} tells nothing of them: take more \
                 examples, or another measure",
                matrix.pairs.len()
            ));
        }
        Ok(Comparison {
            measure,
            permutations: count,
            names: [self.a.name(), self.b.name()],
            data: chosen.data.name().to_string(),
            split: chosen.split,
            examples: split.count(),
            matrix,
            agreement: right_a.compare(&right_b)?,
            left_out: [constant_a, constant_b],
            notes,
        })
    }
}

/// The first examples of a split that can be read; an error where there are none.
fn first_readable(data: &Dataset, split: &Split, count: usize) -> Result<Split> {
    let split = data.first_readable(split, count)?;
    if split.count() == 0 {
        let place = trellis_data::Place::dataset(data.name());
        return Err(Error::data(place, "has no example that can be read", "look at its files, and at --examples"));
    }
    Ok(split)
}

/// A name of up to `most` letters: of longer ones the first and the last.
pub fn shortened(name: &str, most: usize) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= most {
        return name.to_string();
    }
    let (first, last) = (most / 2, most - most / 2 - 1);
    letters[..first].iter().chain(['…'].iter()).chain(&letters[letters.len() - last..]).collect()
}
