//! Images that are read one at a time, from wherever they lie: the trait that a data set of one's own implements.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::error::{Error, Place, Result};
use crate::images::{Images, permutation};

/// Largest size in bytes of images that are held in memory.
const LARGEST_SET: usize = 16 << 30;

/// Images that are left out, each listed once: its problem and its split, and its class where that is known.
#[derive(Clone, Debug, Default)]
pub struct Skipped(Arc<Mutex<Problems>>);

/// Problems and the split of each, with the class.
pub type Problems = BTreeMap<(String, &'static str), Option<u16>>;

impl Skipped {
    /// Notes an image of `split`, by the problem that it has.
    pub fn note(&self, split: &'static str, class: Option<u16>, error: &Error) {
        let told = match error {
            // The hint is left out, since it is already being followed.
            Error::Data { place, problem, .. } => format!("{place}: {problem}"),
            other => other.to_string(),
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((told, split), class);
    }

    /// Problems without their hints, in order.
    pub fn list(&self) -> Vec<String> {
        self.all().into_iter().map(|((told, _), _)| told).collect()
    }

    /// All of them, in order.
    pub fn all(&self) -> Problems {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Images of one shape with one label each. Threads read them at once, in any order and again every epoch.
///
/// A split of a data set is one source: `Dataset::stream` of trellis-guidance reads from it while a network trains,
/// [`Images::read`] reads all of it. `examples/own_data.rs` is one.
pub trait Source: Send + Sync {
    /// Name in messages and reports.
    fn name(&self) -> &str;

    /// Channels, height and width of every image.
    fn shape(&self) -> [usize; 3];

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Number of images.
    fn count(&self) -> usize;

    /// Name of a class in reports.
    fn class_name(&self, class: usize) -> String {
        class.to_string()
    }

    /// Class of image `index` if it is known without reading the image, as that of a file in the folder of its class.
    /// Images that cannot be read are counted by it. `None` elsewhere.
    fn class_of(&self, index: usize) -> Option<u16> {
        let _ = index;
        None
    }

    /// True if all images are one blank image, in place of data that are not read. Statistics then take it once.
    fn is_placeholder(&self) -> bool {
        false
    }

    /// Writes image `index`, below [`count`](Source::count), and gives its class. `pixels` has the length of the shape, for
    /// brightness from 0 to 255 in the order `[channels, height, width]`.
    ///
    /// # Errors
    /// Any reason why the image cannot be read; [`Error::Data`] names a file and says what to do.
    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16>;
}

impl Source for Images {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> [usize; 3] {
        [self.channels, self.height, self.width]
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn count(&self) -> usize {
        self.labels.len()
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
        pixels.copy_from_slice(self.image(index));
        Ok(self.labels[index])
    }
}

/// Some images of a source, in an order of their own: a split.
#[derive(Clone)]
pub struct Subset {
    of: Arc<dyn Source>,
    indices: Vec<usize>,
}

impl Subset {
    /// Disjoint parts of `source` of the given sizes, drawn without replacement under `seed`; the same images in the same
    /// order as [`Images::split`] of what [`Images::read`] reads.
    ///
    /// # Errors
    /// [`Error::Split`] if the sizes add up to more than there are.
    pub fn split(source: &Arc<dyn Source>, sizes: &[usize], seed: u64) -> Result<Vec<Self>> {
        let order = permutation(source.name(), source.count(), sizes, seed)?;
        Ok(Self::cut(source, order, sizes))
    }

    /// [`Subset::split`], but the first part has an image of each class in `labels`, the labels of all images in their
    /// order. If chance leaves a class out, its first image takes the place of one whose class the part has twice.
    ///
    /// # Errors
    /// As [`Subset::split`]; [`Error::Data`] if the first part is smaller than the number of classes.
    pub fn split_with_each_class(
        source: &Arc<dyn Source>,
        labels: &[u16],
        sizes: &[usize],
        seed: u64,
    ) -> Result<Vec<Self>> {
        let mut order = permutation(source.name(), source.count(), sizes, seed)?;
        let first = sizes.first().copied().unwrap_or(0);
        let mut held = vec![0_usize; 1 + usize::from(labels.iter().copied().max().unwrap_or(0))];
        let class = |index: usize| usize::from(labels[index]);
        order[..first].iter().for_each(|&index| held[class(index)] += 1);
        for at in first..order.len() {
            let missing = class(order[at]);
            if held[missing] > 0 {
                continue;
            }
            let Some(twice) = (0..first).rev().find(|&at| held[class(order[at])] > 1) else {
                let problem = format!("{first} training images are fewer than its classes");
                return Err(Error::data(Place::dataset(source.name()), problem, "make `train` larger"));
            };
            held[class(order[twice])] -= 1;
            held[missing] += 1;
            order.swap(at, twice);
        }
        Ok(Self::cut(source, order, sizes))
    }

    /// The first `count` images of `source` without those that cannot be read, of which `broken` is told. Cost: each is read once,
    /// on all threads.
    pub fn readable(source: &Arc<dyn Source>, count: usize, mut broken: impl FnMut(usize, &Error)) -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = count.div_ceil(threads).max(1);
        let work = |first: usize| {
            let mut pixels = vec![0; source.image_bytes()];
            let problem = |index| Some((index, source.read_checked(index, &mut pixels).err()?));
            (first..count.min(first + share)).filter_map(problem).collect::<Vec<_>>()
        };
        let problems: Vec<(usize, Error)> = thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..count).step_by(share).map(|first| scope.spawn(move || work(first))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        problems.iter().for_each(|(index, error)| broken(*index, error));
        let lost: HashSet<usize> = problems.into_iter().map(|(index, _)| index).collect();
        Self { of: source.clone(), indices: (0..count).filter(|index| !lost.contains(index)).collect() }
    }

    fn cut(source: &Arc<dyn Source>, order: Vec<usize>, sizes: &[usize]) -> Vec<Self> {
        let mut order = order.into_iter();
        let part = |&size: &usize| Self { of: source.clone(), indices: order.by_ref().take(size).collect() };
        sizes.iter().map(part).collect()
    }
}

impl Source for Subset {
    fn name(&self) -> &str {
        self.of.name()
    }

    fn shape(&self) -> [usize; 3] {
        self.of.shape()
    }

    fn classes(&self) -> usize {
        self.of.classes()
    }

    fn count(&self) -> usize {
        self.indices.len()
    }

    fn class_name(&self, class: usize) -> String {
        self.of.class_name(class)
    }

    fn class_of(&self, index: usize) -> Option<u16> {
        self.of.class_of(*self.indices.get(index)?)
    }

    fn is_placeholder(&self) -> bool {
        self.of.is_placeholder()
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
        self.of.read(self.indices[index], pixels)
    }
}

impl fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} images {:?} of {}", self.count(), self.shape(), self.name())
    }
}

impl dyn Source + '_ {
    /// [`Source::read`], with a class that is one. A panic is an error of this image alone: others are read on, and keep their
    /// labels.
    ///
    /// # Errors
    /// Any error of [`Source::read`]; [`Error::Data`] for a panic, or a label out of range.
    pub fn read_checked(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
        let read = catch_unwind(AssertUnwindSafe(|| self.read(index, pixels)));
        let label = read.unwrap_or_else(|_| Err(self.panicked(index)))?;
        if usize::from(label) < self.classes() {
            return Ok(label);
        }
        let problem = format!("example {index} has label {label}");
        Err(Error::data(
            Place::dataset(self.name()),
            problem,
            format!("labels are below {}, the number of classes", self.classes()),
        ))
    }

    /// Bytes of one image; the greatest number for one of more.
    pub fn image_bytes(&self) -> usize {
        self.shape().iter().fold(1, |product: usize, &size| product.saturating_mul(size))
    }

    /// Bytes of one image, if `count` of them fit into memory.
    fn features(&self, count: usize) -> Result<usize> {
        let ([channels, height, width], features) = (self.shape(), self.image_bytes());
        if features > 0 && features.checked_mul(count).is_some_and(|bytes| bytes <= LARGEST_SET) {
            return Ok(features);
        }
        let problem = format!("{count} images of {channels} x {height} x {width} bytes are too many");
        Err(Error::data(
            Place::dataset(self.name()),
            problem,
            "they may take 16 GiB: stream them, or make them smaller",
        ))
    }

    /// The images at `indices`, read on all threads. Those that cannot be read are noted in `skipped` as of `split`; without it
    /// the first one is an error.
    pub(crate) fn read_some(
        &self,
        indices: &[usize],
        split: &'static str,
        skipped: Option<&Skipped>,
    ) -> Result<Images> {
        let ([channels, height, width], features) = (self.shape(), self.features(indices.len())?);
        let mut pixels = vec![0; features * indices.len()];
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = indices.len().div_ceil(threads).max(1);
        // Each thread has neighboring images; problems are reported in their order.
        let outcomes: Vec<Result<u16>> = thread::scope(|scope| {
            let work = move |(indices, pixels): (&[usize], &mut [u8])| {
                let one = |(&index, pixels): (&usize, &mut [u8])| self.read_checked(index, pixels);
                indices.iter().zip(pixels.chunks_mut(features)).map(one).collect::<Vec<_>>()
            };
            let parts = indices.chunks(share).zip(pixels.chunks_mut(share * features));
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap_or_default()).collect()
        });
        if outcomes.len() != indices.len() {
            return Err(Error::data(
                Place::dataset(self.name()),
                "reading its examples panicked",
                "mend `Source::read`",
            ));
        }
        let mut labels = Vec::new();
        for (at, outcome) in outcomes.into_iter().enumerate() {
            match (outcome, skipped) {
                (Ok(label), _) => {
                    pixels.copy_within(at * features..(at + 1) * features, labels.len() * features);
                    labels.push(label);
                }
                (Err(error), Some(skipped)) => skipped.note(split, self.class_of(indices[at]), &error),
                (Err(error), None) => return Err(error),
            }
        }
        pixels.truncate(labels.len() * features);
        let name = self.name().to_string();
        Ok(Images { channels, height, width, pixels, labels, classes: self.classes(), name })
    }

    /// All images, read on all threads. Those that cannot be read are noted in `skipped` as of `split`; without it the first one is
    /// an error.
    ///
    /// # Errors
    /// As [`Images::read`].
    pub fn read_all(&self, split: &'static str, skipped: Option<&Skipped>) -> Result<Images> {
        self.features(self.count())?;
        self.read_some(&(0..self.count()).collect::<Vec<_>>(), split, skipped)
    }

    fn panicked(&self, index: usize) -> Error {
        Error::data(Place::dataset(self.name()), format!("reading example {index} panicked"), "mend `Source::read`")
    }
}

impl Images {
    /// Reads all of a source into memory, on all threads.
    ///
    /// # Errors
    /// The first of the source's own; [`Error::Data`] if a label is out of range or the images take more than 16 GiB.
    pub fn read(source: &dyn Source) -> Result<Self> {
        source.read_all("train", None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pictures that are their number, as is their class; number 5 panics.
    struct Numbers;

    impl Source for Numbers {
        fn name(&self) -> &str {
            "numbers"
        }
        fn shape(&self) -> [usize; 3] {
            [1, 1, 1]
        }
        fn classes(&self) -> usize {
            61
        }
        fn count(&self) -> usize {
            61
        }
        fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
            assert_ne!(index, 5);
            pixels[0] = index as u8;
            Ok(index as u16)
        }
    }

    #[test]
    fn a_panic_costs_one_example_and_shifts_no_label() {
        let source: &dyn Source = &Numbers;
        let skipped = Skipped::default();
        let images = source.read_all("train", Some(&skipped)).expect("the others");
        let expected: Vec<u16> = (0..61).filter(|&index| index != 5).collect();
        assert_eq!(images.labels, expected);
        assert!(images.labels.iter().enumerate().all(|(at, &label)| u16::from(images.image(at)[0]) == label));
        assert_eq!(skipped.list().len(), 1);
        let message = source.read_all("train", None).expect_err("without skip_broken").to_string();
        assert!(message.contains("numbers") && message.contains("example 5"), "{message}");
    }
}
