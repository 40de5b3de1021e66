//! Initial values of parameters, by name.

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::Init;

use super::Network;
use crate::data::Dataset;
use crate::error::{Error, Result};

/// Initial weights of a network's layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialWeights {
    /// PyTorch's default.
    #[default]
    Default,
    /// Kaiming normal for ReLU.
    Kaiming,
    /// Xavier normal.
    Xavier,
    /// Orthogonal: with gain √2 in front of ReLU, with gain 1 for the recurrent weights of an RNN.
    Orthogonal,
}

impl From<InitialWeights> for Init {
    fn from(weights: InitialWeights) -> Self {
        match weights {
            InitialWeights::Default => Init::Default,
            InitialWeights::Kaiming => Init::KaimingNormal(std::f32::consts::SQRT_2),
            InitialWeights::Xavier => Init::XavierNormal(1.0),
            InitialWeights::Orthogonal => Init::Orthogonal(std::f32::consts::SQRT_2),
        }
    }
}

/// Initial bias of a network's head, the layer that gives the logits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadBias {
    /// PyTorch's default, drawn like the other biases.
    #[default]
    Default,
    /// `ln p`, where p is the share of each class among the training labels. With small weights the
    /// network then begins at the trivial solution, and need not find it.
    LabelPrior,
}

impl Network {
    /// Sets the bias of the head as `bias` says; the default leaves it as it was drawn.
    ///
    /// # Errors
    /// [`Error::Config`] if the head has no bias, as with tied weights, or other classes than `data`; any error of
    /// reading labels.
    pub fn set_head_bias(&self, bias: HeadBias, data: &Dataset) -> Result<()> {
        if bias == HeadBias::Default {
            return Ok(());
        }
        let refused =
            |problem: String| Err(Error::config(Place::setting("network"), "bias", problem, "remove the key"));
        let head = self.head().map(|head| format!("{head}.bias"));
        let Some(tensor) = head.and_then(|name| self.tensor(&name)) else {
            return refused(format!("the head of {} has none", self.describe()));
        };
        let (ours, theirs) = (tensor.ty().elements(), data.output().classes);
        if ours != theirs {
            return refused(format!("the head has {ours} classes, and the data {theirs}"));
        }
        if data.gpu().is_dry_run() {
            return Ok(());
        }
        let shares = data.label_shares()?;
        let logarithms: Vec<f32> = shares.iter().map(|share| share.ln() as f32).collect();
        Ok(tensor.write_f32(&logarithms)?)
    }
}
