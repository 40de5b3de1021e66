//! Runs that end early and go on: the same bits as those of one piece.

use std::fs;
use std::sync::Arc;

use trellis_data::Place;
use trellis_data::glyphs::glyphs;
use trellis_guidance::trainer::RunRecord;
use trellis_guidance::weights::{self, Format, Naming, WeightsFile};
use trellis_guidance::{
    Batches, Cnn, Dataset, Error, Event, Fcn, Guidance, GuideSchedule, Network, Precision, Resnet, Result, Trainer,
    Training,
};
use trellis_tensor::{LossScale, OptimizerConfig, Schedule};

use crate::gpu;
use crate::training::runs::{bits, data, networks, small_training};

/// Runs a trainer that is stopped once the steps up to `last` have been seen; where it went on from, if anywhere.
fn run_until(trainer: &Trainer<'_>, last: u64) -> (Option<u32>, Result<RunRecord>) {
    let mut resumed = None;
    let outcome = trainer.run_with(&mut |event| match event {
        Event::Resumed(step) => {
            resumed = Some(step);
            Ok(())
        }
        Event::Steps(steps) if steps.iter().any(|step| step.step >= last) => {
            Err(Error::config(Place::setting("test"), "", "stopped", "on purpose"))
        }
        _ => Ok(()),
    });
    (resumed, outcome)
}

/// Trains in one piece, and in three that a file connects; the weights and the last records are those of one piece.
fn in_pieces(name: &str, data: &Dataset, training: Training, target: impl Fn() -> (Network, Guidance)) {
    in_pieces_by(GuideSchedule::first_steps(7), name, data, training, target);
}

pub(super) fn in_pieces_by(
    schedule: GuideSchedule,
    name: &str,
    data: &Dataset,
    training: Training,
    target: impl Fn() -> (Network, Guidance),
) {
    let (whole, guidance) = target();
    let wanted = Trainer::new(&whole, data, training).guided_by(guidance.schedule(schedule)).run().expect("trains");
    let folder = tempfile::tempdir().expect("writable");
    let state = folder.path().join("state.safetensors");
    let piece = |last: u64| {
        let (target, guidance) = target();
        let trainer = Trainer::new(&target, data, training).guided_by(guidance.schedule(schedule));
        let (resumed, outcome) = run_until(&trainer.resumable(&state), last);
        (resumed, outcome, bits(&target))
    };
    let (resumed, outcome, _) = piece(5);
    assert!(resumed.is_none() && outcome.is_err_and(|error| error.to_string().contains("stopped")));
    let (resumed, outcome, _) = piece(11);
    assert!(resumed.is_some_and(|step| step > 0 && step % 4 == 0) && outcome.is_err(), "{name}: {resumed:?}");
    let (resumed, outcome, found) = piece(u64::MAX);
    let (from, record) = (u64::from(resumed.expect("goes on")), outcome.expect("trains"));
    assert!(found == bits(&whole), "{name}: other weights");
    assert!(from >= 4 && record.seconds > 0.0 && record.steps_per_s > 0.0);
    assert_eq!(record.steps, wanted.steps[from as usize..], "{name}");
    let later: Vec<_> = wanted.evals.iter().filter(|eval| eval.step >= from).cloned().collect();
    assert_eq!(record.evals, later, "{name}");
}

#[test]
fn a_run_in_pieces_gives_the_bits_of_one_run() {
    let resident = data(&gpu());
    let training = Training { eval_every: 4, shift: 1, flip: true, ..small_training(15) };
    in_pieces("adam", &resident, training, || networks(&resident));
    // Batch norm's running statistics, momentum, a falling rate, clipping; blocks of the target computed again.
    let rate = Schedule::Cosine { base: 0.05, floor: 0.0, warmup: 3, total: 15 };
    let optimizer = OptimizerConfig { clip_norm: Some(0.5), ..OptimizerConfig::sgd(rate, 0.9) };
    let residual = || {
        let target = Network::new(Resnet::small(1), &resident, 2).expect("fits");
        (target, networks(&resident).1)
    };
    in_pieces("sgd", &resident, Training { optimizer, recompute: 2, check: false, ..training }, residual);
    // The loss scale grows and falls with the steps.
    let scale = LossScale { log2: 14, growth_interval: 3 };
    let mixed = Training { precision: Precision::Mixed(scale), check: false, ..training };
    in_pieces("mixed", &resident, mixed, || networks(&resident));
    let fixed = Training { batches: Batches::Fixed, shift: 0, flip: false, ..training };
    in_pieces("fixed", &resident, fixed, || networks(&resident));
}

#[test]
fn a_streamed_run_in_pieces_sees_the_batches_of_one_run() {
    let parts = glyphs(120, 16, 1).split(&[80, 40], 0).expect("enough glyphs");
    let [train, test] = [0, 1].map(|at| Arc::new(parts[at].clone()));
    let streamed = Dataset::stream(&gpu(), train, None, Some(test), false).expect("fits");
    let training = Training { eval_every: 4, shift: 1, flip: true, ..small_training(15) };
    in_pieces("streamed", &streamed, training, || networks(&streamed));
    // The same weights as from the GPU's own batches.
    let resident = data(&gpu());
    let train = |data: &Dataset| {
        let (target, guidance) = networks(data);
        Trainer::new(&target, data, training).guided_by(guidance).run().expect("trains");
        bits(&target)
    };
    assert!(train(&streamed) == train(&resident));
}

/// Time goes on too: what an earlier process took counts.
#[test]
fn a_run_that_goes_on_keeps_its_time() {
    let data = data(&gpu());
    let folder = tempfile::tempdir().expect("writable");
    let state = folder.path().join("state.safetensors");
    let training = Training { eval_every: 4, ..small_training(15) };
    let target = Network::new(Fcn::new(2, 16), &data, 1).expect("fits");
    let trainer = Trainer::new(&target, &data, training).resumable(&state);
    assert!(run_until(&trainer, 9).1.is_err());
    let file = WeightsFile::read(&state).expect("kept");
    let mut tensors = file.renamed(Naming::Trellis).expect("names").tensors;
    let seconds = tensors.iter_mut().find(|(name, ..)| name == "seconds").expect("its time");
    seconds.2 = vec![2000.0, 1000.0];
    weights::write(&state, &tensors, Format::F32, "later".to_string()).expect("writable");
    let record = trainer.run().expect("trains");
    assert!((2000.0..2100.0).contains(&record.seconds), "{}", record.seconds);
    assert!((15.0 / 1100.0..=15.0 / 1000.0).contains(&record.steps_per_s), "{}", record.steps_per_s);
}

#[test]
fn a_state_that_is_not_of_this_run_is_refused_and_changes_nothing() {
    let data = data(&gpu());
    let folder = tempfile::tempdir().expect("writable");
    let state = folder.path().join("state.safetensors");
    let training = Training { eval_every: 4, ..small_training(15) };
    let (target, guidance) = networks(&data);
    let trainer = Trainer::new(&target, &data, training).guided_by(guidance).resumable(&state);
    assert!(run_until(&trainer, 9).1.is_err());
    let bytes = fs::read(&state).expect("kept");
    let fails = |target: &Network, training: Training| {
        let before = bits(target);
        let error = Trainer::new(target, &data, training).resumable(&state).run().expect_err("not its state");
        assert!(before == bits(target), "{error}");
        let message = error.to_string();
        assert!(message.contains("state.safetensors") && message.contains("remove the file"), "{message}");
        message
    };
    let fresh = |depth| Network::new(Fcn::new(depth, 16), &data, 1).expect("fits");
    assert!(fails(&fresh(2), training).contains("moments"));
    assert!(fails(&Network::new(Cnn::new(&[4]), &data, 1).expect("fits"), training).contains("lacks"));
    let sgd = OptimizerConfig::sgd(Schedule::Constant(0.1), 0.9);
    let (same, _) = networks(&data);
    assert!(fails(&same, Training { optimizer: sgd, ..training }).contains("momentum"));
    assert!(fails(&same, small_training(3)).contains("at step"));
    fs::write(&state, &bytes[..bytes.len() / 2]).expect("writable");
    assert!(fails(&same, training).contains("damaged"));
    fs::write(&state, b"").expect("writable");
    fails(&same, training);
}
