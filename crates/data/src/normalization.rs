//! Units in which networks see brightness.

use serde::{Deserialize, Serialize};

/// Mean and standard deviation of brightness, over all pixels and channels of training images, in units of full brightness (a
/// byte / 255). Networks see `(brightness − mean) / deviation`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Normalization {
    /// Mean, 0 to 1.
    pub mean: f32,
    /// Standard deviation, above 0.
    pub deviation: f32,
}

impl Normalization {
    /// Factor of a byte.
    pub fn scale(self) -> f32 {
        1.0 / (255.0 * self.deviation)
    }

    /// Normalized value of a black pixel.
    pub fn shift(self) -> f32 {
        -self.mean / self.deviation
    }
}
