//! Numbers that a page needs besides the plans: layers, settings, how weights are drawn, the losses of the native run.

use serde_json::{Map, Value, json};
use trellis_data::Normalization;
use trellis_guidance::network::InputShape;
use trellis_guidance::{Control, Dataset, GuideSchedule, Network, Result, Session};
use trellis_tensor::Init;

use super::arms::{Arm, Guides, refused, settings_of};
use super::look::{COMPARED, pairs};
use crate::config::{ArmGuide, Config};

/// Number of steps of the native run whose losses a page carries, to compare its own with.
const COMPARED_STEPS: u32 = 50;

/// Everything about the experiment that the plans do not say.
pub(super) fn numbers(config: &Config, data: &Dataset, guides: &Guides, arms: &[Arm], seed: u64) -> Result<Value> {
    let InputShape::Image(shape) = data.input() else {
        return Err(refused("data.set", "a page shows images, and these are tokens", "use a set of images"));
    };
    let Some(Normalization { mean, deviation }) = data.normalization() else {
        return Err(refused("data.set", "a page needs the scale of its images", "use a set of images"));
    };
    let counts: Map<String, Value> =
        data.splits().map(|(name, split)| (name.to_string(), json!(split.count()))).collect();
    let each: Vec<Value> = arms.iter().map(|arm| of_arm(config, data, guides, arm, seed)).collect::<Result<_>>()?;
    let classes: Vec<String> = match data.class_names() {
        [] => (0..data.output().classes).map(|class| class.to_string()).collect(),
        names => names.to_vec(),
    };
    Ok(json!({
        "name": config.name,
        "seed": seed,
        "data": {
            "name": data.name(), "shape": shape, "classes": classes, "counts": counts,
            "mean": mean, "deviation": deviation, "compared": COMPARED,
        },
        "arms": each,
        "trellis": env!("CARGO_PKG_VERSION"),
        "adapter": data.gpu().name(),
    }))
}

fn of_arm(config: &Config, data: &Dataset, guides: &Guides, arm: &Arm, seed: u64) -> Result<Value> {
    let target = config.draw_target(&arm.name, data, seed)?;
    let guide = guides.get(&arm.compared);
    let pairs = guide.map_or(Ok(Vec::new()), |guide| pairs(config, data, &target, guide, arm))?;
    let words = match (&arm.guide, arm.control) {
        (None, _) => "no guide".to_string(),
        (Some(_), Control::Input) => "pixels as guide".to_string(),
        (Some(ArmGuide::Trained), _) => "guide trained first".to_string(),
        (Some(ArmGuide::Untrained), _) => "guide never trained".to_string(),
        (Some(guide), _) => guide.words(),
    };
    let training = config.training(&arm.name, seed);
    Ok(json!({
        "name": arm.name,
        "words": words,
        "compared": if arm.control == Control::Input { "the pixels".to_string() } else { format!("the {}", arm.compared.words()) },
        "guided": arm.guide.is_some(),
        "guided_steps": arm.guided_steps,
        "steps": training.steps,
        "batch": training.batch,
        "rate": arm.values.rate,
        "weight": arm.values.weight,
        "target": target.describe(),
        "guide": guide.map(Network::describe),
        "pairs": pairs,
        "initial": initial(&target, arm)?,
        "reference": reference(config, data, guides, arm, &target, seed)?,
    }))
}

/// Distribution of each tensor of the target, from which a page draws it under another seed.
fn initial(target: &Network, arm: &Arm) -> Result<Vec<Value>> {
    let described = |(name, init, stream): (String, Init, u64)| {
        let (kind, value) = match init {
            Init::Uniform(bound) => ("uniform", bound),
            Init::Normal(deviation) => ("normal", deviation),
            Init::Constant(value) => ("constant", value),
            _ => {
                let problem = "a page draws weights that are uniform, normal or constant";
                let hint = "use `init = \"default\"`, `kaiming` or `xavier`, or leave the arm out with `arms`";
                return Err(refused(&format!("arm.{}.init", arm.name), problem, hint));
            }
        };
        // Whole numbers of JavaScript have 53 bits.
        let stream = [stream as u32, (stream >> 32) as u32];
        Ok(json!({ "tensor": format!("{}.{name}", arm.name), "kind": kind, "value": value, "stream": stream }))
    };
    target.initial_values()?.into_iter().map(described).collect()
}

/// Task losses of the first steps of the native run, with the settings of the file.
fn reference(
    config: &Config,
    data: &Dataset,
    guides: &Guides,
    arm: &Arm,
    target: &Network,
    seed: u64,
) -> Result<Vec<f32>> {
    let schedule = match arm.guided_steps {
        0 => None,
        steps => Some(GuideSchedule::first_steps(steps)),
    };
    let (training, guidance) = settings_of(config, guides, arm, seed, arm.values, schedule);
    let mut session = Session::new(target, data, training, &guidance)?;
    let mut records = Vec::new();
    let until = COMPARED_STEPS.min(training.steps);
    while session.step() < until {
        records.extend(session.advance(until - session.step())?);
    }
    records.extend(session.wait()?);
    Ok(records.iter().map(|record| record.loss).collect())
}
