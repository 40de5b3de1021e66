//! Transformers over tokens: encoders, causal decoders, and the paper's variants of both.

use serde::{Deserialize, Serialize};
use trellis_tensor::{AttentionMask, Init, KeyMask, Var};

use super::block::{Activation, Block, NormOrder, TORCH};
use super::{Architecture, Input, LabelPer, Output, Pass};
use crate::error::Result;

/// Encoding of the positions of tokens in a Transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Positions {
    /// Trained vectors, one for each position: `positions.weight`.
    Learned,
    /// Sines and cosines of geometric wavelengths, which are not trained.
    Sinusoidal,
}

/// A Transformer over tokens (Vaswani et al. 2017, arXiv:1706.03762). Where each position has a label it gives logits at each;
/// where an example has one, logits of the mean over its positions. Padding is neither attended to nor averaged.
///
/// Parameters have the names and shapes of `torch.nn.TransformerEncoder`: `layers.N.self_attn.in_proj_weight`,
/// `layers.N.self_attn.out_proj.weight`, `layers.N.linear1.weight`, `layers.N.norm1.weight` and so on; before them
/// `embedding.weight` and `positions.weight`, after them `norm` (unless norms come last in each layer) and `logits`. Layers to align
/// are, of each layer, `self_attn`, `norm1`, `linear1`, `linear2`, `norm2`, and `norm`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Transformer {
    /// Layers.
    pub layers: usize,
    /// Features of a token.
    pub width: usize,
    /// Heads of each attention; they divide `width`.
    pub heads: usize,
    /// Units between the two linear layers of a layer.
    pub hidden: usize,
    /// Share that is dropped while training, as by PyTorch: of attention's probabilities, and of activations after the
    /// positions, after attention and in the feed-forward part.
    pub dropout: f32,
    /// Position of the normalization in a layer.
    pub norm: NormOrder,
    /// Between the two linear layers.
    pub activation: Activation,
    /// Encoding of the positions of tokens.
    pub positions: Positions,
    /// A position sees itself and those before it: a decoder.
    pub causal: bool,
    /// A second attention in each layer, `multihead_attn`, from its first half to all positions of its input, later
    /// ones too. The norms are then three, and the layer itself can be aligned. The paper's copy-paste guide has it.
    pub cross: bool,
    /// All layers have the same weights, called `layers.0`.
    pub shared: bool,
    /// Logits by the weights of the embedding, without a bias, where it says tokens of its own vocabulary.
    pub tied: bool,
    /// BERT's embedding: the vector of the first segment, `segment.weight`, is added to tokens and positions, and the sum is
    /// normalized (`embedding_norm`). All norms have BERT's ε of 1e-12.
    pub bert: bool,
}

/// Deviation of a decoder's first weights: GPT-2's.
const DEVIATION: f32 = 0.02;
const EPSILON: f32 = 1e-5;
const BERT_EPSILON: f32 = 1e-12;

impl Transformer {
    /// An encoder as PyTorch makes it: post-norm, ReLU, sinusoidal positions, no dropout.
    pub fn encoder(layers: usize, width: usize, heads: usize) -> Self {
        Self {
            layers,
            width,
            heads,
            hidden: 4 * width,
            dropout: 0.0,
            norm: NormOrder::Post,
            activation: Activation::Relu,
            positions: Positions::Sinusoidal,
            causal: false,
            cross: false,
            shared: false,
            tied: false,
            bert: false,
        }
    }

    /// BERT's encoder (Devlin et al. 2019, arXiv:1810.04805), as Hugging Face has it: post-norm, GELU, learned positions. Logits are
    /// products with the embedding: a file of the encoder holds no others.
    pub fn bert(layers: usize, width: usize, heads: usize) -> Self {
        Self {
            activation: Activation::Gelu,
            positions: Positions::Learned,
            tied: true,
            bert: true,
            ..Self::encoder(layers, width, heads)
        }
    }

    /// A causal language model in the style of GPT-2: pre-norm, GELU, learned positions, tied logits, no dropout.
    pub fn decoder(layers: usize, width: usize, heads: usize) -> Self {
        Self {
            norm: NormOrder::Pre,
            activation: Activation::Gelu,
            positions: Positions::Learned,
            causal: true,
            tied: true,
            ..Self::encoder(layers, width, heads)
        }
    }

    /// GPT-2 small, as Hugging Face has it: 124 million parameters at its vocabulary of 50,257 and 1,024 positions.
    pub fn gpt2() -> Self {
        Self { activation: Activation::GeluTanh, dropout: 0.1, ..Self::decoder(12, 768, 12) }
    }
}

impl Default for Transformer {
    fn default() -> Self {
        Self::encoder(2, 64, 4)
    }
}

impl Architecture for Transformer {
    fn describe(&self) -> String {
        let kind = if self.causal { "decoder" } else { "encoder" };
        let shared = if self.shared { " shared" } else { "" };
        let dropout = if self.dropout > 0.0 { format!(" dropout {}", self.dropout) } else { String::new() };
        format!("transformer {kind} {}x{} heads {}{shared}{dropout}", self.layers, self.width, self.heads)
    }

    fn forward<'g>(&self, pass: &mut Pass<'_, 'g>, input: Input<'g>, output: Output) -> Result<Var<'g>> {
        let (ids, tokens) = input.tokens()?;
        let (batch, time, width) = (input.batch(), tokens.time, self.width);
        // Tied weights are both: small as logits want them.
        let deviation = if self.tied { DEVIATION } else { 1.0 };
        let table = pass.param("embedding.weight".to_string(), [tokens.vocabulary, width], Init::Normal(deviation));
        let positions = match self.positions {
            Positions::Learned => pass.param("positions.weight".to_string(), [time, width], Init::Normal(DEVIATION)),
            Positions::Sinusoidal => pass.buffer("positions".to_string(), [time, width], Init::Sinusoidal),
        };
        let mut x = table.gather(ids)?.add(positions)?.reshape([batch * time, width])?;
        let eps = if self.bert { BERT_EPSILON } else { EPSILON };
        if self.bert {
            x = x.add(pass.param("segment.weight".to_string(), [1, width], Init::Normal(DEVIATION)))?;
            x = pass.layer_norm("embedding_norm", x, eps)?;
        }
        let mut x = pass.dropout(x, self.dropout)?;
        let keys = tokens.padding.map(|padding| KeyMask::Ids { ids, padding });
        let block = Block {
            names: TORCH,
            time,
            heads: self.heads,
            hidden: self.hidden,
            norm: self.norm,
            eps,
            activation: self.activation,
            dropout: self.dropout,
            attention_dropout: self.dropout,
            cross: self.cross,
            deviation: (self.norm == NormOrder::Pre).then_some(DEVIATION),
            mask: AttentionMask { causal: self.causal, keys, dropout: None },
        };
        for number in 0..self.layers {
            let weights = if self.shared { 0 } else { number };
            pass.block();
            x = block.record(pass, &format!("layers.{number}"), &format!("layers.{weights}"), x)?;
        }
        if self.norm == NormOrder::Pre {
            x = pass.layer_norm("norm", x, eps)?;
            let normal = block.sequences(x)?;
            pass.capture("norm", normal);
        }
        if output.label_per == LabelPer::Example {
            // A query of zeros finds all keys alike: attention is then the mean over those that are no padding.
            let (zeros, all) = (x.graph().constant(0.0, [batch, 1, width]), block.sequences(x)?);
            let mask = AttentionMask { keys, ..AttentionMask::default() };
            x = zeros.attention(all, all, self.heads, mask)?.reshape([batch, width])?;
        }
        let logits = match self.tied {
            true if tokens.vocabulary == output.classes => pass.product(x, table)?,
            _ => {
                pass.head("logits");
                pass.linear("logits", x, output.classes, true, Init::Default)?
            }
        };
        match output.label_per {
            LabelPer::Example => Ok(logits),
            LabelPer::Position => block.sequences(logits),
        }
    }
}
