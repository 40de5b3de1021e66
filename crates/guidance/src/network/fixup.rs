//! Residual networks without normalization, by Fixup.

use std::f32::consts::SQRT_2;

use trellis_tensor::{Init, Var};

use super::resnet::{Resnet, Stem, relu};
use super::{CapturePoint, ConvKernel, Output, Pass};
use crate::error::Result;

/// The forward pass of a [`Resnet`] that begins with [`InitialWeights::Fixup`](super::InitialWeights::Fixup). Names of the scalars
/// are those of the authors' code: `bias1`, `layer1.0.bias1a`, `layer1.0.scale`, `layer2.0.downsample.weight` and so on.
///
/// *Source:* Zhang, Dauphin and Ma 2019, arXiv:1901.09321, section 3 and figure 1.
impl Resnet {
    pub(super) fn fixup<'g>(&self, pass: &mut Pass<'_, 'g>, images: Var<'g>, output: Output) -> Result<Var<'g>> {
        let classes = output.of_examples()?;
        let z = convolution(pass, "conv1", images, self.width, self.stem.kernel(), Init::KaimingNormalOut(SQRT_2))?;
        let z = shifted(pass, "bias1", z)?;
        let mut x = relu(pass, "conv1", z)?;
        if self.stem == Stem::Large {
            x = x.max_pool(3, 2, 1)?;
        }
        for (name, channels, stride) in self.places() {
            pass.block();
            x = self.fixup_block(pass, &name, x, channels, stride)?;
        }
        let pooled = x.global_avg_pool()?;
        pass.capture("avgpool", pooled);
        pass.head("fc");
        let features = shifted(pass, "bias2", pooled)?;
        let _scope = features.graph().scope("fc");
        let w = pass.param("fc.weight".to_string(), [classes, features.shape().last_axis()], Init::Constant(0.0));
        let b = pass.param("fc.bias".to_string(), [classes], Init::Constant(0.0));
        Ok(pass.product(features, w)?.add(b)?)
    }

    /// A branch of convolutions, each with a scalar bias before and after it, and a scalar factor at its end. The last convolution
    /// begins at 0, the others at Kaiming's weights times L^(−1 / (2 m − 2)), for L blocks of m layers.
    fn fixup_block<'g>(
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
                if pass.capture_point() == CapturePoint::AfterActivation {
                    pass.capture(&conv, shortcut);
                }
                shortcut
            }
        };
        relu(pass, &format!("{name}.conv{count}"), y.add(shortcut)?)
    }
}

/// `x` plus a scalar that begins at 0.
fn shifted<'g>(pass: &mut Pass<'_, 'g>, name: &str, x: Var<'g>) -> Result<Var<'g>> {
    Ok(x.add(pass.param(name.to_string(), [1], Init::Constant(0.0)))?)
}

/// A convolution; with `CapturePoint::BeforeNorm` its output is captured.
fn convolution<'g>(
    pass: &mut Pass<'_, 'g>,
    name: &str,
    x: Var<'g>,
    out: usize,
    kernel: ConvKernel,
    init: Init,
) -> Result<Var<'g>> {
    let z = pass.conv(name, x, out, kernel, false, init)?;
    if pass.capture_point() == CapturePoint::BeforeNorm {
        pass.capture(name, z);
    }
    Ok(z)
}
