//! The command as a user meets it: outputs that machines read, and what bad input gets.

use std::path::Path;
use std::process::{Command, Output};

fn trellis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trellis")).args(arguments).output().expect("the binary runs")
}

/// The error of a run that must fail with exit code 1.
fn failure(arguments: &[&str]) -> String {
    let output = trellis(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().rfind(|line| line.starts_with("error: ")).expect("an error line without color").to_string()
}

fn config(folder: &Path, text: &str) -> String {
    let path = folder.join("x.toml");
    std::fs::write(&path, text).expect("writable");
    path.to_string_lossy().into_owned()
}

const SMALL: &str = "name = \"small\"\nseeds = [1, 2]\n[data]\ntrain = 64\nvalidation = 16\ntest = 32\n\
    [target]\ndepth = 2\nwidth = 16\n[guide]\nchannels = [4]\nstrides = [2]\nsteps = 3\n\
    [guidance]\nfirst_steps = 2\n[training]\nsteps = 4\nbatch = 16\neval_every = 2\n";

#[test]
fn train_leaves_a_folder_and_ends_with_one_json_line() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let (file, out) = (config(folder, SMALL), folder.to_string_lossy().into_owned());
    let output = trellis(&["train", &file, "--out", &out, "--json", "--check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let line: serde_json::Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    let names: Vec<&str> = line["arms"].as_array().expect("arms").iter().filter_map(|a| a["name"].as_str()).collect();
    assert_eq!(names, ["alone", "untrained", "trained", "trained_first"]);
    for arm in line["arms"].as_array().expect("arms") {
        assert_eq!(arm["seeds"], 2);
        for key in ["top1_mean", "top1_ci95", "test_loss_mean", "steps_per_s"] {
            assert!(arm[key].is_f64(), "{key}: {arm}");
        }
    }
    assert!(line["counters"]["dispatches"].as_u64() > Some(100) && line["seconds"].as_f64() > Some(0.0));
    assert!(line["adapter"].is_string());
    let run = folder.join("small");
    for file in ["config.toml", "metrics.jsonl", "summary.json", "report.html", "guide-1.safetensors"] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert!(run.join("trained_first-2.safetensors").is_file());
    // The guide's own training is logged like that of an arm, and is none.
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).expect("written");
    let guide = |kind: &str| {
        let parts = ["\"arm\":\"guide\"".to_string(), format!("\"kind\":\"{kind}\"")];
        metrics.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
    };
    assert_eq!((guide("start"), guide("step"), guide("end")), (2, 6, 2));
    let read = trellis_lab::record::Experiment::read(&run).expect("whole");
    assert_eq!((read.guides.len(), read.runs.len()), (2, 8));
    assert!(read.further_scores()[0].starts_with("guide by itself: top-1 "));
}

/// A guide from a file is the trained one, without steps of its own; another network's file ends before anything is written.
#[test]
fn a_guide_comes_from_a_file() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let out = folder.to_string_lossy().into_owned();
    let output = trellis(&["train", &config(folder, SMALL), "--seeds", "1", "--out", &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let first = folder.join("small/guide-1.safetensors");
    let text = SMALL.replace("steps = 3", "weights = \"small/guide-1.safetensors\"").replace("\"small\"", "\"second\"");
    let output = trellis(&["train", &config(folder, &text), "--seeds", "2", "--out", &out]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // The same tensors, of another run.
    let second = folder.join("second/guide-2.safetensors");
    let listed = |file: &Path| trellis(&["inspect", &file.to_string_lossy(), "--json"]).stdout;
    assert_eq!(listed(&first), listed(&second));
    let mode = |path: &Path| std::fs::metadata(path).expect("written").permissions();
    assert_eq!(mode(&first), mode(&folder.join("small/report.html")), "whoever may read the one may read the other");

    let text = text.replace("second", "third").replace("channels = [4]", "channels = [5]");
    let error = failure(&["train", &config(folder, &text), "--out", &out]);
    assert!(error.contains("guide-1.safetensors: `conv1.weight` is F32 [4, 1, 3, 3], not "), "{error}");
    assert!(!folder.join("third").exists());

    let first = first.to_string_lossy().into_owned();
    let listed = String::from_utf8(trellis(&["inspect", &first]).stdout).expect("UTF-8");
    assert!(
        listed.contains("conv1.weight") && listed.contains("[4, 1, 3, 3]") && listed.contains("cnn 4 bn"),
        "{listed}"
    );
    let half = folder.join("half.safetensors").to_string_lossy().into_owned();
    assert!(trellis(&["convert", &first, &half, "--dtype", "f16"]).status.success());
    let listed = String::from_utf8(trellis(&["inspect", &half, "--json"]).stdout).expect("UTF-8");
    let line: serde_json::Value = serde_json::from_str(listed.lines().next().expect("a line")).expect("JSON");
    assert_eq!(line["dtype"], "F16");
    assert!(failure(&["convert", &first, &half, "--names", "gpt2"]).contains("has no name among those of GPT-2"));
    for name in ["out.onnx", "out.pt", "out"] {
        let out = folder.join(name).to_string_lossy().into_owned();
        let message = failure(&["convert", &first, &out]);
        assert!(message.contains(name) && message.contains(".safetensors"), "{message}");
        assert!(!folder.join(name).exists());
    }
}

#[test]
fn bench_prints_a_line_for_each_workload() {
    let output = trellis(&["bench", "--filter", "^(matmul_f32_256|dispatch_500)$", "--seconds", "0", "--json"]);
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<serde_json::Value> = text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    for key in ["median_ms", "min_ms", "p90_ms", "reps", "gflops", "adapter", "name"] {
        assert!(!lines[0][key].is_null(), "{key}");
    }
    assert!(failure(&["bench", "--filter", "nothing"]).contains("matmul_f32_256"));
    assert!(failure(&["bench", "--filter", "("]).contains("regular expression"));
}

#[test]
fn bad_configurations_say_what_where_and_what_to_do() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let unknown = config(folder, "[target]\ndept = 3\n");
    assert!(failure(&["train", &unknown]).ends_with("`target.dept`: line 2: unknown key; did you mean `depth`?"));
    assert!(failure(&["train", "/nonexistent.toml"]).contains("check the path"));
    let missing_data = config(folder, "[data]\nset = \"idx\"\n");
    assert!(failure(&["train", &missing_data]).contains("--data FOLDER"));
    // Drawn data are read from nowhere.
    assert!(failure(&["train", &config(folder, SMALL), "--data", "x"]).contains("leave out --data"));
    let pairs = config(folder, &SMALL.replace("first_steps = 2", "first_steps = 2\npairs = [[\"conv9\", \"fc1\"]]"));
    let out = folder.to_string_lossy().into_owned();
    assert!(failure(&["train", &pairs, "--out", &out]).contains("conv9"));
}

#[test]
fn a_missing_adapter_and_a_place_that_cannot_be_written() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let file = config(folder, SMALL);
    assert!(failure(&["train", &file, "--adapter", "none such"]).contains("none such"));
    let blocked = folder.join("file");
    std::fs::write(&blocked, "not a folder").expect("writable");
    let error = failure(&["train", &file, "--out", &blocked.to_string_lossy()]);
    assert!(error.contains("file"), "{error}");
    assert_eq!(std::fs::read_to_string(&blocked).expect("still there"), "not a folder");
}

#[test]
fn a_profile_is_a_table_a_page_a_trace_and_can_be_compared() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let file = config(folder, SMALL);
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let output =
        trellis(&["profile", &file, "--steps", "2", "--html", &at("p.html"), "--trace", &at("t.json"), "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let profile: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
    let launches = profile["launches"].as_array().expect("launches");
    for phase in ["target_forward", "guide_forward", "alignment", "backward", "optimizer"] {
        assert!(launches.iter().any(|l| l["phase"] == phase && l["ms"].as_f64() > Some(0.0)), "{phase}");
    }
    let layers: Vec<&str> = launches.iter().filter_map(|launch| launch["layer"].as_str()).collect();
    assert!(
        layers.len() == launches.len() && layers.iter().all(|layer| !layer.is_empty() && !layer.ends_with('/')),
        "{layers:?}"
    );
    assert!(layers.contains(&"loss") && layers.contains(&"backward/loss"));
    assert!(profile["ceilings"]["fma_flop_per_s"].as_f64() > Some(1e8));
    assert!(profile["memory_peak"].as_u64() > Some(1000));
    let page = std::fs::read_to_string(at("p.html")).expect("written");
    let kernel = launches[0]["kernel"].as_str().expect("a name");
    assert!(
        page.contains("Roofline")
            && page.contains("<h2>Kernels</h2>")
            && page.contains(&format!("<tr><td>{kernel}</td>"))
    );
    let trace = std::fs::read_to_string(at("t.json")).expect("written");
    assert!(serde_json::from_str::<serde_json::Value>(&trace).expect("JSON")["traceEvents"].is_array());
    std::fs::write(at("a.json"), &output.stdout).expect("writable");
    let table =
        String::from_utf8(trellis(&["profile", "--compare", &at("a.json"), &at("a.json")]).stdout).expect("text");
    assert!(table.lines().last().expect("lines").starts_with("step") && table.contains("1.00"), "{table}");
    assert!(failure(&["profile", "--compare", &at("a.json"), &file]).contains("is no profile"));

    // By phase: fewer timestamps, the same dispatches, barriers, operations and bytes in each phase.
    let output = trellis(&["profile", &file, "--steps", "2", "--per", "phase", "--json"]);
    let by_phase: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
    let spans = by_phase["spans"].as_array().expect("spans");
    assert!(by_phase["launches"].as_array().is_some_and(Vec::is_empty) && spans.len() < launches.len());
    assert!(spans.windows(2).all(|pair| pair[0]["phase"] != pair[1]["phase"]));
    let sum = |parts: &[serde_json::Value], phase: &str, of: &dyn Fn(&serde_json::Value) -> u64| -> u64 {
        parts.iter().filter(|part| part["phase"] == phase).map(of).sum()
    };
    let number = |part: &serde_json::Value, key: &str| part[key].as_u64().expect("a number");
    let waits = |l: &serde_json::Value| u64::from(l["barrier"] == true);
    for phase in ["data", "target_forward", "guide_forward", "alignment", "backward", "optimizer", "other"] {
        assert_eq!(sum(spans, phase, &|s| number(s, "dispatches")), sum(launches, phase, &|_| 1), "{phase}");
        assert_eq!(sum(spans, phase, &|s| number(s, "barriers")), sum(launches, phase, &waits), "{phase}");
        for key in ["flops", "bytes"] {
            assert_eq!(sum(spans, phase, &|s| number(s, key)), sum(launches, phase, &|l| number(l, key)), "{phase}");
        }
    }
    assert!(spans.iter().all(|span| span["ms"].as_f64() > Some(0.0)));
    std::fs::write(at("b.json"), &output.stdout).expect("writable");
    let table =
        String::from_utf8(trellis(&["profile", "--compare", &at("a.json"), &at("b.json")]).stdout).expect("text");
    assert!(table.contains("guide forward") && !table.contains("matmul"), "{table}");
    let drawn = failure(&["profile", &file, "--per", "phase", "--html", &at("q.html")]);
    assert!(drawn.contains("`--html`: draws single dispatches"), "{drawn}");
}

#[test]
fn a_reader_that_leaves_is_no_error_and_a_full_disk_is() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_trellis"))
        .args(["devices", "--json"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    assert!(child.wait().expect("ends").success());
    if let Ok(full) = std::fs::File::options().write(true).open("/dev/full") {
        let output = Command::new(env!("CARGO_BIN_EXE_trellis")).arg("devices").stdout(full).output().expect("runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
    }
}

#[test]
fn a_bad_environment_or_option_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_trellis"))
        .args(["bench", "--filter", "matmul_f32_256"])
        .env("TRELLIS_MEMORY_MB", "abc")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("TRELLIS_MEMORY_MB is \"abc\""));
    assert_eq!(trellis(&["bench", "--seconds", "nan"]).status.code(), Some(2));
    assert!(failure(&["devices", "--adapter", "none such"]).contains("none such"));
}

#[test]
fn mixed_precision_shows_its_scale() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let file = config(folder, &SMALL.replace("batch = 16", "batch = 16\nprecision = \"mixed\""));
    let output = trellis(&["train", &file, "--out", &folder.to_string_lossy()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains("mixed precision: ") && text.contains(" steps left out"), "{text}");
    let metrics = std::fs::read_to_string(folder.join("small/metrics.jsonl")).expect("written");
    // The guide itself is trained in f32.
    let is_step = |line: &&str| line.contains("\"kind\":\"step\"") && !line.contains("\"arm\":\"guide\"");
    let steps: Vec<&str> = metrics.lines().filter(is_step).collect();
    assert!(!steps.is_empty() && steps.iter().all(|line| line.contains("\"loss_scale\":")), "{metrics}");
}

#[test]
fn a_run_that_diverges_keeps_what_it_measured() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let text = SMALL.replace("batch = 16", "batch = 16\noptimizer = \"sgd\"\nlearning_rate = 1e30");
    let file = config(folder, &text.replace("depth = 2", "depth = 2\nbatch_norm = false"));
    let error = failure(&["train", &file, "--out", &folder.to_string_lossy()]);
    assert!(error.contains("arm alone, seed 1: training diverged at step") && error.contains("layer"), "{error}");
    let summary = std::fs::read_to_string(folder.join("small/summary.json")).expect("written");
    assert!(summary.contains("\"failure\": \"arm alone, seed 1: "), "{summary}");
    let metrics = std::fs::read_to_string(folder.join("small/metrics.jsonl")).expect("kept");
    assert!(metrics.lines().any(|line| line.contains("\"kind\":\"eval\"")));
    assert!(folder.join("small/report.html").is_file());
}

#[test]
fn tune_needs_a_place_for_its_table() {
    let output = Command::new(env!("CARGO_BIN_EXE_trellis")).arg("tune").env("TRELLIS_TUNING", "off").output();
    let output = output.expect("the binary runs");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("error: ") && text.contains("tables are off"), "{text}");
}

/// One line, from the commands that would use a table, and from no others.
#[test]
fn without_a_home_tuning_tables_are_off_with_a_line() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let (file, out) = (config(folder, SMALL), folder.to_string_lossy().into_owned());
    let run = |arguments: &[&str], home: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
        command.args(arguments).env_remove("XDG_CACHE_HOME").env_remove("TRELLIS_TUNING").env_remove("HOME");
        let output = command.envs(home.map(|home| ("HOME", home))).output().expect("runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).matches("tuning tables are off").count())
    };
    let train = ["train", &file, "--out", &out, "--jobs", "2"];
    for home in [Some("/dev/null"), Some("/proc/nowhere"), None] {
        assert_eq!(run(&train, home), (true, 1), "{home:?}");
        assert_eq!(run(&["plan", &file], home), (true, 1), "{home:?}");
        assert_eq!(run(&["devices"], home), (true, 0), "{home:?}");
        // It has nowhere to write to, and says so before it measures.
        assert!(!run(&["tune"], home).0, "{home:?}");
    }
    assert_eq!(run(&["plan", &file], Some(&out)), (true, 0));
}

/// Mesa says so of itself where it misses a variable, and twice.
#[test]
fn nothing_is_complained_of_without_a_runtime_folder() {
    for value in [None, Some(""), Some("relative")] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
        command.args(["devices", "--json"]).env_remove("XDG_RUNTIME_DIR");
        command.envs(value.map(|value| ("XDG_RUNTIME_DIR", value)));
        let output = command.output().expect("runs");
        assert!(output.status.success() && !output.stdout.is_empty());
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{value:?}");
    }
}

/// Weights larger than the memory that the process may take: it reads and writes them in blocks.
#[cfg(target_os = "linux")]
#[test]
fn large_weights_are_inspected_and_converted_in_little_memory() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let [file, half] = ["large", "half"].map(|name| folder.join(name).with_extension("safetensors"));
    let header = r#"{"fc1.weight":{"dtype":"F32","shape":[48,1048576],"data_offsets":[0,201326592]}}"#;
    let start = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    std::fs::write(&file, &start).expect("writable");
    // Zeros that take no room on the disk.
    let whole = std::fs::OpenOptions::new().write(true).open(&file).expect("written");
    whole.set_len(start.len() as u64 + 201_326_592).expect("sparse");
    let run = |arguments: &[&str]| {
        // So many KiB of address space, program included.
        let limited = "ulimit -v 120000; exec \"$0\" \"$@\"";
        let mut command = Command::new("sh");
        let output =
            command.args(["-c", limited, env!("CARGO_BIN_EXE_trellis")]).args(arguments).output().expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let [file, half] = [&file, &half].map(|path| path.to_string_lossy().into_owned());
    let text = run(&["inspect", &file, "--json"]);
    assert!(text.contains("\"mean\":0.0") && text.contains("\"not_finite\":0"), "{text}");
    run(&["convert", &file, &half, "--dtype", "f16"]);
    assert!(run(&["inspect", &half]).contains("1 tensors, 50331648 values"));
}

/// A machine reads what `--json` prints, and a person is told what to do next.
#[test]
fn the_last_line_says_what_comes_next() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let file = config(folder, SMALL);
    let out = folder.join("runs").to_string_lossy().into_owned();
    let last = |arguments: &[&str]| {
        let output = trellis(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let lines: Vec<String> = text.lines().map(str::to_string).collect();
        lines[lines.len().saturating_sub(2)..].to_vec()
    };
    let set = ["--set", "training.steps=3", "--set", "guidance.pairs=[[\"conv1\", \"fc1\"]]"];
    let with_set = |arguments: &[&str]| last(&[arguments, &set[..]].concat());
    let trained = with_set(&["train", &file, "--out", &out, "--seeds", "1"]);
    assert!(trained[0].starts_with("report: ") && trained[0].ends_with("small/report.html"), "{trained:?}");
    // Without the keys that were set, the run could not be resumed.
    let given = format!("{file} --set training.steps=3 --set 'guidance.pairs=[[\"conv1\", \"fc1\"]]'");
    let next = format!("next: trellis train {given} --out {out} --seeds 1,2,3 --resume");
    assert!(trained[1].starts_with(&next) && trained[1].ends_with(&format!("trellis profile {given}")), "{trained:?}");
    let planned = with_set(&["plan", &file]);
    assert_eq!(planned[1], format!("next: trellis train {given}; trellis profile {given} (its time)"));
    let profiled = with_set(&["profile", &file, "--steps", "1"]);
    assert!(profiled[1].starts_with(&format!("next: trellis profile {given} --html profile.html")), "{profiled:?}");
    let checkpoint = folder.join("runs/small/guide-1.safetensors").to_string_lossy().into_owned();
    let half = folder.join("half.safetensors").to_string_lossy().into_owned();
    let page = folder.join("p.html").to_string_lossy().into_owned();
    for (arguments, wanted) in [
        (vec!["plan", &file], format!("next: trellis train {file}")),
        (vec!["profile", &file, "--steps", "1"], "--html profile.html".to_string()),
        (vec!["profile", &file, "--steps", "1", "--html", &page], format!("next: trellis train {file}")),
        (vec!["bench", "--filter", "^dispatch_500$", "--seconds", "0"], "next: trellis tune".to_string()),
        (vec!["devices"], "next: trellis demo --adapter ".to_string()),
        (vec!["inspect", &checkpoint], format!("next: trellis convert {checkpoint} ")),
        (vec!["convert", &checkpoint, &half], format!("next: trellis inspect {half}")),
    ] {
        let lines = last(&arguments);
        assert!(lines[1].contains(&wanted), "{arguments:?}: {lines:?}");
        let json = last(&[&arguments[..], &["--json"]].concat());
        assert!(!json.iter().any(|line| line.contains("next: ")), "{arguments:?}: {json:?}");
    }
    // A configuration that does not fit is not to be trained.
    let plan = Command::new(env!("CARGO_BIN_EXE_trellis"))
        .args(["plan", &file, "--set", "target.width=1024"])
        .env("TRELLIS_MEMORY_MB", "1")
        .output();
    let text = String::from_utf8(plan.expect("runs").stdout).expect("UTF-8");
    let next = format!("next: trellis plan {file} --set target.width=1024 --set training.batch=");
    assert!(text.contains("does not fit on ") && text.contains(&next) && !text.contains("trellis train"), "{text}");
}
