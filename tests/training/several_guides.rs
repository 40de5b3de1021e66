//! Several guides of one target, each on its own layers and by its own schedule.

use trellis_guidance::{
    Batches, CapturePoint, Cnn, Fcn, Guidance, GuideSchedule, LayerMap, Method, Network, Session, Trainer, Training,
    Vit,
};

use trellis_guidance::trainer::{RunRecord, StepRecord};

use super::runs::{bits, data, small_training};
use crate::gpu;

/// An FCN of six layers, guided by a CNN on the first half and a vision transformer on the second.
fn run(training: Training, change: impl Fn(Guidance, usize) -> Guidance) -> (RunRecord, Vec<u32>) {
    let data = data(&gpu());
    let target = Network::new(Fcn::new(6, 16), &data, 6).expect("fits");
    let trainer = guides()
        .into_iter()
        .enumerate()
        .fold(Trainer::new(&target, &data, training), |trainer, (i, guide)| trainer.guided_by(change(guide, i)));
    (trainer.run().expect("trains"), bits(&target))
}

fn guides() -> [Guidance; 2] {
    let data = data(&gpu());
    let cnn = Network::new(Cnn::new(&[4, 8]), &data, 5).expect("fits").freeze();
    let vit = Vit { patch: 4, width: 8, heads: 2, hidden: 16, depth: 2, ..Vit::default() };
    let vit = Network::new(vit, &data, 7).expect("fits").freeze();
    let first = [("conv1", "fc1"), ("conv2", "fc3")];
    let second = [("blocks.0.mlp.fc2", "fc4"), ("blocks.1.mlp.fc2", "fc6")];
    [
        Guidance::new(cnn).map_layers(LayerMap::named(first)),
        Guidance::new(vit).map_layers(LayerMap::named(second)).weight(0.5),
    ]
}

/// Two guides of the same network pull as one with the pairs of both.
#[test]
fn the_losses_of_several_guides_add_up() {
    let data = data(&gpu());
    let guide = Network::new(Cnn::new(&[4, 8]), &data, 5).expect("fits").freeze();
    let pairs = [[("conv1", "fc1")], [("conv2", "fc3")]];
    let losses = |parts: &[&[(&str, &str)]]| {
        let target = Network::new(Fcn::new(3, 16), &data, 6).expect("fits");
        let trainer = parts.iter().fold(Trainer::new(&target, &data, small_training(12)), |trainer, pairs| {
            trainer
                .guided_by(Guidance::new(guide.clone()).map_layers(LayerMap::named(pairs.iter().copied())).weight(2.0))
        });
        let record = trainer.run().expect("trains");
        let names = if parts.len() > 1 { ["1:conv1", "2:conv2"] } else { ["conv1", "conv2"] };
        assert_eq!(record.pairs, [[names[0], "fc1"], [names[1], "fc3"]].map(|pair| pair.map(str::to_string)));
        let last = record.evals.last().expect("evaluated").similarity.clone();
        let steps = record.steps.into_iter();
        steps
            .flat_map(|step| [vec![step.loss], step.similarity, vec![step.alignment.expect("pulls")]].concat())
            .chain(last)
            .collect::<Vec<f32>>()
    };
    let (one, two) = (losses(&[&[pairs[0][0], pairs[1][0]]]), losses(&[&pairs[0], &pairs[1]]));
    assert_eq!(one.len(), 12 * 4 + 2);
    for (at, (one, two)) in one.iter().zip(&two).enumerate() {
        assert!((one - two).abs() < 1e-4 * one.abs().max(1.0), "{at}: {one} and {two}");
    }
}

/// One guide leaves while the other comes: what a step logs is of those that pull.
#[test]
fn each_guide_has_its_own_schedule() {
    let schedules = [GuideSchedule::first_steps(5), GuideSchedule::After(3)];
    let (record, _) = run(small_training(9), |guidance, i| guidance.schedule(schedules[i]));
    for step in &record.steps {
        let [first, second] = [step.step < 5, step.step >= 3];
        let measured: Vec<bool> = step.similarity.iter().map(|value| value.is_finite()).collect();
        assert_eq!(measured, [first, first, second, second], "{step:?}");
        let of_those = step.similarity.iter().filter(|value| value.is_finite()).map(|value| 1.0 - value).sum::<f32>();
        assert!((step.alignment.expect("a guide pulls") - of_those).abs() < 1e-6, "{step:?}");
    }
    let eval = record.evals.iter().rfind(|eval| eval.split == "test").expect("evaluated");
    assert!(eval.similarity.len() == 4 && eval.similarity.iter().all(|value| value.is_finite()), "{eval:?}");
    // A gap in which no guide pulls.
    let schedules = [GuideSchedule::first_steps(2), GuideSchedule::After(6)];
    let (record, _) = run(small_training(9), |guidance, i| guidance.schedule(schedules[i]));
    let guided: Vec<bool> = record.steps.iter().map(|step| step.alignment.is_some()).collect();
    assert_eq!(guided, [true, true, false, false, false, false, true, true, true]);
}

/// The weight of one guide alone changes what is trained.
#[test]
fn every_guide_counts() {
    let train = |weights: [f32; 2]| run(small_training(6), |guidance, i| guidance.weight(weights[i])).1;
    let both = train([1.0, 1.0]);
    assert_eq!(both, train([1.0, 1.0]), "the same bits twice");
    for other in [[0.0, 1.0], [1.0, 0.0]] {
        assert_ne!(both, train(other), "{other:?}");
    }
}

/// Guides that leave by what the run has shown leave one by one, and a run that was killed goes on as if it had not been.
#[test]
fn guides_that_leave_by_themselves_are_kept_in_the_state() {
    let schedules = [GuideSchedule::UntilLoss(100.0), GuideSchedule::UntilPlateau(0.0)];
    let folder = tempfile::tempdir().expect("writable");
    let state = folder.path().join("state.safetensors");
    let data = data(&gpu());
    let train = |steps: u32, state: Option<&std::path::Path>| {
        let target = Network::new(Fcn::new(6, 16), &data, 6).expect("fits");
        let training = Training { eval_every: 3, ..small_training(steps) };
        let mut trainer = Trainer::new(&target, &data, training);
        for (guidance, schedule) in guides().into_iter().zip(&schedules) {
            trainer = trainer.guided_by(guidance.schedule(*schedule));
        }
        if let Some(state) = state {
            trainer = trainer.resumable(state);
        }
        (trainer.run().expect("trains"), bits(&target))
    };
    let (whole, trained) = train(12, None);
    let pulls = |step: &StepRecord| step.similarity.first().is_some_and(|value| value.is_finite());
    assert!(pulls(&whole.steps[0]) && !pulls(&whole.steps[4]), "the loss is below 100 at the first evaluation");
    assert!(whole.steps[4].alignment.is_some(), "the second guide stays");
    train(6, Some(&state));
    let (rest, resumed) = train(12, Some(&state));
    assert_eq!(rest.steps[0].step, 6);
    assert_eq!(resumed, trained);
}

#[test]
fn guides_that_do_not_go_together_are_refused() {
    let data = data(&gpu());
    let target = Network::new(Fcn::new(6, 16), &data, 6).expect("fits");
    let refused = |training: Training, change: &dyn Fn(Guidance) -> Guidance| {
        let [first, second] = guides();
        let guides = [first, change(second)];
        Session::new(&target, &data, training, &guides).map(drop).expect_err("refused").to_string()
    };
    let same = |guidance: Guidance| guidance;
    let fixed = Training { batches: Batches::Fixed, ..small_training(6) };
    assert!(refused(fixed, &same).contains("there are several"));
    let hints = refused(small_training(6), &|guidance| guidance.method(Method::Hints));
    assert!(hints.contains("`method`") && hints.contains("one of several guides"), "{hints}");
    let capture = refused(small_training(6), &|guidance| guidance.capture(CapturePoint::AfterActivation));
    assert!(capture.contains("`taps`"), "{capture}");
    let unlabeled = refused(small_training(6), &|guidance| guidance.unlabeled_steps(2));
    assert!(unlabeled.contains("`unlabeled_steps`"), "{unlabeled}");
    let guides: Vec<Guidance> = (0..9).map(|_| guides()[0].clone()).collect();
    let many = Session::new(&target, &data, small_training(6), &guides).map(drop).expect_err("too many").to_string();
    assert!(many.contains("more than 8"), "{many}");
}
