//! Facts of a run in plain words, from the configuration that it keeps.

use std::path::Path;

use serde::Serialize;

use crate::config::{ArmGuide, Config, DataSet, MapName, NetworkConfig, RateSchedule};
use crate::record::Experiment;
use trellis_guidance::network::{HeadBias, InputScale};

/// Configuration of a run; `None` if it kept none, or one that this version cannot read.
pub(super) fn config(experiment: &Experiment) -> Option<Config> {
    let toml = Some(experiment.config_toml.as_str()).filter(|toml| !toml.trim().is_empty())?;
    Config::parse(toml, Path::new("config.toml")).ok()
}

/// Top-1 of a network that has learned nothing of its input, with its label: the trivial solution of drawn sequences, chance
/// for images. `None` for text, and where the number of classes is not known.
pub(super) fn level(config: &Config, experiment: &Experiment) -> Option<(f64, String)> {
    let (share, name) = match config.data.set {
        DataSet::Text => return None,
        DataSet::CopyPaste | DataSet::Parity => (config.drawn().ok()??.floor(), "trivial solution"),
        DataSet::Glyphs | DataSet::Idx | DataSet::Cifar | DataSet::Folder => {
            (1.0 / classes(config, experiment)? as f64, "chance")
        }
    };
    Some((share, format!("{name} {:.1} %", 100.0 * share)))
}

/// Number of classes of images: that of the file, else that of the records.
fn classes(config: &Config, experiment: &Experiment) -> Option<usize> {
    let confused = experiment.runs.iter().flat_map(|run| run.evals.iter().map(|eval| eval.confusion.len())).max();
    let known = [config.data.classes, confused, Some(experiment.class_names.len())];
    known.into_iter().flatten().find(|&classes| classes > 0)
}

/// Names of facts, each with one line or several.
pub(super) fn facts(config: &Config, experiment: &Experiment) -> Vec<(&'static str, Vec<String>)> {
    let arms = experiment.arms();
    let mut facts = vec![("Data", vec![data(config, &experiment.data)]), ("Target", vec![target(config)])];
    if config.guided_arm().is_some() {
        let own = &config.guidance;
        let mut measure = format!("{}, weight {}", word(&own.metric).replace("cka", "CKA"), own.weight);
        if own.balance {
            measure += " of the norm of the task's gradient";
        }
        if !own.pairs.is_empty() {
            measure += ", pairs by name";
        } else if own.map != MapName::Even {
            measure += &format!(", layers by the map {}", word(&own.map));
        }
        facts.extend([("Guide", guides(config)), ("Measure", vec![measure])]);
    }
    facts.push(("Training", vec![training(config)]));
    facts.push(("Arms", arms.iter().map(|name| format!("{name}: {}", arm(config, name))).collect()));
    facts
}

fn target(config: &Config) -> String {
    let mut words = config.target.network.architecture().describe();
    if config.target.bias == HeadBias::LabelPrior {
        words += ", head bias from the label shares";
    }
    words
}

/// The guide of an arm and how long it stays, then the arm's own settings.
fn arm(config: &Config, name: &str) -> String {
    let guide = config.guide_of(name);
    let mut words = guide.words();
    if guide != ArmGuide::None {
        words += config.control_of(name).describe();
        words += &config.schedule_of(name).describe(config.training_of(name).steps);
        match config.unlabeled_steps_of(name) {
            0 => {}
            steps => words += &format!(", no labels in the first {steps}"),
        }
    }
    let Some(own) = config.arm.get(name) else { return words };
    let init = own.init.as_ref().map(word).filter(|_| config.target_of(name) != config.target);
    let recurrent = if matches!(config.target.network, NetworkConfig::Rnn(_)) { "recurrent " } else { "" };
    let differences = [
        own.init_from.as_ref().map(|from| format!("begins with the weights of {from}")),
        own.weight.map(|weight| format!("weight {weight}")),
        own.learning_rate.map(|rate| format!("rate {rate}")),
        own.weight_decay.map(|decay| format!("weight decay {decay}")),
        own.dropout.map(|share| format!("dropout {share}")),
        init.map(|init| format!("{recurrent}weights {init}")),
        own.bias.map(|bias| match bias {
            HeadBias::LabelPrior => "head bias from the label shares".to_string(),
            HeadBias::Default => "head bias as drawn".to_string(),
        }),
    ];
    let training = own
        .training
        .iter()
        .chain(&own.guidance)
        .map(|(key, value)| format!("{} {}", key.replace('_', " "), plain(value)));
    let words = differences.into_iter().flatten().chain(training).fold(words, |words, next| format!("{words}, {next}"));
    // Guides have the numbers of their layers in the charts.
    let others = (1..).zip(config.guiding_arms(name)).skip(1);
    others.fold(words, |words, (number, other)| format!("{words}; and as guide {number} that of the arm {other}"))
}

/// The set and the part of it that was loaded: `glyphs; train 2000, test 1000, images of 1 × 16 × 16, 10 classes`.
fn data(config: &Config, loaded: &str) -> String {
    let symbols = |lengths: Option<[usize; 2]>, usual: [usize; 2]| match lengths.unwrap_or(usual) {
        [shortest, longest] if shortest == longest => shortest.to_string(),
        [shortest, longest] => format!("{shortest} to {longest}"),
    };
    let set = match config.data.set {
        DataSet::CopyPaste => {
            format!("copy-paste, {} symbols of {} kinds", symbols(config.data.lengths, [20, 40]), config.data.symbols)
        }
        DataSet::Parity => format!("parity of {} bits", symbols(config.data.lengths, [2, 50])),
        set => word(&set),
    };
    // Checksums and the like follow.
    let Some(extent) = loaded.split_inclusive(" classes").next().filter(|extent| !extent.is_empty()) else {
        return set;
    };
    let sizes = |(before, rest): (&str, &str)| {
        let (sizes, after) = rest.split_once(']')?;
        Some(format!("{before}of {}{}", sizes.replace(", ", " × "), after.replacen(" of ", ", ", 1)))
    };
    format!("{set}; {}", extent.split_once('[').and_then(sizes).unwrap_or_else(|| extent.to_string()))
}

/// A value of the file, a text without its quotation marks.
fn plain(value: &toml::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// The guides, those of `[guides.<name>]` with their names.
fn guides(config: &Config) -> Vec<String> {
    let in_use = config.guides_in_use();
    let of_section = |guide: &&ArmGuide| !matches!(guide, ArmGuide::Named(_));
    // One line of the network, as it is trained if some arm has it trained.
    let own = in_use.iter().rev().find(of_section).map(|guide| self::guide(config, guide));
    let named = in_use.iter().filter_map(|guide| match guide {
        ArmGuide::Named(name) => Some(format!("{name}: {}", self::guide(config, guide))),
        _ => None,
    });
    own.into_iter().chain(named).collect()
}

fn guide(config: &Config, of: &ArmGuide) -> String {
    if let Some(file) = config.guide_activations(of) {
        return format!("layers that were recorded in {}", file.display());
    }
    let guide = config.table_of(of);
    let mut words = guide.network.architecture().describe();
    if let Some(InputScale { mean, std }) = guide.input_scale() {
        words += &format!(", input scaled by mean {mean:?}, std {std:?}");
    }
    if let Some(file) = config.guide_weights(of) {
        words += &format!(", weights of {}", file.display());
        if !config.data.set.is_tokens() && guide.input_scale().is_none() {
            words += ", input normalized as the target's";
        }
    }
    match config.guide_steps(of) {
        0 => words,
        steps => format!("{words}, trained {steps} steps at {}", guide.keys.learning_rate),
    }
}

fn training(config: &Config) -> String {
    let t = &config.training;
    let mut words = format!("{}, rate {}", word(&t.optimizer), t.learning_rate);
    match t.schedule {
        RateSchedule::Constant => {}
        RateSchedule::Cosine if t.warmup > 0 => words += &format!(" (cosine, warm-up of {} steps)", t.warmup),
        RateSchedule::Cosine => words += " (cosine)",
        RateSchedule::Steps => words += &format!(" (times {} every {} steps)", t.decay, t.decay_every),
    }
    if t.weight_decay > 0.0 {
        words += &format!(", weight decay {}", t.weight_decay);
    }
    let length = t.epochs.map_or(format!("{} steps", t.steps), |epochs| format!("{epochs} epochs"));
    words + &format!(", batch {}, {length}", config.batch())
}

/// A key's value as the file has it, in words.
fn word(value: &impl Serialize) -> String {
    let named = serde_json::to_value(value).ok().and_then(|value| Some(value.as_str()?.replace('_', " ")));
    named.unwrap_or_default()
}
