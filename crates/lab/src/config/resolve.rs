//! From the file's words to networks, data and training.

use std::path::Path;
use std::sync::Arc;

use trellis_tensor::{Gpu, LossScale, OptimizerConfig, Rule, Schedule, user_cache};

use super::pools::{Pools, cut};
use super::{
    Config, CropName, DataConfig, DataSet, GuideConfig, MetricName, OptimizerName, PrecisionName, RateSchedule,
    TargetConfig, TextLevel, refused,
};
use trellis_guidance::alignment::LayerMap;
use trellis_guidance::alignment::{Cka, Metric, Ridge, Rsa};
use trellis_guidance::data::Crop;
use trellis_guidance::data::Dataset;
use trellis_guidance::data::DrawnSequences;
use trellis_guidance::data::text::{HfTokenizer, Text, Tokenizer};
use trellis_guidance::error::{Error, Result};
use trellis_guidance::io::regular_file;
use trellis_guidance::network::{Guide, Network, Output, Precision};
use trellis_guidance::trainer::{Guidance, Training};

impl Config {
    /// The data set on `gpu`; `place` is the folder of an IDX or CIFAR set or of images, or the file of a text. Where
    /// `gpu` only counts memory and there is no place, the set has the size that `[data]` tells, `classes` included.
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
            Some(drawn) => Dataset::drawn(gpu, drawn, self.data.counts().map_err(|bad| refused(path, bad))?),
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
            (Some(path), _) => Tokenizer::HfTokenizer(HfTokenizer::read(path)?),
            (None, TextLevel::Bytes) => Tokenizer::Bytes,
            (None, TextLevel::Characters) => Tokenizer::Characters,
        })
    }

    fn text(&self, gpu: &Gpu, path: &Path, file: Option<&Path>) -> Result<Dataset> {
        let DataConfig { context, stream, classes, .. } = self.data;
        let unit = format!("blocks of {context} tokens");
        let request = |name, blocks| self.request(name, &unit, [Some(blocks), None, None], 1);
        // A token has a byte or more, so a text has no more blocks than this; without a text, as many as are asked for.
        let most = match file {
            Some(file) => request("", (regular_file::open(file)?.1 / context.max(1) as u64) as usize).most(),
            None => self.data.counts().map_err(|bad| refused(path, bad))?,
        };
        // Four bytes for a token, and as many for the one that follows.
        let streamed = stream.unwrap_or_else(|| !Dataset::fits(gpu, most, context.saturating_mul(8)));
        let text = match file {
            Some(file) if streamed => {
                // A home that no folder can be made in, as in some containers, has no cache.
                let cache = user_cache().filter(|folder| std::fs::create_dir_all(folder).is_ok());
                Text::on_disk(file, self.tokenizer()?, &cache.unwrap_or_else(std::env::temp_dir))?
            }
            Some(file) => Text::read(file, self.tokenizer()?)?,
            None if gpu.is_dry_run() => {
                let vocabulary = match classes {
                    Some(classes) => classes,
                    None => match self.tokenizer()? {
                        Tokenizer::HfTokenizer(pieces) => pieces.count(),
                        _ => 256, // bytes, and more than the characters of most alphabets
                    },
                };
                let blocks = most.iter().fold(0_usize, |sum, &count| sum.saturating_add(count));
                Text::placeholder(blocks.saturating_mul(context).saturating_add(1), vocabulary)
            }
            None => {
                return Err(Error::config(path, "data.set", "a text lies in a file", "give it with --data FILE"));
            }
        };
        self.agrees(path, text.name(), text.vocabulary())?;
        let blocks = text.len().saturating_sub(1) / context.max(1);
        let counts = request(text.name(), blocks).resolve().map_err(|bad| refused(path, bad))?;
        match streamed {
            true => Dataset::stream_text(gpu, &Arc::new(text), context, counts),
            false => Dataset::text(gpu, &text, context, counts),
        }
    }

    fn images(&self, gpu: &Gpu, path: &Path, place: Option<&Path>) -> Result<Dataset> {
        let Pools { sources, labels, warnings } = self.pools(gpu, path, place)?;
        let [Some(train), ..] = &sources else { unreachable!("every set has training images") };
        self.agrees(path, train.name(), train.classes())?;
        let sizes = sources.each_ref().map(|source| source.as_ref().map(|source| source.count()));
        let classes = if labels.is_some() { train.classes() } else { 1 };
        let counts = self.request(train.name(), "images", sizes, classes).resolve();
        let counts = counts.map_err(|bad| refused(path, bad))?;
        let [train, validation, test] = cut(&sources, labels.as_deref(), counts, self.data.seed)?;
        let bytes = train.image_bytes();
        let (validation, skip) = (Some(validation).filter(|v| v.count() > 0), self.data.skip_broken);
        let data = match self.data.stream.unwrap_or_else(|| !Dataset::fits(gpu, counts, bytes)) {
            true => Dataset::stream(gpu, train, validation, Some(test), skip)?,
            false => Dataset::load(gpu, &*train, validation.as_deref(), Some(&*test), skip)?,
        };
        let data = data.with_warnings(warnings);
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

    /// The guide, drawn by `seed`: as it is, or as it begins its own training.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn draw_guide(&self, data: &Dataset, seed: u64) -> Result<Network> {
        let GuideConfig { network, classes, bias, .. } = &self.guide;
        let output = Output { classes: classes.unwrap_or(data.output().classes), ..data.output() };
        let guide = Network::with_shape(data.gpu(), network.architecture(), data.input(), output, seed)?;
        guide.set_head_bias(*bias, data)?;
        match (self.guide.input_scale(), data.normalization()) {
            (Some(scale), Some(units)) => guide.with_input_scale(&scale, units),
            _ => Ok(guide),
        }
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

    /// Guidance by `guide` in an arm.
    pub fn guidance(&self, arm: &str, guide: Guide) -> Guidance {
        Guidance::new(guide)
            .align(self.metric())
            .map_layers(self.layer_map())
            .weight(self.weight(arm))
            .schedule(self.schedule_of(arm))
            .capture(self.guidance.taps)
    }

    /// The training of an arm.
    pub fn training(&self, arm: &str, seed: u64) -> Training {
        let t = &self.training;
        let own = self.arm.get(arm).cloned().unwrap_or_default();
        let base = own.learning_rate.unwrap_or(t.learning_rate);
        let rate = match t.schedule {
            RateSchedule::Constant => Schedule::Constant(base),
            RateSchedule::Steps => Schedule::Steps { base, factor: t.decay, every: t.decay_every },
            RateSchedule::Cosine => Schedule::Cosine { base, floor: 0.0, warmup: t.warmup, total: t.steps },
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
            batch: self.batch(),
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
        let rate = Schedule::Cosine { base: self.guide.learning_rate, floor: 0.0, warmup: 0, total: steps };
        let batch = self.batch();
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
