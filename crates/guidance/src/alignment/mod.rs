//! Similarity of two layers over the same examples, as a loss.

mod all_pairs;
pub(crate) mod gram_match;
pub(crate) mod layer_map;
mod loss;
pub(crate) mod measure;
pub(crate) mod metric;
pub(crate) mod schedule;

pub(crate) use layer_map::LayerMap;
pub use loss::{Alignment, GuideSide, Pair};
pub(crate) use metric::{Cka, Metric};
pub(crate) use schedule::GuideSchedule;
pub use schedule::Progress;

/// Keeps the Gram matrix of a layer that is constant, or of zeros, at 0 where it is divided by its size.
const TINY: f32 = 1e-37;
