//! Values that types do not rule out.

use std::path::Path;

use super::explain::suggestion;
use super::{Config, DataSet, MetricName};
use crate::error::{Error, Result};
use crate::record::ARMS;
use crate::trainer::Batches;

/// Most units, channels or layers: far above what is useful, far below what overflows.
const MOST_UNITS: usize = 65_536;
const MOST_LAYERS: usize = 1000;
const MOST_IMAGES: usize = 10_000_000;

impl Config {
    /// Refuses what cannot be run; `path` names the file in the error. Reading a file does this.
    ///
    /// # Errors
    /// [`Error::Config`] with the first key whose value cannot be run.
    pub fn check(&self, path: &Path) -> Result<()> {
        let checked = arms(self).and_then(|()| sizes(self)).and_then(|()| numbers(self)).and_then(|()| steps(self));
        checked.map_err(|(key, problem, hint)| Error::config(path, key, problem, hint))
    }
}

/// Key, what is wrong with it, what to do.
type Bad = (String, String, String);

fn bad<T>(key: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Result<T, Bad> {
    Err((key.into(), problem.into(), hint.into()))
}

fn arms(config: &Config) -> Result<(), Bad> {
    let named = config.arms.iter().map(|arm| ("arms".to_string(), arm));
    let tables = config.arm.keys().map(|arm| (format!("arm.{arm}"), arm));
    if let Some((key, arm)) = named.chain(tables).find(|(_, arm)| !ARMS.contains(&arm.as_str())) {
        return bad(key, format!("unknown arm `{arm}`"), suggestion(arm, &ARMS));
    }
    if config.arms.is_empty() {
        return bad("arms", "is empty", "name at least one arm");
    }
    if config.seeds.is_empty() {
        return bad("seeds", "is empty", "give at least one seed");
    }
    if let Some(arm) = repeated(&config.arms) {
        return bad("arms", format!("names `{arm}` twice"), "name each arm once");
    }
    if let Some(seed) = repeated(&config.seeds) {
        return bad("seeds", format!("holds {seed} twice"), "equal seeds give equal runs: give each once");
    }
    if config.arm.get("alone").is_some_and(|alone| alone.weight.is_some()) {
        return bad("arm.alone.weight", "has no meaning", "this arm has no guide: remove the key");
    }
    Ok(())
}

fn repeated<T: PartialEq>(values: &[T]) -> Option<&T> {
    values.iter().enumerate().find(|(at, value)| values[..*at].contains(value)).map(|(_, value)| value)
}

fn sizes(config: &Config) -> Result<(), Bad> {
    let Config { data, target, guide, training, .. } = config;
    let smallest = |values: &[usize]| values.iter().copied().min().unwrap_or(0);
    let largest = |values: &[usize]| values.iter().copied().max().unwrap_or(0);
    for (key, low, high, most) in [
        ("training.steps", training.steps as usize, training.steps as usize, usize::MAX),
        ("training.batch", training.batch, training.batch, data.train),
        ("data.train", data.train, data.train, MOST_IMAGES),
        ("data.validation", 1, data.validation, MOST_IMAGES),
        ("data.test", data.test, data.test, MOST_IMAGES),
        ("data.classes", data.classes, data.classes, 256),
        ("target.depth", target.depth, target.depth, MOST_LAYERS),
        ("target.width", target.width, target.width, MOST_UNITS),
        ("guide.channels", smallest(&guide.channels), largest(&guide.channels), MOST_UNITS),
        ("guide.channels", guide.channels.len(), guide.channels.len(), MOST_LAYERS),
        ("guide.strides", smallest(&guide.strides), largest(&guide.strides), 16),
        ("training.shift", 1, training.shift, 15),
    ] {
        if low == 0 {
            return bad(key, "is 0 or empty", "give a number above 0");
        }
        if high > most {
            let what = if key == "training.batch" { " (data.train)" } else { "" };
            return bad(key, format!("{high} is more than {most}{what}"), "make it smaller");
        }
    }
    if training.batches == Batches::Fixed && (training.shift > 0 || training.flip) {
        return bad("training.batches", "fixed batches cannot be augmented", "`random`, or no `shift` and `flip`");
    }
    if guide.strides.len() != guide.channels.len() {
        return bad("guide.strides", "has another length than guide.channels", "give one for each");
    }
    let least = match config.guidance.metric {
        MetricName::Cka | MetricName::RbfCka | MetricName::Ridge => 2,
        MetricName::RsaCosine | MetricName::RsaPearson => 3,
        MetricName::CkaDebiased | MetricName::RbfCkaDebiased => 4,
    };
    for (key, count) in [("training.batch", training.batch), ("data.test", data.test)] {
        if count < least {
            let problem = format!("{count} is too few: this metric compares at least {least} examples");
            return bad(key, problem, "make it larger");
        }
    }
    if data.set == DataSet::Glyphs && data.classes != 10 {
        return bad("data.classes", "glyphs have 10", "remove the key");
    }
    if !matches!(data.size, 16 | 28) {
        return bad("data.size", format!("glyphs are not {} pixels wide", data.size), "16 or 28");
    }
    Ok(())
}

fn numbers(config: &Config) -> Result<(), Bad> {
    let Config { target, guide, guidance, training, .. } = config;
    let above_0: (&str, fn(f32) -> bool) = ("above 0", |v| v > 0.0 && v.is_finite());
    let from_0: (&str, fn(f32) -> bool) = ("of 0 or more", |v| v >= 0.0 && v.is_finite());
    let share: (&str, fn(f32) -> bool) = ("from 0 up to, not including, 1", |v| (0.0..1.0).contains(&v));
    let mut all = vec![
        ("target.dropout".to_string(), target.dropout, share),
        ("guide.learning_rate".to_string(), guide.learning_rate, above_0),
        ("guidance.bandwidth".to_string(), guidance.bandwidth, above_0),
        ("guidance.lambda".to_string(), guidance.lambda, above_0),
        ("guidance.weight".to_string(), guidance.weight, from_0),
        ("training.learning_rate".to_string(), training.learning_rate, above_0),
        ("training.momentum".to_string(), training.momentum, share),
        ("training.weight_decay".to_string(), training.weight_decay, from_0),
        ("training.clip_norm".to_string(), training.clip_norm, from_0),
        ("training.label_smoothing".to_string(), training.label_smoothing, share),
    ];
    for (name, arm) in &config.arm {
        let own = [
            ("learning_rate", arm.learning_rate, above_0),
            ("weight_decay", arm.weight_decay, from_0),
            ("dropout", arm.dropout, share),
            ("weight", arm.weight, from_0),
        ];
        all.extend(own.into_iter().filter_map(|(key, v, range)| Some((format!("arm.{name}.{key}"), v?, range))));
    }
    match all.into_iter().find(|(_, value, (_, fits))| !fits(*value)) {
        Some((key, value, (range, _))) => {
            bad(key, format!("{value} is out of range"), format!("give a number {range}"))
        }
        None => Ok(()),
    }
}

/// Arms that would not be what their names say.
fn steps(config: &Config) -> Result<(), Bad> {
    let has = |arm: &str| config.arms.iter().any(|a| a == arm);
    let (steps, first) = (config.training.steps, config.guidance.first_steps);
    if has("trained_first") && !(1..steps).contains(&first) {
        let problem = format!("the guide of `trained_first` would stay for {first} of {steps} steps");
        return bad("guidance.first_steps", problem, "give a number above 0 and below training.steps");
    }
    if (has("trained") || has("trained_first")) && config.guide.steps == 0 {
        return bad(
            "guide.steps",
            "0 steps do not train a guide",
            "give a number above 0, or leave out the trained arms",
        );
    }
    if config.training.warmup > steps {
        return bad("training.warmup", "is longer than training.steps", "make it shorter");
    }
    Ok(())
}
