//! Arms as plans in one document, and the words in it that are settings.

use trellis_data::Place;
use trellis_guidance::network::InputShape;
use trellis_guidance::{Control, Dataset, Error, Guidance, GuideSchedule, Network, Result, Session, Trainer, Training};
use trellis_tensor::{Export, Schedule, SettingValues, Tensor, TensorType};

use super::look::record_look;
use crate::config::{ArmGuide, Config};
use crate::experiment::guides::{guide_seed, load_given};

/// Settings of a recording besides the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values {
    /// Highest learning rate.
    pub(super) rate: f32,
    /// Weight α of the guide.
    pub(super) weight: f32,
    /// Seed of the batches.
    pub(super) seed: u32,
}

/// Values for arm number `arm` that no other number of a plan is likely to have, in the first recording or the second: the words that
/// differ between the two are the settings.
fn marks(arm: usize, recording: usize) -> Values {
    // No two settings have the same ratio of their two values, so a multiple of one is not taken for another.
    let arm = arm as f32;
    match recording {
        0 => Values {
            rate: 2.718_282e-3 * (1.0 + arm / 64.0),
            weight: 1.234_567 * (1.0 + arm / 64.0),
            seed: 271_828_182,
        },
        _ => Values {
            rate: 3.141_593e-3 * (1.0 + arm / 48.0),
            weight: 1.765_431 * (1.0 + arm / 48.0),
            seed: 314_159_265,
        },
    }
}

/// An arm that is to be recorded.
pub(super) struct Arm {
    pub(super) name: String,
    /// Its own guide; `None` if it learns alone.
    pub(super) guide: Option<ArmGuide>,
    /// Guide that its layers are compared with.
    pub(super) compared: ArmGuide,
    pub(super) control: Control,
    /// Steps at which the guide pulls.
    pub(super) guided_steps: u32,
    pub(super) values: Values,
}

/// Guides of the seed, drawn, trained or loaded.
pub(super) struct Guides(Vec<(ArmGuide, Network)>);

impl Guides {
    /// Draws the guides that arms use on the GPU of `data`. Those that are to be trained are trained on that of `fast`, which has the
    /// same data: what they learn does not have to be learned by the kernels of a browser.
    pub(super) fn make(
        config: &Config,
        [data, fast]: [&Dataset; 2],
        seed: u64,
        tell: &mut dyn FnMut(&str),
    ) -> Result<Self> {
        let mut guides = Vec::new();
        for of in config.guides_in_use() {
            if config.guide_activations(&of).is_some() {
                let key = format!("{}.activations", of.table());
                return Err(refused(&key, "a page runs its guide, and this one was recorded", "give a network"));
            }
            let guide = config.draw_guide(&of, data, guide_seed(seed))?;
            if let Some(weights) = config.guide_weights(&of) {
                load_given(&guide, weights)?;
            }
            let steps = config.guide_steps(&of);
            if steps > 0 {
                tell(&format!("training the {} for {steps} steps", of.words()));
                let trained = config.draw_guide(&of, fast, guide_seed(seed))?;
                for (from, to) in guide.tensors().zip(trained.tensors()) {
                    to.write_f32(&from.read_f32()?)?;
                }
                Trainer::new(&trained, fast, config.guide_training(&of, seed)).run()?;
                for (from, to) in trained.tensors().zip(guide.tensors()) {
                    to.write_f32(&from.read_f32()?)?;
                }
            }
            guides.push((of, guide));
        }
        Ok(Self(guides))
    }

    pub(super) fn get(&self, guide: &ArmGuide) -> Option<&Network> {
        self.0.iter().find(|(of, _)| of == guide).map(|(_, network)| network)
    }
}

/// The arms of a configuration, if a page can train them.
///
/// # Errors
/// [`Error::Config`] with the key of what a page cannot do.
pub(super) fn arms(config: &Config, seed: u64) -> Result<Vec<Arm>> {
    let Ok(word) = u32::try_from(seed) else {
        return Err(refused("seeds", "the first is above 4,294,967,295, the largest of a page", "give a smaller one"));
    };
    let arm = |name: &String| {
        let key = |key: &str| format!("arm.{name}.{key}");
        let guide = Some(config.guide_of(name)).filter(|guide| *guide != ArmGuide::None);
        let control = config.control_of(name);
        if !matches!(control, Control::None | Control::Input) {
            let problem = "a page has no such control";
            return Err(refused(&key("control"), problem, "use `input`, or leave the arm out with `arms`"));
        }
        if config.init_from(name).is_some() {
            let problem = "a page draws the weights that an arm begins with";
            return Err(refused(&key("init_from"), problem, "leave the arm out with `arms`"));
        }
        let training = config.training(name, seed);
        let guided_steps = match (&guide, config.schedule_of(name)) {
            (None, _) => 0,
            (Some(_), GuideSchedule::Always) => training.steps,
            (Some(_), GuideSchedule::FirstSteps(steps)) => steps,
            _ => {
                let problem = "a page has guides that stay, or leave after some steps";
                return Err(refused(&key("schedule"), problem, "use `first_steps`, or leave the arm out with `arms`"));
            }
        };
        let (_, weight) = config.guidance_of(name).method();
        let values = Values { rate: base(training.optimizer.rate), weight, seed: word };
        Ok(Arm { name: name.clone(), guide, compared: config.compared_with(name), control, guided_steps, values })
    };
    config.arms.iter().map(arm).collect()
}

/// The plans of all arms, with their settings: `rate.ARM`, `weight.ARM` of guided ones, and `seed`.
pub(super) fn record(config: &Config, data: &Dataset, guides: &Guides, arms: &[Arm], seed: u64) -> Result<Export> {
    let mut export = record_with(config, data, guides, arms, seed, 0)?;
    let other = record_with(config, data, guides, arms, seed, 1)?;
    let mut settings = vec![("seed".to_string(), SettingValues::Word([0, 1].map(|i| marks(0, i).seed)))];
    for (number, arm) in arms.iter().enumerate() {
        let [a, b] = [0, 1].map(|recording| marks(number, recording));
        settings.push((format!("rate.{}", arm.name), SettingValues::Float([a.rate, b.rate])));
        if arm.guide.is_some() {
            settings.push((format!("weight.{}", arm.name), SettingValues::Float([a.weight, b.weight])));
        }
    }
    let named: Vec<_> = settings.iter().map(|(name, values)| (name.as_str(), *values)).collect();
    export.settings(&other, &named)?;
    Ok(export)
}

fn record_with(
    config: &Config,
    data: &Dataset,
    guides: &Guides,
    arms: &[Arm],
    seed: u64,
    recording: usize,
) -> Result<Export> {
    let mut export = Export::new(data.gpu());
    let drawing = Tensor::zeros(data.gpu(), "drawing", drawing_type(data)?)?;
    export.tensor("drawing", &drawing)?;
    for (name, split) in data.splits() {
        let Some([images, labels]) = split.resident() else {
            return Err(refused("data", "a page holds its images", "use fewer images"));
        };
        export.tensor(&format!("{name}.images"), images)?;
        export.tensor(&format!("{name}.labels"), labels)?;
    }
    for (number, arm) in arms.iter().enumerate() {
        let target = config.draw_target(&arm.name, data, seed)?;
        let values = marks(number, recording);
        let both = GuideSchedule::first_steps(1);
        let (training, guidance) = settings_of(config, guides, arm, seed, values, Some(both));
        let session = Session::new(&target, data, Training { steps: training.steps.max(2), ..training }, &guidance)?;
        session.export(&mut export, &arm.name)?;
        record_look(&mut export, data, &target, guides.get(&arm.compared), arm, &drawing, config)?;
    }
    Ok(export)
}

/// Training and guidance of an arm with other values than those of the file.
pub(super) fn settings_of(
    config: &Config,
    guides: &Guides,
    arm: &Arm,
    seed: u64,
    values: Values,
    schedule: Option<GuideSchedule>,
) -> (Training, Option<Guidance>) {
    let mut training = Training { seed: u64::from(values.seed), ..config.training(&arm.name, seed) };
    training.optimizer.rate = with_base(training.optimizer.rate, values.rate);
    let guide = arm.guide.as_ref().and_then(|guide| guides.get(guide)).cloned();
    let guidance = guide.map(|guide| {
        let guidance = config.guidance(&arm.name, guide.freeze()).weight(values.weight);
        schedule.map_or(guidance.clone(), |schedule| guidance.schedule(schedule))
    });
    (training, guidance)
}

fn base(rate: Schedule) -> f32 {
    match rate {
        Schedule::Constant(base)
        | Schedule::Cosine { base, .. }
        | Schedule::Steps { base, .. }
        | Schedule::Linear { base, .. } => base,
    }
}

fn with_base(rate: Schedule, base: f32) -> Schedule {
    match rate {
        Schedule::Constant(_) => Schedule::Constant(base),
        Schedule::Cosine { floor, warmup, total, .. } => Schedule::Cosine { base, floor, warmup, total },
        Schedule::Steps { factor, every, .. } => Schedule::Steps { base, factor, every },
        Schedule::Linear { total, .. } => Schedule::Linear { base, total },
    }
}

/// Type of one normalized image.
fn drawing_type(data: &Dataset) -> Result<TensorType> {
    match data.input() {
        InputShape::Image([channels, height, width]) => Ok(TensorType::f32([1, channels, height, width])),
        InputShape::Tokens(_) => {
            Err(refused("data.set", "a page shows images, and these are tokens", "use a set of images"))
        }
    }
}

/// A configuration that a page cannot train.
pub(super) fn refused(key: &str, problem: &str, hint: &str) -> Error {
    Error::config(Place::setting("export"), key, problem, hint)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn read(more: &str) -> Result<Vec<Arm>> {
        let text = format!("name = \"page\"\n[data]\nset = \"glyphs\"\n[training]\nsteps = 100\n{more}");
        arms(&Config::parse(&text, Path::new("page.toml"))?, 1)
    }

    #[test]
    fn arms_have_their_guides_and_the_steps_that_these_stay() {
        let arms =
            read("[guidance]\nfirst_steps = 30\nweight = 2.0").expect("all arms are such that a page can train them");
        let of = |name: &str| arms.iter().find(|arm| arm.name == name).map(|arm| (arm.guide.clone(), arm.guided_steps));
        assert_eq!(of("alone"), Some((None, 0)));
        assert_eq!(of("trained"), Some((Some(ArmGuide::Trained), 100)));
        assert_eq!(of("trained_first"), Some((Some(ArmGuide::Trained), 30)));
        assert!(arms.iter().all(|arm| arm.values.weight == 2.0));
    }

    #[test]
    fn arms_that_a_page_cannot_train_are_refused_with_their_key() {
        for (more, key) in [
            ("[arm.untrained]\ncontrol = \"noise\"", "arm.untrained.control"),
            ("[arm.trained]\nschedule = { every = 4 }", "arm.trained.schedule"),
            ("[arm.trained_first]\ninit_from = { arm = \"alone\" }", "arm.trained_first.init_from"),
        ] {
            let error = read(more).map(|_| ()).expect_err(more).to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn rates_are_changed_at_their_base_alone() {
        let rates = [
            Schedule::Constant(1.0),
            Schedule::Cosine { base: 1.0, floor: 0.1, warmup: 2, total: 9 },
            Schedule::Steps { base: 1.0, factor: 0.5, every: 3 },
            Schedule::Linear { base: 1.0, total: 9 },
        ];
        for rate in rates {
            assert_eq!((base(with_base(rate, 0.25)), with_base(with_base(rate, 0.25), 1.0)), (0.25, rate));
        }
    }
}
