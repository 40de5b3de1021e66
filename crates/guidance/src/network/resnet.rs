//! Residual networks and their plain twins.

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::{Init, Var};

use super::fixup::{fixup_head, shifted};
use super::{Architecture, CapturePoint, ConvKernel, InitialWeights, Input, Output, Pass};
use crate::error::{Error, Result};

/// First layers of a [`Resnet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stem {
    /// A 7 × 7 convolution with stride 2 and a 3 × 3 max pool with stride 2: for 224 × 224 pixels.
    Large,
    /// A 3 × 3 convolution: for 32 × 32 pixels.
    Small,
}

impl Stem {
    fn kernel(self) -> ConvKernel {
        match self {
            Stem::Large => ConvKernel { size: 7, stride: 2 },
            Stem::Small => ConvKernel { size: 3, stride: 1 },
        }
    }
}

/// A residual network (He et al. 2016, arXiv:1512.03385): a stem, stages of blocks, the mean over all pixels, logits. Each
/// stage after the first halves height and width and doubles the channels. Where a block changes its shape, the shortcut is a
/// 1 × 1 convolution with batch norm. Without shortcuts it is the plain network of the same layers, the paper's
/// "Deep ConvNet" (arXiv:2410.20035).
///
/// Parameters have torchvision's names and shapes: `conv1.weight`, `bn1.weight`, `bn1.running_mean`, `layer1.0.conv1.weight`,
/// `layer2.0.downsample.0.weight`, `fc.weight` and so on. Layers to align are the convolutions, `conv1`, `layer1.0.conv1` …
/// `layer2.0.downsample.0`, in the order in which PyTorch runs them, and `avgpool`. With [`InitialWeights::Fixup`] there is no batch
/// norm, and the shortcut's convolution is `layer2.0.downsample`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resnet {
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Channels of the first stage; 3 × 3 convolutions of each next one have twice as many.
    pub width: usize,
    /// Blocks of 1 × 1, 3 × 3 and 1 × 1 convolutions, the last with four times the channels, in place of two of 3 × 3.
    pub bottleneck: bool,
    /// First layers.
    pub stem: Stem,
    /// Shortcuts around the blocks; without them it is the plain twin.
    pub residual: bool,
    /// Initial weights; the default is torchvision's, Kaiming normal by fan-out for convolutions.
    pub init: InitialWeights,
}

impl Resnet {
    /// ResNet-18: 11.7 million parameters at 1,000 classes.
    pub fn resnet18() -> Self {
        Self {
            blocks: vec![2, 2, 2, 2],
            width: 64,
            bottleneck: false,
            stem: Stem::Large,
            residual: true,
            init: InitialWeights::Default,
        }
    }

    /// ResNet-50: 25.6 million parameters at 1,000 classes.
    pub fn resnet50() -> Self {
        Self { blocks: vec![3, 4, 6, 3], bottleneck: true, ..Self::resnet18() }
    }

    /// The ResNets of He et al., section 4.2, for small images: three stages of `blocks` blocks, 16 channels in the
    /// first. ResNet-20 has 3, ResNet-32 has 5, ResNet-56 has 9. Their shortcuts pad with zeros; ours are 1 × 1
    /// convolutions.
    pub fn small(blocks: usize) -> Self {
        Self { blocks: vec![blocks; 3], width: 16, stem: Stem::Small, ..Self::resnet18() }
    }

    /// The same layers without shortcuts.
    pub fn plain(self) -> Self {
        Self { residual: false, ..self }
    }

    /// Layers with weights, shortcuts aside: what the names of ResNets count.
    fn depth(&self) -> usize {
        let layers = if self.bottleneck { 3 } else { 2 };
        self.blocks.iter().map(|blocks| layers * blocks).sum::<usize>() + 2
    }

    /// Channels, size of the window and stride of a block's convolutions.
    pub(super) fn layers_of_block(&self, channels: usize, stride: usize) -> Vec<(usize, usize, usize)> {
        match self.bottleneck {
            true => vec![(channels, 1, 1), (channels, 3, stride), (4 * channels, 1, 1)],
            false => vec![(channels, 3, stride), (channels, 3, 1)],
        }
    }

    /// Names of the blocks, with their channels and strides.
    fn places(&self) -> Vec<(String, usize, usize)> {
        let stages = self.blocks.iter().enumerate();
        let of_stage = |(stage, &blocks): (usize, &usize)| {
            let place = move |block: usize| {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                (format!("layer{}.{block}", stage + 1), self.width << stage, stride)
            };
            (0..blocks).map(place)
        };
        stages.flat_map(of_stage).collect()
    }

    fn block<'g>(
        &self,
        pass: &mut Pass<'_, 'g>,
        name: &str,
        x: Var<'g>,
        channels: usize,
        stride: usize,
    ) -> Result<Var<'g>> {
        let layers = self.layers_of_block(channels, stride);
        let (count, out) = (layers.len(), layers[layers.len() - 1].0);
        let mut y = x;
        for (number, (out, size, stride)) in (1..).zip(layers) {
            let (conv, bn) = (format!("{name}.conv{number}"), format!("{name}.bn{number}"));
            // A branch that ends in zeros leaves its block the shortcut.
            let zero = number == count && self.init == InitialWeights::ZeroResidual;
            let gamma = if zero { 0.0 } else { 1.0 };
            y = self.conv_norm(pass, [&conv, &bn], y, out, ConvKernel { size, stride }, gamma)?;
            if number < count {
                y = relu(pass, &conv, y)?;
            }
        }
        if self.residual {
            let same = stride == 1 && x.shape()[1] == out;
            let [conv, bn] = [0, 1].map(|part| format!("{name}.downsample.{part}"));
            let shortcut = match same {
                true => x,
                false => self.conv_norm(pass, [&conv, &bn], x, out, ConvKernel { size: 1, stride }, 1.0)?,
            };
            if !same {
                capture_after(pass, &conv, shortcut);
            }
            y = y.add(shortcut)?;
        }
        relu(pass, &format!("{name}.conv{count}"), y)
    }

    /// A convolution and its batch norm, which begins with `gamma`.
    fn conv_norm<'g>(
        &self,
        pass: &mut Pass<'_, 'g>,
        [conv, bn]: [&str; 2],
        x: Var<'g>,
        out: usize,
        kernel: ConvKernel,
        gamma: f32,
    ) -> Result<Var<'g>> {
        let z = convolution(pass, conv, x, out, kernel, self.init.of_resnet(self.residual)?[0])?;
        pass.batch_norm_from(bn, z, gamma)
    }
}

/// A convolution; with `CapturePoint::BeforeNorm` its output is captured.
pub(super) fn convolution<'g>(
    pass: &mut Pass<'_, 'g>,
    name: &str,
    x: Var<'g>,
    out: usize,
    kernel: ConvKernel,
    init: Init,
) -> Result<Var<'g>> {
    let z = pass.conv(name, x, out, kernel, false, init)?;
    capture_before(pass, name, z);
    Ok(z)
}

/// Captures the output of convolution `name`, with `CapturePoint::BeforeNorm`.
pub(super) fn capture_before<'g>(pass: &mut Pass<'_, 'g>, name: &str, value: Var<'g>) {
    if pass.capture_point() == CapturePoint::BeforeNorm {
        pass.capture(name, value);
    }
}

/// Captures what convolution `name` has become, with `CapturePoint::AfterActivation`.
pub(super) fn capture_after<'g>(pass: &mut Pass<'_, 'g>, name: &str, value: Var<'g>) {
    if pass.capture_point() == CapturePoint::AfterActivation {
        pass.capture(name, value);
    }
}

/// ReLU behind convolution `name`; with `CapturePoint::AfterActivation` its output is captured.
pub(super) fn relu<'g>(pass: &mut Pass<'_, 'g>, name: &str, x: Var<'g>) -> Result<Var<'g>> {
    let y = x.relu()?;
    capture_after(pass, name, y);
    Ok(y)
}

impl Default for Resnet {
    /// ResNet-20.
    fn default() -> Self {
        Self::small(3)
    }
}

impl Architecture for Resnet {
    fn describe(&self) -> String {
        let kind = if self.residual { "resnet" } else { "plain" };
        let stem = if self.stem == Stem::Small { " small" } else { "" };
        let init = match self.init {
            InitialWeights::Default => String::new(),
            other => format!(" {other}"),
        };
        format!("{kind}-{} width {}{stem}{init}", self.depth(), self.width)
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (images, classes) = (input.images()?, output.of_examples()?);
        if self.blocks.is_empty() || self.blocks.contains(&0) || self.width == 0 {
            let problem = format!("{:?} blocks of {} channels are no network", self.blocks, self.width);
            return Err(Error::config(
                Place::setting("network"),
                "blocks",
                problem,
                "give each stage a block and a channel",
            ));
        }
        pass.block();
        let [of_convolutions, of_head] = self.init.of_resnet(self.residual)?;
        let fixup = self.init == InitialWeights::Fixup;
        let z = convolution(pass, "conv1", images, self.width, self.stem.kernel(), of_convolutions)?;
        let z = if fixup { shifted(pass, "bias1", z)? } else { pass.batch_norm("bn1", z)? };
        let mut x = relu(pass, "conv1", z)?;
        if self.stem == Stem::Large {
            x = x.max_pool(3, 2, 1)?;
        }
        for (name, channels, stride) in self.places() {
            pass.block();
            let block = if fixup { Self::fixup_block } else { Self::block };
            x = block(self, pass, &name, x, channels, stride)?;
        }
        let pooled = x.global_avg_pool()?;
        pass.capture("avgpool", pooled);
        pass.head("fc");
        if fixup { fixup_head(pass, pooled, classes) } else { pass.linear("fc", pooled, classes, true, of_head) }
    }

    fn initial_weights(&self) -> InitialWeights {
        self.init
    }
}
