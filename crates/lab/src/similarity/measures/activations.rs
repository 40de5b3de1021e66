//! Activations of one layer on the CPU, and their Gram matrices.

use trellis_data::Place;

use super::products::{dot, parallel};
use trellis_guidance::{Error, Result};

/// Activations of one layer for a number of examples, `[examples, features]`.
#[derive(Clone, Debug)]
pub struct Activations {
    name: String,
    examples: usize,
    features: usize,
    values: Vec<f32>,
}

/// Share of the mean square that is left when the mean is subtracted from numbers that are equal but for rounding of f32.
const ROUNDING: f64 = 1e-13;

/// Features that are centered and multiplied at a time.
const BLOCK: usize = 512;

/// The error of a layer that cannot be compared.
pub(super) fn refused(layer: &str, problem: impl Into<String>, hint: &str) -> Error {
    Error::config(Place::setting("similarity"), layer, problem, hint)
}

impl Activations {
    /// Activations of the layer `name`: a row for each of `examples`, one after the other.
    ///
    /// # Errors
    /// [`Error::Config`] unless there are as many numbers in each row, at least one, and all are finite.
    pub fn new(name: impl Into<String>, examples: usize, values: Vec<f32>) -> Result<Self> {
        let name = name.into();
        if examples == 0 || values.is_empty() || !values.len().is_multiple_of(examples) {
            let problem = format!("{} numbers are not rows of {examples} examples", values.len());
            return Err(refused(&name, problem, "give [examples, features], row after row"));
        }
        let features = values.len() / examples;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let problem = format!("feature {} of example {} is {}", at % features, at / features, values[at]);
            return Err(refused(&name, problem, "compare networks that have not diverged"));
        }
        Ok(Self { name, examples, features, values })
    }

    /// Name of the layer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of examples.
    pub fn examples(&self) -> usize {
        self.examples
    }

    /// Number of features of an example.
    pub fn features(&self) -> usize {
        self.features
    }

    /// True if it is the same for every example, up to rounding of f32. Such a layer is like no other: each measure refuses it.
    pub fn is_constant(&self) -> bool {
        let first = &self.values[..self.features];
        if self.values.chunks(self.features).all(|row| row == first) {
            return true;
        }
        let squares: f64 = self.values.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
        let n = self.examples as f64;
        let sums = self.sums();
        let common: f64 = sums.iter().map(|sum| sum * sum / n).sum();
        squares - common <= ROUNDING * squares
    }

    /// Sum of each feature.
    fn sums(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.features];
        for row in self.values.chunks(self.features) {
            sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        sums
    }

    /// The matrix `Xc Xcᵀ`, `[n, n]`, of features less their means.
    pub(super) fn centered_gram(&self) -> Vec<f64> {
        let n = self.examples as f64;
        let means: Vec<f64> = self.sums().into_iter().map(|sum| sum / n).collect();
        self.gram(|_, feature, value| value - means[feature])
    }

    /// Cosines between examples, `[n, n]`; 0 for an example whose features are all 0.
    pub(super) fn cosines(&self) -> Vec<f64> {
        let length = |row: &[f32]| row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
        let lengths: Vec<f64> = self.values.chunks(self.features).map(length).collect();
        self.gram(|example, _, value| if lengths[example] > 0.0 { value / lengths[example] } else { 0.0 })
    }

    /// Products of all pairs of examples, `[n, n]`, of numbers `change(example, feature, value)`. Each is summed in the same order
    /// whatever the number of processors.
    fn gram(&self, change: impl Fn(usize, usize, f64) -> f64 + Sync) -> Vec<f64> {
        let n = self.examples;
        let mut gram = vec![0.0; n * n];
        for first in (0..self.features).step_by(BLOCK) {
            let features = first..self.features.min(first + BLOCK);
            let changed = |(example, row): (usize, &[f32])| {
                let numbers = features.clone().zip(&row[features.clone()]);
                numbers.map(|(feature, &value)| change(example, feature, f64::from(value))).collect::<Vec<_>>()
            };
            let block: Vec<Vec<f64>> = self.values.chunks(self.features).enumerate().map(changed).collect();
            let rows = parallel(n, |i| block[..=i].iter().map(|other| dot(&block[i], other)).collect::<Vec<_>>());
            for (i, row) in rows.into_iter().enumerate() {
                gram[i * n..].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        }
        for i in 0..n {
            (0..i).for_each(|j| gram[j * n + i] = gram[i * n + j]);
        }
        gram
    }
}
