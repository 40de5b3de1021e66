//! Measures of similarity: their settings, their Gram matrices, their values.

use std::fmt;
use std::sync::Arc;

use trellis_data::Place;
use trellis_tensor::ops::{Centering, Similarity};
use trellis_tensor::{CkaForm, CkaSizes, Layout, Var};

use super::TINY;
use super::gram_match::GramMatch;
use super::measure::{self, Measure};
use crate::error::{Error, Result};

/// A measure of how alike two layers see the same examples: 1 for equal geometry (near 1 for ridge regression), about 0
/// for none in common. Biased CKA, the paper's, stays above 0 even then: near 1 where layers are much wider than the batch.
///
/// Formulas, gradients and sources: `docs/alignment.md`.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    /// Centered kernel alignment.
    Cka(Cka),
    /// Representational similarity analysis.
    Rsa(Rsa),
    /// Kernel ridge regression.
    Ridge(Ridge),
    /// A match of Gram matrices that are not centered.
    Grams(GramMatch),
    /// A measure that is defined outside this crate.
    Own(Arc<dyn Measure>),
}

/// Centered kernel alignment (Kornblith et al. 2019, arXiv:1905.00414), linear and biased in the paper.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cka {
    /// Width of a Gaussian kernel as a fraction of the median distance; `None` for the linear kernel.
    bandwidth: Option<f32>,
    debiased: bool,
    tokens: Tokens,
}

/// Treatment of the time steps of sequences `[batch, time, features]` in a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tokens {
    /// Time is more features: one comparison of `[batch, time · features]`.
    #[default]
    Flattened,
    /// Each time step of one layer with the same one of the other; the measure is the mean over time steps. The paper's
    /// `token_sim` is their sum; the mean stays at most 1 and does not pull harder on longer sequences. Both layers need as
    /// many time steps. They are read where they lie, in as many dispatches as one comparison, but for one.
    PerTimestep,
}

/// Representational similarity analysis (Kriegeskorte et al. 2008): the Pearson correlation, over all pairs of
/// examples, of how alike the two layers find them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rsa {
    /// Pairs are compared by the cosine of their activations: the paper's choice.
    Cosine,
    /// By the correlation of their activations: the choice of neuroscience.
    Pearson,
}

/// Kernel ridge regression: how well the first layer explains the second. The share of variance that is left is
/// `|λ (K + λ I)⁻¹ Yc|² / |Yc|²` with `K = Xc Xcᵀ` scaled to a mean diagonal of 1, and the measure is 1 minus that. In
/// [0, 1); not symmetric. The paper reports ridge regression as its best measure (arXiv:2410.20035, v2). Its authors
/// fit on one half of the batch and test on the other. This one fits and tests on the same examples and has no split
/// to draw.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ridge {
    lambda: f32,
}

impl Ridge {
    /// With this λ, in units of the mean squared length of an example's activations; 0.1 is a usual one.
    pub fn new(lambda: f32) -> Self {
        Self { lambda }
    }

    /// With W = (K + λ I)⁻¹ the share that is left is λ² tr(W² L) / tr L. Its gradient through W has no terms that cancel,
    /// as those of the share explained, tr(K W (I + λ W) L), would.
    fn compare<'g>(self, k: Var<'g>, l: Var<'g>) -> Result<Similarity<'g>> {
        let inverse = k.ridge_inverse(self.lambda)?;
        let scale = self.lambda * self.lambda / k.shape()[0] as f32;
        let left = inverse.matmul(inverse, Layout::NN)?.mul(l)?.sum_all()?.affine(scale, 0.0)?;
        // tr L / n: 1, but 0 for a constant layer.
        let squares = l.mul(l)?.sum_all()?;
        let value = squares.div(squares.affine(1.0, TINY)?)?.sub(left)?;
        Ok(Similarity { value, stats: value, each: value })
    }
}

impl Cka {
    /// Linear CKA, biased: `<K, L> / (|K| |L|)` of the centered Gram matrices. Columns are centered before the product, so
    /// a common offset of the activations costs no digits; a constant layer gives 0 and no gradient.
    pub fn linear() -> Self {
        Self { bandwidth: None, debiased: false, tokens: Tokens::Flattened }
    }

    /// CKA of Gaussian kernels with σ = `fraction` · median distance between examples of the batch. The width takes no
    /// gradient. On software adapters batches of at most 2,560.
    pub fn rbf(fraction: f32) -> Self {
        Self { bandwidth: Some(fraction), ..Self::linear() }
    }

    /// The estimator that is 0 on average for independent layers however wide they are (Song et al. 2012; Nguyen et
    /// al. 2021, arXiv:2010.15327). Needs batches of at least 4.
    pub fn debiased(self) -> Self {
        Self { debiased: true, ..self }
    }

    /// Sets how sequences are compared; flattened, unless this is called.
    pub fn tokens(self, tokens: Tokens) -> Self {
        Self { tokens, ..self }
    }

    /// True if time steps are compared one by one, see [`Tokens::PerTimestep`].
    pub fn is_of_time_steps(self) -> bool {
        self.tokens == Tokens::PerTimestep
    }
}

/// As in "linear CKA (debiased)".
impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cka(Cka { bandwidth, debiased, tokens }) => {
                match bandwidth {
                    None => f.write_str("linear CKA")?,
                    Some(fraction) => write!(f, "RBF CKA with σ = {fraction} of the median distance")?,
                }
                f.write_str(if *debiased { " (debiased)" } else { "" })?;
                f.write_str(if *tokens == Tokens::PerTimestep { " of each time step" } else { "" })
            }
            Self::Rsa(Rsa::Cosine) => f.write_str("RSA of cosine similarities"),
            Self::Rsa(Rsa::Pearson) => f.write_str("RSA of correlations"),
            Self::Ridge(Ridge { lambda }) => write!(f, "kernel ridge regression with λ = {lambda}"),
            Self::Grams(grams) => grams.fmt(f),
            Self::Own(measure) => f.write_str(&measure.describe()),
        }
    }
}

impl From<Cka> for Metric {
    fn from(cka: Cka) -> Self {
        Self::Cka(cka)
    }
}

impl From<Rsa> for Metric {
    fn from(rsa: Rsa) -> Self {
        Self::Rsa(rsa)
    }
}

impl From<Ridge> for Metric {
    fn from(ridge: Ridge) -> Self {
        Self::Ridge(ridge)
    }
}

impl From<GramMatch> for Metric {
    fn from(grams: GramMatch) -> Self {
        Self::Grams(grams)
    }
}

impl<M: Measure + 'static> From<M> for Metric {
    fn from(measure: M) -> Self {
        Self::Own(Arc::new(measure))
    }
}

impl Metric {
    /// Fewest examples between which the measure tells anything. Of two examples any centered Gram matrix is a multiple of the
    /// same one: biased CKA is then always 1, and ridge regression a constant of λ. RSA correlates the pairs of examples and has a
    /// single pair of two. The debiased estimator divides by `n (n − 3)`.
    pub fn least_examples(&self) -> usize {
        match self {
            Self::Cka(Cka { debiased: true, .. }) => 4,
            Self::Cka(_) | Self::Rsa(_) | Self::Ridge(_) => 3,
            Self::Grams(_) => 2,
            Self::Own(measure) => measure.least_examples(),
        }
    }

    /// True for biased linear CKA of whole layers, which has a form by features.
    pub(crate) fn is_linear_cka(&self) -> bool {
        matches!(self, Self::Cka(cka) if *cka == Cka::linear())
    }

    /// Error of a measure that has no Gram matrix.
    pub(super) fn no_gram(&self, hint: &str) -> Error {
        let problem = format!("{self} compares activations and has no Gram matrix");
        Error::config(Place::setting("alignment"), "metric", problem, hint)
    }

    fn check_examples(&self, x: Var<'_>) -> Result<()> {
        let (given, least) = (x.shape().first().copied().unwrap_or(0), self.least_examples());
        if given >= least {
            return Ok(());
        }
        let problem = format!("{given} examples are too few: {self} compares at least {least}");
        Err(Error::config(
            Place::setting("alignment"),
            "batch",
            problem,
            "make the batch, or the split that is evaluated, larger",
        ))
    }

    /// The centered Gram matrix `[n, n]` of one layer's activations `[n, …]`, as this measure compares it. With
    /// [`Tokens::PerTimestep`] it is `[time, n, n]` of `[n, time, features]`.
    ///
    /// # Errors
    /// When the batch is too small or too large for the measure, the layer has no time steps, or the measure is [`Metric::Own`]:
    /// one that compares activations has no Gram matrix.
    pub fn gram<'g>(&self, x: Var<'g>) -> Result<Var<'g>> {
        self.check_examples(x)?;
        match self {
            Self::Cka(cka) if cka.is_of_time_steps() => self.finish(x.centered_token_grams()?),
            Self::Ridge(_) => {
                // tr K = Σ Xc².
                let centered = x.center()?;
                let size = centered.mul(centered)?.sum_all()?.affine(1.0 / x.shape()[0] as f32, TINY)?;
                Ok(centered.gram()?.div(size)?)
            }
            Self::Cka(_) | Self::Rsa(_) => self.finish(self.features(x)?.gram()?),
            Self::Grams(grams) => grams.gram(x),
            Self::Own(_) => Err(self.no_gram("draw random batches: fixed ones look up Gram matrices of the guide")),
        }
    }

    /// [`Metric::gram`] of several layers at once, `[layers, n, n]`; of few enough features.
    pub(crate) fn grams<'g>(&self, layers: &[Var<'g>]) -> Result<Var<'g>> {
        layers.iter().try_for_each(|&layer| self.check_examples(layer))?;
        self.finish(match self {
            Self::Rsa(_) => {
                let features = layers.iter().map(|&layer| self.features(layer)).collect::<Result<Vec<_>>>()?;
                Var::layer_grams(&features)?
            }
            Self::Cka(_) | Self::Ridge(_) => Var::centered_layer_grams(layers)?,
            Self::Grams(_) | Self::Own(_) => return Err(self.no_gram("compare pair by pair")),
        })
    }

    /// Features that the Gram matrix is computed from.
    fn features<'g>(&self, x: Var<'g>) -> Result<Var<'g>> {
        Ok(match self {
            Self::Rsa(rsa) => x.l2_normalize(*rsa == Rsa::Pearson)?,
            _ => x.center()?,
        })
    }

    /// Makes the products of features comparable: kernel and centering, as the measure needs.
    fn finish<'g>(&self, gram: Var<'g>) -> Result<Var<'g>> {
        Ok(match self {
            Self::Cka(Cka { bandwidth: None, debiased: false, .. }) => gram,
            Self::Cka(Cka { bandwidth: Some(fraction), .. }) => {
                gram.rbf_kernel(gram.median_variance(*fraction)?)?.center_gram(self.centering())?
            }
            _ => gram.center_gram(self.centering())?,
        })
    }

    /// Centering of the measure's Gram matrices.
    fn centering(&self) -> Centering {
        match self {
            Self::Cka(Cka { debiased: false, .. }) => Centering::Double,
            Self::Cka(Cka { debiased: true, .. }) => Centering::Unbiased,
            Self::Rsa(_) => Centering::OffDiagonal,
            Self::Ridge(_) | Self::Grams(_) | Self::Own(_) => Centering::Double,
        }
    }

    /// True if its Gram matrices have rows and columns that sum to 0 and nothing else to keep: a rotation that leaves the vector of ones
    /// as it is leaves them so.
    pub(crate) fn is_doubly_centered(&self) -> bool {
        matches!(self, Self::Cka(Cka { debiased: false, .. }) | Self::Ridge(_))
    }

    /// True if the measure is blind to an offset common to all examples.
    pub(crate) fn ignores_offset(&self) -> bool {
        match self {
            Self::Rsa(_) | Self::Grams(_) => false,
            Self::Cka(_) | Self::Ridge(_) => true,
            Self::Own(measure) => measure.ignores_offset(),
        }
    }

    /// True if the measure is blind to the scale of a layer, its gradient included. The gradient of an RBF kernel
    /// treats the width as a constant.
    pub(crate) fn ignores_scale(&self) -> bool {
        match self {
            Self::Cka(cka) => cka.bandwidth.is_none(),
            Self::Rsa(_) | Self::Ridge(_) | Self::Grams(_) => true,
            Self::Own(measure) => measure.ignores_scale(),
        }
    }

    /// Records the measure of two layers `[n, …]` and `[n, …]` of the same examples. Linear CKA takes the form that
    /// [`CkaForm::choose`] finds cheaper.
    ///
    /// # Errors
    /// When they differ in batch size, or it is too small or too large for the measure.
    pub fn compare<'g>(&self, x: Var<'g>, y: Var<'g>) -> Result<Similarity<'g>> {
        self.compare_layers(x, y, false)
    }

    /// [`Metric::compare`] for a loss, or for a report.
    pub(super) fn compare_layers<'g>(&self, x: Var<'g>, y: Var<'g>, gradient: bool) -> Result<Similarity<'g>> {
        self.check_examples(x)?;
        if let Self::Own(measure) = self {
            return measure::checked(&**measure, x, y);
        }
        if self.is_linear_cka() {
            let (x, y) = (x.flatten()?, y.flatten()?);
            let sizes = CkaSizes { n: x.shape()[0], p: x.shape()[1], q: y.shape()[1], gradient };
            if CkaForm::choose(sizes) == CkaForm::Features {
                return Ok(Var::cka_by_features(x, y)?);
            }
        }
        self.compare_grams(self.gram(x)?, self.gram(y)?)
    }

    /// [`Metric::compare`] of Gram matrices that [`Metric::gram`] has made, here or elsewhere.
    pub(super) fn compare_grams<'g>(&self, k: Var<'g>, l: Var<'g>) -> Result<Similarity<'g>> {
        match self {
            Self::Ridge(ridge) => ridge.compare(k, l),
            Self::Grams(grams) => grams.compare(k, l),
            _ => Ok(Var::cka_of_centered(k, l, self.centering())?),
        }
    }
}
