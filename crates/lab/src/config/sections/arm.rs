//! `[arm.<name>]`: one way to train the target. The four usual arms need no table.

use serde::{Deserialize, Serialize};

use super::{Config, ConfigError, TargetConfig, explain::suggestion, refuse};
use crate::record::names::{ARMS, GUIDE, UNTRAINED_GUIDE, checked_name};
use trellis_guidance::alignment::GuideSchedule;
use trellis_guidance::network::{HeadBias, InitialWeights};

/// `[arm.<name>]`: the guide of an arm, and what the arm does differently; missing keys are as in the rest of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ArmConfig {
    /// The guide. The arms `alone`, `untrained`, `trained` and `trained_first` have theirs by name; others must say it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guide: Option<ArmGuide>,
    /// Guided steps from the first on; after them the guide is taken away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_steps: Option<u32>,
    /// Step at which α has fallen linearly to 0; 0 for a constant α.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_steps: Option<u32>,
    /// Weight α of the alignment loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
    /// Learning rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f32>,
    /// Weight decay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_decay: Option<f32>,
    /// Dropout of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f32>,
    /// Initial weights of the target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init: Option<InitialWeights>,
    /// Initial bias of the target's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bias: Option<HeadBias>,
}

/// Guide of an arm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArmGuide {
    /// No guide: the target learns its task alone.
    None,
    /// The guide with its initial weights.
    Untrained,
    /// The guide after its own training, or with the weights of a file.
    Trained,
}

/// The arm whose guide stays for `guidance.first_steps`.
const TRAINED_FIRST: &str = ARMS[3];

/// Guide of the four usual arms; `None` for any other name.
fn usual_guide(arm: &str) -> Option<ArmGuide> {
    let at = ARMS.iter().position(|usual| *usual == arm)?;
    Some([ArmGuide::None, ArmGuide::Untrained, ArmGuide::Trained, ArmGuide::Trained][at])
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
    pub fn arm_with(&self, guide: ArmGuide) -> Option<&str> {
        self.arms.iter().map(String::as_str).find(|arm| self.guide_of(arm) == guide)
    }

    /// First guided arm of the file, one with the trained guide before others: the arm to profile, and to count memory of.
    pub fn guided_arm(&self) -> Option<&str> {
        self.arm_with(ArmGuide::Trained).or_else(|| self.arm_with(ArmGuide::Untrained))
    }

    /// Guide that an arm is compared with at evaluations: its own. An unguided arm has that of [`Config::guided_arm`];
    /// `ArmGuide::None` where no arm is guided.
    pub fn compared_with(&self, arm: &str) -> ArmGuide {
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
    pub fn schedule_of(&self, arm: &str) -> GuideSchedule {
        let own = self.arm(arm);
        let first = own.first_steps.or((arm == TRAINED_FIRST).then(|| self.first_steps()));
        match (first, own.decay_steps.unwrap_or(self.guidance.decay_steps)) {
            (Some(steps), _) => GuideSchedule::first_steps(steps),
            (None, 0) => GuideSchedule::always(),
            (None, steps) => GuideSchedule::linear_decay(steps),
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

    /// The weight α of an arm.
    pub fn weight(&self, arm: &str) -> f32 {
        self.arm(arm).weight.unwrap_or(self.guidance.weight)
    }
}

/// Refuses arms that are not defined, not used, or would not do what their keys say.
pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
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
        if [GUIDE, UNTRAINED_GUIDE].contains(&name.as_str()) || checked_name(name.as_ref(), name).is_err() {
            let problem = "cannot be the name of an arm, since files are named after it";
            return refuse(
                format!("arm.{name}"),
                problem,
                "use letters, digits, `.`, `_` and `-`, and not the name of a guide",
            );
        }
        match (usual_guide(name), arm.guide) {
            (None, None) => return refuse(key("guide"), "is missing", "`none`, `untrained` or `trained`"),
            (Some(usual), Some(given)) if given != usual => {
                return refuse(key("guide"), "is not what the arm's name says", "choose another name for the arm");
            }
            _ => {}
        }
        if config.guide_of(name) == ArmGuide::None {
            let given = [
                ("weight", arm.weight.is_some()),
                ("first_steps", arm.first_steps.is_some()),
                ("decay_steps", arm.decay_steps.is_some()),
            ];
            if let Some((idle, _)) = given.iter().find(|(_, given)| *given) {
                return refuse(key(idle), "has no meaning", "this arm has no guide: remove the key");
            }
        }
        if arm.first_steps.is_some() && arm.decay_steps.is_some() {
            return refuse(key("decay_steps"), "does not go with first_steps", "remove one of the two");
        }
        if arm.dropout.is_some_and(|share| !config.target.network.clone().set_dropout(share)) {
            return refuse(key("dropout"), "has no meaning", "this target has no dropout: remove the key");
        }
        if arm.init.is_some_and(|init| !config.target.network.clone().set_init(init)) {
            return refuse(key("init"), "has no meaning", "this target has no such key: remove it");
        }
    }
    Ok(())
}

/// Refuses guides that leave before they come, stay to the end, or are not trained.
pub(super) fn check_guides(config: &Config) -> Result<(), ConfigError> {
    let steps = config.training.steps;
    for arm in &config.arms {
        if let GuideSchedule::FirstSteps(first) = config.schedule_of(arm)
            && !(1..steps).contains(&first)
        {
            let own = config.arm.get(arm).is_some_and(|own| own.first_steps.is_some());
            let key = if own { format!("arm.{arm}.first_steps") } else { "guidance.first_steps".to_string() };
            let problem = format!("the guide of the arm `{arm}` would stay for {first} of {steps} steps");
            return refuse(key, problem, "give a number above 0 and below training.steps");
        }
    }
    let trained = config.arm_with(ArmGuide::Trained);
    if trained.is_some() && config.guide.steps == 0 && config.guide.weights.is_none() {
        return refuse(
            "guide.steps",
            "0 steps do not train a guide",
            "give a number above 0, or `weights`, or leave out the trained arms",
        );
    }
    if trained.is_none() && config.guide.weights.is_some() {
        return refuse("guide.weights", "no arm has the trained guide", "add such an arm, or remove the key");
    }
    Ok(())
}
