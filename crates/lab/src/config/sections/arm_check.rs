//! Checks of `[arm.<name>]`: what an arm may not say.

use toml::Table;

use super::arm::{ArmConfig, usual_guide};
use super::guide::ArmGuide;
use super::keys::{Declared, Key};
use crate::config::{Config, ConfigError, GuidanceConfig, TrainingConfig, explain::suggestion, lengths, refuse};
use crate::record::names::{ARMS, checked_name, is_guide};
use trellis_guidance::trainer::MOST_GUIDES;
use trellis_guidance::{Batches, Control, Method};

/// Refuses arms that are not defined, not used, or would not do what their keys say.
pub(in crate::config) fn check(config: &Config) -> Result<(), ConfigError> {
    for arm in &config.arms {
        if usual_guide(arm).is_none() && !config.arm.contains_key(arm) {
            let hint = format!("{}; an arm of your own needs a table `[arm.{arm}]`", suggestion(arm, &ARMS));
            return refuse("arms", format!("unknown arm `{arm}`"), hint);
        }
    }
    for (name, arm) in &config.arm {
        let key = |key: &str| format!("arm.{name}.{key}");
        if !config.arms.contains(name) {
            let arms: Vec<&str> = config.arms.iter().map(String::as_str).collect();
            let hint = format!("add it to `arms`, or remove the table; {}", suggestion(name, &arms));
            return refuse(format!("arm.{name}"), "is not among `arms`", hint);
        }
        if is_guide(name) || checked_name(name.as_ref(), name).is_err() {
            let problem = "cannot be the name of an arm, since files are named after it";
            return refuse(
                format!("arm.{name}"),
                problem,
                "use letters, digits, `.`, `_` and `-`, and not the name of a guide",
            );
        }
        check_guide(config, name, arm)?;
        check_also(config, name, arm)?;
        check_init_from(config, name, arm)?;
        if arm.dropout.is_some_and(|share| !config.target.network.clone().set_dropout(share)) {
            return refuse(key("dropout"), "has no meaning", "this target has no dropout: remove the key");
        }
        if let Some(init) = arm.init {
            let mut network = config.target.network.clone();
            if !network.set_init(init) {
                return refuse(key("init"), "has no meaning", "this target has no such key: remove it");
            }
            if let Some([problem, hint]) = network.init_problem() {
                return refuse(key("init"), problem, hint);
            }
        }
        arm.check_ranges().map_err(|(at, problem, hint)| (key(&at), problem, hint))?;
        check_overrides(config, name, arm)?;
    }
    Ok(())
}

/// Checkpoint that an arm begins with.
fn check_init_from(config: &Config, name: &str, arm: &ArmConfig) -> Result<(), ConfigError> {
    let Some(from) = &arm.init_from else { return Ok(()) };
    let key = |key: &str| format!("arm.{name}.{key}");
    for (unused, given) in [("init", arm.init.is_some()), ("bias", arm.bias.is_some())] {
        if given {
            return refuse(key(unused), "has no effect beside `init_from`", "remove one of the two");
        }
    }
    if checked_name(from.arm.as_ref(), &from.arm).is_err() {
        let hint = "write the name of an arm, or a run folder, a colon and an arm";
        return refuse(key("init_from"), format!("`{}` is no arm", from.arm), hint);
    }
    let at = |arm: &str| config.arms.iter().position(|other| other == arm);
    if from.run.is_none() && at(&from.arm).is_none_or(|source| at(name).is_none_or(|own| source >= own)) {
        let before: Vec<&str> = config.arms.iter().map(String::as_str).take_while(|other| *other != name).collect();
        let problem = format!("`{}` is not among the arms before this one", from.arm);
        let hint = format!("{}; an arm of another run is written RUN:ARM", suggestion(&from.arm, &before));
        return refuse(key("init_from"), problem, hint);
    }
    Ok(())
}

/// Further guides of an arm.
fn check_also(config: &Config, name: &str, arm: &ArmConfig) -> Result<(), ConfigError> {
    let key = format!("arm.{name}.also");
    if arm.also.is_empty() {
        return Ok(());
    }
    if config.guide_of(name) == ArmGuide::None {
        return refuse(key, "has no meaning", "give the arm a guide, and name further ones here");
    }
    if arm.also.len() >= MOST_GUIDES {
        let hint = format!("name at most {}", MOST_GUIDES - 1);
        return refuse(key, format!("names {} further guides", arm.also.len()), hint);
    }
    for (number, other) in arm.also.iter().enumerate() {
        let guided = |arm: &&String| **arm != *name && config.guide_of(arm) != ArmGuide::None;
        let guided: Vec<&str> = config.arms.iter().filter(guided).map(String::as_str).collect();
        if !guided.contains(&other.as_str()) {
            let problem = format!("`{other}` is no other guided arm of `arms`");
            let known = if guided.is_empty() { "there is none".to_string() } else { suggestion(other, &guided) };
            return refuse(key, problem, format!("name an arm that is trained too, not a guide; {known}"));
        }
        if arm.also[..number].contains(other) {
            return refuse(key, format!("names `{other}` twice"), "name it once");
        }
        if !config.arm(other).also.is_empty() {
            return refuse(key, format!("`{other}` has further guides itself"), "name arms of one guide");
        }
        if config.guidance_of(other).taps != config.guidance_of(name).taps {
            let hint = "give both arms the same `taps`: the target runs forward once for all guides";
            return refuse(key, format!("`{other}` captures its layers elsewhere"), hint);
        }
    }
    for of in config.guiding_arms(name) {
        if config.guidance_of(&of).balance {
            let hint = "choose weights, or one guide";
            return refuse(key, format!("`{of}` balances the gradient of one guide, and there are several"), hint);
        }
        if config.guidance_of(&of).method().0 != Method::Align {
            return refuse(
                key,
                format!("`{of}` does not align layers, and several guides do"),
                "use `method = \"align\"`",
            );
        }
        if config.arm(&of).unlabeled_steps.is_some() {
            let hint = "train without labels by one guide";
            return refuse(key, format!("`{of}` has steps without labels, and several guides have none"), hint);
        }
    }
    if config.training_of(name).batches == Batches::Fixed {
        let problem = "fixed batches look up the Gram matrices of one guide, and there are several";
        return refuse(config.training_key(name, "batches"), problem, "`batches = \"random\"`");
    }
    Ok(())
}

/// Guide and schedule of an arm.
fn check_guide(config: &Config, name: &str, arm: &ArmConfig) -> Result<(), ConfigError> {
    let key = |key: &str| format!("arm.{name}.{key}");
    match (usual_guide(name), &arm.guide) {
        (None, None) => return refuse(key("guide"), "is missing", "`none`, `untrained` or `trained`"),
        (Some(usual), Some(given)) if *given != usual => {
            return refuse(key("guide"), "is not what the arm's name says", "choose another name for the arm");
        }
        (_, Some(ArmGuide::Named(guide))) if !config.guides.contains_key(guide) => {
            let named = config.guides.keys().map(String::as_str);
            let known: Vec<&str> = ["none", "untrained", "trained"].into_iter().chain(named).collect();
            let hint = format!("{}; another guide needs a table `[guides.{guide}]`", suggestion(guide, &known));
            return refuse(key("guide"), format!("unknown guide `{guide}`"), hint);
        }
        _ => {}
    }
    let schedules = [
        ("schedule", arm.schedule.is_some()),
        ("first_steps", arm.first_steps.is_some()),
        ("decay_steps", arm.decay_steps.is_some()),
    ];
    if config.guide_of(name) == ArmGuide::None {
        let given = [
            ("weight", arm.weight.is_some()),
            ("unlabeled_steps", arm.unlabeled_steps.is_some()),
            ("control", arm.control != Control::None),
            ("guidance", !arm.guidance.is_empty()),
        ];
        let given = given.into_iter().chain(schedules).find(|(_, given)| *given);
        if let Some((unused, _)) = given {
            return refuse(key(unused), "has no meaning", "this arm has no guide: remove the key");
        }
    }
    if arm.control == Control::Noise && config.training_of(name).batches == Batches::Fixed {
        let problem = "noise is another one at each step, and fixed batches look the guide up";
        return refuse(key("control"), problem, "`batches = \"random\"`, or another control");
    }
    let (method, _) = config.guidance_of(name).method();
    if config.guide_of(name) != ArmGuide::None && method != Method::Align {
        if matches!(arm.control, Control::Rotated | Control::Input | Control::Labels) {
            let problem = format!("stands in the guide's place with Gram matrices, and {method} has none");
            return refuse(key("control"), problem, "align layers, or choose another control");
        }
        if config.training_of(name).batches == Batches::Fixed {
            let problem = format!("fixed batches look up Gram matrices of the guide, and {method} has none");
            return refuse(config.training_key(name, "batches"), problem, "`batches = \"random\"`");
        }
    }
    let mut given = schedules.iter().filter(|(_, given)| *given);
    if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
        return refuse(key(second), format!("does not go with {first}"), "remove one of the two");
    }
    Ok(())
}

/// Keys of `[training]` and `[guidance]` that an arm sets.
fn check_overrides(config: &Config, name: &str, arm: &ArmConfig) -> Result<(), ConfigError> {
    let names = |keys: Vec<Key>| keys.iter().map(|key| key.name).collect::<Vec<_>>();
    let short = [("learning_rate", arm.learning_rate.is_some()), ("weight_decay", arm.weight_decay.is_some())];
    known(name, "training", &arm.training, &names(TrainingConfig::keys()), &short)?;
    let mut of_guidance = names(GuidanceConfig::keys());
    // The arm's schedule says these.
    of_guidance.retain(|key| !["first_steps", "decay_steps"].contains(key));
    known(name, "guidance", &arm.guidance, &of_guidance, &[("weight", arm.weight.is_some())])?;
    let lengths = lengths::OF_TRAINING.map(|pair| ("training", &arm.training, pair));
    for (table, keys, (one, other)) in lengths.into_iter().chain([("guidance", &arm.guidance, ("pairs", "map"))]) {
        if keys.contains_key(one) && keys.contains_key(other) {
            let problem = format!("does not go with `{other}`");
            return refuse(format!("arm.{name}.{table}.{one}"), problem, "remove one of the two");
        }
    }
    let fault = |table: &str, (key, problem): (String, String)| {
        (format!("arm.{name}.{table}.{key}"), problem, String::from("see `trellis config`"))
    };
    let training = arm.training(&config.training).map_err(|error| fault("training", error))?;
    training.check_ranges().map_err(|(key, problem, hint)| (config.training_key(name, &key), problem, hint))?;
    let guidance = arm.guidance(&config.guidance).map_err(|error| fault("guidance", error))?;
    guidance.check_ranges().map_err(|(key, problem, hint)| (config.guidance_key(name, &key), problem, hint))?;
    for (table, keys, unused) in
        [("training", &arm.training, training.unused()), ("guidance", &arm.guidance, guidance.unused())]
    {
        if let Some((key, by)) = unused.into_iter().find(|(key, _)| keys.contains_key(*key)) {
            let problem = format!("means something with {by} only");
            return refuse(format!("arm.{name}.{table}.{key}"), problem, "remove one, or set the other");
        }
    }
    Ok(())
}

/// Refuses keys of a table of an arm that its section does not have, or that stand in the arm's own table too.
fn known(arm: &str, table: &str, keys: &Table, known: &[&str], short: &[(&str, bool)]) -> Result<(), ConfigError> {
    for key in keys.keys() {
        let of = format!("arm.{arm}.{table}.{key}");
        if !known.contains(&key.as_str()) {
            return refuse(of, "unknown key", suggestion(key, known));
        }
        if short.contains(&(key.as_str(), true)) {
            return refuse(of, format!("says the same as `arm.{arm}.{key}`"), "remove one of the two");
        }
    }
    Ok(())
}

/// Refuses guides that leave before they come, stay to the end, or are not trained.
pub(in crate::config) fn check_guides(config: &Config) -> Result<(), ConfigError> {
    for arm in &config.arms {
        if config.guide_of(arm) == ArmGuide::None {
            continue;
        }
        let training = config.training_of(arm);
        if let Some(unlabeled) = config.arm(arm).unlabeled_steps {
            let problem = match config.guidance_of(arm).method().1 {
                0.0 => Some("have no loss at all: the guide's weight is 0".to_string()),
                _ => config.schedule_of(arm).problem_without_labels(unlabeled, training.steps),
            };
            if let Some(problem) = problem {
                let hint = "let the guide pull at each of these steps, and leave some steps with labels";
                return refuse(format!("arm.{arm}.unlabeled_steps"), problem, hint);
            }
        }
        for other in &config.arm(arm).also {
            if let Some(problem) = config.schedule_of(other).problem(training.steps, training.eval_every) {
                let hint = "choose another schedule for that arm, or as many steps";
                return refuse(format!("arm.{arm}.also"), format!("the guide of `{other}` {problem}"), hint);
            }
        }
        if let Some(problem) = config.schedule_of(arm).problem(training.steps, training.eval_every) {
            let own = config.arm(arm);
            let key = match (own.schedule, own.first_steps, own.decay_steps) {
                (Some(_), ..) => format!("arm.{arm}.schedule"),
                (None, Some(_), _) => format!("arm.{arm}.first_steps"),
                (None, None, Some(_)) => format!("arm.{arm}.decay_steps"),
                (None, None, None) => "guidance.first_steps".to_string(),
            };
            let hint = "choose another number: see training.steps and training.eval_every";
            return refuse(key, format!("the guide of the arm `{arm}` {problem}"), hint);
        }
    }
    let trained = config.arm_with(&ArmGuide::Trained);
    let recorded = config.guide.keys.activations.is_some();
    if let Some(arm) = config.arm_with(&ArmGuide::Untrained).filter(|_| recorded) {
        let hint = "leave the arm out, or give the guide as a network";
        return refuse("guide.activations", format!("have no untrained guide, which the arm `{arm}` has"), hint);
    }
    if trained.is_none() && recorded {
        return refuse("guide.activations", "no arm has the trained guide", "add such an arm, or remove the key");
    }
    if trained.is_some() && config.guide.keys.steps == 0 && config.guide.keys.weights.is_none() && !recorded {
        return refuse(
            "guide.steps",
            "0 steps do not train a guide",
            "give a number above 0, or `weights`, or leave out the trained arms",
        );
    }
    if trained.is_none() && config.guide.keys.weights.is_some() {
        return refuse("guide.weights", "no arm has the trained guide", "add such an arm, or remove the key");
    }
    Ok(())
}
