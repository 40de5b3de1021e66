//! Networks of depthwise convolutions.

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::{Init, Var};

use super::resnet::{capture_after, capture_before, convolution};
use super::{Architecture, ConvKernel, Input, Output, Pass};
use crate::error::{Error, Result};

/// MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381): a 3 × 3 convolution, stages of inverted residual blocks, a 1 × 1 convolution, the
/// mean over all pixels, logits. A block widens its input by a 1 × 1 convolution, filters each channel by itself with a 3 × 3 one
/// (depthwise), and narrows it by a 1 × 1 one without an activation. Its input is added where the shapes are the same. Each convolution
/// has batch norm, and all but the narrowing ones ReLU6. EfficientNets are of such blocks.
///
/// Parameters have torchvision's names and shapes: `features.0.0.weight`, `features.1.conv.0.0.weight` (depthwise, `[channels, 1, 3, 3]`),
/// `features.2.conv.3.running_mean`, `classifier.1.weight` and so on. Layers to align are the convolutions, by the same names, and
/// `pool`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mobilenet {
    /// Channels of the first convolution.
    pub width: usize,
    /// Stride of the first convolution: 2 for 224 × 224 pixels, 1 for small images.
    pub stride: usize,
    /// Channels that each stage's blocks have within, for each that they take; 1: no widening convolution.
    pub expansions: Vec<usize>,
    /// Channels of each stage.
    pub channels: Vec<usize>,
    /// Blocks of each stage.
    pub blocks: Vec<usize>,
    /// Stride of the first block of each stage.
    pub strides: Vec<usize>,
    /// Channels of the last convolution, which are what the logits are made of.
    pub features: usize,
    /// Share of these that is dropped while training.
    pub dropout: f32,
}

impl Mobilenet {
    /// MobileNetV2 for 224 × 224 pixels: 3.5 million parameters at 1,000 classes.
    pub fn v2() -> Self {
        Self {
            width: 32,
            stride: 2,
            expansions: vec![1, 6, 6, 6, 6, 6, 6],
            channels: vec![16, 24, 32, 64, 96, 160, 320],
            blocks: vec![1, 2, 3, 4, 3, 3, 1],
            strides: vec![1, 2, 2, 2, 1, 2, 1],
            features: 1280,
            dropout: 0.2,
        }
    }

    /// Layers with weights, as the names of networks count them.
    fn depth(&self) -> usize {
        let of_stage = |(blocks, expansion): (&usize, &usize)| blocks * if *expansion == 1 { 2 } else { 3 };
        self.blocks.iter().zip(&self.expansions).map(of_stage).sum::<usize>() + 3
    }

    /// Error unless every stage has its numbers, and none of them is 0.
    fn check(&self) -> Result<()> {
        let lists = [
            ("expansions", &self.expansions),
            ("blocks", &self.blocks),
            ("strides", &self.strides),
            ("channels", &self.channels),
        ];
        let refused = |key: &str, problem: &str| {
            Err(Error::config(Place::setting("network"), key, problem, "give each stage a number from 1 on"))
        };
        for (key, list) in lists {
            if list.len() != self.channels.len() {
                return refused(key, "has another length than channels");
            }
            if list.is_empty() || list.contains(&0) {
                return refused(key, "has no number, or a 0");
            }
        }
        match [("width", self.width), ("stride", self.stride), ("features", self.features)]
            .iter()
            .find(|key| key.1 == 0)
        {
            Some((key, _)) => refused(key, "is 0"),
            None => Ok(()),
        }
    }
}

impl Default for Mobilenet {
    /// A small one, for 16 × 16 to 32 × 32 pixels.
    fn default() -> Self {
        Self {
            width: 8,
            stride: 1,
            expansions: vec![1, 4, 4],
            channels: vec![8, 16, 24],
            blocks: vec![1, 2, 2],
            strides: vec![1, 2, 2],
            features: 64,
            dropout: 0.0,
        }
    }
}

/// Distribution of the weights of convolutions, and standard deviation of those of the last layer: torchvision's.
const OF_CONVOLUTIONS: Init = Init::KaimingNormalOut(std::f32::consts::SQRT_2);
const OF_HEAD: f32 = 0.01;

/// Convolution, batch norm and ReLU6, called `name.0` and `name.1` as torchvision's `Conv2dNormActivation` has them; depthwise without `out`.
fn conv_norm_relu6<'g>(
    pass: &mut Pass<'_, 'g>,
    name: &str,
    x: Var<'g>,
    out: Option<usize>,
    kernel: ConvKernel,
) -> Result<Var<'g>> {
    let conv = format!("{name}.0");
    let z = match out {
        Some(out) => convolution(pass, &conv, x, out, kernel, OF_CONVOLUTIONS)?,
        None => {
            let z = pass.depthwise(&conv, x, kernel, OF_CONVOLUTIONS)?;
            capture_before(pass, &conv, z);
            z
        }
    };
    let y = pass.batch_norm(&format!("{name}.1"), z)?.relu6()?;
    capture_after(pass, &conv, y);
    Ok(y)
}

/// An inverted residual block.
fn block<'g>(pass: &mut Pass<'_, 'g>, name: &str, x: Var<'g>, [expansion, out, stride]: [usize; 3]) -> Result<Var<'g>> {
    let inputs = x.shape()[1];
    let mut part = 0;
    let mut next = || {
        part += 1;
        format!("{name}.conv.{}", part - 1)
    };
    let mut y = x;
    if expansion > 1 {
        y = conv_norm_relu6(pass, &next(), y, Some(expansion * inputs), ConvKernel { size: 1, stride: 1 })?;
    }
    y = conv_norm_relu6(pass, &next(), y, None, ConvKernel { size: 3, stride })?;
    let conv = next();
    let z = convolution(pass, &conv, y, out, ConvKernel { size: 1, stride: 1 }, OF_CONVOLUTIONS)?;
    y = pass.batch_norm(&next(), z)?;
    if stride == 1 && inputs == out {
        y = y.add(x)?;
    }
    capture_after(pass, &conv, y);
    Ok(y)
}

impl Architecture for Mobilenet {
    fn describe(&self) -> String {
        let most = self.channels.iter().max().copied().unwrap_or(0);
        format!("mobilenet-{} width {} to {most}, {} features", self.depth(), self.width, self.features)
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (images, classes) = (input.images()?, output.of_examples()?);
        self.check()?;
        pass.block();
        let stem = ConvKernel { size: 3, stride: self.stride };
        let mut x = conv_norm_relu6(pass, "features.0", images, Some(self.width), stem)?;
        let mut number = 1;
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            for within in 0..blocks {
                pass.block();
                let stride = if within == 0 { self.strides[stage] } else { 1 };
                let sizes = [self.expansions[stage], self.channels[stage], stride];
                x = block(pass, &format!("features.{number}"), x, sizes)?;
                number += 1;
            }
        }
        pass.block();
        let last = ConvKernel { size: 1, stride: 1 };
        x = conv_norm_relu6(pass, &format!("features.{number}"), x, Some(self.features), last)?;
        let pooled = x.global_avg_pool()?;
        pass.capture("pool", pooled);
        let pooled = if self.dropout > 0.0 { pass.dropout(pooled, self.dropout)? } else { pooled };
        pass.head("classifier.1");
        pass.linear_from("classifier.1", pooled, classes, Some(Init::Constant(0.0)), Init::Normal(OF_HEAD))
    }
}
