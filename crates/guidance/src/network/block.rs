//! The block that Transformers are made of: attention and two linear layers, each with a norm and a residual.

use serde::{Deserialize, Serialize};
use trellis_tensor::{AttentionMask, Init, Var};

use super::{CapturePoint, Pass};
use crate::error::Result;

/// Position of the normalization in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NormOrder {
    /// `x + f(norm(x))`: GPT-2, ViT, PyTorch's `norm_first`.
    Pre,
    /// `norm(x + f(x))`: the first Transformer, PyTorch's default.
    Post,
    /// `n + f(n)` with `n = norm(x)`: the language model of the paper's authors.
    Inside,
}

/// Function between the two linear layers of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// The exact GELU.
    Gelu,
    /// GELU with tanh in place of erf: GPT-2's.
    GeluTanh,
}

/// Names of a block's parts, as in the checkpoints they come from.
pub(super) struct Names {
    /// Attention; its parameters are `{attention}.{weight}` and `{attention}.{bias}`, q, k and v one after the other.
    attention: &'static str,
    weight: &'static str,
    bias: &'static str,
    /// The linear layer after the heads, within attention.
    projection: &'static str,
    /// The linear layers of the feed-forward part.
    linear: [&'static str; 2],
}

/// `torch.nn.TransformerEncoderLayer`.
pub(super) const TORCH: Names = Names {
    attention: "self_attn",
    weight: "in_proj_weight",
    bias: "in_proj_bias",
    projection: "out_proj",
    linear: ["linear1", "linear2"],
};

/// The second attention of `torch.nn.TransformerDecoderLayer`.
const TORCH_CROSS: Names = Names { attention: "multihead_attn", ..TORCH };

/// timm's `vision_transformer.Block`.
pub(super) const TIMM: Names = Names {
    attention: "attn",
    weight: "qkv.weight",
    bias: "qkv.bias",
    projection: "proj",
    linear: ["mlp.fc1", "mlp.fc2"],
};

/// Settings that the blocks of a network have in common.
pub(super) struct Block<'g> {
    pub(super) names: Names,
    /// Positions of a sequence.
    pub(super) time: usize,
    pub(super) heads: usize,
    /// Units between the two linear layers.
    pub(super) hidden: usize,
    pub(super) norm: NormOrder,
    /// ε of its layer norms.
    pub(super) eps: f32,
    /// Function between the two linear layers.
    pub(super) activation: Activation,
    /// Dropout of the outputs of attention and of the feed-forward part, and between the two linear layers.
    pub(super) dropout: f32,
    /// Dropout of attention's probabilities.
    pub(super) attention_dropout: f32,
    /// A second attention, to all positions of the block's input.
    pub(super) cross: bool,
    /// Deviation of normal weights, biases 0; PyTorch's defaults without it.
    pub(super) deviation: Option<f32>,
    pub(super) mask: AttentionMask<'g>,
}

impl<'g> Block<'g> {
    /// Records a block whose parameters are called `name`; `x` is `[batch · time, width]`, and so is the result. As by
    /// the paper's authors, the activations of attentions, norms and linear layers are captured. Where there is a
    /// second attention, so is the block's output (they listened to decoder layers, not to encoder layers).
    pub(super) fn record(&self, pass: &mut Pass<'_, 'g>, layer: &str, name: &str, x: Var<'g>) -> Result<Var<'g>> {
        let input = x;
        let mut parts = 1;
        let mut x =
            self.around(pass, [layer, name], &mut parts, x, |pass, x| self.self_attention(pass, [layer, name], x))?;
        if self.cross {
            x = self.around(pass, [layer, name], &mut parts, x, |pass, x| {
                self.cross_attention(pass, [layer, name], x, input)
            })?;
        }
        x = self.around(pass, [layer, name], &mut parts, x, |pass, x| self.feed_forward(pass, [layer, name], x))?;
        if self.cross {
            self.capture(pass, layer.to_string(), x)?;
        }
        Ok(x)
    }

    /// `part` with its norm and residual; `number` counts the norms.
    fn around<'n>(
        &self,
        pass: &mut Pass<'n, 'g>,
        [layer, name]: [&str; 2],
        number: &mut usize,
        x: Var<'g>,
        part: impl FnOnce(&mut Pass<'n, 'g>, Var<'g>) -> Result<Var<'g>>,
    ) -> Result<Var<'g>> {
        let norm = format!("norm{number}");
        *number += 1;
        let norm = |pass: &mut Pass<'n, 'g>, x| {
            let y = pass.layer_norm(&format!("{name}.{norm}"), x, self.eps)?;
            self.capture(pass, format!("{layer}.{norm}"), y)?;
            Ok(y)
        };
        match self.norm {
            NormOrder::Pre => {
                let normal = norm(pass, x)?;
                let y = part(pass, normal)?;
                Ok(pass.dropout(y, self.dropout)?.add(x)?)
            }
            NormOrder::Post => {
                let y = part(pass, x)?;
                let sum = pass.dropout(y, self.dropout)?.add(x)?;
                norm(pass, sum)
            }
            NormOrder::Inside => {
                let normal = norm(pass, x)?;
                let y = part(pass, normal)?;
                Ok(pass.dropout(y, self.dropout)?.add(normal)?)
            }
        }
    }

    fn self_attention(&self, pass: &mut Pass<'_, 'g>, [layer, name]: [&str; 2], x: Var<'g>) -> Result<Var<'g>> {
        let Names { attention, weight, bias, projection, .. } = self.names;
        let _scope = x.graph().scope(&format!("{name}.{attention}"));
        let width = x.shape().last_axis();
        let w = pass.param(format!("{name}.{attention}.{weight}"), [3 * width, width], self.attention_weights());
        let b = pass.param(format!("{name}.{attention}.{bias}"), [3 * width], Init::Constant(0.0));
        let qkv = pass.product(x, w)?.add(b)?;
        let mask = AttentionMask { dropout: pass.attention_dropout(self.attention_dropout), ..self.mask };
        let heads = self.sequences(qkv)?.self_attention_with(self.heads, mask, pass.attention_options())?;
        let joined = heads.reshape(x.shape())?;
        let y = self.after_heads(pass, &format!("{name}.{attention}.{projection}"), joined)?;
        self.capture(pass, format!("{layer}.{attention}"), y)?;
        Ok(y)
    }

    /// Attention from `x` to every position of `memory`.
    fn cross_attention(
        &self,
        pass: &mut Pass<'_, 'g>,
        [layer, name]: [&str; 2],
        x: Var<'g>,
        memory: Var<'g>,
    ) -> Result<Var<'g>> {
        let Names { attention, weight, bias, projection, .. } = TORCH_CROSS;
        let _scope = x.graph().scope(&format!("{name}.{attention}"));
        let width = x.shape().last_axis();
        let w = pass.param(format!("{name}.{attention}.{weight}"), [3 * width, width], self.attention_weights());
        let b = pass.param(format!("{name}.{attention}.{bias}"), [3 * width], Init::Constant(0.0));
        let part = |source: Var<'g>, number: usize| {
            let weight = w.slice(0, number * width, width)?;
            let z = pass.product(source, weight)?.add(b.slice(0, number * width, width)?)?;
            self.sequences(z)
        };
        let (q, k, v) = (part(x, 0)?, part(memory, 1)?, part(memory, 2)?);
        let dropout = pass.attention_dropout(self.attention_dropout);
        let mask = AttentionMask { causal: false, dropout, ..self.mask };
        let joined = q.attention_with(k, v, self.heads, mask, pass.attention_options())?.reshape(x.shape())?;
        let y = self.after_heads(pass, &format!("{name}.{attention}.{projection}"), joined)?;
        self.capture(pass, format!("{layer}.{attention}"), y)?;
        Ok(y)
    }

    /// PyTorch draws what comes before the heads by Xavier's rule.
    fn attention_weights(&self) -> Init {
        self.deviation.map_or(Init::XavierUniform(1.0), Init::Normal)
    }

    /// The linear layer after the heads. Its bias begins at 0 in PyTorch too.
    fn after_heads(&self, pass: &mut Pass<'_, 'g>, name: &str, x: Var<'g>) -> Result<Var<'g>> {
        let width = x.shape().last_axis();
        let init = self.deviation.map_or(Init::Default, Init::Normal);
        let w = pass.param(format!("{name}.weight"), [width, width], init);
        let b = pass.param(format!("{name}.bias"), [width], Init::Constant(0.0));
        Ok(pass.product(x, w)?.add(b)?)
    }

    fn feed_forward(&self, pass: &mut Pass<'_, 'g>, [layer, name]: [&str; 2], x: Var<'g>) -> Result<Var<'g>> {
        let [first, second] = self.names.linear;
        let z = pass.linear_drawn(&format!("{name}.{first}"), x, self.hidden, self.deviation)?;
        let active = match self.activation {
            Activation::Relu => z.relu()?,
            Activation::Gelu => z.gelu()?,
            Activation::GeluTanh => z.gelu_tanh()?,
        };
        let captured = if pass.capture_point() == CapturePoint::BeforeNorm { z } else { active };
        self.capture(pass, format!("{layer}.{first}"), captured)?;
        let dropped = pass.dropout(active, self.dropout)?;
        let width = x.shape().last_axis();
        let y = pass.linear_drawn(&format!("{name}.{second}"), dropped, width, self.deviation)?;
        self.capture(pass, format!("{layer}.{second}"), y)?;
        Ok(y)
    }

    /// `[batch · time, columns]` as `[batch, time, columns]`.
    pub(super) fn sequences(&self, x: Var<'g>) -> Result<Var<'g>> {
        let shape = x.shape();
        Ok(x.reshape([shape[0] / self.time, self.time, shape.last_axis()])?)
    }

    fn capture(&self, pass: &mut Pass<'_, 'g>, name: String, x: Var<'g>) -> Result<()> {
        let value = self.sequences(x)?;
        pass.capture(&name, value);
        Ok(())
    }
}

impl<'g> Pass<'_, 'g> {
    /// Normalizes the last axis; parameters are `name.weight` and `name.bias`.
    ///
    /// # Errors
    /// When `x` has no last axis.
    pub fn layer_norm(&mut self, name: &str, x: Var<'g>, eps: f32) -> Result<Var<'g>> {
        let _scope = x.graph().scope(name);
        let width = x.shape().last_axis();
        let gamma = self.param(format!("{name}.weight"), [width], Init::Constant(1.0));
        let beta = self.param(format!("{name}.bias"), [width], Init::Constant(0.0));
        Ok(x.layer_norm(gamma, beta, eps)?)
    }

    /// [`Pass::linear`] with a bias: weights are normal with this deviation and the bias is 0, or both are PyTorch's.
    pub(super) fn linear_drawn(
        &mut self,
        name: &str,
        x: Var<'g>,
        out: usize,
        deviation: Option<f32>,
    ) -> Result<Var<'g>> {
        let Some(deviation) = deviation else { return self.linear(name, x, out, true, Init::Default) };
        let _scope = x.graph().scope(name);
        let w = self.param(format!("{name}.weight"), [out, x.shape().last_axis()], Init::Normal(deviation));
        let b = self.param(format!("{name}.bias"), [out], Init::Constant(0.0));
        Ok(self.product(x, w)?.add(b)?)
    }
}
