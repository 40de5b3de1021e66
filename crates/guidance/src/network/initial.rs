//! How weights begin, by name.

use serde::{Deserialize, Serialize};
use trellis_tensor::Init;

/// How the weights of a network's layers begin.
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
    /// Orthogonal with gain √2.
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
