//! `[arm.<name>]`: one way to train the target. The four usual arms need no table.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::guide::ArmGuide;
use super::keys::{ABOVE_0, Declared, FROM_0, SHARE, Value, names, section, words_of_enums};
use crate::config::splits::default_batch;
use crate::config::{Config, ConfigError, TargetConfig, TrainingConfig, explain::suggestion, lengths, refuse};
use crate::record::names::{ARMS, checked_name, is_guide};
use trellis_guidance::network::{HeadBias, InitialWeights};
use trellis_guidance::{Batches, Control, GuideSchedule, Result};

section! {
    /// `[arm.<name>]`: the guide of an arm, and what the arm does differently. Missing keys are as in the rest of the file.
    ArmConfig {
        /// Guide: `none`, `untrained`, `trained`, or the name of a table `[guides.<name>]`. The arms `alone`, `untrained`,
        /// `trained` and `trained_first` have theirs by name; others must say it.
        #[serde(skip_serializing_if = "Option::is_none")]
        guide: Option<ArmGuide> = None;
        /// Schedule of the guide's weight α.
        #[serde(skip_serializing_if = "Option::is_none")]
        schedule: Option<GuideSchedule> = None;
        /// Guided steps: short for `schedule = { first_steps = … }`.
        #[serde(skip_serializing_if = "Option::is_none")]
        first_steps: Option<u32> = None;
        /// Step at which α has fallen to 0: short for `schedule = { linear_decay = … }`; 0 for a constant α.
        #[serde(skip_serializing_if = "Option::is_none")]
        decay_steps: Option<u32> = None;
        /// Weight α of the alignment loss.
        #[serde(skip_serializing_if = "Option::is_none")]
        weight: Option<f32> = None, in FROM_0;
        /// Learning rate: short for `training = { learning_rate = … }`.
        #[serde(skip_serializing_if = "Option::is_none")]
        learning_rate: Option<f32> = None, in ABOVE_0;
        /// Weight decay: short for `training = { weight_decay = … }`.
        #[serde(skip_serializing_if = "Option::is_none")]
        weight_decay: Option<f32> = None, in FROM_0;
        /// Control: what the guide sees, or what stands in its place. See "Controls" in docs/alignment.md.
        #[serde(skip_serializing_if = "is_no_control")]
        control: Control = Control::None;
        /// Dropout of the target.
        #[serde(skip_serializing_if = "Option::is_none")]
        dropout: Option<f32> = None, in SHARE;
        /// Initial weights of the target.
        #[serde(skip_serializing_if = "Option::is_none")]
        init: Option<InitialWeights> = None;
        /// Initial bias of the target's head.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<HeadBias> = None;
        /// Keys of `[training]` that this arm sets otherwise: `training = { optimizer = "sgd", batch = 64 }`.
        #[serde(skip_serializing_if = "Table::is_empty")]
        training: Table = Table::new();
    }
}
words_of_enums!(InitialWeights, HeadBias, Control);

fn is_no_control(control: &Control) -> bool {
    *control == Control::None
}

impl Value for Table {
    fn words() -> String {
        "keys of [training]".to_string()
    }
}

impl Value for GuideSchedule {
    fn words() -> String {
        let word = |name: &String| match name.as_str() {
            "always" => "\"always\"".to_string(),
            name => format!("{{ {name} = … }}"),
        };
        names::<Self>().iter().map(word).collect::<Vec<_>>().join(", ")
    }
}

/// The arm whose guide stays for `guidance.first_steps`.
const TRAINED_FIRST: &str = ARMS[3];

/// Guide of the four usual arms; `None` for any other name.
fn usual_guide(arm: &str) -> Option<ArmGuide> {
    let at = ARMS.iter().position(|usual| *usual == arm)?;
    Some([ArmGuide::None, ArmGuide::Untrained, ArmGuide::Trained, ArmGuide::Trained][at].clone())
}

impl ArmConfig {
    /// Keys of `[training]` that this arm sets, short ones included, with their values.
    fn overrides(&self) -> Table {
        let mut overrides = self.training.clone();
        for (key, value) in [("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)] {
            if let Some(value) = value {
                // In the shortest digits, as a file would have it.
                let value = value.to_string().parse().unwrap_or(f64::from(value));
                overrides.insert(key.to_string(), value.into());
            }
        }
        overrides
    }

    /// Sets steps for epochs, now that the data are known; `steps` of a key, its epochs and the arm's batch.
    pub(in crate::config) fn resolve(
        &mut self,
        base: &TrainingConfig,
        steps: impl Fn(&str, u32, usize) -> Result<u32>,
    ) -> Result<()> {
        let Ok(own) = self.training(base) else { return Ok(()) };
        for (epochs_key, steps_key) in lengths::of_training() {
            let epochs = if epochs_key == "epochs" { own.epochs } else { own.eval_every_epochs };
            let sets = |key: &str| self.training.contains_key(key);
            // An arm with a batch of its own has epochs of its own length.
            if let Some(epochs) = epochs.filter(|_| sets(epochs_key) || sets("batch")) {
                self.training.remove(epochs_key);
                let steps = steps(epochs_key, epochs, own.batch.unwrap_or(default_batch(usize::MAX)))?;
                self.training.insert(steps_key.to_string(), i64::from(steps).into());
            }
        }
        Ok(())
    }

    /// The training of the rest of the file, `base`, with what this arm sets otherwise; or the key at fault and why.
    fn training(&self, base: &TrainingConfig) -> Result<TrainingConfig, (String, String)> {
        let mut training = base.clone();
        for (key, value) in self.overrides() {
            let failed = |problem: String| (key.clone(), problem);
            let mut keys = Table::try_from(&training).map_err(|error| failed(error.to_string()))?;
            if let Some((epochs, _)) = lengths::of_training().find(|(_, steps)| *steps == key) {
                keys.remove(epochs);
            }
            keys.insert(key.clone(), value);
            training = keys.try_into().map_err(|error: toml::de::Error| failed(error.message().to_string()))?;
        }
        Ok(training)
    }
}

impl Config {
    fn arm(&self, arm: &str) -> ArmConfig {
        self.arm.get(arm).cloned().unwrap_or_default()
    }

    /// Guide of an arm.
    pub fn guide_of(&self, arm: &str) -> ArmGuide {
        self.arm(arm).guide.or(usual_guide(arm)).unwrap_or(ArmGuide::None)
    }

    /// First arm of the file that has such a guide.
    pub fn arm_with(&self, guide: &ArmGuide) -> Option<&str> {
        self.arms.iter().map(String::as_str).find(|arm| self.guide_of(arm) == *guide)
    }

    /// First guided arm of the file, one with the trained guide before others, an untrained one before named ones: the arm to
    /// profile, and to compare unguided ones with.
    pub fn guided_arm(&self) -> Option<&str> {
        let named = || self.arms.iter().map(String::as_str).find(|arm| self.guide_of(arm) != ArmGuide::None);
        self.arm_with(&ArmGuide::Trained).or_else(|| self.arm_with(&ArmGuide::Untrained)).or_else(named)
    }

    /// Guide that an arm is compared with at evaluations: its own. An unguided arm has that of [`Config::guided_arm`];
    /// `ArmGuide::None` where no arm is guided.
    pub(crate) fn compared_with(&self, arm: &str) -> ArmGuide {
        match self.guide_of(arm) {
            ArmGuide::None => self.guided_arm().map_or(ArmGuide::None, |guided| self.guide_of(guided)),
            own => own,
        }
    }

    /// Least number of examples of a batch, and of a test split: as many as the measure compares, where an arm is compared with a guide.
    pub(crate) fn least_examples(&self) -> usize {
        let compared = self.arms.iter().any(|arm| self.compared_with(arm) != ArmGuide::None);
        if compared { self.metric().least_examples() } else { 1 }
    }

    /// Steps at which the guide of an arm pulls.
    pub(crate) fn schedule_of(&self, arm: &str) -> GuideSchedule {
        let own = self.arm(arm);
        let first = own.first_steps.or((arm == TRAINED_FIRST).then(|| self.first_steps()));
        match (own.schedule, first, own.decay_steps.unwrap_or(self.guidance.decay_steps)) {
            (Some(schedule), ..) => schedule,
            (None, Some(steps), _) => GuideSchedule::first_steps(steps),
            (None, None, 0) => GuideSchedule::always(),
            (None, None, steps) => GuideSchedule::linear_decay(steps),
        }
    }

    /// `[training]` as an arm has it.
    pub fn training_of(&self, arm: &str) -> TrainingConfig {
        // A file whose keys do not fit is refused when it is read.
        self.arm(arm).training(&self.training).unwrap_or_else(|_| self.training.clone())
    }

    /// Key of the file that sets `key` of `[training]` for an arm.
    pub(in crate::config) fn training_key(&self, arm: &str, key: &str) -> String {
        let own = self.arm(arm);
        match own.training.contains_key(key) {
            true => format!("arm.{arm}.training.{key}"),
            false if own.overrides().contains_key(key) => format!("arm.{arm}.{key}"),
            false => format!("training.{key}"),
        }
    }

    /// The target of an arm.
    pub fn target_of(&self, arm: &str) -> TargetConfig {
        let (own, mut target) = (self.arm(arm), self.target.clone());
        if let Some(share) = own.dropout {
            target.network.set_dropout(share);
        }
        if let Some(init) = own.init {
            target.network.set_init(init);
        }
        target.bias = own.bias.unwrap_or(target.bias);
        target
    }

    /// The control of an arm.
    pub fn control_of(&self, arm: &str) -> Control {
        self.arm(arm).control
    }

    /// The weight α of an arm.
    pub(crate) fn weight(&self, arm: &str) -> f32 {
        self.arm(arm).weight.unwrap_or(self.guidance.weight)
    }
}

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
        if arm.dropout.is_some_and(|share| !config.target.network.clone().set_dropout(share)) {
            return refuse(key("dropout"), "has no meaning", "this target has no dropout: remove the key");
        }
        if arm.init.is_some_and(|init| !config.target.network.clone().set_init(init)) {
            return refuse(key("init"), "has no meaning", "this target has no such key: remove it");
        }
        arm.check_ranges().map_err(|(at, problem, hint)| (key(&at), problem, hint))?;
        check_training(config, name, arm)?;
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
        let given = [("weight", arm.weight.is_some()), ("control", arm.control != Control::None)];
        let given = given.into_iter().chain(schedules).find(|(_, given)| *given);
        if let Some((unused, _)) = given {
            return refuse(key(unused), "has no meaning", "this arm has no guide: remove the key");
        }
    }
    if arm.control == Control::Noise && config.training_of(name).batches == Batches::Fixed {
        let problem = "noise is another one at each step, and fixed batches look the guide up";
        return refuse(key("control"), problem, "`batches = \"random\"`, or another control");
    }
    let mut given = schedules.iter().filter(|(_, given)| *given);
    if let (Some((first, _)), Some((second, _))) = (given.next(), given.next()) {
        return refuse(key(second), format!("does not go with {first}"), "remove one of the two");
    }
    Ok(())
}

/// Keys of `[training]` that an arm sets.
fn check_training(config: &Config, name: &str, arm: &ArmConfig) -> Result<(), ConfigError> {
    let known: Vec<&str> = TrainingConfig::keys().iter().map(|key| key.name).collect();
    let short = [("learning_rate", arm.learning_rate.is_some()), ("weight_decay", arm.weight_decay.is_some())];
    for key in arm.training.keys() {
        let of = format!("arm.{name}.training.{key}");
        if !known.contains(&key.as_str()) {
            return refuse(of, "unknown key", suggestion(key, &known));
        }
        if short.contains(&(key.as_str(), true)) {
            return refuse(of, format!("says the same as `arm.{name}.{key}`"), "remove one of the two");
        }
    }
    if let Some((epochs, steps)) =
        lengths::of_training().find(|pair| [pair.0, pair.1].iter().all(|key| arm.training.contains_key(*key)))
    {
        let problem = format!("says the same as `{steps}` in another unit");
        return refuse(format!("arm.{name}.training.{epochs}"), problem, "remove one of the two");
    }
    let in_table = |(key, problem): (String, String)| {
        (config.training_key(name, &key), problem, String::from("see `trellis config`"))
    };
    let training = arm.training(&config.training).map_err(in_table)?;
    training.check_ranges().map_err(|(key, problem, hint)| (config.training_key(name, &key), problem, hint))?;
    let unused = training.unused().into_iter().find(|(key, _)| arm.training.contains_key(*key));
    if let Some((key, by)) = unused {
        let problem = format!("means something with {by} only");
        return refuse(format!("arm.{name}.training.{key}"), problem, "remove one, or set the other");
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
        if let Some(problem) = config.schedule_of(arm).problem(training.steps, training.eval_every) {
            let own = config.arm(arm);
            let key = match (own.schedule, own.first_steps) {
                (Some(_), _) => format!("arm.{arm}.schedule"),
                (None, Some(_)) => format!("arm.{arm}.first_steps"),
                (None, None) => "guidance.first_steps".to_string(),
            };
            let hint = "choose another number: see training.steps and training.eval_every";
            return refuse(key, format!("the guide of the arm `{arm}` {problem}"), hint);
        }
    }
    let trained = config.arm_with(&ArmGuide::Trained);
    if trained.is_some() && config.guide.keys.steps == 0 && config.guide.keys.weights.is_none() {
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
