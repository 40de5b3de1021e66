//! Some images of a source: how bright they are, which networks see them normalized by, and a checksum.

use crate::Normalization;
use crate::error::{Error, Place, Result};
use crate::images::Images;
use crate::source::{Skipped, Source};

/// Sums over pixels, whole numbers: they do not depend on the order of the images. The checksum does.
#[derive(Clone, Debug, Default)]
pub struct PixelStats {
    sum: u64,
    squares: u64,
    count: u64,
    checksum: crc32fast::Hasher,
}

/// Bytes of images that are in memory at once.
const AT_ONCE: usize = 64 << 20;

impl PixelStats {
    /// Up to `most` images, evenly spaced; those that cannot be read are noted in `skipped` as of its split, or, without, an error.
    pub fn of(source: &dyn Source, most: usize, skipped: Option<(&'static str, &Skipped)>) -> Result<Self> {
        let most = if source.is_placeholder() { 1 } else { most };
        let (count, sampled) = (source.count(), source.count().min(most));
        let indices: Vec<usize> = (0..sampled).map(|i| (i as u64 * count as u64 / sampled as u64) as usize).collect();
        let features = source.image_bytes().max(1);
        let (split, skipped) = skipped.map_or(("train", None), |(split, skipped)| (split, Some(skipped)));
        let mut sample = Self::default();
        for indices in indices.chunks((AT_ONCE / features).max(1)) {
            let Images { pixels, labels, .. } = source.read_some(indices, split, skipped)?;
            sample.add(&pixels);
            // In an order that does not depend on how many are read at once.
            for (label, pixels) in labels.iter().zip(pixels.chunks(features)) {
                sample.checksum.update(&label.to_le_bytes());
                sample.checksum.update(pixels);
            }
        }
        if sample.count == 0 {
            let problem = format!("none of {sampled} images can be read");
            return Err(Error::data(Place::dataset(source.name()), problem, "give it some that can"));
        }
        Ok(sample)
    }

    /// CRC-32 of labels and pixels.
    pub fn checksum(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    fn add(&mut self, pixels: &[u8]) {
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

    /// Mean and standard deviation, as networks take them. That of constant images is 1.
    pub fn normalization(&self) -> Normalization {
        let (mean, deviation) = self.mean_std();
        Normalization { mean, deviation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_of_the_pixels() {
        let mean_std = |pixels: &[u8]| {
            let mut sample = PixelStats::default();
            sample.add(pixels);
            sample.mean_std()
        };
        assert_eq!(mean_std(&[0, 255]), (0.5, 0.5));
        assert_eq!(mean_std(&[51; 4]), (0.2, 1.0));
        assert_eq!(mean_std(&[]), (0.0, 1.0));
    }
}
