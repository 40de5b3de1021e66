//! The TOML file that describes an experiment. Every key has a default; unknown keys are errors, with a suggestion.

mod check;
mod dotted;
mod explain;
mod lengths;
mod overrides;
mod pools;
mod reference;
mod resolve;
mod sameness;
mod sections;
mod splits;
mod synonyms;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::Table;
use toml::de::{DeTable, Deserializer};

use crate::record::names::ARMS;
pub(crate) use dotted::dotted;
use explain::explain;
pub use sections::{
    ArmConfig, ArmGuide, CropName, DataConfig, DataSet, GuidanceConfig, GuideConfig, MapName, MetricName,
    NetworkConfig, OptimizerName, PrecisionName, RateSchedule, TargetConfig, TextLevel, TrainingConfig,
};
use trellis_data::io::regular_file;
use trellis_guidance::{Error, Result};
pub use values::amount::Amount;
pub use values::channels::Channels;
pub use values::checkpoint::InitFrom;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// An experiment: arms × seeds of one target, one guide and one data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Name of the run folder.
    pub name: String,
    /// Seeds; each arm is trained once with each.
    pub seeds: Vec<u64>,
    /// Arms in the order in which they are trained: `alone`, `untrained`, `trained`, `trained_first`, and those of `[arm.<name>]`.
    /// Differences are to the first.
    pub arms: Vec<String>,
    /// The data set and its splits.
    pub data: DataConfig,
    /// `[target]`: the network that is trained, a fully connected one unless `network` says otherwise.
    #[serde(skip_deserializing)]
    pub target: TargetConfig,
    /// `[guide]`: the network that guides, a convolutional one unless `network` says otherwise.
    #[serde(skip_deserializing)]
    pub guide: GuideConfig,
    /// `[guides.<name>]`: further networks that guide, each an arm or several.
    #[serde(skip_deserializing, skip_serializing_if = "BTreeMap::is_empty")]
    pub guides: BTreeMap<String, GuideConfig>,
    /// Settings of guidance.
    pub guidance: GuidanceConfig,
    /// Settings of the target's training.
    pub training: TrainingConfig,
    /// Arms of one's own, and settings of single arms that differ: `[arm.alone] learning_rate = 0.003`.
    pub arm: BTreeMap<String, ArmConfig>,
    /// `[networks.<name>]`: the networks of `trellis affinity`. What a run keeps does not hold them.
    #[serde(skip_serializing)]
    pub networks: Table,
    /// `[sweep]`: keys with the values that `trellis sweep` gives them, and `replicates`. What a run keeps does not hold it.
    #[serde(skip_serializing)]
    pub sweep: Table,
    /// [`Training::check`](trellis_guidance::Training::check) of every arm. No key: it changes no result.
    #[serde(skip)]
    pub check_gradients: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "experiment".to_string(),
            seeds: vec![1, 2, 3],
            arms: ARMS.map(str::to_string).to_vec(),
            data: DataConfig::default(),
            target: TargetConfig::default(),
            guide: GuideConfig::default(),
            guides: BTreeMap::new(),
            guidance: GuidanceConfig::default(),
            training: TrainingConfig::default(),
            arm: BTreeMap::new(),
            networks: Table::new(),
            sweep: Table::new(),
            check_gradients: false,
        }
    }
}

/// Key at fault, problem and advice.
type ConfigError = (String, String, String);

fn refuse<T>(key: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Result<T, ConfigError> {
    Err((key.into(), problem.into(), hint.into()))
}

/// The error of a key in the file `path`.
fn refused(path: &Path, (key, problem, hint): ConfigError) -> Error {
    Error::config(path, key, problem, hint)
}

impl Config {
    /// Reads a file. Files that it names lie beside it.
    ///
    /// # Errors
    /// [`Error::Data`] if the file cannot be read; [`Error::Config`] with line, key and a suggestion.
    pub fn read(path: &Path) -> Result<Self> {
        Self::read_with(path, &[])
    }

    /// [`Config::read`] with keys set to other values, each as `training.learning_rate=3e-4`: what `--set` gives.
    ///
    /// # Errors
    /// As there; [`Error::Config`] for what is no `key=value`.
    pub fn read_with(path: &Path, set: &[String]) -> Result<Self> {
        let text = regular_file::read(path, LARGEST)?;
        let no_text = |_| Error::config(path, "", "is not UTF-8", "see examples/configs/ for files that work");
        Self::parse_with(&String::from_utf8(text).map_err(no_text)?, set, path)?.with_files_beside(path)
    }

    /// The configuration whose files, which it names relative to its own at `path`, have absolute paths. What a run keeps of it can be run
    /// from anywhere.
    pub(crate) fn with_files_beside(self, path: &Path) -> Result<Self> {
        let mut config = self;
        let folder = path.parent().unwrap_or(Path::new(""));
        let beside = |key: &str, named: Option<PathBuf>| {
            let Some(named) = named else { return Ok(None) };
            let absolute = std::path::absolute(folder.join(named)).map_err(|e| Error::io(path, e))?;
            let hint = "rename the folder that is not";
            absolute.to_str().ok_or_else(|| Error::config(path, key, "has a path that is no UTF-8", hint))?;
            Ok::<_, Error>(Some(absolute))
        };
        config.guide.keys.weights = beside("guide.weights", config.guide.keys.weights)?;
        config.guide.keys.activations = beside("guide.activations", config.guide.keys.activations)?;
        for (name, guide) in &mut config.guides {
            guide.keys.weights = beside(&format!("guides.{name}.weights"), guide.keys.weights.take())?;
            let activations = guide.keys.activations.take();
            guide.keys.activations = beside(&format!("guides.{name}.activations"), activations)?;
        }
        for (name, arm) in &mut config.arm {
            if let Some(from) = &mut arm.init_from {
                from.run = beside(&format!("arm.{name}.init_from"), from.run.take())?;
            }
        }
        config.data.tokenizer = beside("data.tokenizer", config.data.tokenizer)?;
        Ok(config)
    }

    /// Reads text; `path` names it in errors.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        Self::parse_with(text, &[], path)
    }

    /// [`Config::parse`] with keys set to other values, as in [`Config::read_with`].
    ///
    /// # Errors
    /// As there.
    pub fn parse_with(text: &str, set: &[String], path: &Path) -> Result<Self> {
        let merged = overrides::with_set(text, set, path)?;
        let config = Self::parse_whole(&merged, path);
        if set.is_empty() { config } else { config.map_err(|error| overrides::told(error, text, set, path)) }
    }

    fn parse_whole(text: &str, path: &Path) -> Result<Self> {
        let mut config = Self::sections(text).map_err(|error| explain(text, path, &error))?;
        lengths::given_twice(text, path)?;
        config.fill_in();
        config.check(path)?;
        Ok(config)
    }

    /// The keys of a network depend on its kind, so its section is read by itself.
    fn sections(text: &str) -> Result<Self, toml::de::Error> {
        let mut file = DeTable::parse(text)?;
        let [target, guide, guides] = ["target", "guide", "guides"].map(|section| file.get_mut().remove(section));
        let config = Self::deserialize(Deserializer::from(file))?;
        let (target, guide) = (TargetConfig::read(target)?, GuideConfig::read(guide)?);
        Ok(Self { target, guide, guides: GuideConfig::read_named(guides)?, ..config })
    }

    /// The file with every default filled in.
    pub fn to_toml(&self) -> String {
        let mut file = toml::to_string(self).expect("plain tables and numbers");
        if self.is_in_epochs() || self.guide_tables().iter().any(|(_, guide)| guide.keys.epochs.is_some()) {
            let mut table: toml::Table = file.parse().expect("what was written");
            lengths::drop_steps(&mut table);
            file = table.to_string();
        }
        file
    }
}
