//! How bright images are: what networks see them normalised by.

use super::{Skipped, Source};
use crate::error::{Error, Result};

/// Sums over pixels, whole numbers: they do not depend on the order of the images.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Brightness {
    sum: u64,
    squares: u64,
    count: u64,
}

/// Most images of a source that are looked at.
const SAMPLED: usize = 10_000;

/// Bytes of those that are in memory at once.
const AT_ONCE: usize = 64 << 20;

impl Brightness {
    /// Of up to 10,000 images, evenly spaced; those that cannot be read are noted in `skipped`, or, without, an error.
    pub(crate) fn of(source: &dyn Source, skipped: Option<&Skipped>) -> Result<Self> {
        let (count, sampled) = (source.count(), source.count().min(SAMPLED));
        let indices: Vec<usize> = (0..sampled).map(|i| (i as u64 * count as u64 / sampled as u64) as usize).collect();
        let features = source.shape().iter().fold(1_usize, |product, &size| product.saturating_mul(size));
        let mut brightness = Self::default();
        for indices in indices.chunks((AT_ONCE / features.max(1)).max(1)) {
            brightness.add(&source.read_some(indices)?.keep(skipped)?.pixels);
        }
        if brightness.count == 0 {
            return Err(Error::data(source.name(), "holds no image that can be read", "give it some"));
        }
        Ok(brightness)
    }

    pub(crate) fn add(&mut self, pixels: &[u8]) {
        for &pixel in pixels {
            self.sum += u64::from(pixel);
            self.squares += u64::from(pixel) * u64::from(pixel);
        }
        self.count += pixels.len() as u64;
    }

    /// Mean and standard deviation in units of full brightness. For dividing by it without a case apart, that of constant
    /// images, or of none, is 1.
    pub(crate) fn mean_std(&self) -> (f32, f32) {
        if self.count == 0 {
            return (0.0, 1.0);
        }
        let mean = self.sum as f64 / self.count as f64;
        let variance = self.squares as f64 / self.count as f64 - mean * mean;
        let std = if variance > 0.0 { variance.sqrt() / 255.0 } else { 1.0 };
        ((mean / 255.0) as f32, std as f32)
    }
}
