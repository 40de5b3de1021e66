//! Values that types do not rule out.

use std::path::Path;

use trellis_data::text::MOST_IDS;

use super::sections::keys::{ABOVE_0, BRIGHTNESS, Declared, MOST_UNITS, Range};
use super::sections::{arm_check, guide, network_keys};
use super::{
    Amount, Channels, Config, ConfigError, CropName, DataSet, GuideConfig, NetworkConfig, lengths, refuse, refused,
};
use crate::record::names::checked_name;
use trellis_guidance::{Batches, Error, Result, Transformer};

const MOST_IMAGES: usize = 10_000_000;

impl Config {
    /// Refuses a configuration that cannot be run; `path` names the file in the error. Reading a file does this.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key whose value cannot be run.
    pub fn check(&self, path: &Path) -> Result<()> {
        checked_name(path, &self.name)?;
        let checks = [arms, guide::check_named, unused_keys, amounts, lengths::check, ranges, networks, images, steps];
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
    arm_check::check(config)
}

fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(at, value)| values[..*at].contains(value)).map(|(_, value)| value)
}

/// Splits that no data could have. What a set that is read from files holds is known later.
fn amounts(config: &Config) -> Result<(), ConfigError> {
    let least = config.least_examples();
    let metric = config.neediest_measure().map_or(String::new(), |metric| metric.to_string());
    let fewest = [("data.train", 1), ("data.validation", 0), ("data.test", 1)];
    for ((key, fewest), amount) in fewest.into_iter().zip(config.data.amounts()) {
        match amount {
            Some(Amount::Count(count)) => {
                if fewest > 0 {
                    Range::Counts(MOST_IMAGES).count(key, count)?;
                }
                Range::UpTo(MOST_IMAGES).count(key, count)?;
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
            Some(Amount::Share(0.0)) if fewest > 0 => return refuse(key, "is 0 or empty", "give a number above 0"),
            Some(Amount::Share(_)) | None => {}
        }
    }
    let train = config.data.train.and_then(Amount::count).filter(|_| config.data.set.is_drawn());
    for arm in &config.arms {
        let (key, batch) = (config.training_key(arm, "batch"), config.training_of(arm).batch);
        let Some(batch) = batch else { continue };
        if let Some(train) = train.filter(|train| batch > *train) {
            return refuse(key, format!("{batch} is more than {train} (data.train)"), "make it smaller");
        }
        if batch < least {
            let problem = format!("{batch} is too few: {metric} compares at least {least} examples");
            return refuse(key, problem, "make it larger");
        }
    }
    Ok(())
}

/// Numbers out of their range.
fn ranges(config: &Config) -> Result<(), ConfigError> {
    let of = |section: String, checked: Result<(), ConfigError>| {
        checked.map_err(|(key, problem, hint)| (format!("{section}.{key}"), problem, hint))
    };
    of("data".to_string(), config.data.check_ranges())?;
    of("guidance".to_string(), config.guidance.check_ranges())?;
    of("training".to_string(), config.training.check_ranges())?;
    config.guide_tables().into_iter().try_for_each(|(name, guide)| of(name, guide.keys.check_ranges()))
}

/// Networks, and the data that they take.
fn networks(config: &Config) -> Result<(), ConfigError> {
    let data = &config.data;
    let tokens = data.set.is_tokens();
    if tokens {
        if let Some(arm) = config.arms.iter().find(|arm| config.training(arm, 0).augments()) {
            let problem = "only images are cropped, shifted and flipped";
            return refuse(config.training_key(arm, "shift"), problem, "no `crop`, `shift` and `flip`");
        }
        Range::Counts(1 << 16).count("data.context", data.context)?;
        config.drawn().map_err(in_section)?;
    }
    let tables = config.guide_tables().into_iter().filter(|(_, guide)| guide.keys.activations.is_none());
    let guides = tables.map(|(name, guide)| (name, &guide.network, guide.keys.steps > 0));
    for (section, network, learns) in [("target".to_string(), &config.target.network, true)].into_iter().chain(guides) {
        network_keys::check(&section, network)?;
        if matches!(network, NetworkConfig::Rnn(_) | NetworkConfig::Transformer(_)) != tokens {
            let (takes, hint) = match tokens {
                true => ("takes images, and data.set gives tokens", "`rnn` or `transformer`"),
                false => ("takes tokens, and data.set gives images", "`fcn`, `cnn`, `resnet`, `mobilenet` or `vit`"),
            };
            return refuse(format!("{section}.network"), takes, hint);
        }
        if let (DataSet::Text, NetworkConfig::Transformer(Transformer { causal: false, .. })) = (data.set, network)
            && learns
        {
            let problem = "a network that sees the tokens to come cannot be told by how well it predicts them";
            let hint = if section == "target" { "set it to true" } else { "set it to true, or `steps` to 0" };
            return refuse(format!("{section}.causal"), problem, hint);
        }
    }
    config.guide_tables().iter().try_for_each(|(name, guide)| input_scale(config, name, guide))
}

/// Sizes of images, and what becomes of them.
fn images(config: &Config) -> Result<(), ConfigError> {
    let data = &config.data;
    for arm in &config.arms {
        let (key, training) = (|key: &str| config.training_key(arm, key), config.training_of(arm));
        if training.batches == Batches::Fixed && config.training(arm, 0).augments() {
            let hint = "`random`, or no `crop`, `shift` and `flip`";
            return refuse(key("batches"), "fixed batches cannot be augmented", hint);
        }
        if training.crop == CropName::Random && data.resize.is_none_or(|resize| resize == data.size) {
            let hint = "set data.resize for a folder, or `shift`, which moves images of any set";
            return refuse(key("crop"), "images are as large as what networks see: no part can be chosen", hint);
        }
        let [low, high] = training.crop_scale;
        if !(low > 0.0 && low <= high && high <= 1.0) {
            return refuse(key("crop_scale"), format!("{low} to {high} are no shares"), "two numbers above 0, up to 1");
        }
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
        Range::Counts(most).count("data.classes", classes)?;
    }
    if data.set == DataSet::Folder {
        let stored = data.resize.unwrap_or(data.size);
        Range::Counts(1024).count("data.resize", data.resize.unwrap_or(1))?;
        return Range::Counts(stored.min(1024)).count("data.size", data.size);
    }
    if data.set == DataSet::Glyphs && !matches!(data.size, 16 | 28) {
        return refuse("data.size", format!("glyphs are not {} pixels wide", data.size), "16 or 28");
    }
    Ok(())
}

/// Scale of a guide's input. How many channels there are is known with the data.
fn input_scale(config: &Config, name: &str, guide: &GuideConfig) -> Result<(), ConfigError> {
    let [mean_key, std_key] = ["mean", "std"].map(|key| format!("{name}.{key}"));
    let (mean, std) = match (&guide.keys.mean, &guide.keys.std) {
        (None, None) => return Ok(()),
        (Some(_), None) => return refuse(std_key, format!("is missing beside {mean_key}"), "give both, or neither"),
        (None, Some(_)) => return refuse(mean_key, format!("is missing beside {std_key}"), "give both, or neither"),
        (Some(mean), Some(std)) => (mean, std),
    };
    if config.data.set.is_tokens() {
        return refuse(mean_key, "scales images, and data.set gives tokens", "remove `mean` and `std`");
    }
    for (key, values, range) in [(mean_key, mean, BRIGHTNESS), (std_key, std, ABOVE_0)] {
        let Channels::Each(values) = values else { continue };
        Range::Counts(MOST_UNITS).count(&key, values.len())?;
        values.iter().try_for_each(|&value| range.real(&key, value))?;
    }
    Ok(())
}

/// Keys without effect.
fn unused_keys(config: &Config) -> Result<(), ConfigError> {
    // A key of [training] or [guidance] has an effect if it has one in some arm.
    type Unused = Vec<(&'static str, &'static str)>;
    let in_all = |base: Unused, of: &dyn Fn(&str) -> Unused| -> Unused {
        let in_arms: Vec<Unused> = config.arms.iter().map(|arm| of(arm)).collect();
        base.into_iter().filter(|key| in_arms.iter().all(|arm| arm.contains(key))).collect()
    };
    let training = in_all(config.training.unused(), &|arm| config.training_of(arm).unused());
    let guidance = in_all(config.guidance.unused(), &|arm| config.guidance_of(arm).unused());
    let sections = [("data", config.data.unused()), ("guidance", guidance), ("training", training)];
    for (section, unused) in sections {
        if let Some((key, by)) = unused.first() {
            let problem = format!("means something with {by} only");
            return refuse(format!("{section}.{key}"), problem, "remove one, or set the other");
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

/// Lengths that do not go together.
fn steps(config: &Config) -> Result<(), ConfigError> {
    // Checked once the data tell how many there are.
    if config.is_in_epochs() {
        return Ok(());
    }
    arm_check::check_guides(config)?;
    for arm in &config.arms {
        let training = config.training_of(arm);
        if training.warmup > training.steps {
            let problem = format!("{} is longer than the training, {} steps", training.warmup, training.steps);
            return refuse(config.training_key(arm, "warmup"), problem, "make it shorter");
        }
    }
    Ok(())
}
