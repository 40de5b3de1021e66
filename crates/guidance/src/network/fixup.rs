//! Residual networks without normalization, by Fixup: what a [`Resnet`] has in place of batch norm if it begins with
//! [`InitialWeights::Fixup`](super::InitialWeights::Fixup). Names of the scalars are those of the authors' code: `bias1`,
//! `layer1.0.bias1a`, `layer1.0.scale`, `layer2.0.downsample.weight` and so on.
//!
//! *Source:* Zhang, Dauphin and Ma 2019, arXiv:1901.09321, section 3 and figure 1.

use std::f32::consts::SQRT_2;

use trellis_tensor::{Init, Var};

use super::resnet::{Resnet, capture_after, convolution, relu};
use super::{ConvKernel, Pass};
use crate::error::Result;

impl Resnet {
    /// A branch of convolutions, each with a scalar bias before and after it, and a scalar factor at its end. The last convolution
    /// begins at 0, the others at Kaiming's weights times L^(−1 / (2 m − 2)), for L blocks of m layers.
    pub(super) fn fixup_block<'g>(
        &self,
        pass: &mut Pass<'_, 'g>,
        name: &str,
        x: Var<'g>,
        channels: usize,
        stride: usize,
    ) -> Result<Var<'g>> {
        let layers = self.layers_of_block(channels, stride);
        let (count, out) = (layers.len(), layers[layers.len() - 1].0);
        let blocks = self.blocks.iter().sum::<usize>() as f32;
        let scale = blocks.powf(-1.0 / (2.0 * count as f32 - 2.0));
        let start = shifted(pass, &format!("{name}.bias1a"), x)?;
        let mut y = start;
        for (number, (out, size, stride)) in (1..).zip(layers) {
            let conv = format!("{name}.conv{number}");
            let last = number == count;
            if number > 1 {
                y = shifted(pass, &format!("{name}.bias{number}a"), y)?;
            }
            let init = if last { Init::Constant(0.0) } else { Init::KaimingNormalOut(SQRT_2 * scale) };
            y = convolution(pass, &conv, y, out, ConvKernel { size, stride }, init)?;
            if last {
                y = y.mul(pass.param(format!("{name}.scale"), [1], Init::Constant(1.0)))?;
            }
            y = shifted(pass, &format!("{name}.bias{number}b"), y)?;
            if !last {
                y = relu(pass, &conv, y)?;
            }
        }
        let shortcut = match stride == 1 && x.shape()[1] == out {
            true => x,
            false => {
                let (conv, kernel) = (format!("{name}.downsample"), ConvKernel { size: 1, stride });
                let shortcut = convolution(pass, &conv, start, out, kernel, Init::KaimingNormalOut(SQRT_2))?;
                capture_after(pass, &conv, shortcut);
                shortcut
            }
        };
        relu(pass, &format!("{name}.conv{count}"), y.add(shortcut)?)
    }
}

/// `x` plus a scalar that begins at 0.
pub(super) fn shifted<'g>(pass: &mut Pass<'_, 'g>, name: &str, x: Var<'g>) -> Result<Var<'g>> {
    Ok(x.add(pass.param(name.to_string(), [1], Init::Constant(0.0)))?)
}

/// The last layer, behind a scalar, which begins at 0.
pub(super) fn fixup_head<'g>(pass: &mut Pass<'_, 'g>, x: Var<'g>, classes: usize) -> Result<Var<'g>> {
    let features = shifted(pass, "bias2", x)?;
    let _scope = features.graph().scope("fc");
    let w = pass.param("fc.weight".to_string(), [classes, features.shape().last_axis()], Init::Constant(0.0));
    let b = pass.param("fc.bias".to_string(), [classes], Init::Constant(0.0));
    Ok(pass.product(features, w)?.add(b)?)
}
