//! Values that types do not rule out.

use std::path::Path;

use trellis_tensor::ops;

use super::{
    Amount, Channels, Config, ConfigError, CropName, DataSet, MetricName, NetworkConfig, OptimizerName, RateSchedule,
    arm, lengths, refuse, refused,
};
use crate::record::names::checked_name;
use trellis_guidance::data::text::MOST_IDS;
use trellis_guidance::error::{Error, Result};
use trellis_guidance::network::{InitialWeights, RnnCell, Stack, Transformer};
use trellis_guidance::trainer::Batches;

/// Largest number of units, channels or layers: far above what is useful, far below what overflows.
const MOST_UNITS: usize = 65_536;
const MOST_LAYERS: usize = 1000;
/// Each stage of a residual network halves the image.
const MOST_STAGES: usize = 6;
const MOST_IMAGES: usize = 10_000_000;

impl Config {
    /// Refuses a configuration that cannot be run; `path` names the file in the error. Reading a file does this.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key whose value cannot be run.
    pub fn check(&self, path: &Path) -> Result<()> {
        checked_name(path, &self.name)?;
        let checks = [arms, unused_keys, amounts, lengths::check, sizes, numbers, steps];
        let checked = checks.iter().try_for_each(|check| check(self));
        checked.map_err(|bad| refused(path, bad))
    }
}

fn arms(config: &Config) -> Result<(), ConfigError> {
    if config.arms.is_empty() {
        return refuse("arms", "is empty", "name at least one arm");
    }
    if config.seeds.is_empty() {
        return refuse("seeds", "is empty", "give at least one seed");
    }
    if let Some(arm) = repeated(&config.arms) {
        return refuse("arms", format!("names `{arm}` twice"), "name each arm once");
    }
    if let Some(seed) = repeated(&config.seeds) {
        return refuse("seeds", format!("holds {seed} twice"), "equal seeds give equal runs: give each once");
    }
    arm::check(config)
}

fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(at, value)| values[..*at].contains(value)).map(|(_, value)| value)
}

/// Splits that no data could have. What a set that is read from files holds is known later.
fn amounts(config: &Config) -> Result<(), ConfigError> {
    let (least, metric) = (config.least_examples(), config.metric());
    let fewest = [("data.train", 1), ("data.validation", 0), ("data.test", 1)];
    for ((key, fewest), amount) in fewest.into_iter().zip(config.data.amounts()) {
        match amount {
            Some(Amount::Count(count)) => {
                size(key, count.max(1 - fewest), count, MOST_IMAGES, "")?;
                if key == "data.test" && count < least {
                    let problem = format!("{count} is too few: {metric} compares at least {least} examples");
                    return refuse(key, problem, "make it larger");
                }
            }
            Some(share) if config.data.set.is_drawn() => {
                let problem = format!("{share} is a share, and of what is drawn there is no whole");
                return refuse(key, problem, "give a number of examples");
            }
            Some(Amount::Share(share)) if !(0.0..=1.0).contains(&share) => {
                let hint = "give a share from 0.0 to 1.0, or a whole number of examples, without a point";
                return refuse(key, format!("{share:?} is no share"), hint);
            }
            Some(Amount::Share(0.0)) => size(key, 1 - fewest, 0, MOST_IMAGES, "")?,
            Some(Amount::Share(_)) | None => {}
        }
    }
    let (train, batch) = (config.data.train.and_then(Amount::count), config.training.batch);
    if let (true, Some(train), Some(batch)) = (config.data.set.is_drawn(), train, batch) {
        size("training.batch", batch, batch, train, " (data.train)")?;
    }
    match batch {
        Some(0) => refuse("training.batch", "is 0 or empty", "give a number above 0"),
        Some(batch) if batch < least => {
            let problem = format!("{batch} is too few: {metric} compares at least {least} examples");
            refuse("training.batch", problem, "make it larger")
        }
        _ => Ok(()),
    }
}

fn sizes(config: &Config) -> Result<(), ConfigError> {
    let Config { data, training, .. } = config;
    for (key, low, high, most) in [
        ("training.steps", training.steps as usize, training.steps as usize, usize::MAX),
        ("training.decay_every", training.decay_every as usize, training.decay_every as usize, usize::MAX),
        ("training.shift", 1, training.shift, 15),
    ] {
        size(key, low, high, most, "")?;
    }
    if matches!(data.set, DataSet::CopyPaste | DataSet::Parity | DataSet::Text) {
        if config.training("", 0).augments() {
            return refuse(
                "training.shift",
                "only images are cropped, shifted and flipped",
                "no `crop`, `shift` and `flip`",
            );
        }
        size("data.context", data.context, data.context, 1 << 16, "")?;
        config.drawn().map_err(in_section)?;
    }
    network("target", &config.target.network)?;
    network("guide", &config.guide.network)?;
    let tokens = matches!(data.set, DataSet::CopyPaste | DataSet::Parity | DataSet::Text);
    for (section, network) in [("target", &config.target.network), ("guide", &config.guide.network)] {
        if matches!(network, NetworkConfig::Rnn(_) | NetworkConfig::Transformer(_)) != tokens {
            let (takes, hint) = match tokens {
                true => ("takes images, and data.set gives tokens", "`rnn` or `transformer`"),
                false => ("takes tokens, and data.set gives images", "`fcn`, `cnn`, `resnet` or `vit`"),
            };
            return refuse(format!("{section}.network"), takes, hint);
        }
        if let (DataSet::Text, NetworkConfig::Transformer(Transformer { causal: false, .. })) = (data.set, network) {
            let problem = "a network that sees the tokens to come cannot be told by how well it predicts them";
            return refuse(format!("{section}.causal"), problem, "set it to true");
        }
    }
    if let Some(classes) = config.guide.classes {
        size("guide.classes", classes, classes, MOST_UNITS, "")?;
    }
    input_scale(config)?;
    if training.batches == Batches::Fixed && config.training("", 0).augments() {
        return refuse(
            "training.batches",
            "fixed batches cannot be augmented",
            "`random`, or no `crop`, `shift` and `flip`",
        );
    }
    if training.crop == CropName::Random && data.resize.is_none_or(|resize| resize == data.size) {
        let hint = "set data.resize for a folder, or `shift`, which moves images of any set";
        return refuse("training.crop", "images are as large as what networks see: no part can be chosen", hint);
    }
    let [low, high] = training.crop_scale;
    if !(low > 0.0 && low <= high && high <= 1.0) {
        return refuse("training.crop_scale", format!("{low} to {high} are no shares"), "two numbers above 0, up to 1");
    }
    if let Some(classes) = data.classes {
        if data.set == DataSet::Glyphs && classes != 10 {
            return refuse("data.classes", "glyphs have 10", "remove the key");
        }
        let most = match data.set {
            DataSet::Idx => 256,
            DataSet::Folder => usize::from(u16::MAX),
            _ => MOST_IDS,
        };
        size("data.classes", classes, classes, most, "")?;
    }
    if data.set == DataSet::Folder {
        let stored = data.resize.unwrap_or(data.size);
        size("data.resize", data.resize.unwrap_or(1), stored, 1024, "")?;
        return size("data.size", data.size, data.size, stored, " (data.resize)");
    }
    if data.set == DataSet::Glyphs && !matches!(data.size, 16 | 28) {
        return refuse("data.size", format!("glyphs are not {} pixels wide", data.size), "16 or 28");
    }
    Ok(())
}

/// Scale of the guide's input. How many channels there are is known with the data.
fn input_scale(config: &Config) -> Result<(), ConfigError> {
    let (mean, std) = match (&config.guide.mean, &config.guide.std) {
        (None, None) => return Ok(()),
        (Some(_), None) => return refuse("guide.std", "is missing beside guide.mean", "give both, or neither"),
        (None, Some(_)) => return refuse("guide.mean", "is missing beside guide.std", "give both, or neither"),
        (Some(mean), Some(std)) => (mean, std),
    };
    if matches!(config.data.set, DataSet::CopyPaste | DataSet::Parity | DataSet::Text) {
        return refuse("guide.mean", "scales images, and data.set gives tokens", "remove `mean` and `std`");
    }
    for (key, values, range) in [("guide.mean", mean, BRIGHTNESS), ("guide.std", std, ABOVE_0)] {
        let Channels::Each(values) = values else { continue };
        size(key, values.len(), values.len(), MOST_UNITS, " (channels)")?;
        values.iter().try_for_each(|&value| number(key.to_string(), value, range))?;
    }
    Ok(())
}

/// Keys that are there though nothing asks for them.
fn unused_keys(config: &Config) -> Result<(), ConfigError> {
    use DataSet::{Cifar, CopyPaste, Folder, Glyphs, Idx, Parity, Text};
    let Config { data, guidance, training, .. } = config;
    let default = Config::default();
    for (key, given, sets) in [
        ("data.size", data.size != default.data.size, &[Glyphs, Folder][..]),
        ("data.resize", data.resize.is_some(), &[Folder]),
        ("data.skip_broken", data.skip_broken, &[Folder]),
        ("data.stream", data.stream == Some(true), &[Glyphs, Idx, Cifar, Folder, Text]),
        ("data.lengths", data.lengths.is_some(), &[CopyPaste, Parity]),
        ("data.symbols", data.symbols != default.data.symbols, &[CopyPaste]),
        ("data.context", data.context != default.data.context, &[Text]),
        ("data.level", data.level != default.data.level, &[Text]),
        ("data.tokenizer", data.tokenizer.is_some(), &[Text]),
    ] {
        if given && !sets.contains(&data.set) {
            return refuse(key, "says nothing of this `data.set`", "remove the key");
        }
    }
    let (ours, usual) = (training, &default.training);
    let rbf = matches!(guidance.metric, MetricName::RbfCka | MetricName::RbfCkaDebiased);
    let (ridge, sgd) = (guidance.metric == MetricName::Ridge, ours.optimizer == OptimizerName::Sgd);
    let (cosine, steps) = (ours.schedule == RateSchedule::Cosine, ours.schedule == RateSchedule::Steps);
    for (key, given, asked, by) in [
        ("data.level", data.level != default.data.level, data.tokenizer.is_none(), "no tokenizer"),
        ("guidance.bandwidth", guidance.bandwidth != default.guidance.bandwidth, rbf, "a metric of `rbf_cka`"),
        ("guidance.lambda", guidance.lambda != default.guidance.lambda, ridge, "metric = \"ridge\""),
        ("training.momentum", ours.momentum != usual.momentum, sgd, "optimizer = \"sgd\""),
        ("training.warmup", ours.warmup > 0, cosine, "schedule = \"cosine\""),
        ("training.decay", ours.decay != usual.decay, steps, "schedule = \"steps\""),
        ("training.decay_every", ours.decay_every != usual.decay_every, steps, "schedule = \"steps\""),
        (
            "training.crop_scale",
            ours.crop_scale != usual.crop_scale,
            ours.crop == CropName::Resized,
            "crop = \"resized\"",
        ),
    ] {
        if given && !asked {
            return refuse(key, format!("means something with {by} only"), "remove one, or set the other");
        }
    }
    Ok(())
}

/// An error of the data's own, under the key of the file.
fn in_section(error: Error) -> ConfigError {
    match error {
        Error::Config { key, problem, hint, .. } => (format!("data.{key}"), problem, hint),
        other => ("data".to_string(), other.to_string(), String::new()),
    }
}

/// Refuses a size of which the least is 0 or the greatest more than `most`.
fn size(key: &str, low: usize, high: usize, most: usize, what: &str) -> Result<(), ConfigError> {
    match () {
        () if low == 0 => refuse(key, "is 0 or empty", "give a number above 0"),
        () if high > most => refuse(key, format!("{high} is more than {most}{what}"), "make it smaller"),
        () => Ok(()),
    }
}

/// Refuses a list of sizes that is empty or too long, or holds a 0 or more than `most`.
fn list(key: &str, values: &[usize], most: usize) -> Result<(), ConfigError> {
    let (low, high) = (values.iter().copied().min(), values.iter().copied().max());
    size(key, low.unwrap_or(0), high.unwrap_or(0), most, "")?;
    size(key, values.len(), values.len(), MOST_LAYERS, " (layers)")
}

/// The network of a section.
fn network(section: &str, network: &NetworkConfig) -> Result<(), ConfigError> {
    let key = |name: &str| format!("{section}.{name}");
    match network {
        NetworkConfig::Fcn(fcn) => {
            size(&key("depth"), fcn.depth, fcn.depth, MOST_LAYERS, "")?;
            size(&key("width"), fcn.width, fcn.width, MOST_UNITS, "")?;
            let first = fcn.first_width.unwrap_or(fcn.width);
            size(&key("first_width"), first, first, MOST_UNITS, "")?;
            number(key("dropout"), fcn.dropout, SHARE)
        }
        NetworkConfig::Cnn(cnn) => {
            list(&key("channels"), &cnn.channels, MOST_UNITS)?;
            list(&key("strides"), &cnn.strides, 16)?;
            if cnn.strides.len() != cnn.channels.len() {
                let problem = format!("has another length than {section}.channels");
                return refuse(key("strides"), problem, "give one for each");
            }
            Ok(())
        }
        NetworkConfig::Resnet(resnet) => {
            list(&key("blocks"), &resnet.blocks, MOST_LAYERS)?;
            let stages = resnet.blocks.len();
            size(&key("blocks"), stages, stages, MOST_STAGES, " (stages)")?;
            size(&key("width"), resnet.width, resnet.width, MOST_UNITS >> (stages + 1), "")
        }
        NetworkConfig::Vit(vit) => {
            size(&key("patch"), vit.patch, vit.patch, MOST_UNITS, "")?;
            size(&key("depth"), vit.depth, vit.depth, MOST_LAYERS, "")?;
            blocks(section, vit.width, vit.heads, vit.hidden)?;
            number(key("attention_dropout"), vit.attention_dropout, SHARE)?;
            number(key("dropout"), vit.dropout, SHARE)
        }
        NetworkConfig::Rnn(rnn) => {
            size(&key("layers"), rnn.layers, rnn.layers, MOST_LAYERS, "")?;
            size(&key("width"), rnn.width, rnn.width, MOST_UNITS, "")?;
            size(&key("hidden"), rnn.hidden, rnn.hidden, MOST_UNITS, "")?;
            if rnn.stack == Stack::Paper && rnn.cell != RnnCell::Tanh {
                return refuse(key("stack"), "the paper's is one of tanh cells", "remove the key");
            }
            if !matches!(rnn.init, InitialWeights::Default | InitialWeights::Orthogonal) {
                return refuse(key("init"), "is not for recurrent weights", "`default` or `orthogonal`");
            }
            number(key("dropout"), rnn.dropout, SHARE)
        }
        NetworkConfig::Transformer(transformer) => {
            size(&key("layers"), transformer.layers, transformer.layers, MOST_LAYERS, "")?;
            blocks(section, transformer.width, transformer.heads, transformer.hidden)?;
            number(key("dropout"), transformer.dropout, SHARE)
        }
    }
}

/// The blocks of a Transformer.
fn blocks(section: &str, width: usize, heads: usize, hidden: usize) -> Result<(), ConfigError> {
    let key = |name: &str| format!("{section}.{name}");
    size(&key("width"), width, width, MOST_UNITS, "")?;
    size(&key("hidden"), hidden, hidden, MOST_UNITS, "")?;
    size(&key("heads"), heads, heads, width, " (width)")?;
    if !width.is_multiple_of(heads) || width / heads > ops::MAX_HEAD {
        let problem = format!("{width} features do not make {heads} heads of up to {}", ops::MAX_HEAD);
        return refuse(key("heads"), problem, "choose a divisor of the width");
    }
    Ok(())
}

/// A range in words, and whether a number is in it.
type Range = (&'static str, fn(f32) -> bool);

const BRIGHTNESS: Range = ("from 0 to 1, as pixels are", |v| (0.0..=1.0).contains(&v));
const ABOVE_0: Range = ("above 0", |v| v > 0.0 && v.is_finite());
const FROM_0: Range = ("of 0 or more", |v| v >= 0.0 && v.is_finite());
const SHARE: Range = ("from 0 up to, not including, 1", |v| (0.0..1.0).contains(&v));

fn number(key: String, value: f32, (range, fits): Range) -> Result<(), ConfigError> {
    if fits(value) { Ok(()) } else { refuse(key, format!("{value} is out of range"), format!("give a number {range}")) }
}

fn numbers(config: &Config) -> Result<(), ConfigError> {
    let Config { guide, guidance, training, .. } = config;
    for (key, value, range) in [
        ("guide.learning_rate", guide.learning_rate, ABOVE_0),
        ("guidance.bandwidth", guidance.bandwidth, ABOVE_0),
        ("guidance.lambda", guidance.lambda, ABOVE_0),
        ("guidance.weight", guidance.weight, FROM_0),
        ("training.learning_rate", training.learning_rate, ABOVE_0),
        ("training.momentum", training.momentum, SHARE),
        ("training.weight_decay", training.weight_decay, FROM_0),
        ("training.decay", training.decay, FROM_0),
        ("training.clip_norm", training.clip_norm, FROM_0),
        ("training.label_smoothing", training.label_smoothing, SHARE),
    ] {
        number(key.to_string(), value, range)?;
    }
    for (name, arm) in &config.arm {
        for (key, value, range) in [
            ("learning_rate", arm.learning_rate, ABOVE_0),
            ("weight_decay", arm.weight_decay, FROM_0),
            ("dropout", arm.dropout, SHARE),
            ("weight", arm.weight, FROM_0),
        ] {
            value.map_or(Ok(()), |value| number(format!("arm.{name}.{key}"), value, range))?;
        }
    }
    Ok(())
}

/// Lengths that do not go together.
fn steps(config: &Config) -> Result<(), ConfigError> {
    // Checked once the data tell how many there are.
    if config.is_in_epochs() {
        return Ok(());
    }
    arm::check_guides(config)?;
    let steps = config.training.steps;
    if config.training.warmup > steps {
        let problem = format!("{} is longer than the training, {steps} steps", config.training.warmup);
        return refuse("training.warmup", problem, "make it shorter");
    }
    Ok(())
}
