//! Vision Transformers.

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::{AttentionMask, Init, Var};

use super::block::{Activation, Block, NormOrder, TIMM};
use super::{Architecture, Input, Output, Pass};
use crate::error::{Error, Result};

/// A vision Transformer (Dosovitskiy et al. 2021, arXiv:2010.11929): square patches through one linear layer, a class
/// token in front, learned positions, `depth` pre-norm blocks with GELU, a norm, and logits from the class token.
///
/// Parameters have timm's names and shapes: `cls_token`, `pos_embed`, `patch_embed.proj`, `blocks.N.norm1`,
/// `blocks.N.attn.qkv`, `blocks.N.attn.proj`, `blocks.N.norm2`, `blocks.N.mlp.fc1`, `blocks.N.mlp.fc2`, `norm`, `head`. Layers to
/// align are `patch_embed`, of each block `norm1`, `attn`, `norm2`, `mlp.fc1`, `mlp.fc2`, and `norm`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vit {
    /// Side of a patch in pixels; it divides the image's height and width.
    pub patch: usize,
    /// Features of a token.
    pub width: usize,
    /// Blocks.
    pub depth: usize,
    /// Heads of each attention; they divide `width`.
    pub heads: usize,
    /// Units between the two linear layers of a block.
    pub hidden: usize,
    /// Share of activations that are dropped while training: after the positions, after attention and in the
    /// feed-forward part.
    pub dropout: f32,
    /// Share of attention's probabilities that is dropped while training.
    pub attention_dropout: f32,
}

/// Deviation of first weights, and ε of layer norms: timm's.
const DEVIATION: f32 = 0.02;
const EPSILON: f32 = 1e-6;

impl Vit {
    /// Without dropout, four times as many hidden units as features.
    pub fn new(patch: usize, width: usize, depth: usize, heads: usize) -> Self {
        Self { patch, width, depth, heads, hidden: 4 * width, dropout: 0.0, attention_dropout: 0.0 }
    }

    /// ViT-B/16: 86 million parameters at 224 × 224 pixels and 1,000 classes.
    pub fn b16() -> Self {
        Self::new(16, 768, 12, 12)
    }

    /// Patches as rows `[batch · patches, width]`, and how many an image has.
    fn patches<'g>(&self, pass: &mut Pass<'_, 'g>, images: Var<'g>) -> Result<(Var<'g>, usize)> {
        let [batch, channels, height, width] = images.shape()[..] else {
            return Err(Error::config(
                Place::setting("network"),
                "input",
                "no batch of images",
                "give [batch, channels, height, width]",
            ));
        };
        let side = self.patch;
        if side == 0 || height % side != 0 || width % side != 0 {
            let problem = format!("patches of {side} pixels do not tile {height} x {width}");
            return Err(Error::config(Place::setting("network"), "patch", problem, "choose a divisor of both"));
        }
        let _scope = images.graph().scope("patch_embed");
        let (down, across) = (height / side, width / side);
        let pixels = channels * side * side;
        // A convolution whose stride is its width is a product of patches: the images are rearranged once.
        let rows = images
            .reshape([batch, channels, down, side, across, side])?
            .permute(&[0, 2, 4, 1, 3, 5])?
            .reshape([batch * down * across, pixels])?;
        let shape = [self.width, channels, side, side];
        let w = pass.param("patch_embed.proj.weight".to_string(), shape, Init::Normal(1.0 / (pixels as f32).sqrt()));
        let b = pass.param("patch_embed.proj.bias".to_string(), [self.width], Init::Constant(0.0));
        let patches = pass.product(rows, w.reshape([self.width, pixels])?)?.add(b)?;
        Ok((patches, down * across))
    }
}

impl Default for Vit {
    fn default() -> Self {
        Self::new(4, 64, 4, 4)
    }
}

impl Architecture for Vit {
    fn describe(&self) -> String {
        format!("vit {}x{} patch {} heads {}", self.depth, self.width, self.patch, self.heads)
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (images, classes) = (input.images()?, output.of_examples()?);
        let (batch, width) = (input.batch(), self.width);
        let (patches, count) = self.patches(pass, images)?;
        let patches = patches.reshape([batch, count, width])?;
        pass.capture("patch_embed", patches);
        let time = count + 1;
        let class = pass.param("cls_token".to_string(), [1, 1, width], Init::Normal(DEVIATION));
        let positions = pass.param("pos_embed".to_string(), [1, time, width], Init::Normal(DEVIATION));
        let tokens = Var::concat(&[class.expand([batch, 1, width])?, patches], 1)?.add(positions)?;
        let mut x = pass.dropout(tokens.reshape([batch * time, width])?, self.dropout)?;
        let block = Block {
            names: TIMM,
            time,
            heads: self.heads,
            hidden: self.hidden,
            norm: NormOrder::Pre,
            eps: EPSILON,
            activation: Activation::Gelu,
            dropout: self.dropout,
            attention_dropout: self.attention_dropout,
            cross: false,
            deviation: Some(DEVIATION),
            mask: AttentionMask::default(),
        };
        for number in 0..self.depth {
            let name = format!("blocks.{number}");
            pass.block();
            x = block.record(pass, &name, &name, x)?;
        }
        let normal = block.sequences(pass.layer_norm("norm", x, EPSILON)?)?;
        pass.capture("norm", normal);
        let class = normal.slice(1, 0, 1)?.reshape([batch, width])?;
        pass.head("head");
        pass.linear_drawn("head", class, classes, Some(DEVIATION))
    }
}
