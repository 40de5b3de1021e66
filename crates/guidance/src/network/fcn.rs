//! Fully connected networks.

use serde::{Deserialize, Serialize};
use trellis_tensor::Var;

use super::{Architecture, InitialWeights, Input, Output, Pass};
use crate::error::Result;

/// A fully connected network on flattened images: `depth` hidden layers `fc1`, `fc2`, … of `width` units, then `logits`.
///
/// A hidden layer is linear, batch norm (or a bias), ReLU, dropout.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fcn {
    /// Hidden layers.
    pub depth: usize,
    /// Units of each.
    pub width: usize,
    /// Units of the first hidden layer, where it has not `width` of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_width: Option<usize>,
    /// Normalize before the activation.
    pub batch_norm: bool,
    /// Share of activations that are dropped while training.
    pub dropout: f32,
    /// Initial weights.
    pub init: InitialWeights,
}

impl Fcn {
    /// With batch norm, without dropout, PyTorch's initial weights.
    pub fn new(depth: usize, width: usize) -> Self {
        Self { depth, width, first_width: None, batch_norm: true, dropout: 0.0, init: InitialWeights::Default }
    }

    /// The paper's "Deep FCN": 48 hidden layers, the first of 2,048 units and the others of 1,024 (arXiv:2410.20035; the
    /// authors' code. The text says 2,048 for all).
    pub fn paper_deep() -> Self {
        Self { first_width: Some(2048), dropout: 0.1, ..Self::new(48, 1024) }
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
        let first = self.first_width.map_or(String::new(), |width| format!("{width}+"));
        let others = self.depth - usize::from(self.first_width.is_some()).min(self.depth);
        format!("fcn {first}{others}x{}{norm}{dropout}", self.width)
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (images, classes) = (input.images()?, output.of_examples()?);
        let (mut x, init) = (images.flatten()?, self.init.of_layers()?);
        for number in 1..=self.depth {
            let name = format!("fc{number}");
            pass.block();
            let width = self.first_width.filter(|_| number == 1).unwrap_or(self.width);
            // No bias before batch norm, which would subtract it again.
            let z = pass.linear(&name, x, width, !self.batch_norm, init)?;
            x = pass.norm_relu(&name, z, self.batch_norm)?;
            x = pass.dropout(x, self.dropout)?;
        }
        pass.head("logits");
        pass.linear("logits", x, classes, true, init)
    }

    fn initial_weights(&self) -> InitialWeights {
        self.init
    }
}
