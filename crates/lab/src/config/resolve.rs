//! From the file's words to networks, data and training.

use std::path::Path;
use std::sync::Arc;

use trellis_data::io::regular_file;
use trellis_data::text::{HfTokenizer, Text, Tokenizer};
use trellis_tensor::{Gpu, OptimizerConfig, Schedule, user_cache};

use super::pools::{Pools, cut};
use super::{ArmGuide, Config, DataConfig, DataSet, TargetConfig, TextLevel, refused};
use trellis_guidance::data::DrawnSequences;
use trellis_guidance::network::Output;
use trellis_guidance::{Dataset, Error, Guidance, Guide, Network, Result, Trainer, Training};

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

    /// A guide, drawn by `seed`: as it is, or as it begins its own training.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn draw_guide(&self, guide: &ArmGuide, data: &Dataset, seed: u64) -> Result<Network> {
        let table = self.table_of(guide);
        let output = Output { classes: table.keys.classes.unwrap_or(data.output().classes), ..data.output() };
        let guide = Network::with_shape(data.gpu(), table.network.architecture(), data.input(), output, seed)?;
        let guide = match (table.input_scale(), data.normalization()) {
            (Some(scale), Some(units)) => guide.with_input_scale(&scale, units)?,
            _ => guide,
        };
        // By what it sees.
        guide.scale_to_unit_variance(data, self.batch(), seed)?;
        guide.set_head_bias(table.keys.bias, data)?;
        Ok(guide)
    }

    /// A guide as it is before its own training: a network, or layers that were recorded.
    ///
    /// # Errors
    /// As [`Network::new`] and [`Guide::recorded`].
    pub fn guide(&self, guide: &ArmGuide, data: &Dataset, seed: u64) -> Result<Guide> {
        match self.guide_activations(guide) {
            Some(file) => Guide::recorded(data, file),
            None => Ok(self.draw_guide(guide, data, seed)?.freeze()),
        }
    }

    /// The target of an arm, its initial weights drawn by `seed`. Those of a checkpoint are loaded later.
    ///
    /// # Errors
    /// As [`Network::new`].
    pub fn draw_target(&self, arm: &str, data: &Dataset, seed: u64) -> Result<Network> {
        let TargetConfig { network, bias } = self.target_of(arm);
        let target = Network::with_shape(data.gpu(), network.architecture(), data.input(), data.output(), seed)?;
        if self.init_from(arm).is_none() {
            target.scale_to_unit_variance(data, self.batch_of(arm), seed)?;
            target.set_head_bias(bias, data)?;
        }
        Ok(target)
    }

    /// Steps that the guide of `trained_first` stays, unless its table says otherwise.
    pub(crate) fn first_steps(&self) -> u32 {
        self.guidance.first_steps.unwrap_or(self.training.steps / 2)
    }

    /// Steps that the guide of an arm called `trained_first` stays, unless its table says otherwise: half of its own steps, if it has
    /// some and `[guidance]` says nothing else.
    pub(super) fn first_steps_of(&self, arm: &str) -> u32 {
        let (first, own) = (self.first_steps(), self.training_of(arm).steps);
        if first == self.training.steps / 2 { own / 2 } else { first }
    }

    /// Guidance by `guide` in an arm.
    pub fn guidance(&self, arm: &str, guide: Guide) -> Guidance {
        let own = self.guidance_of(arm);
        let (method, weight) = own.method();
        Guidance::new(guide)
            .method(method)
            .align(own.metric())
            .map_layers(own.layer_map())
            .weight(weight)
            .schedule(self.schedule_of(arm))
            .capture(own.taps)
            .balance(own.balance)
            .layer_weights(own.layer_weights)
            .control(self.control_of(arm))
            .unlabeled_steps(self.unlabeled_steps_of(arm))
    }

    /// The training of an arm.
    pub fn training(&self, arm: &str, seed: u64) -> Training {
        let t = self.training_of(arm);
        Training {
            steps: t.steps,
            batch: self.batch_of(arm),
            batches: t.batches,
            optimizer: t.optimizer(),
            recompute: t.recompute,
            precision: t.precision(),
            seed,
            label_smoothing: t.label_smoothing,
            crop: t.crop(),
            shift: t.shift,
            flip: t.flip,
            eval_every: t.eval_every,
            check: self.check_gradients,
        }
    }

    /// Trainer of an arm's target: pulled by the arm's guides, or for an arm without one compared with a guide. `find` gives the guide
    /// of an arm.
    pub(crate) fn trainer<'a>(
        &self,
        arm: &str,
        target: &'a Network,
        data: &'a Dataset,
        find: impl Fn(&ArmGuide) -> Option<Guide>,
        seed: u64,
    ) -> Trainer<'a> {
        let mut trainer = Trainer::new(target, data, self.training(arm, seed));
        for of in self.guiding_arms(arm) {
            let guidance = find(&self.compared_with(&of)).map(|guide| self.guidance(&of, guide));
            trainer = match (guidance, self.guide_of(arm)) {
                (None, _) => trainer,
                (Some(guidance), ArmGuide::None) => trainer.measured_against(guidance),
                (Some(guidance), _) => trainer.guided_by(guidance),
            };
        }
        trainer
    }

    /// A guide's own training.
    pub fn guide_training(&self, guide: &ArmGuide, seed: u64) -> Training {
        let (steps, t) = (self.guide_steps(guide), &self.training);
        let rate = self.table_of(guide).keys.learning_rate;
        let optimizer = OptimizerConfig::adam(Schedule::Cosine { base: rate, floor: 0.0, warmup: 0, total: steps });
        let (crop, shift, flip) = (t.crop(), t.shift, t.flip);
        Training { batch: self.batch(), optimizer, seed, crop, shift, flip, ..Training::new(steps) }
    }
}
