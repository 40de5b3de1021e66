//! `trellis sweep`: combinations in folders of their own, shards, kills and failures.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Two seeds of a small FCN, unguided and guided by an untrained one.
const CONFIG: &str = "name = \"small\"\nseeds = [1, 2]\narms = [\"alone\", \"untrained\"]\n[data]\ntrain = 64\nvalidation = 16\n\
                      test = 32\n[target]\ndepth = 2\nwidth = 16\n[training]\nsteps = 6\nbatch = 16\neval_every = 3\n[guide]\n\
                      channels = [4]\nstrides = [2]\nsteps = 0\n";

fn trellis(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
    command.current_dir(folder).args(arguments).env("TRELLIS_TUNING", "off");
    for name in ["SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "JOB_COMPLETION_INDEX", "TRELLIS_SHARDS"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).output().expect("the command runs")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("writable");
    fs::write(folder.path().join("small.toml"), CONFIG).expect("writable");
    folder
}

const SWEEP: [&str; 6] =
    ["sweep", "small.toml", "-m", "training.optimizer=sgd,adam", "-m", "training.learning_rate=0.001,0.01"];

/// The table of a sweep in shards, whose tasks a scheduler names, is that of one process, bit for bit. A folder that lost its end goes on.
#[test]
fn shards_and_one_process_have_the_same_table() {
    let folder = folder();
    let run = |out: &str, variables: &[(&str, &str)]| {
        let output = trellis(folder.path(), &[&SWEEP[..], &["--out", out]].concat(), variables);
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    let table = |out: &str| fs::read(folder.path().join(out).join("small-sweep/sweep.csv")).expect("written");
    let told = run("whole", &[]);
    assert!(
        told.contains("4 combinations;")
            && told.contains("4/4 training.optimizer-adam__training.learning_rate-0.01: finished"),
        "{told}"
    );
    let lines = String::from_utf8(table("whole")).expect("UTF-8");
    assert_eq!(lines.lines().count(), 1 + 4 * 2, "{lines}");
    assert!(
        lines.starts_with("cell,training.optimizer,training.learning_rate,state,arm,seeds,validation_top1"),
        "{lines}"
    );
    assert!(
        lines.contains("\ntraining.optimizer-sgd__training.learning_rate-0.001,sgd,0.001,finished,alone,2,"),
        "{lines}"
    );

    let task = |id| [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_COUNT", "2"), ("SLURM_ARRAY_TASK_MIN", "1")];
    let told = run("parts", &task("1"));
    assert!(told.contains("of which shard 0/2 has 2") && told.contains("not run"), "{told}");
    assert_ne!(table("parts"), table("whole"));
    run("parts", &task("2"));
    assert_eq!(table("parts"), table("whole"));

    // As if it had been killed before its last run was over: the record of its end is gone.
    let cell = folder.path().join("parts/small-sweep/training.optimizer-sgd__training.learning_rate-0.01");
    let metrics = fs::read_to_string(cell.join("metrics.jsonl")).expect("written");
    let kept: Vec<&str> = metrics.lines().filter(|line| !line.contains("\"kind\":\"end\"")).collect();
    fs::write(cell.join("metrics.jsonl"), kept.join("\n") + "\n").expect("writable");
    let seen = text(&trellis(folder.path(), &[&SWEEP[..], &["--out", "parts", "--dry-run"]].concat(), &[]));
    assert!(seen.contains("training.optimizer-sgd__training.learning_rate-0.01   0 of 4 runs"), "{seen}");
    run("parts", &[]);
    assert_eq!(table("parts"), table("whole"));
}

/// A combination that fails is told, counted and tried again; the others run.
#[test]
fn a_run_that_diverges_is_a_trial_like_others() {
    let folder = folder();
    let bare = CONFIG
        .replace("[target]\n", "[target]\nbatch_norm = false\n")
        .replace("[training]\n", "[training]\noptimizer = \"sgd\"\n");
    fs::write(folder.path().join("small.toml"), &bare).expect("writable");
    let rates = "training.learning_rate=1e30,0.01";
    let output = trellis(folder.path(), &["sweep", "small.toml", "-m", rates, "--choose", "best.toml"], &[]);
    let told = text(&output);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("training.learning_rate-1e30 4 diverged") && told.contains("training diverged at step"),
        "{told}"
    );
    let best = fs::read_to_string(folder.path().join("best.toml")).expect("written");
    assert!(best.contains("# Best of 2 by validation: 1e30 diverges; 0.01 gives "), "{best}");
    assert_eq!(best.matches("learning_rate = 0.01").count(), 2, "{best}");
    // Runs of seeds that are not asked for again count neither as open nor as ended.
    let output =
        trellis(folder.path(), &["sweep", "small.toml", "-m", rates, "--seeds", "2", "--choose", "best.toml"], &[]);
    assert!(output.status.success() && text(&output).contains("1e30 2 diverged"), "{}", text(&output));
    let output = trellis(
        folder.path(),
        &["sweep", "small.toml", "-m", "training.learning_rate=1e30", "--out", "all", "--choose", "x.toml"],
        &[],
    );
    assert!(!output.status.success() && text(&output).contains("diverged with all values"), "{}", text(&output));
    let output = trellis(
        folder.path(),
        &["sweep", "small.toml", "-m", "target.width=4,8", "--out", "no", "--choose", "x.toml"],
        &[],
    );
    assert!(
        text(&output).contains("`target.width`: cannot differ between arms") && !folder.path().join("no").exists(),
        "{}",
        text(&output)
    );
    // One run by itself: the others are trained, and the command fails.
    let one = bare + "[arm.alone]\nlearning_rate = 1e30\n";
    fs::write(folder.path().join("one.toml"), one).expect("writable");
    let output = trellis(folder.path(), &["train", "one.toml", "--out", "one"], &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let summary = fs::read_to_string(folder.path().join("one/small/summary.json")).expect("written");
    let summary: serde_json::Value = serde_json::from_str(&summary).expect("JSON");
    assert_eq!(summary["diverged"].as_array().map(Vec::len), Some(2), "{summary}");
    assert!(
        summary["arms"]
            .as_array()
            .is_some_and(|arms| arms.iter().any(|arm| arm["name"] == "untrained" && arm["seeds"] == 2)),
        "{summary}"
    );
}

#[test]
fn a_failed_combination_does_not_stop_the_others() {
    let folder = folder();
    // The target has no ninth layer.
    let arguments = ["sweep", "small.toml", "-m", "guidance.pairs=[[\"conv1\",\"fc9\"]],[[\"conv1\",\"fc1\"]]"];
    let failed = trellis(folder.path(), &arguments, &[]);
    let told = text(&failed);
    assert_eq!(failed.status.code(), Some(1), "{told}");
    assert!(
        told.contains("1 of its combinations failed") && told.contains("failed: guidance.pairs-conv1-fc9: "),
        "{told}"
    );
    assert!(told.contains("2/2 guidance.pairs-conv1-fc1: finished"), "{told}");
    let json = trellis(folder.path(), &[&arguments[..], &["--dry-run", "--json"]].concat(), &[]);
    let lines: Vec<serde_json::Value> =
        text(&json).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!((lines[0]["state"].as_str(), lines[1]["state"].as_str()), (Some("failed"), Some("finished")));
    assert!(lines[0]["error"].as_str().is_some_and(|error| !error.is_empty()) && lines[1]["arms"][0]["seeds"] == 2);
}

/// A share of the images is a number once they are there: the table knows the experiment all the same. That is what `trellis init` writes.
#[test]
fn shares_are_no_other_settings() {
    let folder = folder();
    let images = [&[0, 0, 8, 3, 0, 0, 0, 100, 0, 0, 0, 8, 0, 0, 0, 8][..], &[90; 6400]].concat();
    let labels = [&[0, 0, 8, 1, 0, 0, 0, 100][..], &(0..100).map(|i| i % 10).collect::<Vec<u8>>()].concat();
    for part in ["train", "t10k"] {
        fs::write(folder.path().join(format!("{part}-images-idx3-ubyte")), &images).expect("writable");
        fs::write(folder.path().join(format!("{part}-labels-idx1-ubyte")), &labels).expect("writable");
    }
    let shares = "[data]\nset = \"idx\"\ntrain = 0.8\nvalidation = 0.2\ntest = 1.0\n";
    fs::write(
        folder.path().join("small.toml"),
        CONFIG.replace("[data]\ntrain = 64\nvalidation = 16\ntest = 32\n", shares),
    )
    .expect("writable");
    let run = |more: &[&str]| {
        let sweep = ["sweep", "small.toml", "--data", ".", "-m", "target.width=8,16"];
        text(&trellis(folder.path(), &[&sweep[..], more].concat(), &[]))
    };
    let told = run(&[]);
    assert!(told.contains("target.width-16 finished") && told.contains("least validation loss"), "{told}");
    assert!(run(&["--dry-run"]).contains("target.width-8  finished"));
    let told = run(&["--dry-run", "--set", "training.batch=8"]);
    assert!(told.contains("other settings: target.width-8: it has `training.batch = 16`, not `8`"), "{told}");
    // Data that are not there, or too few, are told before anything runs.
    let dry = |more: &[&str]| {
        let sweep = ["sweep", "small.toml", "-m", "target.width=8,16", "--dry-run"];
        let output = trellis(folder.path(), &[&sweep[..], more].concat(), &[]);
        (output.status.success(), text(&output))
    };
    let (succeeds, told) = dry(&["--data", "absent"]);
    assert!(!succeeds && told.contains("absent"), "{told}");
    let (succeeds, told) = dry(&["--data", ".", "--set", "data.train=101"]);
    assert!(!succeeds && told.contains("101"), "{told}");
}

/// The table tells folders of other settings and of fewer seeds from those that the command asks for, and an error before there was a
/// record does not stand in the way of the next try.
#[test]
fn the_table_is_that_of_the_command() {
    let folder = folder();
    let run = |more: &[&str]| {
        let output =
            trellis(folder.path(), &[&["sweep", "small.toml", "-m", "target.width=8,16"][..], more].concat(), &[]);
        (output.status.success(), text(&output))
    };
    // As a try that ended before there was a record leaves it.
    let cell = folder.path().join("runs/small-sweep/target.width-8");
    fs::create_dir_all(&cell).expect("writable");
    fs::write(cell.join("error.txt"), "no memory\n").expect("writable");
    let (_, told) = run(&["--dry-run"]);
    assert!(told.contains("target.width-8  failed") && told.contains("no memory"), "{told}");
    let (succeeds, told) = run(&[]);
    assert!(succeeds && told.contains("least validation loss: target.width-"), "{told}");
    assert!(run(&["--dry-run"]).1.contains("target.width-8  finished"));
    let (_, told) = run(&["--seeds", "1,2,3", "--dry-run"]);
    assert!(told.contains("target.width-8  4 of 6 runs"), "{told}");
    let (_, told) = run(&["--set", "training.steps=9", "--dry-run"]);
    assert!(told.contains("target.width-8  0 of 4 runs"), "{told}");
    // Another experiment is refused, and the folder stays what it is.
    let (succeeds, told) = run(&["--set", "training.batch=8"]);
    assert!(
        !succeeds && told.contains("target.width-8  other settings") && told.contains("2 of its combinations failed"),
        "{told}"
    );
    assert!(run(&["--dry-run"]).1.contains("target.width-8  finished"));
    let (_, told) = run(&["--dry-run", "--shard", "1/2"]);
    assert!(!told.contains("target.width-8 ") && told.contains("target.width-16 finished"), "{told}");
    // Fewer seeds take none away.
    let (succeeds, told) = run(&["--seeds", "2"]);
    let kept = "target.width-8: seeds [1] of an earlier command are kept, and count";
    assert!(succeeds && told.contains(kept) && told.contains("least validation loss"), "{told}");
    let (succeeds, told) = run(&["--shard", "3/4", "--out", "empty"]);
    assert!(
        succeeds && told.contains("2 combinations, of which shard 3/4 has 0") && told.contains("not run"),
        "{told}"
    );
    // `trellis train` of the same file leaves it alone.
    let output = trellis(folder.path(), &["train", "small.toml"], &[]);
    assert!(output.status.success() && cell.join("summary.json").exists(), "{}", text(&output));
}

/// The file has the keys that differ, the best of each arm is written into a copy of it, and that is repeated with other splits. Arms on
/// which a key has no effect are trained once.
#[test]
fn each_arm_has_its_best_values() {
    let folder = folder();
    let file = format!(
        "# Ours.\n{CONFIG}[arm.trained]\nlearning_rate = 0.5 # fast\n[sweep]\nguidance.weight = [0.1, 10]\nreplicates = 2\n"
    )
    .replace("\"untrained\"]", "\"untrained\", \"trained\"]")
    .replace("steps = 0", "steps = 3");
    fs::write(folder.path().join("small.toml"), file).expect("writable");
    let run = |arguments: &[&str]| {
        let output = trellis(folder.path(), arguments, &[]);
        (output.status.success(), text(&output))
    };
    let (_, told) = run(&["sweep", "small.toml", "--dry-run", "--json"]);
    assert!(told.contains("\"guidance.weight-10__replicate-2\""), "{told}");
    let (_, told) = run(&["sweep", "small.toml", "--seeds", "1", "--choose", "best.toml", "--dry-run"]);
    assert!(told.contains("`guidance.weight-0.1`: is not run; run the sweep to its end first"), "{told}");
    let (succeeds, told) = run(&["sweep", "small.toml", "--seeds", "1", "--choose", "best.toml"]);
    assert!(succeeds && told.contains("next: trellis sweep best.toml"), "{told}");
    assert_eq!(told.matches("alone, seed 1").count(), 1, "{told}");
    assert_eq!(told.matches("untrained, seed 1").count(), 2, "{told}");
    let cell = |name: &str| folder.path().join("runs/small-sweep").join(name);
    let metrics = fs::read_to_string(cell("guidance.weight-10/metrics.jsonl")).expect("written");
    let copied: Vec<&str> =
        metrics.lines().filter(|line| line.contains("\"copied_from\":\"guidance.weight-0.1\"")).collect();
    assert!(copied.len() == 2 && copied[0].contains("\"alone\"") && copied[1].contains("\"guide\""), "{copied:?}");
    // As if it had been trained here.
    let (_, _) = run(&["sweep", "small.toml", "--seeds", "1", "-m", "guidance.weight=10", "--out", "other"]);
    for file in ["alone-1.safetensors", "guide-1.safetensors", "alone-1.best.safetensors"] {
        let own = fs::read(folder.path().join("other/small-sweep/guidance.weight-10").join(file)).expect("written");
        assert!(fs::read(cell("guidance.weight-10").join(file)).expect("copied") == own, "{file}");
    }
    // Two at once: the second waits for what the first is at.
    let (succeeds, told) = run(&["sweep", "small.toml", "--seeds", "1,2", "--jobs", "2", "--out", "two"]);
    assert!(succeeds, "{told}");
    for seed in [1, 2] {
        assert_eq!(told.matches(&format!("alone, seed {seed}")).count(), 1, "{told}");
        assert_eq!(told.matches(&format!("guide, seed {seed}")).count(), 1, "{told}");
    }
    for file in ["alone-1.safetensors", "guide-1.safetensors", "untrained-1.safetensors", "trained-1.safetensors"] {
        let beside = folder.path().join("two/small-sweep/guidance.weight-10").join(file);
        assert!(
            fs::read(beside).expect("written") == fs::read(cell("guidance.weight-10").join(file)).expect("written"),
            "{file}"
        );
    }

    let best = fs::read_to_string(folder.path().join("best.toml")).expect("written");
    assert!(
        best.starts_with("# Ours.\n") && best.contains("learning_rate = 0.5 # fast\nguidance = { weight = "),
        "{best}"
    );
    assert!(
        best.contains("# Best of 2 by validation: 0.1 gives ") && best.contains("[sweep]\nreplicates = 2\n"),
        "{best}"
    );
    assert!(!best.contains("guidance.weight ="), "{best}");
    assert!(!best.contains("[arm.alone]"), "{best}");
    let (succeeds, told) = run(&["sweep", "best.toml", "--replicates", "3", "--jobs", "2"]);
    assert!(succeeds && told.contains("3 repetitions finished       alone              3 "), "{told}");
    let config = fs::read_to_string(cell("replicate-3/config.toml")).expect("written");
    assert!(config.contains("seeds = [3]") && config.contains("\nseed = 3\n") && !config.contains("sweep"), "{config}");
}

/// A run that was copied stands in its folder before the others; the first arm is that of the file all the same.
#[test]
fn copied_runs_change_no_order() {
    let folder = folder();
    let arms = "[arm.base]\nguide = \"none\"\n[arm.pulled]\nguide = \"untrained\"\n";
    let file = CONFIG.replace("\"alone\", \"untrained\"", "\"base\", \"pulled\"");
    fs::write(folder.path().join("small.toml"), format!("{file}{arms}")).expect("writable");
    let arguments = ["sweep", "small.toml", "-m", "arm.base.learning_rate=0.001,0.05"];
    let output = trellis(folder.path(), &arguments, &[]);
    assert!(output.status.success(), "{}", text(&output));
    let table = fs::read_to_string(folder.path().join("runs/small-sweep/sweep.csv")).expect("written");
    let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split(',').collect()).collect();
    assert_eq!(rows.iter().map(|row| row[3]).collect::<Vec<_>>(), ["base", "pulled", "base", "pulled"], "{table}");
    // Only the others have a difference.
    assert!(rows.iter().all(|row| row[11].is_empty() == (row[3] == "base")), "{table}");
    let metrics = folder.path().join("runs/small-sweep/arm.base.learning_rate-0.05/metrics.jsonl");
    assert_eq!(fs::read_to_string(metrics).expect("written").matches("copied_from").count(), 2);
    // A value of the arm's own is not chosen over its head.
    let own = fs::read_to_string(folder.path().join("small.toml")).expect("written") + "learning_rate = 0.5\n";
    fs::write(folder.path().join("own.toml"), own.replace("\"small\"", "\"own\"")).expect("writable");
    let arguments = ["sweep", "own.toml", "-m", "training.learning_rate=0.001,0.01", "--choose", "best.toml"];
    let told = text(&trellis(folder.path(), &arguments, &[]));
    assert!(told.contains("`arm.pulled.learning_rate`: is set in the file"), "{told}");
}

/// Values that cannot be run are refused before anything is.
#[test]
fn wrong_values_are_refused_at_once() {
    let folder = folder();
    for (arguments, told) in [
        (&["-m", "training.optimizer=sgd,adm"][..], "combination training.optimizer-adm: "),
        (&["-m", "training.steps"][..], "has no `=`"),
        (&["-m", "training.steps=5", "--shard", "2/2"][..], "is no shard of 2"),
        (&["-m", "training.stps=5,6"][..], "did you mean"),
        (&["-m", "training.steps=5,6", "--set", "training.steps=7"][..], "is set for all combinations too"),
        (&["-m", "seeds=[1],[2]"][..], "`--seeds 1,2,3`"),
        (&["-m", "data.seed=1,2", "--replicates", "2"][..], "is set by each repetition"),
        (&[][..], "name the keys that differ"),
    ] {
        let output = trellis(folder.path(), &[&["sweep", "small.toml"][..], arguments].concat(), &[]);
        assert!(!output.status.success() && text(&output).contains(told), "{arguments:?}: {}", text(&output));
        assert!(!folder.path().join("runs").exists());
    }
}
