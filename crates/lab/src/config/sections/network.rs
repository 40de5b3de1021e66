//! `[target]`, and networks by their kind.

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::{DeValue, Deserializer, Error, ValueDeserializer};

use trellis_guidance::network::{Architecture, HeadBias, InitialWeights, Stack, WeightsOf};
use trellis_guidance::{Cnn, Fcn, Mobilenet, Resnet, Rnn, Transformer, Vit};

macro_rules! networks {
    ($($network:ident),+) => {
        /// A network: `network` names its kind, the other keys are those of the kind.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "network", rename_all = "snake_case")]
        pub enum NetworkConfig {
            $(#[doc = concat!("[`", stringify!($network), "`]")] $network($network)),+
        }

        /// Kind of a network.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub(in crate::config) enum Kind {
            $(#[doc = concat!("[`", stringify!($network), "`]")] $network),+
        }

        impl Kind {
            /// All kinds.
            pub(in crate::config) const ALL: [Self; [$(stringify!($network)),+].len()] = [$(Self::$network),+];
        }

        impl NetworkConfig {
            fn of_kind(kind: Kind, keys: Deserializer<'_>) -> Result<Self, Error> {
                match kind {
                    $(Kind::$network => $network::deserialize(keys).map(Self::$network)),+
                }
            }

            /// Kind of the network.
            pub(in crate::config) fn kind(&self) -> Kind {
                match self {
                    $(Self::$network(_) => Kind::$network),+
                }
            }

            /// A network of a kind with its default keys.
            pub(in crate::config) fn usual(kind: Kind) -> Self {
                match kind {
                    $(Kind::$network => Self::$network($network::default())),+
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

networks!(Fcn, Cnn, Resnet, Mobilenet, Vit, Rnn, Transformer);

/// `[target]`: a network, and how its head begins.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetConfig {
    /// The network.
    #[serde(flatten)]
    pub network: NetworkConfig,
    /// Initial bias of its head.
    pub bias: HeadBias,
}

/// A table of a file as it stands there.
pub(in crate::config) type TableValue<'i> = Option<Spanned<DeValue<'i>>>;

impl NetworkConfig {
    pub(super) fn read_or(section: TableValue<'_>, kind: Kind) -> Result<Self, Error> {
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
    pub(crate) fn set_init(&mut self, init: InitialWeights) -> bool {
        match self {
            Self::Fcn(fcn) => fcn.init = init,
            Self::Cnn(cnn) => cnn.init = init,
            Self::Rnn(rnn) => rnn.init = init,
            Self::Resnet(resnet) => resnet.init = init,
            Self::Mobilenet(_) | Self::Vit(_) | Self::Transformer(_) => return false,
        }
        true
    }

    /// Reason why it cannot begin with its initial weights, and what to do.
    pub(in crate::config) fn init_problem(&self) -> Option<[&'static str; 2]> {
        let of = match self {
            Self::Fcn(_) | Self::Cnn(_) => WeightsOf::Layers,
            Self::Rnn(rnn) => WeightsOf::Recurrence(rnn.cell.into()),
            Self::Resnet(resnet) if resnet.residual => WeightsOf::Residual,
            Self::Resnet(_) => WeightsOf::PlainTwin,
            Self::Mobilenet(_) | Self::Vit(_) | Self::Transformer(_) => return None,
        };
        self.architecture().initial_weights().problem(of)
    }

    /// True if an output depends on no later token.
    pub(crate) fn is_causal(&self) -> bool {
        match self {
            Self::Rnn(rnn) => rnn.stack == Stack::Causal,
            Self::Transformer(transformer) => transformer.causal && !transformer.cross,
            Self::Fcn(_) | Self::Cnn(_) | Self::Resnet(_) | Self::Mobilenet(_) | Self::Vit(_) => false,
        }
    }

    /// Sets the share of activations that are dropped; `false` for a network that drops none.
    pub(crate) fn set_dropout(&mut self, share: f32) -> bool {
        match self {
            Self::Fcn(fcn) => fcn.dropout = share,
            Self::Mobilenet(mobilenet) => mobilenet.dropout = share,
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
    pub(in crate::config) fn read(section: TableValue<'_>) -> Result<Self, Error> {
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

pub(super) fn no_table() -> Error {
    serde::de::Error::custom("[target], [guide] and [guides.<name>] are tables")
}

impl Default for TargetConfig {
    fn default() -> Self {
        Self { network: NetworkConfig::Fcn(Fcn::default()), bias: HeadBias::Default }
    }
}
