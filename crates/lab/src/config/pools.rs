//! Images that splits are drawn from: where a set lies, which it has of its own to test with, and the cut.

use std::path::Path;
use std::sync::Arc;

use trellis_data::glyphs::{Glyphs, glyphs};
use trellis_data::{Placeholder, Source, Subset, cifar, folder, idx};
use trellis_tensor::Gpu;

use super::splits::Request;
use super::{Amount, Config, ConfigError, DataConfig, DataSet, refuse, refused};
use trellis_guidance::{Error, Result};

/// Images to train with and, where a set has them, others to validate and to test with.
pub(super) struct Pools {
    pub(super) sources: [Option<Arc<dyn Source>>; 3],
    /// Classes of the training images, where each of them has to be trained on.
    pub(super) labels: Option<Vec<u16>>,
    /// Sentences for the user.
    pub(super) warnings: Vec<String>,
}

impl Pools {
    fn new<S: Source + 'static>(train: S, test: Option<S>) -> Self {
        let test = test.map(|test| Arc::new(test) as _);
        Self { sources: [Some(Arc::new(train)), None, test], labels: None, warnings: Vec::new() }
    }

    /// Pools of a folder. If it has but one folder of held-out images, those are for tests.
    fn of_folder(folder: folder::Folder) -> Self {
        let folder::Folder { train, validation, test, warnings } = folder;
        let labels = Some(train.labels());
        let (validation, test) = if test.is_none() { (None, validation) } else { (validation, test) };
        let source = |files: folder::ImageFiles| Arc::new(files) as _;
        Self { sources: [Some(source(train)), validation.map(source), test.map(source)], labels, warnings }
    }
}

/// Three splits of these sizes, drawn under `seed` from their pools. With `labels` the training split has each class.
pub(super) fn cut(
    sources: &[Option<Arc<dyn Source>>; 3],
    labels: Option<&[u16]>,
    counts: [usize; 3],
    seed: u64,
) -> Result<[Arc<dyn Source>; 3]> {
    let mut parts: [Option<Subset>; 3] = [None, None, None];
    for pool in 0..3 {
        let Some(source) = &sources[pool] else { continue };
        let splits: Vec<usize> =
            (0..3).filter(|&split| split == pool || pool == 0 && sources[split].is_none()).collect();
        let sizes: Vec<usize> = splits.iter().map(|&split| counts[split]).collect();
        let cut = match labels.filter(|_| pool == 0) {
            Some(labels) => Subset::split_with_each_class(source, labels, &sizes, seed)?,
            None => Subset::split(source, &sizes, seed)?,
        };
        splits.into_iter().zip(cut).for_each(|(split, part)| parts[split] = Some(part));
    }
    Ok(parts.map(|part| Arc::new(part.unwrap_or_else(|| unreachable!("each split has a pool"))) as _))
}

impl DataConfig {
    /// Size of each split: that of the file or, of other sets than folders, the usual number.
    pub(super) fn amounts(&self) -> [Option<Amount>; 3] {
        let usual = [2000, 500, 1000].map(|count| (self.set != DataSet::Folder).then_some(Amount::Count(count)));
        let said = [self.train, self.validation, self.test];
        std::array::from_fn(|split| said[split].or(usual[split]))
    }

    /// Number of examples of each split, where nothing but the file tells it.
    pub(super) fn counts(&self) -> Result<[usize; 3], ConfigError> {
        let mut counts = [0; 3];
        for ((count, amount), name) in counts.iter_mut().zip(self.amounts()).zip(["train", "validation", "test"]) {
            *count = match amount {
                Some(Amount::Count(count)) => count,
                Some(share) => {
                    let problem = format!("{share} is a share, and without data it is not known of how many");
                    return refuse(
                        format!("data.{name}"),
                        problem,
                        "give a number of examples, or the data with --data",
                    );
                }
                None => {
                    let problem = "is missing, and without data it is not known how many there are";
                    return refuse(
                        format!("data.{name}"),
                        problem,
                        "give a number of examples, or the data with --data",
                    );
                }
            };
        }
        Ok(counts)
    }
}

impl Config {
    /// Request for the splits of the set `name`, whose pools hold so many examples each. At least `classes` of them are
    /// for training.
    pub(super) fn request<'a>(
        &self,
        name: &'a str,
        unit: &'a str,
        pools: [Option<usize>; 3],
        classes: usize,
    ) -> Request<'a> {
        let least = self.least_examples();
        Request {
            name,
            unit,
            pools,
            amounts: self.data.amounts(),
            least: [classes.max(least), 0, least],
            batch: self.training.batch,
            least_batch: least,
        }
    }

    /// The images; `folder` is where a set lies that is not drawn. Where there is none and `gpu` only counts memory, they are of
    /// one color and as many as the file says.
    pub(super) fn pools(&self, gpu: &Gpu, path: &Path, folder: Option<&Path>) -> Result<Pools> {
        let DataConfig { set, size, resize, classes, seed, .. } = self.data;
        let stored = resize.unwrap_or(size);
        let counts = || self.data.counts().map_err(|bad| refused(path, bad));
        let unread = |shape, classes| {
            let [train, validation, test] = counts()?;
            let blank = |count| Placeholder { shape, classes, count };
            Ok(Pools::new(blank(train.saturating_add(validation)), Some(blank(test))))
        };
        let absent = folder.is_none() && gpu.is_dry_run();
        let folder = || {
            let hint = "give it with --data FOLDER";
            folder.ok_or_else(|| Error::config(path, "data.set", "such a set lies in a folder", hint))
        };
        match set {
            DataSet::Idx if absent => unread([1, 28, 28], classes.unwrap_or(10)),
            DataSet::Cifar if absent => unread([3, 32, 32], classes.unwrap_or(10)),
            DataSet::Folder if absent => {
                let classes = classes.ok_or_else(|| {
                    Error::config(path, "data.classes", "is missing", "say how many there are, or give --data FOLDER")
                })?;
                unread([3, stored, stored], classes)
            }
            DataSet::Idx => {
                let folder = folder()?;
                let (train, test) = idx::open(folder, classes.unwrap_or(10))?;
                let used: Vec<&idx::IdxImages> = [&train].into_iter().chain(&test).collect();
                let warnings = idx::unused_files(folder, &used)?.into_iter().collect();
                Ok(Pools { warnings, ..Pools::new(train, test) })
            }
            DataSet::Cifar => {
                let (train, test) = cifar::open(folder()?)?;
                Ok(Pools::new(train, Some(test)))
            }
            DataSet::Folder => Ok(Pools::of_folder(folder::open(folder()?, stored)?)),
            DataSet::Glyphs | DataSet::CopyPaste | DataSet::Parity | DataSet::Text => {
                let total = counts()?.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
                let total = total.filter(|&n| n <= 10_000_000).ok_or_else(|| {
                    Error::config(path, "data.train", "more than ten million images", "make the splits smaller")
                })?;
                Ok(Pools::new(Glyphs(glyphs(total, size, seed)), None))
            }
        }
    }
}
