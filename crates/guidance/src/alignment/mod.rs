//! Similarity of two layers over the same examples, as a loss.

mod layer_map;
mod layer_matrix;
mod loss;
mod measure;
mod metric;
mod schedule;

pub use layer_map::LayerMap;
pub use layer_matrix::LayerMatrix;
pub use loss::{Alignment, GuideSide, Pair};
pub use measure::Measure;
pub use metric::{Cka, Metric, Ridge, Rsa, Tokens};
pub use schedule::{GuideSchedule, Progress};
