//! Measures of similarity for reports, and layers that are prepared for one of them.

use std::f64::consts::FRAC_2_PI;
use std::fmt;

use super::activations::{Activations, refused};
use super::neighbors::Neighbors;
use super::products::{dot, parallel};
use super::spectrum::{Eigen, singular_values, symmetric};
use trellis_guidance::Result;

/// Measure of how alike two layers see the same examples, computed on the CPU in f64: 1 for equal geometry. It has no gradient;
/// [`Metric`](trellis_guidance::Metric) has those that train.
///
/// Formulas, costs and sources: `docs/alignment.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimilarityMeasure {
    /// Linear CKA, biased: `<K, L> / (|K| |L|)` of centered Gram matrices (Kornblith et al. 2019, arXiv:1905.00414).
    Cka,
    /// Linear CKA of the unbiased estimator (Song et al. 2012; Nguyen et al. 2021, arXiv:2010.15327).
    DebiasedCka,
    /// Share of the 10 nearest neighbors by cosine that an example has in both layers (Huh et al. 2024, arXiv:2405.07987).
    MutualKnn,
    /// `1 − 2 θ / π` of the angle `θ = arccos(|XcᵀYc|_* / (|Xc| |Yc|))` that is left after the best rotation (Williams et al. 2021,
    /// arXiv:2110.14739; `θ` is the distance of their package `netrep`).
    Procrustes,
    /// Mean canonical correlation of the principal components that hold 99 % of either layer's variance (Raghu et al. 2017,
    /// arXiv:1706.05806).
    Svcca,
}

/// Neighbors of an example that [`SimilarityMeasure::MutualKnn`] looks at: as many as Huh et al. do.
pub(super) const NEIGHBORS: usize = 10;

/// Share of the variance that [`SimilarityMeasure::Svcca`] keeps.
const KEPT: f64 = 0.99;

impl fmt::Display for SimilarityMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cka => f.write_str("linear CKA"),
            Self::DebiasedCka => f.write_str("linear CKA (debiased)"),
            Self::MutualKnn => write!(f, "mutual {NEIGHBORS} nearest neighbors"),
            Self::Procrustes => f.write_str("angular Procrustes similarity"),
            Self::Svcca => write!(f, "SVCCA of {:.0} % of the variance", 100.0 * KEPT),
        }
    }
}

/// A layer as one measure compares it. Its size depends on the number of examples alone.
#[derive(Clone, Debug)]
pub struct PreparedLayer {
    name: String,
    measure: SimilarityMeasure,
    examples: usize,
    form: Form,
    /// Examples of which some neighbors are as near as others that were not taken.
    ties: usize,
}

#[derive(Clone, Debug)]
enum Form {
    /// Lower half of a Gram matrix of length 1, row after row, with the diagonal. Other numbers stand for two and are multiplied by
    /// √2, so that sums over the half are sums over the whole.
    Gram(Vec<f64>),
    Neighbors(Neighbors),
    /// Columns of length n, one after the other, which span the layer: `[rank, n]`.
    Columns(Vec<f64>),
}

impl SimilarityMeasure {
    /// Fewest examples between which the measure can tell anything.
    pub fn least_examples(self) -> usize {
        match self {
            Self::Cka | Self::Procrustes | Self::Svcca => 3,
            Self::DebiasedCka => 4,
            // With one more than the neighbors, all others are neighbors.
            Self::MutualKnn => NEIGHBORS + 2,
        }
    }

    /// Similarity of two layers over the same examples.
    ///
    /// # Errors
    /// As [`SimilarityMeasure::prepare`]; when the numbers of examples differ.
    pub fn compare(self, x: &Activations, y: &Activations) -> Result<f64> {
        self.prepare(x)?.compare(&self.prepare(y)?)
    }

    /// Prepares a layer to be compared. Cost: n² p FLOPs, and 9 n³ for Procrustes and SVCCA.
    ///
    /// # Errors
    /// [`Error::Config`](trellis_guidance::Error::Config) for a layer that is the same for every example, or of too few examples.
    pub fn prepare(self, layer: &Activations) -> Result<PreparedLayer> {
        let (n, least) = (layer.examples(), self.least_examples());
        if n < least {
            let problem = format!("{n} examples are too few: {self} compares at least {least}");
            return Err(refused(layer.name(), problem, "compare more examples"));
        }
        if layer.is_constant() {
            return Err(refused(
                layer.name(),
                "is the same for every example",
                "leave it out: it is like no other layer",
            ));
        }
        let mut ties = 0;
        let form = match self {
            Self::Cka => Form::Gram(packed(&layer.centered_gram(), n)),
            Self::DebiasedCka => {
                let mut gram = layer.centered_gram();
                center_off_diagonal(&mut gram, n);
                Form::Gram(packed(&gram, n))
            }
            Self::MutualKnn => {
                let neighbors = Neighbors::nearest(&layer.cosines(), n, NEIGHBORS);
                ties = neighbors.ties();
                Form::Neighbors(neighbors)
            }
            Self::Procrustes | Self::Svcca => {
                let spectrum = symmetric(layer.centered_gram());
                let overflows =
                    || refused(layer.name(), "has numbers too large to multiply", "compare a layer in range");
                Form::Columns(self.columns(&spectrum.ok_or_else(overflows)?, layer.features()))
            }
        };
        if let Form::Gram(gram) = &form
            && !gram.iter().all(|value| value.is_finite())
        {
            return Err(refused(layer.name(), "has examples that differ in no common way", "compare more examples"));
        }
        Ok(PreparedLayer { name: layer.name().to_string(), measure: self, examples: n, form, ties })
    }

    /// Layers prepared side by side on all processors, in order.
    ///
    /// # Errors
    /// As [`SimilarityMeasure::prepare`], of the first that cannot be.
    pub fn prepare_all(self, layers: &[Activations]) -> Result<Vec<PreparedLayer>> {
        parallel(layers.len(), |at| self.prepare(&layers[at])).into_iter().collect()
    }

    /// Columns that span a layer: for SVCCA orthonormal ones, for Procrustes with the layer's Gram matrix, of length 1 in all.
    fn columns(self, Eigen { values, vectors }: &Eigen, features: usize) -> Vec<f64> {
        let n = values.len();
        // Eigenvalues that rounding alone makes. Centered examples span one dimension less.
        let noise = 10.0 * n as f64 * f64::EPSILON * values[0];
        let rank = values.iter().take(features.min(n - 1)).take_while(|value| **value > noise).count();
        let total: f64 = values[..rank].iter().sum();
        let mut kept = 0.0;
        let mut columns = Vec::new();
        for (value, vector) in values[..rank].iter().zip(vectors.chunks(n)) {
            // SVCCA takes as few as hold their share.
            if self == Self::Svcca && kept >= KEPT * total {
                break;
            }
            kept += value;
            let length = if self == Self::Svcca { 1.0 } else { (value / total).sqrt() };
            columns.extend(vector.iter().map(|x| length * x));
        }
        columns
    }
}

/// U-centering (Székely and Rizzo 2014): rows less their means such that the rows of what is off the diagonal sum to 0.
fn center_off_diagonal(gram: &mut [f64], n: usize) {
    (0..n).for_each(|at| gram[at * n + at] = 0.0);
    let sums: Vec<f64> = gram.chunks(n).map(|row| row.iter().sum()).collect();
    let all: f64 = sums.iter().sum();
    let (less_one, less_two) = ((n - 1) as f64, (n - 2) as f64);
    for (i, row) in gram.chunks_mut(n).enumerate() {
        for (j, value) in row.iter_mut().enumerate().filter(|(j, _)| *j != i) {
            *value += all / (less_one * less_two) - (sums[i] + sums[j]) / less_two;
        }
    }
}

/// [`Form::Gram`] of a symmetric matrix.
fn packed(gram: &[f64], n: usize) -> Vec<f64> {
    let twice = 2.0_f64.sqrt();
    let weight = |i: usize, j: usize| if i == j { 1.0 } else { twice };
    let mut half: Vec<f64> =
        (0..n).flat_map(|i| (0..=i).map(move |j| (i, j))).map(|(i, j)| weight(i, j) * gram[i * n + j]).collect();
    // Squares of large numbers would not be finite.
    let largest = half.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    half.iter_mut().for_each(|value| *value /= largest);
    let length = dot(&half, &half).sqrt();
    half.iter_mut().for_each(|value| *value /= length);
    half
}

impl PreparedLayer {
    /// Name of the layer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The measure that it is prepared for.
    pub fn measure(&self) -> SimilarityMeasure {
        self.measure
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// Number of examples whose last neighbor is exactly as near as one that was not taken: of those the first counts. 0 for other
    /// measures than [`SimilarityMeasure::MutualKnn`].
    pub fn ties(&self) -> usize {
        self.ties
    }

    /// Similarity with another layer. Cost: n² FLOPs for CKA, 10 n for neighbors, up to 5 n³ for Procrustes and SVCCA.
    ///
    /// # Errors
    /// [`Error::Config`](trellis_guidance::Error::Config) when the other was prepared for another measure, or has other examples.
    pub fn compare(&self, other: &Self) -> Result<f64> {
        self.goes_with(other)?;
        Ok(self.similarity(other))
    }

    /// Refuses a layer of other examples, or prepared for another measure.
    pub(super) fn goes_with(&self, other: &Self) -> Result<()> {
        if self.examples == other.examples && self.measure == other.measure {
            return Ok(());
        }
        let of = |layer: &Self| format!("{} examples by {}", layer.examples, layer.measure);
        let problem = format!("{} cannot be compared with `{}`: {}", of(self), other.name, of(other));
        Err(refused(&self.name, problem, "prepare both alike, on the same examples"))
    }

    /// [`PreparedLayer::compare`] of layers that go together.
    pub(super) fn similarity(&self, other: &Self) -> f64 {
        match (&self.form, &other.form) {
            (Form::Gram(a), Form::Gram(b)) => dot(a, b),
            (Form::Neighbors(a), Form::Neighbors(b)) => a.shared(b),
            (Form::Columns(a), Form::Columns(b)) => {
                let n = self.examples;
                let products = a.chunks(n).flat_map(|a| b.chunks(n).map(move |b| dot(a, b))).collect();
                let (rows, columns) = (a.len() / n, b.len() / n);
                // All numbers are at most 1, so they converge.
                let sum: f64 = singular_values(products, rows, columns).map_or(f64::NAN, |values| values.iter().sum());
                match self.measure {
                    SimilarityMeasure::Svcca => (sum / rows.min(columns) as f64).min(1.0),
                    _ => 1.0 - FRAC_2_PI * sum.min(1.0).acos(),
                }
            }
            _ => f64::NAN,
        }
    }

    /// The same layer with its examples in another order: example i is what example `order[i]` was.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        let form = match &self.form {
            Form::Gram(half) => {
                let at = |i: usize, j: usize| if i < j { j * (j + 1) / 2 + i } else { i * (i + 1) / 2 + j };
                let row = |(i, &from): (usize, &usize)| order[..=i].iter().map(move |&to| half[at(from, to)]);
                Form::Gram(order.iter().enumerate().flat_map(row).collect())
            }
            Form::Neighbors(neighbors) => Form::Neighbors(neighbors.permuted(order)),
            Form::Columns(columns) => Form::Columns(
                columns.chunks(self.examples).flat_map(|column| order.iter().map(|&at| column[at])).collect(),
            ),
        };
        Self { form, name: self.name.clone(), ..*self }
    }
}
