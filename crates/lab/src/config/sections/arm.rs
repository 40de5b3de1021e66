//! `[arm.<name>]`: one way to train the target. The four usual arms need no table.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::guide::ArmGuide;
use super::keys::{ABOVE_0, FROM_0, Range, SHARE, Value, names, section, words_of_enums};
use crate::config::splits::default_batch;
use crate::config::{Config, ConfigError, GuidanceConfig, InitFrom, TargetConfig, TrainingConfig, lengths};
use crate::record::names::ARMS;
use trellis_guidance::network::{HeadBias, InitialWeights};
use trellis_guidance::{Control, GuideSchedule, Metric, Result};

section! {
    /// `[arm.<name>]`: the guide of an arm, and what the arm does differently. Missing keys are as in the rest of the file.
    ArmConfig {
        /// Guide: `none`, `untrained`, `trained`, or the name of a table `[guides.<name>]`. The arms `alone`, `untrained`,
        /// `trained` and `trained_first` have theirs by name; others must say it.
        #[serde(skip_serializing_if = "Option::is_none")]
        guide: Option<ArmGuide> = None;
        /// Further guides: guided arms of the file whose guides pull too, each on the layers and by the schedule of its own arm.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        also: Vec<String> = Vec::new();
        /// Schedule of the guide's weight α.
        #[serde(skip_serializing_if = "Option::is_none")]
        schedule: Option<GuideSchedule> = None;
        /// Guided steps: short for `schedule = { first_steps = … }`.
        #[serde(skip_serializing_if = "Option::is_none")]
        first_steps: Option<u32> = None;
        /// Step at which α has fallen to 0: short for `schedule = { linear_decay = … }`; 0 for a constant α.
        #[serde(skip_serializing_if = "Option::is_none")]
        decay_steps: Option<u32> = None;
        /// Steps, from the first on, in which the guide alone trains the target, without labels; then training begins with new
        /// optimizer moments. Without a schedule of the arm the guide leaves after them.
        #[serde(skip_serializing_if = "Option::is_none")]
        unlabeled_steps: Option<u32> = None, in Range::Counts(usize::MAX);
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
        /// Checkpoint that the target begins with, that of the same seed after its last step: `"ARM"`, an earlier arm of this
        /// experiment, or `"RUN:ARM"`, an arm of the run folder RUN. It takes the place of `init` and `bias`.
        #[serde(skip_serializing_if = "Option::is_none")]
        init_from: Option<InitFrom> = None;
        /// Initial bias of the target's head.
        #[serde(skip_serializing_if = "Option::is_none")]
        bias: Option<HeadBias> = None;
        /// Keys of `[training]` that this arm sets otherwise: `training = { optimizer = "sgd", batch = 64 }`.
        #[serde(skip_serializing_if = "Table::is_empty")]
        training: Table = Table::new();
        /// Keys of `[guidance]` that this arm sets otherwise: `guidance = { metric = "ridge", map = "last" }`.
        #[serde(skip_serializing_if = "Table::is_empty")]
        guidance: Table = Table::new();
    }
}
words_of_enums!(InitialWeights, HeadBias, Control);

fn is_no_control(control: &Control) -> bool {
    *control == Control::None
}

impl Value for Table {
    fn words() -> String {
        "keys of that table".to_string()
    }
}

impl Value for InitFrom {
    fn words() -> String {
        "\"ARM\" or \"RUN:ARM\"".to_string()
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
pub(super) fn usual_guide(arm: &str) -> Option<ArmGuide> {
    let at = ARMS.iter().position(|usual| *usual == arm)?;
    Some([ArmGuide::None, ArmGuide::Untrained, ArmGuide::Trained, ArmGuide::Trained][at].clone())
}

impl ArmConfig {
    /// Keys of `[training]` that this arm sets, short ones included, with their values.
    fn of_training(&self) -> Table {
        with_short(&self.training, [("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)])
    }

    /// Keys of `[guidance]` that this arm sets, short ones included, with their values.
    fn of_guidance(&self) -> Table {
        with_short(&self.guidance, [("weight", self.weight)])
    }

    /// `[guidance]` of the rest of the file, `base`, with what this arm sets otherwise; or the key at fault and why.
    pub(super) fn guidance(&self, base: &GuidanceConfig) -> Result<GuidanceConfig, (String, String)> {
        let mut guidance = base.clone();
        for (key, value) in self.of_guidance() {
            // Pairs take the place of a rule, and a rule that of pairs.
            let other = [("map", "pairs"), ("pairs", "map")].into_iter().find(|(own, _)| *own == key);
            guidance = with_key(&guidance, &key, value, other.map(|(_, other)| other))?;
        }
        Ok(guidance)
    }

    /// Sets steps for epochs, now that the data are known; `steps` of a key, its epochs and the arm's batch.
    pub(in crate::config) fn resolve(
        &mut self,
        base: &TrainingConfig,
        steps: impl Fn(&str, u32, usize) -> Result<u32>,
    ) -> Result<()> {
        let Ok(own) = self.training(base) else { return Ok(()) };
        for (epochs_key, steps_key, epochs) in lengths::of_training(&own) {
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
    pub(super) fn training(&self, base: &TrainingConfig) -> Result<TrainingConfig, (String, String)> {
        let mut training = base.clone();
        for (key, value) in self.of_training() {
            let epochs = lengths::OF_TRAINING.into_iter().find(|(_, steps)| *steps == key).map(|(epochs, _)| epochs);
            training = with_key(&training, &key, value, epochs)?;
        }
        Ok(training)
    }
}

/// Keys of a table, and those of `short` that are given.
fn with_short<const N: usize>(table: &Table, short: [(&str, Option<f32>); N]) -> Table {
    let mut table = table.clone();
    for (key, value) in short {
        if let Some(value) = value {
            // In the shortest digits, as a file would have it.
            let value = value.to_string().parse().unwrap_or(f64::from(value));
            table.insert(key.to_string(), value.into());
        }
    }
    table
}

/// Key of the file that sets `key` of a section for an arm: in the arm's `table` of that section, as one of its short keys, which `all`
/// holds too, or in the section itself.
fn key_in_file(arm: &str, section: &str, key: &str, table: &Table, all: &Table) -> String {
    // A key of a table in the section stands where the table stands.
    let top = key.split('.').next().unwrap_or(key);
    match (table.contains_key(top), all.contains_key(top)) {
        (true, _) => format!("arm.{arm}.{section}.{key}"),
        (false, true) => format!("arm.{arm}.{key}"),
        (false, false) => format!("{section}.{key}"),
    }
}

/// A section with another value of `key`, and without the key whose place it takes; or the key and why it cannot be.
fn with_key<T: Serialize + DeserializeOwned>(
    section: &T,
    key: &str,
    value: toml::Value,
    instead_of: Option<&str>,
) -> Result<T, (String, String)> {
    let failed = |problem: String| (key.to_string(), problem);
    let mut keys = Table::try_from(section).map_err(|error| failed(error.to_string()))?;
    instead_of.and_then(|other| keys.remove(other));
    keys.insert(key.to_string(), value);
    keys.try_into().map_err(|error: toml::de::Error| failed(error.message().to_string()))
}

impl Config {
    pub(super) fn arm(&self, arm: &str) -> ArmConfig {
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

    /// Arms whose guides pull in an arm, or are compared with it: itself, and those that it names as `also`.
    pub fn guiding_arms(&self, arm: &str) -> Vec<String> {
        [vec![arm.to_string()], self.arm(arm).also].concat()
    }

    /// Measure of the arms that needs most examples; `None` where no arm is compared with a guide.
    pub(in crate::config) fn neediest_measure(&self) -> Option<Metric> {
        let compared = self.arms.iter().filter(|arm| self.compared_with(arm) != ArmGuide::None);
        compared.map(|arm| self.guidance_of(arm).metric()).max_by_key(Metric::least_examples)
    }

    /// Least number of examples of a batch, and of a test split: as many as the measures compare, where an arm is compared with a guide.
    pub(crate) fn least_examples(&self) -> usize {
        self.neediest_measure().map_or(1, |metric| metric.least_examples())
    }

    /// `[guidance]` as an arm has it. An arm without a guide is compared as [`Config::guided_arm`] is.
    pub(crate) fn guidance_of(&self, arm: &str) -> GuidanceConfig {
        // A file whose keys do not fit is refused when it is read.
        let of = match self.guide_of(arm) {
            ArmGuide::None => self.guided_arm().unwrap_or(arm),
            _ => arm,
        };
        self.arm(of).guidance(&self.guidance).unwrap_or_else(|_| self.guidance.clone())
    }

    /// Steps at which the guide of an arm pulls.
    pub(crate) fn schedule_of(&self, arm: &str) -> GuideSchedule {
        let own = self.arm(arm);
        let usual = arm == TRAINED_FIRST && own.decay_steps.is_none();
        // A guide that trains without labels leaves when they come.
        let unlabeled = own.unlabeled_steps.filter(|_| own.decay_steps.is_none());
        let first = own.first_steps.or(unlabeled).or(usual.then(|| self.first_steps_of(arm)));
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
    pub fn training_key(&self, arm: &str, key: &str) -> String {
        let own = self.arm(arm);
        key_in_file(arm, "training", key, &own.training, &own.of_training())
    }

    /// Key of the file that sets `key` of `[guidance]` for an arm.
    pub(in crate::config) fn guidance_key(&self, arm: &str, key: &str) -> String {
        let own = self.arm(arm);
        key_in_file(arm, "guidance", key, &own.guidance, &own.of_guidance())
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

    /// Number of steps in which the guide alone trains the target of an arm.
    pub(crate) fn unlabeled_steps_of(&self, arm: &str) -> u32 {
        self.arm(arm).unlabeled_steps.unwrap_or(0)
    }

    /// Checkpoint that the target of an arm begins with.
    pub(crate) fn init_from(&self, arm: &str) -> Option<InitFrom> {
        self.arm(arm).init_from
    }

    /// The control of an arm.
    pub fn control_of(&self, arm: &str) -> Control {
        self.arm(arm).control
    }
}
