//! Initial weights, by name.

use std::f32::consts::SQRT_2;
use std::fmt;

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::{Cell, Init};

use crate::error::{Error, Result};

/// Initial weights of a network's layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InitialWeights {
    /// PyTorch's default; torchvision's for a residual network.
    #[default]
    Default,
    /// Kaiming normal (He et al. 2015, arXiv:1502.01852): with gain √2 in front of ReLU, with PyTorch's gain 5/3 for the recurrent
    /// weights of tanh cells.
    Kaiming,
    /// Xavier normal (Glorot and Bengio 2010).
    Xavier,
    /// Orthogonal (Saxe et al. 2014, arXiv:1312.6120): with gain √2 in front of ReLU, with gain 1 for the recurrent weights of an RNN.
    Orthogonal,
    /// The identity as the recurrent weights of tanh cells, biases 0 (Le et al. 2015, arXiv:1504.00941, who have ReLU cells).
    Identity,
    /// LSUV (Mishkin and Matas 2016, arXiv:1511.06422): orthogonal, then each layer's weights divided by the standard deviation of its
    /// output on a batch of training data: see [`Network::scale_to_unit_variance`](crate::Network::scale_to_unit_variance). Of an RNN the recurrent weights are orthogonal
    /// with gain 1, and those that read the input are scaled.
    Lsuv,
    /// γ of the last norm of each residual branch is 0, so that each block begins as its shortcut (Goyal et al. 2017,
    /// arXiv:1706.02677, section 5.1; torchvision's `zero_init_residual`).
    ZeroResidual,
    /// Fixup (Zhang et al. 2019, arXiv:1901.09321): no batch norm, scalar biases and factors in its place. The last convolution of
    /// each residual branch and the last layer begin at 0, the others of a branch at smaller weights the more blocks there are.
    Fixup,
}

/// Kind of a network, by what its initial weights can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightsOf {
    /// Linear and convolution layers in a row, each in front of ReLU.
    Layers,
    /// Recurrent layers of such cells.
    Recurrence(Cell),
    /// Convolutions with batch norm and shortcuts.
    Residual,
    /// The same without shortcuts.
    PlainTwin,
}

impl InitialWeights {
    /// Reason why a kind of network cannot begin with them, and what to do.
    pub fn problem(self, of: WeightsOf) -> Option<[&'static str; 2]> {
        match (self, of) {
            (Self::ZeroResidual | Self::Fixup, WeightsOf::Residual)
            | (Self::Identity, WeightsOf::Recurrence(Cell::Tanh)) => None,
            (Self::ZeroResidual | Self::Fixup, _) => Some([
                "begins residual branches at 0, and this network has no residual branch",
                "give it shortcuts (`residual = true` of a ResNet), or choose `orthogonal` or `lsuv`, which keep the variance without",
            ]),
            (Self::Identity | Self::Kaiming, WeightsOf::Recurrence(Cell::Lstm | Cell::Gru)) => {
                Some(["is for tanh cells", "choose `orthogonal`, a matrix for each gate"])
            }
            (Self::Identity, _) => Some(["is for recurrent weights", "choose `orthogonal` or `lsuv`"]),
            _ => None,
        }
    }

    /// Refuses those that a kind of network cannot begin with.
    fn check(self, of: WeightsOf) -> Result<()> {
        let refused = |[problem, hint]: [&str; 2]| Err(Error::config(Place::setting("network"), "init", problem, hint));
        self.problem(of).map_or(Ok(()), refused)
    }

    /// Distribution of the weights of a linear or convolution layer in front of ReLU.
    pub(super) fn of_layers(self) -> Result<Init> {
        self.check(WeightsOf::Layers)?;
        Ok(self.in_front_of_relu())
    }

    /// Distribution of the weights of a residual network's convolutions, and of its last layer.
    pub(super) fn of_resnet(self, residual: bool) -> Result<[Init; 2]> {
        self.check(if residual { WeightsOf::Residual } else { WeightsOf::PlainTwin })?;
        Ok(match self {
            Self::Default | Self::ZeroResidual | Self::Fixup => [Init::KaimingNormalOut(SQRT_2), Init::Default],
            other => [other.in_front_of_relu(); 2],
        })
    }

    /// Distribution of recurrent weights, a matrix `[hidden, hidden]` for each gate; PyTorch's is `usual`.
    pub(super) fn of_recurrence(self, cell: Cell, hidden: usize, usual: Init) -> Result<Init> {
        self.check(WeightsOf::Recurrence(cell))?;
        let deviation = 1.0 / (hidden.max(1) as f32).sqrt();
        Ok(match self {
            Self::Default | Self::ZeroResidual | Self::Fixup => usual,
            Self::Kaiming => Init::Normal(5.0 / 3.0 * deviation),
            Self::Xavier => Init::Normal(deviation),
            Self::Orthogonal | Self::Lsuv => Init::OrthogonalBlocks(1.0),
            Self::Identity => Init::Identity,
        })
    }

    fn in_front_of_relu(self) -> Init {
        match self {
            Self::Default | Self::Identity | Self::ZeroResidual | Self::Fixup => Init::Default,
            Self::Kaiming => Init::KaimingNormal(SQRT_2),
            Self::Xavier => Init::XavierNormal(1.0),
            Self::Orthogonal => Init::Orthogonal(SQRT_2),
            Self::Lsuv => Init::Orthogonal(1.0),
        }
    }
}

impl fmt::Display for InitialWeights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Kaiming => "kaiming",
            Self::Xavier => "xavier",
            Self::Orthogonal => "orthogonal",
            Self::Identity => "identity",
            Self::Lsuv => "lsuv",
            Self::ZeroResidual => "zero residual",
            Self::Fixup => "fixup",
        })
    }
}
