//! Matching of Gram matrices without centering: plain rivals of CKA.

use std::fmt;

use trellis_tensor::Var;
use trellis_tensor::ops::Similarity;

use super::TINY;
use crate::error::Result;

/// Match of the Gram matrices K, L of two layers `[n, …]`, as they are: not centered, so that an offset of all examples counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GramMatch {
    /// `<K, L> / (|K| |L|)`, the alignment of kernels (Cristianini et al. 2001), which CKA centers.
    Cosine,
    /// `1 − |K′ − L′|² / n²`, where each row of K′ and L′ has length 1: similarity-preserving distillation (Tung and Mori 2019,
    /// arXiv:1907.09682, equations 1 to 4). The loss is at most 4 / n, so its weight is large: they use up to 3000.
    L2,
}

impl GramMatch {
    /// The Gram matrix `[n, n]` of activations `[n, …]` as it is compared.
    pub(super) fn gram(self, x: Var<'_>) -> Result<Var<'_>> {
        let gram = x.flatten()?.gram()?;
        Ok(if self == Self::L2 { gram.l2_normalize(false)? } else { gram })
    }

    /// The match of two matrices from [`GramMatch::gram`].
    pub(super) fn compare<'g>(self, k: Var<'g>, l: Var<'g>) -> Result<Similarity<'g>> {
        let product = |a: Var<'g>, b: Var<'g>| -> Result<Var<'g>> { Ok(a.mul(b)?.sum_all()?) };
        let value = match self {
            Self::Cosine => {
                let [along, own, other] = [(k, l), (k, k), (l, l)].map(|(a, b)| product(a, b));
                // Two roots: the product of two sums of fourth powers may be beyond what f32 holds.
                let lengths = own?.sqrt()?.mul(other?.sqrt()?)?;
                along?.div(lengths.affine(1.0, TINY)?)?
            }
            Self::L2 => {
                let rest = k.sub(l)?;
                rest.mul(rest)?.mean_all()?.affine(-1.0, 1.0)?
            }
        };
        Ok(Similarity { value, stats: value, each: value })
    }
}

/// As in "cosine of Gram matrices".
impl fmt::Display for GramMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine of Gram matrices",
            Self::L2 => "squared distance of Gram matrices",
        })
    }
}
