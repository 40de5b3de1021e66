//! Data that a checkpoint is evaluated on.

use std::path::Path;
use std::sync::Arc;

use trellis_data::folder::{self, Folder};
use trellis_data::text::Text;
use trellis_data::{Place, Source, cifar, idx};
use trellis_tensor::Gpu;

use super::{Preparation, Recipe, RecipeInput};
use crate::config::{Config, DataSet};
use trellis_guidance::network::Output;
use trellis_guidance::trainer::{EvalRecord, TRAINING, evaluate};
use trellis_guidance::{Dataset, Error, Network, Result, Split};

/// Data that were chosen for an evaluation.
#[derive(Debug)]
pub struct Chosen {
    /// The data; images are normalized as the recipe says.
    pub data: Dataset,
    /// Name of the split to evaluate; `all` is the whole set.
    pub split: &'static str,
    /// Examples of a training step of the run, or of any.
    pub batch: usize,
    /// Things that a person should know.
    pub notes: Vec<String>,
}

/// The word for a whole set in place of a split.
const ALL: &str = "all";

/// Examples of a training step where no configuration tells.
const BATCH: usize = 128;

impl Chosen {
    /// The examples to evaluate: of a training split of the run the first 10,000, as its own evaluations look at.
    pub fn examples(&self) -> Split {
        let named = self.data.splits().find(|(name, _)| *name == self.split);
        match named {
            Some((name, split)) => split.first(if name == "train" { TRAINING } else { usize::MAX }),
            None => self.data.train().clone(),
        }
    }

    /// Evaluates `network` on them.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn evaluate(&self, network: &Network) -> Result<EvalRecord> {
        evaluate(network, &self.data, self.split, &self.examples(), self.batch)
    }
}

impl Recipe {
    /// Data to evaluate the file `checkpoint` on.
    ///
    /// With `config.toml` beside the checkpoint, as in the folder of a run, they are the data of that configuration,
    /// cut into its splits by its seeds. Data that are not drawn come from `place`. `split` says which split, `test`
    /// without it, or the last that there is. Data of another content than the run's, or without a configuration, are
    /// evaluated as a whole, unless `split` names one; `all` asks for that.
    ///
    /// # Errors
    /// When no data are given for a set that is not drawn, or they cannot be read or do not fit the network.
    pub fn dataset(&self, gpu: &Gpu, checkpoint: &Path, place: Option<&Path>, split: Option<&str>) -> Result<Chosen> {
        let beside = checkpoint.with_file_name("config.toml");
        let drawn = matches!(self.data.set, DataSet::Glyphs | DataSet::CopyPaste | DataSet::Parity);
        let needs = |problem: &str, hint: &str| Err(Error::checkpoint(checkpoint, problem, hint));
        match place {
            None if !drawn => return needs("needs data to be evaluated on", "give them with --data PATH"),
            Some(_) if drawn => return needs("was trained on data that are drawn", "leave out --data"),
            _ => {}
        }
        if split == Some(ALL) || !beside.is_file() {
            let Some(place) = place else {
                let hint = "leave out `all`, and lay the run's config.toml beside it, which has their seed";
                return needs("was trained on data that are drawn, of which there is no whole", hint);
            };
            if let Some(split) = split.filter(|split| *split != ALL) {
                let problem = format!("has no config.toml beside it, which says what `{split}` is");
                return needs(&problem, "lay it there, or leave out --split: the whole set is evaluated");
            }
            return self.whole(gpu, checkpoint, place, Vec::new());
        }
        let config = Config::read(&beside)?;
        let same = |data: &Dataset| data.describe() == self.data.contents;
        match (config.dataset(gpu, &beside, place), place) {
            (Ok(data), _) if same(&data) || split.is_some() || place.is_none() => {
                let mut notes = data.warnings().to_vec();
                if !same(&data) {
                    notes.push(format!(
                        "these are not the data of the run, and a split of them may hold images that it trained on: {}; it had {}",
                        data.describe(),
                        self.data.contents
                    ));
                }
                let names: Vec<&'static str> = data.splits().map(|(name, _)| name).collect();
                let found = split.map_or(names.last(), |split| names.iter().find(|name| **name == split));
                let Some(&split) = found else {
                    let problem = format!("has no split `{}`", split.unwrap_or_default());
                    return Err(Error::data(Place::dataset(data.name()), problem, format!("there are {}", names.join(", "))));
                };
                let data = self.fitting(checkpoint, data)?;
                Ok(Chosen { data, split, batch: config.batch_of(&self.run.arm), notes })
            }
            (Ok(_), Some(place)) => self.whole(
                gpu,
                checkpoint,
                place,
                vec!["these are not the data of the run: all of them are evaluated, images that it trained on among them, if these hold any".to_string()],
            ),
            (Err(error), Some(place)) if split.is_none() => {
                let note =
                    format!(
                        "these cannot be cut into the splits of the run ({error}): all of them are evaluated, images that it trained on \
                         among them"
                    );
                self.whole(gpu, checkpoint, place, vec![note])
            }
            (Err(error), _) => Err(error),
            (Ok(_), None) => unreachable!("data without a place are those of the configuration"),
        }
    }

    /// All that lies at `place`.
    fn whole(&self, gpu: &Gpu, checkpoint: &Path, place: &Path, mut notes: Vec<String>) -> Result<Chosen> {
        let chosen = |data, notes| Chosen { data, split: ALL, batch: BATCH, notes };
        let classes = self.output.classes;
        let source: Arc<dyn Source> = match (self.data.set, &self.input) {
            (DataSet::Text, RecipeInput::Tokens { time, tokens: Some(tokens), .. }) => {
                let folder = checkpoint.parent().unwrap_or(Path::new(""));
                let text = Text::read(place, tokens.tokenizer(folder)?)?;
                let blocks = text.len().saturating_sub(1) / time;
                let left = text.len().saturating_sub(1) % time;
                if left > 0 && blocks > 0 {
                    notes.push(format!("the last {left} tokens fill no block of {time}, and are left out"));
                }
                let data = Dataset::text(gpu, &text, *time, [blocks, 0, 0])?;
                return Ok(chosen(self.fitting(checkpoint, data)?, notes));
            }
            (DataSet::Idx, _) => {
                let (first, second) = idx::open(place, classes)?;
                joined(first, second)
            }
            (DataSet::Cifar, _) => {
                let (first, second) = cifar::open(place)?;
                joined(first, [second])
            }
            (DataSet::Folder, RecipeInput::Images { preparation: Some(Preparation { resize, .. }), .. }) => {
                let Folder { train, validation, test, warnings } = folder::open(place, *resize)?;
                notes.extend(warnings);
                joined(train, [validation, test].into_iter().flatten())
            }
            _ => {
                let problem = "has a recipe that does not tell how its data are read";
                return Err(Error::checkpoint(checkpoint, problem, "use the version of Trellis that wrote it"));
            }
        };
        let source = Known::new(checkpoint, source, &self.class_names, classes)?;
        let data = Dataset::stream(gpu, Arc::new(source), None, None, true)?;
        Ok(chosen(self.fitting(checkpoint, data)?, notes))
    }

    /// `data` as the network takes them, if it does.
    fn fitting(&self, checkpoint: &Path, data: Dataset) -> Result<Dataset> {
        let (data, crop) = match &self.input {
            RecipeInput::Images { normalization, preparation, .. } => {
                (data.normalized(*normalization), preparation.as_ref().and_then(|preparation| preparation.crop))
            }
            RecipeInput::Tokens { .. } => (data, None),
        };
        let data = match crop {
            Some(size) if data.input() == data.stored() => data.cropped(size)?,
            _ => data,
        };
        let differs = |what: &str, theirs: String, ours: String| {
            let problem = format!("takes {what} of {ours}, and {} has {theirs}", data.name());
            Err(Error::checkpoint(checkpoint, problem, "give data like those of its training"))
        };
        if data.input() != self.input_shape() {
            return differs("examples", data.input().to_string(), self.input_shape().to_string());
        }
        if data.output() != self.output {
            let said = |output: Output| format!("{} classes for each {:?}", output.classes, output.label_per);
            return differs("labels", said(data.output()), said(self.output));
        }
        if let RecipeInput::Images { .. } = self.input
            && data.all_class_names() != self.class_names
        {
            let shown = |names: &[String]| match names {
                [] => "numbers".to_string(),
                _ if names.len() <= 20 => names.join(", "),
                _ => format!("{} names", names.len()),
            };
            let (theirs, ours) = (shown(data.all_class_names()), shown(&self.class_names));
            let hint = "leave out --split: classes are then found by their names";
            return Err(Error::checkpoint(
                checkpoint,
                format!("has classes {ours}, and {} {theirs}", data.name()),
                hint,
            ));
        }
        let tokens = if let RecipeInput::Tokens { tokens, .. } = &self.input { tokens.as_ref() } else { None };
        if tokens != data.token_kind() {
            let problem = format!("has other tokens than {}", data.name());
            let hint = "leave out --split: the whole text is then cut into the tokens of the training";
            return Err(Error::checkpoint(checkpoint, problem, hint));
        }
        Ok(data)
    }
}

/// Sets of the same kind as one.
fn joined<S: Source + 'static>(first: S, others: impl IntoIterator<Item = S>) -> Arc<dyn Source> {
    let others = others.into_iter().map(|source| Arc::new(source) as Arc<dyn Source>).collect();
    Arc::new(Joined { first: Arc::new(first), others })
}

/// Sets of the same kind, one after another.
struct Joined {
    first: Arc<dyn Source>,
    others: Vec<Arc<dyn Source>>,
}

impl Joined {
    /// The set that holds example `index`, and its number there.
    fn holds(&self, mut index: usize) -> (&dyn Source, usize) {
        let mut source = &self.first;
        for next in &self.others {
            if index < source.count() {
                break;
            }
            (index, source) = (index - source.count(), next);
        }
        (&**source, index)
    }
}

impl Source for Joined {
    fn name(&self) -> &str {
        self.first.name()
    }

    fn shape(&self) -> [usize; 3] {
        self.first.shape()
    }

    fn classes(&self) -> usize {
        self.first.classes()
    }

    fn count(&self) -> usize {
        self.first.count() + self.others.iter().map(|source| source.count()).sum::<usize>()
    }

    fn class_name(&self, class: usize) -> String {
        self.first.class_name(class)
    }

    fn class_of(&self, index: usize) -> Option<u16> {
        let (source, index) = self.holds(index);
        source.class_of(index)
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> trellis_data::Result<u16> {
        let (source, index) = self.holds(index);
        source.read(index, pixels)
    }
}

/// A set whose classes are found among those of a network by their names.
struct Known {
    source: Arc<dyn Source>,
    names: Vec<String>,
    classes: usize,
    /// Of each class of the source, its number in the network.
    numbers: Vec<u16>,
}

impl Known {
    fn new(checkpoint: &Path, source: Arc<dyn Source>, names: &[String], classes: usize) -> Result<Self> {
        let number = |class: usize| {
            let name = source.class_name(class);
            // Without names classes are called by their numbers.
            let found = match names {
                [] => (0..classes).find(|number| number.to_string() == name),
                _ => names.iter().position(|known| *known == name),
            };
            found.map(|number| number as u16).ok_or_else(|| {
                let shown = if names.len() > 20 { "" } else { &names.join(", ") };
                let problem = format!("knows no class `{name}` of {}: it has {classes} classes {shown}", source.name());
                Error::checkpoint(
                    checkpoint,
                    problem.trim_end(),
                    "name folders as in its training, or leave that one out",
                )
            })
        };
        let numbers = (0..source.classes()).map(number).collect::<Result<Vec<u16>>>()?;
        Ok(Self { names: names.to_vec(), classes, numbers, source })
    }
}

impl Source for Known {
    fn name(&self) -> &str {
        self.source.name()
    }

    fn shape(&self) -> [usize; 3] {
        self.source.shape()
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn count(&self) -> usize {
        self.source.count()
    }

    fn class_name(&self, class: usize) -> String {
        self.names.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    fn class_of(&self, index: usize) -> Option<u16> {
        self.numbers.get(usize::from(self.source.class_of(index)?)).copied()
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> trellis_data::Result<u16> {
        let class = self.source.read(index, pixels)?;
        Ok(self.numbers.get(usize::from(class)).copied().unwrap_or(u16::MAX))
    }
}
