//! `[guide]` and `[guides.<name>]`: the networks that guide, and which of them an arm has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize, Serializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, Error};

use super::keys::{ABOVE_0, Declared, MOST_UNITS, Range, Value, section};
use super::network::{Kind, NetworkConfig, TableValue, no_table};
use crate::config::{Channels, Config, ConfigError, refuse};
use crate::record::names::{GUIDE, UNTRAINED_GUIDE, checked_name};
use trellis_guidance::Cnn;
use trellis_guidance::network::{HeadBias, InputScale};

section! {
    /// Keys of `[guide]` and `[guides.<name>]` beside those of the network.
    GuideKeys {
        /// Initial bias of its head.
        bias: HeadBias = HeadBias::Default;
        /// Steps of its own training, for the arms that use it trained.
        steps: u32 = 400;
        /// Epochs of its own training, in place of `steps`.
        #[serde(skip_serializing_if = "Option::is_none")]
        epochs: Option<u32> = None;
        /// Learning rate of its own training, which falls to 0 along a cosine.
        learning_rate: f32 = 3e-3, in ABOVE_0;
        /// A safetensors file of the trained guide's weights. Its own training goes on from them if there are `steps`, of which
        /// there are then 0 by default. Without the key the weights are drawn.
        #[serde(skip_serializing_if = "Option::is_none")]
        weights: Option<PathBuf> = None;
        /// A safetensors file of the layers of a guide that any program has run on each example, in place of a network: see
        /// "Any module of PyTorch as a guide" in docs/cli.md.
        #[serde(skip_serializing_if = "Option::is_none")]
        activations: Option<PathBuf> = None;
        /// Classes of its logits, where they are not the data's: those of a file.
        #[serde(skip_serializing_if = "Option::is_none")]
        classes: Option<usize> = None, in Range::Counts(MOST_UNITS);
        /// Mean of each channel of the images that it sees, of pixels from 0 to 1; given together with `std`. Without both keys it
        /// sees images in the units of the target.
        #[serde(skip_serializing_if = "Option::is_none")]
        mean: Option<Channels> = None;
        /// Standard deviation of each channel: see `mean`.
        #[serde(skip_serializing_if = "Option::is_none")]
        std: Option<Channels> = None;
    }
}

impl Value for Channels {
    fn words() -> String {
        "\"imagenet\", or list of numbers".to_string()
    }
}

/// `[guide]` or `[guides.<name>]`: a network, and how it is trained before it guides.
#[derive(Clone, Debug, PartialEq)]
pub struct GuideConfig {
    /// The network.
    pub network: NetworkConfig,
    /// Its training.
    pub keys: GuideKeys,
}

/// A table as it is read: recorded layers are all of a guide.
impl Serialize for GuideConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Whole<'a> {
            #[serde(flatten)]
            network: &'a NetworkConfig,
            #[serde(flatten)]
            keys: &'a GuideKeys,
        }
        let Self { network, keys } = self;
        match &keys.activations {
            Some(file) => BTreeMap::from([("activations", file)]).serialize(serializer),
            None => Whole { network, keys }.serialize(serializer),
        }
    }
}

impl Default for GuideConfig {
    fn default() -> Self {
        Self { network: NetworkConfig::Cnn(Cnn::default()), keys: GuideKeys::default() }
    }
}

impl GuideConfig {
    /// Scale of the images that it sees, where that is not the target's.
    pub(crate) fn input_scale(&self) -> Option<InputScale> {
        let (mean, std) = (self.keys.mean.as_ref()?, self.keys.std.as_ref()?);
        Some(InputScale { mean: mean.values(InputScale::IMAGENET_MEAN), std: std.values(InputScale::IMAGENET_STD) })
    }

    /// Reads `[guide]`.
    pub(in crate::config) fn read(section: TableValue<'_>) -> Result<Self, Error> {
        let Some(section) = section else { return Ok(Self::default()) };
        let span = section.span();
        let DeValue::Table(all) = section.into_inner() else { return Err(no_table()) };
        let own = GuideKeys::keys();
        let (mut keys, mut network) = (DeTable::new(), DeTable::new());
        for (key, value) in all {
            let is_own = own.iter().any(|own| own.name == key.get_ref());
            (if is_own { &mut keys } else { &mut network }).insert(key, value);
        }
        let recorded = keys.contains_key("activations");
        let all = keys.keys().chain(network.keys()).map(|key| format!("`{}`", key.get_ref()));
        let others: Vec<String> = all.filter(|key| recorded && key != "`activations`").collect();
        if !others.is_empty() {
            let have = if others.len() == 1 { "has" } else { "have" };
            let problem =
                format!("{} {have} no meaning beside `activations`, which are all of the guide", others.join(", "));
            return Err(serde::de::Error::custom(problem));
        }
        let from_file = recorded || keys.contains_key("weights") && !keys.contains_key("steps");
        let mut keys = GuideKeys::deserialize(Deserializer::from(Spanned::new(span.clone(), keys)))?;
        if from_file {
            keys.steps = 0;
        }
        let network = Some(Spanned::new(span, DeValue::Table(network)));
        Ok(Self { network: NetworkConfig::read_or(network, Kind::Cnn)?, keys })
    }

    /// Reads the tables `[guides.<name>]`.
    pub(in crate::config) fn read_named(section: TableValue<'_>) -> Result<BTreeMap<String, Self>, Error> {
        let Some(section) = section else { return Ok(BTreeMap::new()) };
        let DeValue::Table(guides) = section.into_inner() else { return Err(no_table()) };
        guides.into_iter().map(|(name, guide)| Ok((name.into_inner().into_owned(), Self::read(Some(guide))?))).collect()
    }
}

/// Guide of an arm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum ArmGuide {
    /// No guide: the target learns its task alone.
    None,
    /// The guide of `[guide]` with its initial weights.
    Untrained,
    /// The guide of `[guide]` after its own training, or with the weights of a file.
    Trained,
    /// The guide of the table `[guides.<name>]`, trained as that says.
    Named(String),
}

impl Value for ArmGuide {
    fn words() -> String {
        "\"none\", \"untrained\", \"trained\", or the name of a guide".to_string()
    }
}

impl From<String> for ArmGuide {
    fn from(name: String) -> Self {
        match name.as_str() {
            "none" => Self::None,
            "untrained" => Self::Untrained,
            "trained" => Self::Trained,
            _ => Self::Named(name),
        }
    }
}

impl From<ArmGuide> for String {
    fn from(guide: ArmGuide) -> Self {
        match guide {
            ArmGuide::None => "none".to_string(),
            ArmGuide::Untrained => "untrained".to_string(),
            ArmGuide::Trained => "trained".to_string(),
            ArmGuide::Named(name) => name,
        }
    }
}

impl ArmGuide {
    /// Name of the guide where arms are named: of its file and its training.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::None | Self::Trained => GUIDE.to_string(),
            Self::Untrained => UNTRAINED_GUIDE.to_string(),
            Self::Named(name) => format!("{GUIDE}-{name}"),
        }
    }

    /// Name of its table in the file.
    pub(crate) fn table(&self) -> String {
        match self {
            Self::None | Self::Untrained | Self::Trained => "guide".to_string(),
            Self::Named(name) => format!("guides.{name}"),
        }
    }

    /// The guide in words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::None => "no guide".to_string(),
            Self::Untrained => "untrained guide".to_string(),
            Self::Trained => "trained guide".to_string(),
            Self::Named(name) => format!("guide {name}"),
        }
    }
}

impl Config {
    /// Guides that some arm has, each once: the untrained one, the trained one, then those with a name.
    pub(crate) fn guides_in_use(&self) -> Vec<ArmGuide> {
        let named = self.guides.keys().cloned().map(ArmGuide::Named);
        let all = [ArmGuide::Untrained, ArmGuide::Trained].into_iter().chain(named);
        all.filter(|guide| self.arm_with(guide).is_some()).collect()
    }

    /// Table of a guide; that of `[guide]` for none.
    pub(crate) fn table_of(&self, guide: &ArmGuide) -> &GuideConfig {
        match guide {
            ArmGuide::Named(name) => self.guides.get(name).unwrap_or(&self.guide),
            ArmGuide::None | ArmGuide::Untrained | ArmGuide::Trained => &self.guide,
        }
    }

    /// Steps of a guide's own training; 0 for the untrained one.
    pub(crate) fn guide_steps(&self, guide: &ArmGuide) -> u32 {
        match guide {
            ArmGuide::None | ArmGuide::Untrained => 0,
            ArmGuide::Trained | ArmGuide::Named(_) => self.table_of(guide).keys.steps,
        }
    }

    /// File of a guide's weights, where it uses one.
    pub(crate) fn guide_weights(&self, guide: &ArmGuide) -> Option<&PathBuf> {
        match guide {
            ArmGuide::None | ArmGuide::Untrained => None,
            ArmGuide::Trained | ArmGuide::Named(_) => self.table_of(guide).keys.weights.as_ref(),
        }
    }

    /// File of a guide's recorded layers, where it is no network.
    pub(crate) fn guide_activations(&self, guide: &ArmGuide) -> Option<&PathBuf> {
        self.table_of(guide).keys.activations.as_ref()
    }

    /// Table of each guide, with its name in the file.
    pub(in crate::config) fn guide_tables(&self) -> Vec<(String, &GuideConfig)> {
        let named = self.guides.iter().map(|(name, guide)| (format!("guides.{name}"), guide));
        [("guide".to_string(), &self.guide)].into_iter().chain(named).collect()
    }
}

/// Refuses named guides that no arm has, or whose name says something else.
pub(in crate::config) fn check_named(config: &Config) -> Result<(), ConfigError> {
    for name in config.guides.keys() {
        let table = format!("guides.{name}");
        if ArmGuide::from(name.clone()) != ArmGuide::Named(name.clone()) || checked_name(name.as_ref(), name).is_err() {
            let hint = "use letters, digits, `.`, `_` and `-`, and not `none`, `untrained` or `trained`";
            return refuse(table, "cannot be the name of a guide", hint);
        }
        if config.arm_with(&ArmGuide::Named(name.clone())).is_none() {
            let hint = format!("write `guide = \"{name}\"` in a table `[arm.<name>]`, or remove the table");
            return refuse(table, "no arm has this guide", hint);
        }
    }
    Ok(())
}
