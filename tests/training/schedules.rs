//! Schedules of guidance: at which steps the guide pulls, how strongly, and when it leaves.

use trellis_guidance::trainer::RunRecord;
use trellis_guidance::{GuideSchedule, Trainer, Training};
use trellis_tensor::{OptimizerConfig, Schedule};

use super::resume::in_pieces_by;
use super::runs::{data, networks, small_training};
use crate::gpu;

const STEPS: u32 = 12;

fn training() -> Training {
    let optimizer = OptimizerConfig::adam(Schedule::Constant(0.01));
    Training { eval_every: 4, optimizer, ..small_training(STEPS) }
}

/// A run of 12 steps, evaluated after every four; without a schedule it has no guide.
fn run(schedule: Option<GuideSchedule>) -> RunRecord {
    let data = data(&gpu());
    let (target, guidance) = networks(&data);
    let trainer = Trainer::new(&target, &data, training());
    match schedule {
        Some(schedule) => trainer.guided_by(guidance.schedule(schedule)),
        None => trainer.measured_against(guidance),
    }
    .run()
    .expect("trains")
}

fn losses(run: &RunRecord) -> Vec<f32> {
    run.steps.iter().map(|step| step.loss).collect()
}

fn guided(run: &RunRecord) -> Vec<u64> {
    run.steps.iter().filter(|step| step.alignment.is_some()).map(|step| step.step).collect()
}

fn mean(values: impl Iterator<Item = f32> + Clone) -> f64 {
    values.clone().map(f64::from).sum::<f64>() / values.count() as f64
}

#[test]
fn the_guide_pulls_at_the_steps_of_its_schedule() {
    use GuideSchedule::{After, Always, CosineDecay, Every, FirstSteps, LinearDecay};
    let (alone, always) = (run(None), run(Some(Always)));
    for (schedule, steps) in [
        (Always, (0..12).collect()),
        (FirstSteps(5), (0..5).collect()),
        (LinearDecay(5), (0..5).collect()),
        (CosineDecay(5), (0..5).collect()),
        (After(7), (7..12).collect::<Vec<u64>>()),
        (Every(5), vec![0, 5, 10]),
    ] {
        let run = run(Some(schedule));
        assert_eq!(guided(&run), steps, "{schedule:?}");
        assert_eq!(losses(&run)[0], losses(&alone)[0]);
        // Up to the first step whose weight differs, a run has the bits of the one that is guided throughout, or not at all.
        let (like, until) = match schedule {
            Always => (&always, 12),
            FirstSteps(_) => (&always, 6),
            LinearDecay(_) | CosineDecay(_) => (&always, 2),
            After(_) => (&alone, 8),
            _ => (&always, 2),
        };
        assert_eq!(losses(&run)[..until], losses(like)[..until], "{schedule:?}");
        assert!(schedule == Always || losses(&run)[until..] != losses(like)[until..], "{schedule:?}");
    }
    // Half of a cosine is above the straight line first.
    let [linear, cosine] = [LinearDecay(8), CosineDecay(8)].map(|schedule| schedule.weight(2.0));
    assert!(linear.at(0) == 2.0 && cosine.at(0) == 2.0 && cosine.at(2) > linear.at(2) && cosine.at(6) < linear.at(6));
    assert!((cosine.at(4) - 1.0).abs() < 1e-12);
}

#[test]
fn the_guide_leaves_once_the_task_is_learned_or_it_has_nothing_more_to_say() {
    let always = run(Some(GuideSchedule::Always));
    let loss = |first: usize| mean(always.steps[first..first + 4].iter().map(|step| step.loss));
    let alignment = |first: usize| mean(always.steps[first..first + 4].iter().filter_map(|step| step.alignment));
    // Below the mean of the first four steps and above that of the next: it leaves after eight.
    assert!(loss(4) < loss(0));
    let run_until = |schedule| guided(&run(Some(schedule))).len();
    assert_eq!(run_until(GuideSchedule::UntilLoss(((loss(0) + loss(4)) / 2.0) as f32)), 8);
    assert_eq!(run_until(GuideSchedule::UntilLoss((2.0 * loss(0)) as f32)), 4);
    assert_eq!(run_until(GuideSchedule::UntilLoss(1e-6)), 12);
    // The first fall is known after eight steps.
    let fall = 1.0 - alignment(4) / alignment(0);
    assert_eq!(run_until(GuideSchedule::UntilPlateau((fall + 0.01) as f32)), 8);
    assert!(fall > 0.02, "{fall}");
    assert_eq!(run_until(GuideSchedule::UntilPlateau((fall - 0.01) as f32)), 12);
}

#[test]
fn a_schedule_goes_on_where_it_was() {
    let data = data(&gpu());
    let training = Training { eval_every: 4, ..small_training(15) };
    let always = {
        let (target, guidance) = networks(&data);
        Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains")
    };
    let loss = |first: usize| mean(always.steps[first..first + 4].iter().map(|step| step.loss));
    let until = GuideSchedule::UntilLoss(((loss(0) + loss(4)) / 2.0) as f32);
    for (name, schedule) in [
        ("every", GuideSchedule::Every(3)),
        ("after", GuideSchedule::After(6)),
        ("until-loss", until),
        ("until-plateau", GuideSchedule::UntilPlateau(0.99)),
    ] {
        in_pieces_by(schedule, name, &data, training, || networks(&data));
    }
}
