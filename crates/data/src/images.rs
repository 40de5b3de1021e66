//! Labeled images in memory, and their parts.

use trellis_rng::Rng;

use crate::error::{Error, Place, Result};

/// Largest number of examples of a set of which some are drawn: far more than there are of ImageNet.
const MOST: usize = 200_000_000;

/// Stream of [`Rng`] that shuffles; drawn images have the streams from 0 upwards.
const SPLIT_STREAM: u64 = u64::MAX;

/// Labeled images. Shapes: pixels (count, channels, height, width), row-major; labels (count).
///
/// The lengths of `pixels` and `labels` belong together: keep them so when you fill the fields by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images {
    /// 1 for gray, 3 for color.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Brightness, 0 to 255. Shape (count, channels, height, width).
    pub pixels: Vec<u8>,
    /// Class of each image, `0..classes`. Shape (count).
    pub labels: Vec<u16>,
    /// Number of classes, whether or not each of them occurs.
    pub classes: usize,
    /// Name of the set in messages and reports.
    pub name: String,
}

impl Images {
    /// Number of images.
    pub fn count(&self) -> usize {
        self.labels.len()
    }

    /// Pixels of one image: channels · height · width, the input features of a fully connected network.
    pub fn features(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pixels of image `index`. Shape (channels, height, width).
    ///
    /// # Panics
    /// If `index` is not below [`count`](Self::count), as a slice does.
    pub fn image(&self, index: usize) -> &[u8] {
        let features = self.features();
        &self.pixels[index * features..][..features]
    }

    /// `count` images drawn without replacement under `seed`.
    ///
    /// # Errors
    /// [`Error::Split`] if there are fewer.
    pub fn subset(&self, count: usize, seed: u64) -> Result<Self> {
        Ok(self.gather(permutation(&self.name, self.count(), &[count], seed)?.into_iter().take(count)))
    }

    /// Disjoint parts of the given sizes, drawn without replacement under `seed`; the rest is in none.
    ///
    /// One seed gives one order of the images, from which the parts are cut one after another. The first part is
    /// therefore the same whatever the sizes of the later ones are.
    ///
    /// ```
    /// use trellis_data::glyphs::glyphs;
    /// let parts = glyphs(100, 16, 0).split(&[60, 30], 1)?;
    /// assert_eq!((parts[0].count(), parts[1].count()), (60, 30));
    /// # Ok::<(), trellis_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Split`] if the sizes add up to more than [`count`](Self::count).
    pub fn split(&self, sizes: &[usize], seed: u64) -> Result<Vec<Self>> {
        let mut order = permutation(&self.name, self.count(), sizes, seed)?.into_iter();
        Ok(sizes.iter().map(|&size| self.gather(order.by_ref().take(size))).collect())
    }

    /// The images at `indices`, in that order.
    fn gather(&self, indices: impl Iterator<Item = usize>) -> Self {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for index in indices {
            pixels.extend_from_slice(self.image(index));
            labels.push(self.labels[index]);
        }
        Self { pixels, labels, name: self.name.clone(), ..*self }
    }
}

/// All indices below `count` in the order of `seed`, or an error if the sizes ask for more; `name` is of the set.
pub(crate) fn permutation(name: &str, count: usize, sizes: &[usize], seed: u64) -> Result<Vec<usize>> {
    let wanted = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
    if wanted.is_none_or(|wanted| wanted > count) {
        return Err(Error::Split { name: name.to_string(), available: count, wanted: sizes.to_vec() });
    }
    if count > MOST {
        return Err(Error::data(
            Place::dataset(name),
            format!("holds {count} images, more than {MOST}"),
            "cut it in pieces",
        ));
    }
    let mut order: Vec<usize> = (0..count).collect();
    Rng::new(seed, SPLIT_STREAM).shuffle(&mut order);
    Ok(order)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    /// `count` images of 1 x 2 x 1 pixels that say which they are.
    fn numbered(count: u8) -> Images {
        Images {
            channels: 1,
            height: 2,
            width: 1,
            pixels: (0..count).flat_map(|i| [i, 255 - i]).collect(),
            labels: (0..u16::from(count)).map(|i| i % 10).collect(),
            classes: 10,
            name: "numbered".into(),
        }
    }

    #[test]
    fn split_is_disjoint_seeded_and_keeps_pixels_with_their_label() {
        let all = numbered(100);
        let parts = all.split(&[60, 25, 0, 15], 7).unwrap();
        assert_eq!(parts.iter().map(Images::count).collect::<Vec<_>>(), [60, 25, 0, 15]);
        let mut seen: Vec<u8> = parts.iter().flat_map(|p| (0..p.count()).map(|i| p.image(i)[0])).collect();
        assert_ne!(seen, (0..100).collect::<Vec<_>>());
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        for part in &parts {
            for i in 0..part.count() {
                let number = part.image(i)[0];
                assert_eq!((part.image(i)[1], part.labels[i]), (255 - number, u16::from(number % 10)));
            }
        }
        assert_eq!(all.split(&[60, 25, 0, 15], 7).unwrap(), parts);
        assert_ne!(all.split(&[60, 25, 0, 15], 8).unwrap(), parts);
        assert_eq!(all.split(&[60, 1], 7).unwrap()[0], parts[0]);
        assert_eq!(all.subset(60, 7).unwrap(), parts[0]);
    }

    #[test]
    fn a_split_of_more_than_there_is_is_refused() {
        let message = numbered(10).split(&[8, 3], 0).unwrap_err().to_string();
        assert!(message.contains("numbered") && message.contains("8 + 3") && message.contains("holds 10"), "{message}");
        assert!(numbered(10).split(&[usize::MAX, 2], 0).is_err());
        assert!(numbered(10).subset(11, 0).is_err());
    }
}
