//! A run that is killed, as by the system, and goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

const CONFIG: &str = "name = \"killed\"\nseeds = [1, 2]\narms = [\"alone\", \"trained\"]\n\
    [data]\ntrain = 200\nvalidation = 40\ntest = 40\nstream = true\n[target]\ndepth = 3\nwidth = 24\n\
    [guide]\nchannels = [4]\nstrides = [2]\nsteps = 20\n[training]\nsteps = 300\nbatch = 16\neval_every = 20\n";

fn train(config: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
    command.arg("train").arg(config).arg("--out").arg(out).args(more).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Metrics of a folder, run by run and step by step, the last line of each; times are left out.
fn metrics(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("killed/metrics.jsonl")).expect("written");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("whole lines"));
    let mut last = std::collections::BTreeMap::new();
    for mut line in lines {
        if line["kind"] == "end" {
            line["seconds"].take();
            line["steps_per_s"].take();
        }
        let key: Vec<String> = ["arm", "seed", "kind", "step", "split"].map(|key| line[key].to_string()).into();
        last.insert(key, line.to_string());
    }
    last.into_values().collect()
}

#[test]
fn a_killed_run_goes_on_with_the_same_bits() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let (whole, pieces) = (folder.join("whole"), folder.join("pieces"));
    let config = folder.join("x.toml");
    fs::write(&config, CONFIG).expect("writable");
    assert!(train(&config, &whole, &[]).status().expect("runs").success());

    // Killed in the second seed's first arm, once its state is kept, and again a little later.
    for _ in 0..2 {
        let mut child = train(&config, &pieces, &["--resume"]).spawn().expect("runs");
        let state = pieces.join("killed/alone-2.state.safetensors");
        let began = Instant::now();
        while !state.exists() {
            assert!(began.elapsed() < Duration::from_secs(240), "no state is kept");
            assert!(child.try_wait().expect("a child").is_none(), "it ended before it was killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("still there");
        child.wait().expect("dead");
    }
    // A write that was cut short.
    let log = pieces.join("killed/metrics.jsonl");
    let text = fs::read_to_string(&log).expect("written");
    fs::write(&log, text + "{\"arm\":\"alone\",\"seed\":2,\"ki").expect("writable");

    // Other data in the place of those that it began with.
    let adapter = pieces.join("killed/adapter.json");
    let began = fs::read_to_string(&adapter).expect("written");
    fs::write(&adapter, began.replace("train 200", "train 199")).expect("writable");
    let refused = train(&config, &pieces, &["--resume"]).output().expect("runs");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && message.contains("it began with other data"), "{message}");
    fs::write(&adapter, began).expect("writable");

    assert!(train(&config, &pieces, &["--resume"]).status().expect("runs").success());
    // Runs that were finished before a kill were not run again; those that were not, were.
    let text = fs::read_to_string(&log).expect("written");
    let starts = |arm: &str, seed: u64| {
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["kind"] == "start" && line["arm"] == arm && line["seed"] == seed).count()
    };
    assert_eq!([starts("guide", 1), starts("alone", 1), starts("trained", 1), starts("guide", 2)], [1; 4]);
    assert!(starts("alone", 2) >= 2 && starts("trained", 2) == 1);
    let (wanted, found) = (metrics(&whole), metrics(&pieces));
    assert_eq!(wanted.len(), found.len());
    for (wanted, found) in wanted.iter().zip(&found) {
        assert_eq!(wanted, found);
    }
    for name in ["guide-1", "guide-2", "alone-1", "alone-2", "trained-1", "trained-2"] {
        let read = |folder: &Path| fs::read(folder.join(format!("killed/{name}.safetensors"))).expect("weights");
        assert!(read(&whole) == read(&pieces), "{name}");
        if !name.starts_with("guide") {
            // The best by validation, whenever it was.
            let read =
                |folder: &Path| fs::read(folder.join(format!("killed/{name}.best.safetensors"))).expect("weights");
            assert!(read(&whole) == read(&pieces), "the best of {name}");
        }
        // An arm can be extended from its state; a guide cannot.
        assert_eq!(
            pieces.join(format!("killed/{name}.state.safetensors")).exists(),
            !name.starts_with("guide"),
            "{name}"
        );
    }
    assert!(pieces.join("killed/report.html").is_file());
    // Lines that a killed process had written beyond its last state are written once.
    let lines = |folder: &Path| {
        let text = fs::read_to_string(folder.join("killed/metrics.jsonl")).expect("written");
        text.lines().filter(|line| !line.contains("\"kind\":\"start\"")).count()
    };
    assert_eq!(lines(&pieces), lines(&whole));
    // Nothing is left to do: it tells what it knows.
    let again = train(&config, &pieces, &["--resume", "--json"]).stdout(Stdio::piped()).output().expect("runs");
    let text = String::from_utf8(again.stdout).expect("UTF-8");
    let line: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(line["arms"][0]["seeds"], 2, "{text}");
}

const SHORT: &str = "name = \"short\"\nseeds = [1]\narms = [\"alone\", \"trained\"]\n\
    [data]\ntrain = 64\nvalidation = 16\ntest = 32\n[target]\ndepth = 2\nwidth = 16\n\
    [guide]\nchannels = [4]\nstrides = [2]\nsteps = 3\n\
    [training]\nsteps = 10\nbatch = 16\neval_every = 4\noptimizer = \"adamw\"\nweight_decay = 0.1\n";

/// A folder for a test, its configuration and where runs go.
fn place() -> (TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().expect("writable");
    let (config, out) = (folder.path().join("x.toml"), folder.path().join("runs"));
    (folder, config, out)
}

/// Standard error of a run that succeeds with a configuration `text`.
fn trained(text: &str, config: &Path, out: &Path, more: &[&str]) -> String {
    fs::write(config, text).expect("writable");
    let output = train(config, out, more).output().expect("runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{message}");
    message
}

fn refused(text: &str, config: &Path, out: &Path, more: &[&str]) -> String {
    fs::write(config, text).expect("writable");
    let output = train(config, out, more).output().expect("runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{message}");
    message
}

/// Lines of a folder's metrics of one run and kind.
fn lines_of(folder: &Path, arm: &str, seed: u64, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).expect("written");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("whole lines"));
    lines.filter(|line| line["arm"] == arm && line["seed"] == seed && line["kind"] == kind).collect()
}

#[test]
fn a_run_is_extended_by_steps_seeds_and_arms_with_the_bits_of_a_longer_one() {
    let (folder, config, out) = place();
    let longer = SHORT.replace("steps = 10", "steps = 15");
    let whole = folder.path().join("whole");
    trained(&longer, &config, &whole, &[]);
    let (whole, run) = (whole.join("short"), out.join("short"));

    trained(SHORT, &config, &out, &[]);
    let began = fs::read_to_string(run.join("config.toml")).expect("written");
    trained(&longer, &config, &out, &["--resume"]);
    for arm in ["alone", "trained"] {
        let name = format!("{arm}-1.safetensors");
        assert!(fs::read(whole.join(&name)).expect("weights") == fs::read(run.join(&name)).expect("weights"), "{arm}");
        assert_eq!(lines_of(&whole, arm, 1, "step"), lines_of(&run, arm, 1, "step"));
        let evals = |folder: &Path, steps: &[u64]| {
            let mut evals = lines_of(folder, arm, 1, "eval");
            evals.retain(|eval| steps.iter().any(|step| eval["step"] == *step));
            evals
        };
        let (wanted, found) = (evals(&whole, &[0, 4, 8, 12, 15]), evals(&run, &[0, 4, 8, 12, 15]));
        assert_eq!((wanted.len(), found), (15, wanted));
        // An evaluation that was made at the old end stays.
        assert_eq!(evals(&run, &[10]).len(), 3);
        assert_eq!(lines_of(&run, arm, 1, "end").len(), 1);
    }
    assert_eq!(fs::read_to_string(run.join("config-1.toml")).expect("kept"), began);
    assert!(fs::read_to_string(run.join("config.toml")).expect("written").contains("steps = 15"));
    assert_eq!(lines_of(&run, "guide", 1, "start").len(), 1, "its guide is there already");

    let ends = lines_of(&run, "alone", 1, "end");
    let more = longer.replace("\"alone\", \"trained\"", "\"alone\", \"trained\", \"untrained\"");
    trained(&more, &config, &out, &["--resume", "--seeds", "1,2"]);
    assert_eq!(lines_of(&run, "alone", 1, "end"), ends, "what is finished stays");
    for (arm, seed) in [("alone", 2), ("trained", 2), ("untrained", 1), ("untrained", 2)] {
        assert_eq!(lines_of(&run, arm, seed, "end").len(), 1, "{arm} {seed}");
        assert_eq!(lines_of(&run, arm, seed, "step").len(), 15, "{arm} {seed}");
    }
    assert!(run.join("config-2.toml").is_file());
}

#[test]
fn what_is_no_extension_is_refused_with_its_reason() {
    let (_folder, config, out) = place();
    let first = SHORT.replace("\"trained\"", "\"untrained\", \"trained_first\"");
    trained(&first, &config, &out, &["--seeds", "1,2"]);
    let run = out.join("short");
    let written = || ["metrics.jsonl", "config.toml"].map(|file| fs::read(run.join(file)).expect("written"));
    // A refusal leaves the folder as it was.
    let resumed = |text: &str, seeds: &str| {
        let before = written();
        let message = refused(text, &config, &out, &["--resume", "--seeds", seeds]);
        assert!(written() == before && !run.join("config-1.toml").exists(), "{message}");
        message
    };

    let message = resumed(&first, "1");
    assert!(message.contains("`seeds = [1, 2]`, not `seeds = [1]`"), "{message}");
    let fewer = first.replace("steps = 10", "steps = 9").replace("weight_decay = 0.1", "weight_decay = 0.2");
    let message = resumed(&fewer, "1,2");
    for part in
        ["`training.steps = 10`, not `training.steps = 9`", "`training.weight_decay = 0.1", "more seeds, arms or steps"]
    {
        assert!(message.contains(part), "{message}");
    }
    // A line for each.
    assert!(
        message.lines().filter(|line| line.starts_with("  `") && line.contains("`, not `")).count() >= 2,
        "{message}"
    );
    // Half of the steps.
    let longer = first.replace("steps = 10", "steps = 20");
    let message = resumed(&longer, "1,2");
    assert!(
        message.contains("stayed for 5 steps") && message.contains("write `first_steps = 5` in [guidance]"),
        "{message}"
    );
    let longer = longer.replace("[guide]", "[guidance]\nfirst_steps = 5\n[guide]");
    // The state of an older version, which removed it.
    fs::remove_file(run.join("untrained-2.state.safetensors")).expect("kept");
    let message = resumed(&longer, "1,2");
    assert!(message.contains("untrained-2.state.safetensors") && message.contains("somebody removed it"), "{message}");
    // Unguided arms would be compared with another guide.
    let arms = SHORT.replace("\"trained\"", "\"untrained\"");
    fs::remove_dir_all(&run).expect("ours");
    trained(&arms.replace("steps = 10", "steps = 10\nschedule = \"cosine\""), &config, &out, &[]);
    let cosine = |text: &str| text.replace("steps = 10", "steps = 20\nschedule = \"cosine\"");
    let message = refused(&cosine(&arms), &config, &out, &["--resume"]);
    assert!(message.contains("learning rate fall to 0 at step 10"), "{message}");
    let both = cosine(&SHORT.replace("\"trained\"", "\"untrained\", \"trained\"")).replace("steps = 20", "steps = 10");
    let message = refused(&both, &config, &out, &["--resume"]);
    assert!(message.contains("`alone` were compared with the untrained guide"), "{message}");
    assert!(!run.join("config-1.toml").exists());
}

/// A folder without metrics is one of a run that had none yet, or has lost them.
#[test]
fn a_folder_without_metrics_begins_anew_or_is_refused() {
    let (_folder, config, out) = place();
    let run = out.join("short");
    fs::create_dir_all(&run).expect("writable");
    for name in ["config.toml", ".lock", ".adapter.json.7.tmp"] {
        fs::write(run.join(name), "cut sh").expect("writable");
    }
    trained(SHORT, &config, &out, &["--resume"]);
    fs::remove_file(run.join("metrics.jsonl")).expect("written");
    let kept = fs::read(run.join("guide-1.safetensors")).expect("written");
    let message = refused(SHORT, &config, &out, &["--resume"]);
    assert!(message.contains("short: has no metrics.jsonl to go on with, and holds "), "{message}");
    assert!(message.contains("restore metrics.jsonl, or train anew without --resume"), "{message}");
    assert_eq!(fs::read(run.join("guide-1.safetensors")).expect("still there"), kept);
}

/// Files that a finished run has lost are told; a guide that is needed cannot be made up for.
#[test]
fn weights_that_a_finished_run_has_lost_are_told() {
    let (_folder, config, out) = place();
    trained(SHORT, &config, &out, &[]);
    let run = out.join("short");
    fs::remove_file(run.join("trained-1.safetensors")).expect("written");
    fs::write(run.join("alone-1.safetensors"), "").expect("writable");
    let told = trained(SHORT, &config, &out, &["--resume"]);
    for arm in ["alone", "trained"] {
        let wanted = format!("{arm}, seed 1 is finished, and its weights cannot be read: ");
        assert!(told.contains(&wanted) && told.contains(&format!("{arm}-1.safetensors")), "{told}");
    }
    fs::remove_file(run.join("guide-1.safetensors")).expect("written");
    let message = refused(SHORT, &config, &out, &["--resume"]);
    assert!(
        message.contains("guide-1.safetensors: is not there, although") && message.contains("restore it"),
        "{message}"
    );
}

#[test]
fn lines_that_are_missing_are_told_and_recorded() {
    let (_folder, config, out) = place();
    let message = trained(SHORT, &config, &out, &[]);
    let run = out.join("short");
    assert!(!message.contains("lacks"), "{message}");
    let file = run.join("metrics.jsonl");
    let text = fs::read_to_string(&file).expect("written");
    let weights =
        || ["alone", "trained"].map(|arm| fs::read(run.join(format!("{arm}-1.safetensors"))).expect("weights"));
    let before = weights();

    // A line of a finished run, one of an evaluation, and the end of the next run from its sixth step on.
    let gone = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let (step, kind) = (line["step"].as_u64(), line["kind"].as_str().expect("a kind"));
        let within = match kind {
            "step" => step == Some(3),
            "eval" => step == Some(8) && line["split"] == "test",
            _ => false,
        };
        (line["arm"] == "alone" && within) || (line["arm"] == "trained" && (step >= Some(6) || kind == "end"))
    };
    let short: String = text.split_inclusive('\n').filter(|line| !gone(line)).collect();
    fs::write(&file, short + "{\"arm\":\"trained\",\"se").expect("writable");
    let message = trained(SHORT, &config, &out, &["--resume"]);
    for part in [
        "metrics.jsonl: alone, seed 1 lacks step 3; evaluations after step 8, ",
        "metrics.jsonl: trained, seed 1 lacks steps 6 to 9; evaluations after step 8, ",
        "trained-1.state.safetensors",
    ] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(weights() == before);
    assert_eq!(lines_of(&run, "trained", 1, "end").len(), 1, "it went on to its end");
    let summary: Value = serde_json::from_slice(&fs::read(run.join("summary.json")).expect("written")).expect("JSON");
    let missing = serde_json::json!([
        {"arm": "alone", "seed": 1, "steps": [[3, 3]], "evals": [8]},
        {"arm": "trained", "seed": 1, "steps": [[6, 9]], "evals": [8]},
    ]);
    assert_eq!(summary["missing"], missing);
    let report = fs::read_to_string(run.join("report.html")).expect("written");
    assert!(report.contains("<td>trained, seed 1</td><td>steps 6 to 9; evaluations after step 8</td>"));
    // As its message says.
    fs::remove_file(run.join("trained-1.state.safetensors")).expect("kept");
    let end = text.rfind("{\"arm\":\"trained\",\"seed\":1,\"kind\":\"end\"").expect("its end");
    fs::write(&file, &text[..end]).expect("writable");
    let message = trained(SHORT, &config, &out, &["--resume"]);
    assert!(!message.contains("lacks") && lines_of(&run, "trained", 1, "step").len() == 10, "{message}");
    assert!(weights() == before);

    // A line that is broken stops it, and may be removed.
    let spoilt = text.replacen("\"step\":4,\"loss\"", "\"step\":4,", 1);
    fs::write(&file, &spoilt).expect("writable");
    let message = refused(SHORT, &config, &out, &["--resume"]);
    assert!(message.contains("metrics.jsonl") && message.contains("after step 4 of alone, seed 1: "), "{message}");
}

#[test]
fn a_stopped_experiment_is_moved_aside_with_a_word() {
    let (_folder, config, out) = place();
    let first = trained(SHORT, &config, &out, &[]);
    assert!(!first.contains("note: "), "{first}");
    let again = trained(SHORT, &config, &out, &[]);
    assert!(again.contains("note: the older run of this name is now ") && again.contains("short-1"), "{again}");
    assert!(!again.contains("--resume"), "it was finished: {again}");
    // As if it had been killed before its end.
    let metrics = out.join("short/metrics.jsonl");
    let text = fs::read_to_string(&metrics).expect("written");
    let cut = text.rfind("{\"arm\":\"trained\",\"seed\":1,\"kind\":\"end\"").expect("its end");
    fs::write(&metrics, &text[..cut]).expect("writable");
    fs::remove_file(out.join("short/summary.json")).expect("written");
    let message = trained(SHORT, &config, &out, &[]);
    assert!(message.contains("short-2; `trellis train --resume` would have gone on with it"), "{message}");
    assert_eq!(fs::read_to_string(out.join("short-2/metrics.jsonl")).expect("moved"), text[..cut]);
    // Another experiment of the name could not have been resumed.
    let message = trained(&SHORT.replace("steps = 10", "steps = 5"), &config, &out, &[]);
    assert!(message.contains("short-3") && !message.contains("--resume"), "{message}");
}

/// The signal is that of a scheduler which takes a machine away; Ctrl-C does the same.
#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let place = tempfile::tempdir().expect("writable");
    let (config, out) = (place.path().join("x.toml"), place.path().join("runs"));
    fs::write(&config, CONFIG).expect("writable");
    let child = train(&config, &out, &[]).spawn().expect("runs");
    let began = Instant::now();
    while !out.join("killed/alone-1.state.safetensors").exists() {
        assert!(began.elapsed() < Duration::from_secs(240), "no state is kept");
        std::thread::sleep(Duration::from_millis(1));
    }
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("runs");
    assert!(sent.success());
    let ended = child.wait_with_output().expect("dead");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(130), "{told}");
    let words = format!("Go on with: trellis train {} --out {} --resume", config.display(), out.display());
    assert!(told.contains(&words), "{told}");
    assert!(train(&config, &out, &["--resume"]).status().expect("runs").success());
}
