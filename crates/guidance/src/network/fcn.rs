//! Fully connected networks.

use serde::{Deserialize, Serialize};
use trellis_tensor::Var;

use super::{Architecture, InitialWeights, Input, Output, Pass};
use crate::error::Result;

/// A fully connected network on flattened images: `depth` hidden layers `fc1`, `fc2`, … of `width` units, then `logits`.
///
/// A hidden layer is linear, batch norm (or a bias), ReLU, dropout. The paper's "Deep FCN" is one of depth 48 with
/// batch norm and dropout 0.1, its "Wide FCN" one of depth 3 (arXiv:2410.20035, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fcn {
    /// Hidden layers.
    pub depth: usize,
    /// Units of each.
    pub width: usize,
    /// Normalise before the activation.
    pub batch_norm: bool,
    /// Share of activations that are dropped while training.
    pub dropout: f32,
    /// How weights begin.
    pub init: InitialWeights,
}

impl Fcn {
    /// With batch norm, without dropout, PyTorch's initial weights.
    pub fn new(depth: usize, width: usize) -> Self {
        Self { depth, width, batch_norm: true, dropout: 0.0, init: InitialWeights::Default }
    }
}

impl Default for Fcn {
    fn default() -> Self {
        Self::new(6, 128)
    }
}

impl Architecture for Fcn {
    fn describe(&self) -> String {
        let norm = if self.batch_norm { " bn" } else { "" };
        let dropout = if self.dropout > 0.0 { format!(" dropout {}", self.dropout) } else { String::new() };
        format!("fcn {}x{}{norm}{dropout}", self.depth, self.width)
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (images, classes) = (input.images()?, output.of_examples()?);
        let mut x = images.flatten()?;
        for number in 1..=self.depth {
            let name = format!("fc{number}");
            pass.block();
            // What batch norm subtracts again needs no bias.
            let z = pass.linear(&name, x, self.width, !self.batch_norm, self.init.into())?;
            x = pass.norm_relu(&name, z, self.batch_norm)?;
            x = pass.dropout(x, self.dropout)?;
        }
        pass.linear("logits", x, classes, true, self.init.into())
    }
}
