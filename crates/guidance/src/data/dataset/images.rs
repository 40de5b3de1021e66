//! Data sets of images: uploaded, or read while they are needed.

use std::sync::Arc;

use trellis_data::{Images, Normalization, PixelStats, Place, Skipped, Source, Subset};
use trellis_tensor::{Gpu, Tensor};

use super::{Dataset, MOST_CONFUSED, RESIDENT, SAMPLED, SAMPLED_HELD_OUT, class_names, counts};
use crate::data::split::{Examples, Split, same_size};
use crate::error::{Error, Result};

impl Dataset {
    /// Uploads splits of images. Normalization comes from up to 10,000 training images, evenly spaced.
    ///
    /// # Errors
    /// [`Error::Data`] if the splits differ in image size or one is empty; when memory does not allow it.
    pub fn new(gpu: &Gpu, train: &Images, validation: Option<&Images>, test: Option<&Images>) -> Result<Self> {
        Self::resident(gpu, train, validation, test, train)
    }

    /// Uploads splits of images whose classes are called as those of `named`.
    fn resident(
        gpu: &Gpu,
        train: &Images,
        validation: Option<&Images>,
        test: Option<&Images>,
        named: &dyn Source,
    ) -> Result<Self> {
        let upload = |split: &Images, kind: &'static str| {
            let shape = [split.count(), split.channels, split.height, split.width];
            let labels: Vec<u32> = split.labels.iter().map(|&label| u32::from(label)).collect();
            let values = Tensor::from_u8(gpu, &format!("{kind} images"), shape, &split.pixels)?;
            let labels = Tensor::from_u32(gpu, &format!("{kind} labels"), [split.count()], &labels)?;
            let examples = Examples::Resident { values, labels };
            Ok::<Split, Error>(Split { name: kind, examples, count: split.count() })
        };
        let sources = [Some(train as &dyn Source), validation.map(|v| v as _), test.map(|t| t as _)];
        same_size(sources)?;
        let splits = [
            Some(upload(train, "train")?),
            validation.map(|split| upload(split, "validation")).transpose()?,
            test.map(|split| upload(split, "test")).transpose()?,
        ];
        Self::of_images(gpu, sources, None, splits, named)
    }

    /// Reads splits of images and uploads them. With `skip_broken` an image that cannot be read is left out, and
    /// [`Dataset::skipped`] tells of it.
    ///
    /// # Errors
    /// As [`Dataset::new`], and what reading gives; [`Error::Data`] if a split takes more than 16 GiB, or a class has no training image left.
    pub fn load(
        gpu: &Gpu,
        train: &dyn Source,
        validation: Option<&dyn Source>,
        test: Option<&dyn Source>,
        skip_broken: bool,
    ) -> Result<Self> {
        let skipped = Skipped::default();
        let read = |split, source: &dyn Source| source.read_all(split, skip_broken.then_some(&skipped));
        let asked = [train.count(), validation.map_or(0, Source::count), test.map_or(0, Source::count)];
        let validation = validation.map(|source| read("validation", source)).transpose()?;
        let test = test.map(|source| read("test", source)).transpose()?;
        let images = read("train", train)?;
        let lost = skipped.all().into_iter().filter(|((_, split), _)| *split == "train").filter_map(|(_, class)| class);
        if let Some(class) = lost.into_iter().find(|class| !images.labels.contains(class)) {
            let problem = format!("has no training image of class {} that can be read", train.class_name(class.into()));
            return Err(Error::data(Place::dataset(train.name()), problem, "mend its images, or take the class away"));
        }
        let data = Self::resident(gpu, &images, validation.as_ref(), test.as_ref(), train)?;
        Ok(Self { skipped, asked, ..data })
    }

    /// Splits of images that threads read while they are needed, ahead of the GPU: for data larger than memory. Batches
    /// and their normalization are those of [`Dataset::load`]. With `skip_broken`, an image that cannot be read is left
    /// out of evaluations, and in training another takes its place; [`Dataset::skipped`] tells of it.
    ///
    /// # Errors
    /// As [`Dataset::new`], and any error of reading.
    pub fn stream(
        gpu: &Gpu,
        train: Arc<dyn Source>,
        validation: Option<Arc<dyn Source>>,
        test: Option<Arc<dyn Source>>,
        skip_broken: bool,
    ) -> Result<Self> {
        let sources = [Some(&*train), validation.as_deref(), test.as_deref()];
        same_size(sources)?;
        let skipped = Skipped::default();
        let split = |(name, source): (_, Option<Arc<dyn Source>>)| {
            source.map(|source| Split { name, count: source.count(), examples: Examples::Source(source) })
        };
        let named = [("train", Some(train.clone())), ("validation", validation.clone()), ("test", test.clone())];
        let splits = named.map(split);
        let data = Self::of_images(gpu, sources, skip_broken.then_some(&skipped), splits, &*train)?;
        Ok(Self { skipped, skip_broken, ..data })
    }

    /// True if examples of each split, as many as in `counts` and of `bytes` each, have room on the GPU. Each split is
    /// in one buffer, and all are in 4 GiB and in half of what may be used, where that is known (see
    /// [`GpuOptions::memory_budget`](trellis_tensor::GpuOptions::memory_budget)).
    pub fn fits(gpu: &Gpu, counts: [usize; 3], bytes: usize) -> bool {
        let sizes = counts.map(|count| count.saturating_mul(bytes) as u64);
        let total = sizes.iter().fold(0_u64, |sum, &size| sum.saturating_add(size));
        sizes.iter().all(|&size| size <= gpu.caps().max_binding) && total <= RESIDENT.min(gpu.memory_budget() / 2)
    }

    /// Splits of images, those of `sources`; where one cannot be read, `skipped` notes it, or, without, it is an error.
    /// Classes are called as those of `named`.
    fn of_images(
        gpu: &Gpu,
        sources: [Option<&dyn Source>; 3],
        skipped: Option<&Skipped>,
        splits: [Option<Split>; 3],
        named: &dyn Source,
    ) -> Result<Self> {
        let asked = counts(&splits);
        let ([Some(train), validation, test], [Some(source), held_out @ ..]) = (splits, sources) else {
            return Err(Error::config(Place::setting("data"), "train", "is 0", "give a number above 0"));
        };
        let noted = |split| skipped.map(|skipped| (split, skipped));
        let sample = PixelStats::of(source, SAMPLED, noted("train"))?;
        let mut checksums = vec![format!("{:08x}", sample.checksum())];
        for (split, source) in ["validation", "test"].into_iter().zip(held_out) {
            let Some(source) = source else { continue };
            checksums.push(format!("{:08x}", PixelStats::of(source, SAMPLED_HELD_OUT, noted(split))?.checksum()));
        }
        let normalization = sample.normalization();
        let Normalization { mean, deviation } = normalization;
        let image = source.shape().into();
        let data = Self {
            gpu: gpu.clone(),
            name: source.name().to_string(),
            stored: image,
            input: image,
            output: source.classes().into(),
            normalization: Some(normalization),
            train,
            validation,
            test,
            skipped: Skipped::default(),
            skip_broken: false,
            class_names: Vec::new(),
            warnings: Vec::new(),
            asked,
            all_class_names: Arc::default(),
            tokens: None,
            contents: format!("brightness {mean} ± {deviation}, checksums {}", checksums.join(" ")),
        };
        Ok(data.named(named))
    }

    /// This set with the names of the classes of `source`.
    fn named(self, source: &dyn Source) -> Self {
        let names = |most| class_names(source.classes(), most, |class| source.class_name(class));
        Self { class_names: names(MOST_CONFUSED), all_class_names: names(usize::MAX).into(), ..self }
    }

    /// This set, and `split` without the images that cannot be read, which are noted. Every image of a streamed split that may have
    /// broken ones is read once to find them; one that breaks later is an error. Nothing is read of others.
    pub fn readable(&self, split: &Split) -> (Self, Split) {
        let (Examples::Source(source), Some(skipped)) = (&split.examples, self.skipping()) else {
            return (self.clone(), split.clone());
        };
        let note = |index, error: &trellis_data::Error| skipped.note(split.name, source.class_of(index), error);
        let whole = Subset::readable(source, split.count, note);
        let split = Split { name: split.name, count: whole.count(), examples: Examples::Source(Arc::new(whole)) };
        (Self { skip_broken: false, ..self.clone() }, split)
    }

    /// The first `count` examples of `split`, or all. Of a streamed split that may have broken images they are the first that can be read,
    /// and lie on the GPU: those that evaluations measure similarity on, the same as of a set that is not streamed.
    ///
    /// # Errors
    /// When memory does not allow it.
    pub fn first_readable(&self, split: &Split, count: usize) -> Result<Split> {
        let (Examples::Source(source), Some(skipped)) = (&split.examples, self.skipping()) else {
            return Ok(split.first(count));
        };
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        let mut image = vec![0; source.image_bytes()];
        for index in 0..source.count() {
            if labels.len() == count {
                break;
            }
            match source.read_checked(index, &mut image) {
                Ok(label) => {
                    pixels.extend_from_slice(&image);
                    labels.push(u32::from(label));
                }
                Err(error) => skipped.note(split.name, source.class_of(index), &error),
            }
        }
        let [channels, height, width] = source.shape();
        let shape = [labels.len(), channels, height, width];
        let values = Tensor::from_u8(&self.gpu, "compared images", shape, &pixels)?;
        let count = labels.len();
        let labels = Tensor::from_u32(&self.gpu, "compared labels", [count], &labels)?;
        Ok(Split { name: split.name, examples: Examples::Resident { values, labels }, count })
    }
}
