//! Attention: the calls that record it.

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::ops::attention::attention::Attention;
use crate::ops::attention::form::AttentionForm;
use crate::ops::attention::mask::{AttentionMask, KeyMask};

/// Choices that leave an attention's meaning as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttentionOptions {
    /// Form of the kernels, to measure it. `None` is the usual choice, and so is a form that the adapter cannot run.
    pub form: Option<AttentionForm>,
    /// Products may round their sides to f16, with sums of f32, as in mixed precision: they do on matrix units.
    pub half: bool,
}

impl<'g> Var<'g> {
    /// Multi-head attention `softmax(q kᵀ / √d) v`; `self` is q. Shapes: q `[batch, queries, heads · d]`, k and v
    /// `[batch, keys, heads · d]`, f32, to the shape of q; d is at most 128. A query that sees no key gets 0.
    ///
    /// No matrix of queries and keys is stored, except on hardware for the gradient. There two of them are, 256 MiB at most for a
    /// few heads at a time ([`AttentionForm`]).
    ///
    /// *Source:* Vaswani et al. 2017, arXiv:1706.03762, section 3.2; Dao et al. 2022, arXiv:2205.14135.
    ///
    /// # Errors
    /// [`Error::Shape`] when the types are not these, or the mask's are not those of [`KeyMask`] and
    /// [`AttentionDropout`](crate::AttentionDropout).
    pub fn attention(self, k: Var<'g>, v: Var<'g>, heads: usize, mask: AttentionMask<'g>) -> Result<Var<'g>> {
        self.attention_with(k, v, heads, mask, AttentionOptions::default())
    }

    /// [`Var::attention`] with options. Errors as there.
    pub fn attention_with(
        self,
        k: Var<'g>,
        v: Var<'g>,
        heads: usize,
        mask: AttentionMask<'g>,
        options: AttentionOptions,
    ) -> Result<Var<'g>> {
        attend(&[self, k, v], self.shape().to_vec(), heads, mask, options)
    }

    /// [`Var::attention`] of a tensor to itself: q, k and v are columns of it, `[batch, time, 3 · heads · d]` to
    /// `[batch, time, heads · d]`. Nothing is copied. Errors as there.
    pub fn self_attention(self, heads: usize, mask: AttentionMask<'g>) -> Result<Var<'g>> {
        self.self_attention_with(heads, mask, AttentionOptions::default())
    }

    /// [`Var::self_attention`] with options. Errors as there.
    pub fn self_attention_with(
        self,
        heads: usize,
        mask: AttentionMask<'g>,
        options: AttentionOptions,
    ) -> Result<Var<'g>> {
        let mut shape = self.shape().to_vec();
        if let Some(columns) = shape.last_mut() {
            *columns /= 3;
        }
        attend(&[self], shape, heads, mask, options)
    }
}

fn attend<'g>(
    sources: &[Var<'g>],
    shape: Vec<usize>,
    heads: usize,
    mask: AttentionMask<'g>,
    options: AttentionOptions,
) -> Result<Var<'g>> {
    let (keys, ids) = KeyMask::parts(mask.keys);
    let graph = sources[0].graph();
    let pairs = mask.dropout.map_or(Ok(None), |dropout| dropout.pairs());
    let dropout = pairs.map_err(|problem| Error::Shape { op: "attention", layer: graph.layer(), problem })?;
    let step_state = mask.dropout.filter(|_| dropout.is_some()).map(|dropout| dropout.step_state);
    let AttentionOptions { form, half } = options;
    let op = Attention { heads, causal: mask.causal, packed: sources.len() == 1, keys, dropout, form, half };
    let inputs: Vec<Var<'g>> = sources.iter().copied().chain(ids).chain(step_state).collect();
    let y = graph.push(op, &inputs)?;
    y.slice(0, 0, shape.iter().product())?.reshape(shape)
}
