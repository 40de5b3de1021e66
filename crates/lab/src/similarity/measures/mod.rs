//! Similarity of layers in reports: measures on the CPU in f64, and what chance gives.
//!
//! [`observe`] reads the layers of a network, [`SimilarityMeasure::prepare`] makes of each what does not depend on its width, and
//! [`SimilarityMatrix::measure`] compares all layers of two networks and calibrates each value by [`permutations`] of the examples.
//! [`Predictions::compare`] tells whether two networks are wrong on the same examples. Nothing here trains:
//! [`Metric`](trellis_guidance::Metric) does.

mod activations;
mod chance;
mod measure;
mod neighbors;
mod observe;
mod predictions;
mod products;
mod spectrum;

pub use activations::Activations;
pub use chance::{Calibrated, MostSimilar, SimilarityMatrix, permutations};
pub use measure::{PreparedLayer, SimilarityMeasure};
pub use observe::observe;
pub use predictions::{Agreement, Predictions};
