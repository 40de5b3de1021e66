//! Convolutional networks.

use serde::{Deserialize, Serialize};
use trellis_tensor::Var;

use super::{Architecture, ConvKernel, InitialWeights, Input, Output, Pass};
use crate::error::Result;

/// A small convolutional network: 3 × 3 convolutions `conv1`, `conv2`, …, the mean over all pixels (`pool`), `logits`.
///
/// A convolution layer is convolution, batch norm (or a bias), ReLU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cnn {
    /// Channels of each convolution.
    pub channels: Vec<usize>,
    /// Stride of each convolution, as many as `channels`.
    pub strides: Vec<usize>,
    /// Normalize before the activation.
    pub batch_norm: bool,
    /// Initial weights.
    pub init: InitialWeights,
}

impl Cnn {
    /// With batch norm, stride 1 in the first layer and 2 in the others.
    pub fn new(channels: &[usize]) -> Self {
        let strides = (0..channels.len()).map(|i| if i == 0 { 1 } else { 2 }).collect();
        Self { channels: channels.to_vec(), strides, batch_norm: true, init: InitialWeights::Default }
    }
}

impl Default for Cnn {
    fn default() -> Self {
        Self::new(&[8, 16, 32])
    }
}

impl Architecture for Cnn {
    fn describe(&self) -> String {
        let channels: Vec<String> = self.channels.iter().map(usize::to_string).collect();
        format!("cnn {}{}", channels.join("-"), if self.batch_norm { " bn" } else { "" })
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (mut x, classes) = (input.images()?, output.of_examples()?);
        let init = self.init.of_layers()?;
        for (number, (&channels, &stride)) in self.channels.iter().zip(&self.strides).enumerate() {
            let name = format!("conv{}", number + 1);
            pass.block();
            let kernel = ConvKernel { size: 3, stride };
            let z = pass.conv(&name, x, channels, kernel, !self.batch_norm, init)?;
            x = pass.norm_relu(&name, z, self.batch_norm)?;
        }
        let pooled = x.global_avg_pool()?;
        pass.capture("pool", pooled);
        pass.head("logits");
        pass.linear("logits", pooled, classes, true, init)
    }

    fn initial_weights(&self) -> InitialWeights {
        self.init
    }
}
