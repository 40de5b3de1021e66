//! Configurations that extend one that a folder already has: with more seeds, more arms or more steps.

use std::collections::BTreeMap;
use std::path::Path;

use super::Experiment;
use super::names::CONFIG;
use crate::config::{ArmGuide, Config, RateSchedule, dotted};
use trellis_guidance::{Error, GuideSchedule, Result};

/// Refuses a configuration `new` that a folder with the configuration `old`, read from `path`, cannot go on with.
/// Returns true if it trains for more steps.
///
/// More seeds and more arms leave the old runs as they are. More steps let them go on from their last state. That is
/// right only where no step would have been another one in a run of the new length from the start.
///
/// # Errors
/// [`Error::Data`] with every line that differs and may not, or with the reason why more steps are not the same training.
pub(super) fn check(path: &Path, old: &str, new: &str) -> Result<bool> {
    let refuse = |problem: String, hint: &str| Err(Error::data(path, problem, hint));
    let parsed = |text: &str| Config::parse(text, path);
    let differs = || {
        let hint = "give the same file and seeds, or more seeds, arms or steps; or another --out";
        refuse(format!("is of another experiment: {}", differences(old, new)), hint)
    };
    // A configuration that an older version wrote may not be read.
    let (Ok(before), Ok(after)) = (parsed(old), parsed(new)) else { return differs() };
    let steps = |arm: &str| [&before, &after].map(|config| config.training_of(arm).steps);
    let fewer = before.seeds.iter().any(|seed| !after.seeds.contains(seed))
        || before.arms.iter().any(|arm| !after.arms.contains(arm))
        || before.arms.iter().any(|arm| steps(arm)[1] < steps(arm)[0]);
    if fewer || raised(&before, &after) != after {
        return differs();
    }
    let anew = "train anew, under another `name` or without --resume";
    for arm in &before.arms {
        let guides = [&before, &after].map(|config| config.compared_with(arm));
        if guides[0] != guides[1] {
            let [was, is] = guides.map(|guide| match guide {
                ArmGuide::None => "nothing".to_string(),
                guide => format!("the {}", guide.words()),
            });
            let problem = format!("the layers of `{arm}` were compared with {was}, and with the new arms it is {is}");
            return refuse(problem, anew);
        }
        if let Some(source) = after.init_from(arm).filter(|source| source.run.is_none())
            && let [was, is] = steps(&source.arm)
            && was != is
        {
            let problem =
                format!("`{arm}` began with `{}` after {was} steps, and would now begin after {is}", source.arm);
            return refuse(problem, anew);
        }
        let [from, to] = steps(arm);
        let schedules = [&before, &after].map(|config| config.schedule_of(arm));
        if schedules[0] != schedules[1] {
            let GuideSchedule::FirstSteps(first) = schedules[0] else { return differs() };
            if first != from / 2 {
                return differs();
            }
            let problem = format!(
                "the guide of `{arm}` stayed for {first} steps, half of {from}, and would now stay for half of {to}"
            );
            return refuse(problem, &format!("write `first_steps = {first}` in [guidance]"));
        }
        if to > from && after.training_of(arm).schedule == RateSchedule::Cosine {
            let problem = format!(
                "schedule = \"cosine\" lets the learning rate fall to 0 at step {from}: a run of {to} steps has other \
                 rates from its first step on"
            );
            return refuse(problem, anew);
        }
    }
    Ok(before.arms.iter().any(|arm| steps(arm)[1] > steps(arm)[0]))
}

/// A key by which `wanted`, which has not met its data yet, is another experiment than that of a folder, with both values. Keys that only
/// one of them has follow from the data, and so do the numbers of a split that is wanted as a share.
pub(crate) fn other_in(of_folder: &Config, wanted: &Config) -> Option<String> {
    let mut raised = raised(of_folder, wanted);
    raised.name.clone_from(&wanted.name);
    let (old, new) = (raised.to_toml(), wanted.to_toml());
    let (old, new) = (lines(&old), lines(&new));
    let is_share =
        |key: &str, value: &str| ["data.train", "data.validation", "data.test"].contains(&key) && value.contains('.');
    let differs = |(key, value): (&String, &String)| {
        let old = old.get(key).filter(|old| *old != value && !is_share(key, value))?;
        Some(format!("it has `{key} = {old}`, not `{value}`"))
    };
    let kept = of_folder.arms.iter().filter(|arm| wanted.arms.contains(arm));
    let mut schedules = kept.filter(|arm| of_folder.schedule_of(arm) != wanted.schedule_of(arm));
    new.iter().find_map(differs).or_else(|| Some(format!("it has another schedule for `{}`", schedules.next()?)))
}

/// Seeds that the experiment in `folder` has and `config`, which is the same but for them, lacks, if all of their runs came to an end. Else
/// empty, and where there is no such folder, or one of another experiment.
pub fn further_seeds(folder: &Path, config: &Config) -> Vec<u64> {
    let Ok(mut of_folder) = Config::read(&folder.join(CONFIG)) else { return Vec::new() };
    of_folder.seeds.retain(|seed| !config.seeds.contains(seed));
    let all = Config { seeds: [&config.seeds[..], &of_folder.seeds].concat(), ..config.clone() };
    if of_folder.seeds.is_empty() || check(folder, &of_folder.to_toml(), &all.to_toml()).is_err() {
        return Vec::new();
    }
    // Metrics are long, and read last.
    let Ok(experiment) = Experiment::read(folder) else { return Vec::new() };
    let ended = |arm: &String, seed: u64| {
        let steps = of_folder.training_of(arm).steps;
        experiment.runs_of(arm).any(|run| run.seed == seed && run.is_finished_after(steps))
            || experiment.diverged.iter().any(|run| run.arm == *arm && run.seed == seed)
    };
    let all_ended = of_folder.seeds.iter().all(|&seed| of_folder.arms.iter().all(|arm| ended(arm, seed)));
    if all_ended { of_folder.seeds } else { Vec::new() }
}

/// The configuration `before` with the additions that `after` may have.
fn raised(before: &Config, after: &Config) -> Config {
    let mut raised = before.clone();
    raised.seeds.clone_from(&after.seeds);
    raised.arms.clone_from(&after.arms);
    let added = after.arm.iter().filter(|(name, _)| !before.arms.contains(name));
    raised.arm.extend(added.map(|(name, arm)| (name.clone(), arm.clone())));
    let new_guides = after.guides.iter().filter(|(name, _)| !before.guides.contains_key(*name));
    raised.guides.extend(new_guides.map(|(name, guide)| (name.clone(), guide.clone())));
    raised.training.steps = after.training.steps;
    // Steps that an arm has of its own may grow too.
    for (name, arm) in &mut raised.arm {
        let own = after.arm.get(name).and_then(|arm| arm.training.get("steps"));
        if let (Some(steps), Some(raised)) = (own, arm.training.get_mut("steps")) {
            raised.clone_from(steps);
        }
    }
    // Half of the steps without the key; the schedules of the arms are compared by themselves.
    raised.guidance.first_steps = after.guidance.first_steps;
    raised
}

/// All lines that differ, each with its section, as the old file and the new one have them; one a line if there are several.
fn differences(old: &str, new: &str) -> String {
    let (old, new) = (lines(old), lines(new));
    let keys: BTreeMap<_, ()> = old.keys().chain(new.keys()).map(|key| (key.clone(), ())).collect();
    let shown = |key: &str, value: Option<&String>| {
        value.map_or_else(|| format!("no `{key}`"), |value| format!("`{key} = {value}`"))
    };
    let differing = keys.into_keys().filter(|key| old.get(key) != new.get(key));
    let differing = differing.map(|key| format!("{}, not {}", shown(&key, old.get(&key)), shown(&key, new.get(&key))));
    let all: Vec<String> = differing.collect();
    match all.as_slice() {
        [] => "the order of its lines".to_string(),
        [one] => format!("it has {one}"),
        several => format!("it has\n  {}\n{} lines differ", several.join("\n  "), several.len()),
    }
}

/// Values by their dotted key, as TOML has them.
fn lines(text: &str) -> BTreeMap<String, String> {
    dotted(text).into_iter().map(|(key, value)| (key, value.to_string())).collect()
}
