//! `[target]` and `[guide]`: networks by their kind.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeValue, Deserializer, Error, ValueDeserializer};

use super::Channels;
use trellis_guidance::network::{
    Architecture, Cnn, Fcn, HeadBias, InitialWeights, InputScale, Resnet, Rnn, Stack, Transformer, Vit,
};

macro_rules! networks {
    ($($network:ident),+) => {
        /// A network: `network` names its kind, the other keys are those of the kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "network", rename_all = "snake_case")]
        pub enum NetworkConfig {
            $(#[doc = concat!("[`", stringify!($network), "`]")] $network($network)),+
        }

        #[derive(Clone, Copy, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Kind {
            $($network),+
        }

        impl NetworkConfig {
            fn of_kind(kind: Kind, keys: Deserializer<'_>) -> Result<Self, Error> {
                match kind {
                    $(Kind::$network => $network::deserialize(keys).map(Self::$network)),+
                }
            }

            /// The network.
            pub fn architecture(&self) -> Box<dyn Architecture> {
                match self {
                    $(Self::$network(network) => Box::new(network.clone())),+
                }
            }
        }
    };
}

networks!(Fcn, Cnn, Resnet, Vit, Rnn, Transformer);

/// `[target]`: a network, and how its head begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetConfig {
    /// The network.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// Initial bias of its head.
    pub bias: HeadBias,
}

/// `[guide]`: a network, and how it is trained before it guides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GuideConfig {
    /// The network.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// Initial bias of its head.
    pub bias: HeadBias,
    /// Steps of its own training, for the arms that use it trained.
    pub steps: u32,
    /// Epochs of its own training, in place of `steps`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u32>,
    /// Learning rate of its own training.
    pub learning_rate: f32,
    /// A safetensors file of the trained guide's weights; its own training, if there are `steps`, goes on from them. Without
    /// the key they are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Classes of its logits, where they are not the data's: those of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classes: Option<usize>,
    /// Mean of each channel of the images that it sees, of pixels from 0 to 1; given together with `std`. Without both keys it
    /// sees images in the units of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean: Option<Channels>,
    /// Standard deviation of each channel: see `mean`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub std: Option<Channels>,
}

/// A section of a file.
pub(super) type Section<'i> = Option<Spanned<DeValue<'i>>>;

impl NetworkConfig {
    fn read_or(section: Section<'_>, kind: Kind) -> Result<Self, Error> {
        let Some(section) = section else {
            return Self::of_kind(kind, Deserializer::from(Spanned::new(0..0, Default::default())));
        };
        let span = section.span();
        let DeValue::Table(mut keys) = section.into_inner() else { return Err(no_table()) };
        let named = keys.remove("network").map(|kind| Kind::deserialize(ValueDeserializer::from(kind))).transpose()?;
        let strides = keys.contains_key("strides");
        let mut network = Self::of_kind(named.unwrap_or(kind), Deserializer::from(Spanned::new(span, keys)))?;
        if let (Self::Cnn(cnn), false) = (&mut network, strides) {
            cnn.strides = Cnn::new(&cnn.channels).strides;
        }
        Ok(network)
    }

    /// Sets the initial weights; `false` for a network without that key.
    pub(super) fn set_init(&mut self, init: InitialWeights) -> bool {
        match self {
            Self::Fcn(fcn) => fcn.init = init,
            Self::Cnn(cnn) => cnn.init = init,
            Self::Rnn(rnn) => rnn.init = init,
            Self::Resnet(_) | Self::Vit(_) | Self::Transformer(_) => return false,
        }
        true
    }

    /// True if an output depends on no later token.
    pub(crate) fn is_causal(&self) -> bool {
        match self {
            Self::Rnn(rnn) => rnn.stack == Stack::Causal,
            Self::Transformer(transformer) => transformer.causal && !transformer.cross,
            Self::Fcn(_) | Self::Cnn(_) | Self::Resnet(_) | Self::Vit(_) => false,
        }
    }

    /// Sets the share of activations that are dropped; `false` for a network that drops none.
    pub(super) fn set_dropout(&mut self, share: f32) -> bool {
        match self {
            Self::Fcn(fcn) => fcn.dropout = share,
            Self::Vit(vit) => vit.dropout = share,
            Self::Rnn(rnn) => rnn.dropout = share,
            Self::Transformer(transformer) => transformer.dropout = share,
            Self::Cnn(_) | Self::Resnet(_) => return false,
        }
        true
    }
}

impl TargetConfig {
    /// Reads `[target]`.
    pub(super) fn read(section: Section<'_>) -> Result<Self, Error> {
        let mut target = Self::default();
        let Some(section) = section else { return Ok(target) };
        let span = section.span();
        let DeValue::Table(mut keys) = section.into_inner() else { return Err(no_table()) };
        if let Some(bias) = keys.remove("bias") {
            target.bias = HeadBias::deserialize(ValueDeserializer::from(bias))?;
        }
        target.network = NetworkConfig::read_or(Some(Spanned::new(span, DeValue::Table(keys))), Kind::Fcn)?;
        Ok(target)
    }
}

impl GuideConfig {
    /// Scale of the images that it sees, where that is not the target's.
    pub fn input_scale(&self) -> Option<InputScale> {
        let (mean, std) = (self.mean.as_ref()?, self.std.as_ref()?);
        Some(InputScale { mean: mean.values(InputScale::IMAGENET_MEAN), std: std.values(InputScale::IMAGENET_STD) })
    }

    /// Reads `[guide]`.
    pub(super) fn read(section: Section<'_>) -> Result<Self, Error> {
        let mut guide = Self::default();
        let Some(section) = section else { return Ok(guide) };
        let span = section.span();
        let DeValue::Table(mut keys) = section.into_inner() else { return Err(no_table()) };
        if let Some(weights) = keys.remove("weights") {
            guide.weights = Some(PathBuf::deserialize(ValueDeserializer::from(weights))?);
            guide.steps = 0;
        }
        if let Some(classes) = keys.remove("classes") {
            guide.classes = Some(usize::deserialize(ValueDeserializer::from(classes))?);
        }
        if let Some(mean) = keys.remove("mean") {
            guide.mean = Some(Channels::deserialize(ValueDeserializer::from(mean))?);
        }
        if let Some(std) = keys.remove("std") {
            guide.std = Some(Channels::deserialize(ValueDeserializer::from(std))?);
        }
        if let Some(bias) = keys.remove("bias") {
            guide.bias = HeadBias::deserialize(ValueDeserializer::from(bias))?;
        }
        if let Some(steps) = keys.remove("steps") {
            guide.steps = u32::deserialize(ValueDeserializer::from(steps))?;
        }
        if let Some(epochs) = keys.remove("epochs") {
            guide.epochs = Some(u32::deserialize(ValueDeserializer::from(epochs))?);
        }
        if let Some(rate) = keys.remove("learning_rate") {
            guide.learning_rate = f32::deserialize(ValueDeserializer::from(rate))?;
        }
        guide.network = NetworkConfig::read_or(Some(Spanned::new(span, DeValue::Table(keys))), Kind::Cnn)?;
        Ok(guide)
    }
}

fn no_table() -> Error {
    serde::de::Error::custom("[target] and [guide] are tables")
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self { network: NetworkConfig::Fcn(Fcn::default()), bias: HeadBias::Default }
    }
}

impl Default for GuideConfig {
    fn default() -> Self {
        let network = NetworkConfig::Cnn(Cnn::default());
        Self {
            network,
            bias: HeadBias::Default,
            steps: 400,
            epochs: None,
            learning_rate: 3e-3,
            weights: None,
            classes: None,
            mean: None,
            std: None,
        }
    }
}
