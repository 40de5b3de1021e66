use std::fs;
use std::io::Write;

use super::*;
use trellis_data::io::write_atomic;
use trellis_guidance::Error;

fn run(arm: &str, seed: u64, top1: f32, loss: f32) -> RunRecord {
    let eval = |step, top1| EvalRecord {
        step,
        split: "test".into(),
        loss,
        top1,
        top5: None,
        sequences: None,
        similarity: Vec::new(),
        confusion: if step == 3 { vec![vec![4, 1], vec![0, 5]] } else { Vec::new() },
    };
    let step = |step, alignment| StepRecord {
        step,
        loss: 2.0 / (step + 1) as f32,
        alignment,
        similarity: vec![0.1, 0.7],
        learning_rate: 1e-3,
        balance: None,
        loss_scale: Some(1024.0),
        skipped: Some(step / 2),
    };
    RunRecord {
        arm: arm.into(),
        seed,
        pairs: vec![["conv1".into(), "fc1".into()], ["conv2".into(), "fc2".into()]],
        steps: vec![step(0, Some(1.5)), step(1, Some(1.25)), step(2, None)],
        evals: vec![eval(0, 0.1), eval(3, top1)],
        seconds: 2.0,
        steps_per_s: 100.0,
        best_step: Some(2),
        copied_from: None,
    }
}

fn experiment() -> Experiment {
    Experiment {
        name: "demo".into(),
        adapter: "llvmpipe".into(),
        version: "0.1.0".into(),
        data: "train 60".into(),
        class_names: (0..10).map(|class| format!("kind <{class}>")).collect(),
        config_toml: "seeds = 2\n".into(),
        runs: vec![
            run("odd", 0, 0.5, 2.0),
            run("trained", 0, 0.62, 1.0),
            run("trained", 1, 0.74, 1.2),
            run("alone", 0, 0.5, 2.0),
            run("alone", 1, 0.6, 2.4),
        ],
        guides: Vec::new(),
        seconds: 12.5,
        failure: None,
        diverged: Vec::new(),
        left_out: vec![LeftOut { class: Some("cat".into()), train: 2, ..LeftOut::default() }],
        missing: vec![Missing { arm: "odd".into(), seed: 0, steps: vec![[1, 1]], evals: vec![2] }],
        memory: [("odd".into(), 1 << 20)].into(),
        predict_py: None,
    }
}

fn write(folder: &mut RunFolder, experiment: &Experiment) {
    for run in &experiment.runs {
        folder.start(&run.arm, run.seed, &run.pairs).expect("start");
        folder.steps(&run.arm, run.seed, &run.steps).expect("steps");
        for eval in &run.evals {
            folder.eval(&run.arm, run.seed, eval).expect("eval");
        }
        folder.end(run).expect("end");
    }
}

/// Bytes at the end of the metrics, as a killed run or a careless hand may leave them.
fn append(folder: &RunFolder, bytes: &[u8]) {
    let file = fs::OpenOptions::new().append(true).open(folder.path().join("metrics.jsonl"));
    file.and_then(|mut file| file.write_all(bytes)).expect("metrics that can be written");
}

#[test]
fn summary_numbers() {
    let summary = experiment().summary();
    assert_eq!(summary.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(), ["alone", "trained", "odd"]);
    let [alone, trained, odd] = &summary[..] else { panic!("three arms") };
    let close = |value: Option<f64>, expected: f64| {
        let value = value.expect("a value");
        assert!((value - expected).abs() < 1e-5, "{value} is not {expected}");
    };
    // Two seeds: t = 12.7062, half-width = t · |a − b| / 2.
    close(alone.top1_mean, 0.55);
    close(alone.top1_ci95, 12.7062 * 0.05);
    close(trained.test_loss_mean, 1.1);
    let difference = trained.top1_difference.as_ref().expect("shared seeds");
    assert_eq!((difference.versus.as_str(), difference.seeds), ("alone", 2));
    close(difference.mean, 0.13);
    close(difference.ci95, 12.7062 * 0.01);
    close(trained.test_loss_difference.as_ref().and_then(|d| d.mean), -1.1);
    assert_eq!((alone.top1_difference.as_ref(), alone.seeds), (None, 2));
    let one = odd.top1_difference.as_ref().expect("one shared seed");
    assert_eq!((one.seeds, one.ci95, odd.top1_ci95), (1, None, None));
    assert_eq!(trained.steps_per_s, Some(100.0));
    assert!(Experiment::default().summary().is_empty());
}

#[test]
fn a_run_without_test_evaluations_has_no_numbers() {
    let mut experiment = experiment();
    experiment.runs.iter_mut().for_each(|run| run.evals.clear());
    let arm = &experiment.summary()[1];
    assert_eq!((arm.seeds, arm.top1(), arm.test_loss(), arm.top1_difference.as_ref()), (2, None, None, None));
}

#[test]
fn a_run_that_was_not_finished_counts_in_no_mean() {
    let mut experiment = experiment();
    let whole = experiment.summary();
    experiment.runs.push(RunRecord { seconds: 0.0, steps_per_s: 0.0, ..run("alone", 99, 0.01, 9.0) });
    let guide = |seconds, top1| RunRecord { seconds, ..run("guide", 1, top1, 1.0) };
    experiment.guides = vec![guide(2.0, 0.75), guide(0.0, 0.01)];
    assert_eq!(experiment.summary(), whole);
    assert_eq!(experiment.further_scores()[0], "guide by itself: top-1 75.0 %");
}

#[test]
fn guidance_ends_where_alignment_does() {
    let mut run = run("trained_first", 0, 0.5, 1.0);
    assert_eq!(run.guided_until(), Some(1));
    run.steps.pop();
    assert_eq!(run.guided_until(), None);
}

/// Shares are f32, whose differences of equal counts differ in the last digit: they count as equal, and two equal ones say nothing.
#[test]
fn equal_differences_of_counts_are_equal() {
    let right = [830, 612, 524, 536, 890, 761, 830, 949];
    let runs = |arm: &str, more: &dyn Fn(usize) -> i32, seeds: usize| -> Vec<RunRecord> {
        let top1 = |seed: usize| (right[seed] + more(seed)) as f32 / 1000.0;
        (0..seeds).map(|seed| run(arm, seed as u64, top1(seed), 1.0)).collect()
    };
    let difference = |seeds: usize, more: &dyn Fn(usize) -> i32| {
        let runs = [runs("alone", &|_| 0, seeds), runs("trained", more, seeds)].concat();
        let experiment = Experiment { runs, ..experiment() };
        experiment.summary()[1].top1_difference.clone().expect("compared")
    };
    // Of 256 assignments of signs 18 are as far from 0: all but one alike, or all.
    let one_against = difference(8, &|seed| if seed == 3 { -20 } else { 20 });
    assert_eq!(one_against.p, Some(18.0 / 256.0));
    let equal = difference(2, &|_| 20);
    assert_eq!((equal.ci95, equal.bca95), (Some(0.0), None));
    assert!(!equal.estimate().expect("a mean").excludes_zero());
}

/// A pair of a guide that does not pull has NaN while another guide does.
#[test]
fn each_pair_pulls_until_its_guide_leaves() {
    let mut run = run("trained", 0, 0.5, 1.0);
    let step = run.steps[0].clone();
    let similarity = [vec![0.1, 0.2], vec![0.3, f32::NAN], vec![]];
    run.pairs = vec![["a".to_string(), "b".to_string()], ["c".to_string(), "d".to_string()]];
    run.steps = (0..)
        .zip(similarity)
        .map(|(number, similarity)| StepRecord { step: number, similarity, ..step.clone() })
        .collect();
    assert_eq!(run.pulled_until(), [Some(1), Some(0)]);
    run.steps.pop();
    assert_eq!(run.pulled_until(), [None, Some(0)]);
}

#[test]
fn an_experiment_comes_back_from_its_folder() {
    let scratch = tempfile::tempdir().expect("writable");
    let experiment = experiment();
    let mut folder = RunFolder::create(scratch.path(), &experiment, Existing::Refuse).expect("a new folder");
    write(&mut folder, &experiment);
    let killed = Experiment::read(folder.path()).expect("without a summary");
    assert_eq!((&killed.runs, killed.seconds), (&experiment.runs, 10.0));
    folder.finish(&experiment).expect("summary");
    assert_eq!(Experiment::read(folder.path()).expect("whole"), experiment);
    let mut files: Vec<_> =
        fs::read_dir(folder.path()).expect("folder").map(|f| f.expect("file").file_name()).collect();
    files.sort();
    assert_eq!(files, [".lock", "adapter.json", "config.toml", "metrics.jsonl", "summary.json"]);
}

#[test]
fn nan_survives_json() {
    let scratch = tempfile::tempdir().expect("writable");
    let mut experiment = experiment();
    let step = &mut experiment.runs[0].steps[0];
    (step.loss, step.alignment, step.similarity[1]) = (f32::NAN, Some(f32::INFINITY), f32::NAN);
    experiment.runs[0].evals[1].top1 = f32::NAN;
    let mut folder = RunFolder::create(scratch.path(), &experiment, Existing::Refuse).expect("a new folder");
    write(&mut folder, &experiment);
    folder.finish(&experiment).expect("summary");
    let back = Experiment::read(folder.path()).expect("readable");
    let step = &back.runs[0].steps[0];
    assert!(step.loss.is_nan() && step.alignment.is_some_and(f32::is_nan) && step.similarity[1].is_nan());
    assert_eq!(step.similarity[0], 0.1);
    assert!(back.runs[0].evals[1].top1.is_nan());
}

#[test]
fn a_killed_run_can_be_read_and_gone_on_with() {
    let scratch = tempfile::tempdir().expect("writable");
    let experiment = experiment();
    let mut folder = RunFolder::create(scratch.path(), &experiment, Existing::Refuse).expect("a new folder");
    let run = &experiment.runs[0];
    folder.start(&run.arm, run.seed, &run.pairs).expect("start");
    folder.steps(&run.arm, run.seed, &run.steps[..2]).expect("steps");
    append(&folder, b"{\"arm\":\"odd\",\"seed\":0,\"ki");
    let path = folder.path().to_owned();
    drop(folder);
    assert_eq!(Experiment::read(&path).expect("readable").runs[0].steps, run.steps[..2]);

    let mut again = RunFolder::open(&path).expect("still there");
    again.steps(&run.arm, run.seed, &run.steps[1..]).expect("steps");
    let back = Experiment::read(&path).expect("readable");
    assert_eq!((back.runs.len(), &back.runs[0].steps), (1, &run.steps));
}

#[test]
fn a_spoilt_line_is_named() {
    let scratch = tempfile::tempdir().expect("writable");
    let mut folder = RunFolder::create(scratch.path(), &experiment(), Existing::Refuse).expect("a new folder");
    write(&mut folder, &experiment());
    append(&folder, b"{\"arm\":3}\n");
    let error = Experiment::read(folder.path()).expect_err("line 36 is bad");
    assert!(
        matches!(&error, Error::Data(trellis_data::Error::Data { problem, .. }) if problem.starts_with("line 36, after the end of alone, seed 1: ")),
        "{error}"
    );
    append(&folder, &vec![b'x'; 3 << 20]);
    assert!(Experiment::read(folder.path()).is_err());
}

#[test]
fn an_old_folder_is_kept() {
    let scratch = tempfile::tempdir().expect("writable");
    let experiment = experiment();
    let create = |existing| RunFolder::create(scratch.path(), &experiment, existing);
    write(&mut create(Existing::Refuse).expect("a new folder"), &experiment);
    let error = create(Existing::Refuse).expect_err("it is there").to_string();
    assert!(error.contains("demo") && error.contains("another name"), "{error}");
    for _ in 0..2 {
        create(Existing::MoveAside).expect("a fresh folder");
    }
    assert!(Experiment::read(&scratch.path().join("demo")).expect("fresh").runs.is_empty());
    assert_eq!(Experiment::read(&scratch.path().join("demo-1")).expect("old").runs, experiment.runs);
    assert!(scratch.path().join("demo-2").is_dir());
}

#[test]
fn names_stay_below_the_root() {
    let scratch = tempfile::tempdir().expect("writable");
    for name in ["", "..", ".hidden", "a/b", "../x", "a\\b", "a\0b", &"x".repeat(101)] {
        let experiment = Experiment { name: name.to_owned(), ..experiment() };
        let error = RunFolder::create(scratch.path(), &experiment, Existing::Refuse).expect_err("no folder name");
        assert!(error.to_string().contains("cannot be the name of a folder"), "{error}");
    }
    assert_eq!(fs::read_dir(scratch.path()).expect("root").count(), 0);
}

#[test]
fn what_cannot_be_written_leaves_nothing() {
    let scratch = tempfile::tempdir().expect("writable");
    let file = scratch.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let error = RunFolder::create(&file, &experiment(), Existing::Refuse).expect_err("not a folder");
    assert!(error.to_string().contains("file: "), "{error}");

    let kept = scratch.path().join("kept");
    fs::create_dir(&kept).expect("a folder");
    let error = write_atomic(&kept, b"a file cannot replace a folder").expect_err("a folder is there");
    assert!(error.to_string().contains("kept: "), "{error}");
    assert!(write_atomic(&scratch.path().join("none/file"), b"x").is_err());
    let left: Vec<_> = fs::read_dir(scratch.path()).expect("root").map(|f| f.expect("file").file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[cfg(unix)]
#[test]
fn no_permission_is_a_clear_error() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = tempfile::tempdir().expect("writable");
    let root = scratch.path().join("locked");
    fs::create_dir(&root).expect("a folder");
    fs::set_permissions(&root, fs::Permissions::from_mode(0o555)).expect("permissions");
    let created = RunFolder::create(&root, &experiment(), Existing::Refuse);
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("permissions");
    // The superuser may write everywhere.
    if let Err(error) = created {
        assert!(error.to_string().contains("permission denied") || error.to_string().contains("ermission"), "{error}");
        assert_eq!(fs::read_dir(&root).expect("root").count(), 0);
    }
}

#[test]
fn a_folder_in_use_is_neither_moved_nor_taken() {
    let scratch = tempfile::tempdir().expect("writable");
    let root = scratch.path();
    let experiment = experiment();
    let folder = RunFolder::create(root, &experiment, Existing::MoveAside).expect("new");
    let error = RunFolder::create(root, &experiment, Existing::MoveAside).unwrap_err().to_string();
    assert!(error.contains("another run is writing to it"), "{error}");
    assert!(RunFolder::open(folder.path()).is_err());
    drop(folder);
    RunFolder::create(root, &experiment, Existing::MoveAside).expect("free again");
    assert!(root.join("demo-1").is_dir());
}

#[test]
fn whole_sequences_and_perplexity_have_a_line_an_arm() {
    let mut experiment = experiment();
    assert!(experiment.further_scores().is_empty() && !crate::report::report_html(&experiment).contains("perplexity"));
    for run in &mut experiment.runs {
        for eval in &mut run.evals {
            (eval.loss, eval.sequences) = (2.0 + run.seed as f32, Some(0.25 + 0.5 * run.seed as f32));
        }
    }
    // (e² + e³) / 2 and (0.25 + 0.75) / 2.
    assert_eq!(experiment.further_scores()[0], "alone: whole sequences 50.0 %, perplexity 13.74");
    assert!(crate::report::report_html(&experiment).contains("alone: whole sequences 50.0 %, perplexity 13.74"));
    let json = serde_json::to_string(&experiment).expect("plain");
    assert_eq!(serde_json::from_str::<Experiment>(&json).expect("written by us"), experiment);
    for eval in experiment.runs.iter_mut().flat_map(|run| &mut run.evals) {
        (eval.sequences, eval.top5) = (None, Some(0.875));
    }
    assert_eq!(experiment.further_scores()[0], "alone: top-5 87.5 %");
    let mut guide = experiment.runs[0].clone();
    guide.evals.iter_mut().for_each(|eval| eval.top1 = 0.9375);
    experiment.guides = vec![guide];
    assert_eq!(experiment.further_scores()[..2], ["odd by itself: top-1 93.8 %", "alone: top-5 87.5 %"]);
}
