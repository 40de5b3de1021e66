//! From the file's words to networks, data and training.

use std::path::Path;
use std::sync::Arc;

use trellis_tensor::{Curve, Gpu, LossScale, OptimizerConfig, Rule, user_cache};

use super::{
    Config, CropName, DataConfig, DataSet, GuideConfig, MetricName, OptimizerName, PrecisionName, RateSchedule,
    TargetConfig, TextLevel,
};
use crate::alignment::{Cka, Metric, Ridge, Rsa};
use crate::data::text::{Pieces, Text, Tokenizer};
use crate::data::{Blank, DrawnSequences, Source, Subset, cifar, folder, glyphs::glyphs, idx};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::feed::Crop;
use crate::layer_map::LayerMap;
use crate::network::{Guide, Network, Output, Precision};
use crate::trainer::{Guidance, Training};

impl Config {
    /// The data set on `gpu`; `place` is the folder of an IDX or CIFAR set or of images, or the file of a text. Where `gpu` only
    /// counts memory and there is no place, it is one of the size that `[data]` tells, `classes` included.
    ///
    /// # Errors
    /// When files are missing or damaged, or hold too few examples, or memory does not allow it.
    pub fn dataset(&self, gpu: &Gpu, path: &Path, place: Option<&Path>) -> Result<Dataset> {
        let set = self.data.set;
        if let (Some(place), DataSet::Glyphs | DataSet::CopyPaste | DataSet::Parity) = (place, set) {
            let problem = format!("such a set is drawn, not read from {}", place.display());
            return Err(Error::config(path, "data.set", problem, "leave out --data, or set it to what lies there"));
        }
        match self.drawn()? {
            Some(drawn) => {
                let DataConfig { train, validation, test, .. } = self.data;
                Dataset::drawn(gpu, drawn, [train, validation, test])
            }
            None if set == DataSet::Text => self.text(gpu, path, place),
            None => self.images(gpu, path, place),
        }
    }

    /// Refuses data of `name` with other `classes` than the file says.
    fn agrees(&self, path: &Path, name: &str, found: usize) -> Result<()> {
        match self.data.classes {
            Some(classes) if classes != found => {
                let problem = format!("is {classes}, but {name} has {found}");
                Err(Error::config(path, "data.classes", problem, "correct or remove it"))
            }
            _ => Ok(()),
        }
    }

    fn tokenizer(&self) -> Result<Tokenizer> {
        Ok(match (&self.data.tokenizer, self.data.level) {
            (Some(path), _) => Tokenizer::Pieces(Pieces::read(path)?),
            (None, TextLevel::Bytes) => Tokenizer::Bytes,
            (None, TextLevel::Characters) => Tokenizer::Characters,
        })
    }

    fn text(&self, gpu: &Gpu, path: &Path, file: Option<&Path>) -> Result<Dataset> {
        let DataConfig { train, validation, test, context, stream, classes, .. } = self.data;
        let counts = [train, validation, test];
        // Four bytes for a token, and as many for the one that follows.
        let streamed = stream.unwrap_or_else(|| !Dataset::fits(gpu, counts, context.saturating_mul(8)));
        let text = match file {
            Some(file) if streamed => {
                Text::on_disk(file, self.tokenizer()?, &user_cache().unwrap_or_else(std::env::temp_dir))?
            }
            Some(file) => Text::read(file, self.tokenizer()?)?,
            None if gpu.counts_memory() => {
                let vocabulary = match classes {
                    Some(classes) => classes,
                    None => match self.tokenizer()? {
                        Tokenizer::Pieces(pieces) => pieces.len(),
                        _ => 256, // bytes, and more than the characters of most alphabets
                    },
                };
                let blocks = counts.iter().fold(0_usize, |sum, &count| sum.saturating_add(count));
                Text::blank(blocks.saturating_mul(context).saturating_add(1), vocabulary)
            }
            None => {
                return Err(Error::config(path, "data.set", "a text lies in a file", "give it with --data FILE"));
            }
        };
        self.agrees(path, text.name(), text.vocabulary())?;
        match streamed {
            true => Dataset::stream_text(gpu, &Arc::new(text), context, counts),
            false => Dataset::text(gpu, &text, context, counts),
        }
    }

    fn images(&self, gpu: &Gpu, path: &Path, place: Option<&Path>) -> Result<Dataset> {
        let DataConfig { train, validation, test, stream, .. } = self.data;
        let counts = [train, validation, test];
        let [train, validation, test] = self.splits(gpu, path, place).map_err(|error| match error {
            Error::Split { name, available, wanted } => {
                // Images that a set has for tests alone are a split by themselves.
                let names = if wanted.len() == 1 { &["test"][..] } else { &["train", "validation", "test"] };
                let named = names.iter().zip(&wanted).map(|(name, count)| format!("{name} = {count}"));
                let problem = format!("{name} holds {available}, fewer than {}", named.collect::<Vec<_>>().join(", "));
                Error::config(path, format!("data.{}", names[0]), problem, "make them smaller")
            }
            other => other,
        })?;
        self.agrees(path, train.name(), train.classes())?;
        let bytes = train.image_bytes();
        let (validation, skip) = (Some(validation).filter(|v| v.count() > 0), self.data.skip_broken);
        let data = match stream.unwrap_or_else(|| !Dataset::fits(gpu, counts, bytes)) {
            true => Dataset::stream(gpu, train, validation, Some(test), skip)?,
            false => Dataset::load(gpu, &*train, validation.as_deref(), Some(&*test), skip)?,
        };
        if self.data.resize.is_some() { data.cropped(self.data.size) } else { Ok(data) }
    }

    /// The sequences that are drawn, if the data set is one of these.
    ///
    /// # Errors
    /// [`Error::Config`] for sizes that cannot be drawn.
    pub fn drawn(&self) -> Result<Option<DrawnSequences>> {
        let DataConfig { set, lengths, symbols, seed, .. } = self.data;
        Ok(match set {
            DataSet::CopyPaste => Some(DrawnSequences::copy_paste(symbols, lengths.unwrap_or([20, 40]), seed)?),
            DataSet::Parity => Some(DrawnSequences::parity(lengths.unwrap_or([2, 50]), seed)?),
            _ => None,
        })
    }

    /// The images of the three splits; `folder` is where a set lies that is not drawn. A set with its own test images has
    /// those as test split.
    fn splits(&self, gpu: &Gpu, path: &Path, folder: Option<&Path>) -> Result<[Arc<dyn Source>; 3]> {
        let DataConfig { set, size, resize, train, validation, test, classes, seed, .. } = self.data;
        let stored = resize.unwrap_or(size);
        let unread = |shape, classes| {
            let blank = |count| Blank { shape, classes, count };
            sources((blank(train.saturating_add(validation)), Some(blank(test))))
        };
        let absent = folder.is_none() && gpu.counts_memory();
        let folder = || {
            let hint = "give it with --data FOLDER";
            folder.ok_or_else(|| Error::config(path, "data.set", "such a set lies in a folder", hint))
        };
        let (first, second) = match set {
            DataSet::Idx if absent => unread([1, 28, 28], classes.unwrap_or(10)),
            DataSet::Cifar if absent => unread([3, 32, 32], classes.unwrap_or(10)),
            DataSet::Folder if absent => {
                let classes = classes.ok_or_else(|| {
                    Error::config(path, "data.classes", "is missing", "say how many there are, or give --data FOLDER")
                })?;
                unread([3, stored, stored], classes)
            }
            DataSet::Idx => sources(idx::open(folder()?, classes.unwrap_or(10))?),
            DataSet::Cifar => {
                let (first, second) = cifar::open(folder()?)?;
                sources((first, Some(second)))
            }
            DataSet::Folder => sources(folder::open(folder()?, stored)?),
            DataSet::Glyphs | DataSet::CopyPaste | DataSet::Parity | DataSet::Text => {
                let total = [train, validation, test].iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
                let total = total.filter(|&n| n <= 10_000_000).ok_or_else(|| {
                    Error::config(path, "data.train", "more than ten million images", "make the splits smaller")
                })?;
                sources((glyphs(total, size, seed), None))
            }
        };
        let parts = match second {
            Some(second) => {
                [Subset::split(&first, &[train, validation], seed)?, Subset::split(&second, &[test], seed)?].concat()
            }
            None => Subset::split(&first, &[train, validation, test], seed)?,
        };
        let parts: [Subset; 3] = parts.try_into().unwrap_or_else(|_| unreachable!("three sizes give three parts"));
        Ok(parts.map(|part| Arc::new(part) as _))
    }

    /// The guide, drawn by `seed`: as it is, or as it begins its own training.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn draw_guide(&self, data: &Dataset, seed: u64) -> Result<Network> {
        let GuideConfig { network, classes, bias, .. } = &self.guide;
        let output = Output { classes: classes.unwrap_or(data.output().classes), ..data.output() };
        let guide = Network::with_shape(data.gpu(), network.architecture(), data.input(), output, seed)?;
        guide.set_head_bias(*bias, data)?;
        Ok(guide)
    }

    /// The target of an arm, its initial weights drawn by `seed`.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn draw_target(&self, arm: &str, data: &Dataset, seed: u64) -> Result<Network> {
        let TargetConfig { network, bias } = self.target_of(arm);
        let target = Network::new(network.architecture(), data, seed)?;
        target.set_head_bias(bias, data)?;
        Ok(target)
    }

    /// The layer map.
    pub fn layer_map(&self) -> LayerMap {
        match self.guidance.pairs.as_slice() {
            [] => LayerMap::even(),
            pairs => LayerMap::named(pairs.iter().cloned()),
        }
    }

    /// The measure of alikeness.
    pub fn metric(&self) -> Metric {
        let rbf = Cka::rbf(self.guidance.bandwidth);
        match self.guidance.metric {
            MetricName::Cka => Cka::linear().into(),
            MetricName::CkaDebiased => Cka::linear().debiased().into(),
            MetricName::RbfCka => rbf.into(),
            MetricName::RbfCkaDebiased => rbf.debiased().into(),
            MetricName::RsaCosine => Rsa::Cosine.into(),
            MetricName::RsaPearson => Rsa::Pearson.into(),
            MetricName::Ridge => Ridge::new(self.guidance.lambda).into(),
        }
    }

    /// Steps that the guide of `trained_first` stays, unless its table says otherwise.
    pub fn first_steps(&self) -> u32 {
        self.guidance.first_steps.unwrap_or(self.training.steps / 2)
    }

    /// How `guide` pulls in an arm.
    pub fn guidance(&self, arm: &str, guide: Guide) -> Guidance {
        Guidance::new(guide)
            .align(self.metric())
            .map_layers(self.layer_map())
            .weight(self.weight(arm))
            .schedule(self.schedule_of(arm))
            .taps(self.guidance.taps)
    }

    /// The training of an arm.
    pub fn training(&self, arm: &str, seed: u64) -> Training {
        let t = &self.training;
        let own = self.arm.get(arm).cloned().unwrap_or_default();
        let base = own.learning_rate.unwrap_or(t.learning_rate);
        let rate = match t.schedule {
            RateSchedule::Constant => Curve::Constant(base),
            RateSchedule::Steps => Curve::Steps { base, factor: t.decay, every: t.decay_every },
            RateSchedule::Cosine => Curve::Cosine { base, floor: 0.0, warmup: t.warmup, total: t.steps },
        };
        let rule = match t.optimizer {
            OptimizerName::Sgd => Rule::Sgd { momentum: t.momentum, nesterov: false },
            OptimizerName::Adam => Rule::Adam,
            OptimizerName::Adamw => Rule::AdamW,
        };
        let weight_decay = own.weight_decay.unwrap_or(t.weight_decay);
        let clip_norm = (t.clip_norm > 0.0).then_some(t.clip_norm);
        Training {
            steps: t.steps,
            batch: t.batch,
            batches: t.batches,
            optimizer: OptimizerConfig { rate, rule, weight_decay, clip_norm },
            recompute: t.recompute,
            precision: match t.precision {
                PrecisionName::F32 => Precision::F32,
                PrecisionName::Mixed => Precision::Mixed(LossScale::default()),
            },
            seed,
            label_smoothing: t.label_smoothing,
            crop: self.crop(),
            shift: t.shift,
            flip: t.flip,
            eval_every: t.eval_every,
            check: self.check_gradients,
        }
    }

    /// The guide's own training.
    pub fn guide_training(&self, seed: u64) -> Training {
        let steps = self.guide.steps;
        let rate = Curve::Cosine { base: self.guide.learning_rate, floor: 0.0, warmup: 0, total: steps };
        let batch = self.training.batch;
        let (crop, shift, flip) = (self.crop(), self.training.shift, self.training.flip);
        Training { batch, optimizer: OptimizerConfig::adam(rate), seed, crop, shift, flip, ..Training::new(steps) }
    }

    fn crop(&self) -> Crop {
        match self.training.crop {
            CropName::Center => Crop::Center,
            CropName::Random => Crop::Random,
            CropName::Resized => Crop::Resized(self.training.crop_scale),
        }
    }
}

/// Images to train with and, where a set has them, images of its own to test with.
type Sources = (Arc<dyn Source>, Option<Arc<dyn Source>>);

fn sources<S: Source + 'static>((first, second): (S, Option<S>)) -> Sources {
    (Arc::new(first), second.map(|second| Arc::new(second) as _))
}
