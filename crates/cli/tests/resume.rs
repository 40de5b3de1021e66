//! A run that is killed, as by the system, and goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const CONFIG: &str = "name = \"killed\"\nseeds = [1, 2]\narms = [\"alone\", \"trained\"]\n\
    [data]\ntrain = 200\nvalidation = 40\ntest = 40\nstream = true\n[target]\ndepth = 3\nwidth = 24\n\
    [guide]\nchannels = [4]\nstrides = [2]\nsteps = 20\n[training]\nsteps = 300\nbatch = 16\neval_every = 20\n";

fn train(config: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
    command.arg("train").arg(config).arg("--out").arg(out).args(more).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// What a folder's metrics say, run by run and step by step, the last line of each; times are left out.
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
    let folder: PathBuf = std::env::temp_dir().join(format!("trellis-cli-{}-killed", std::process::id()));
    let (whole, pieces) = (folder.join("whole"), folder.join("pieces"));
    fs::create_dir_all(&folder).expect("a temporary folder");
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

    let other = folder.join("other.toml");
    fs::write(&other, CONFIG.replace("steps = 300", "steps = 301")).expect("writable");
    let refused = train(&other, &pieces, &["--resume"]).output().expect("runs");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(message.contains("steps = 300") && message.contains("steps = 301"), "{message}");
    // Other data in the place of those that it began with.
    let adapter = pieces.join("killed/adapter.json");
    let began = fs::read_to_string(&adapter).expect("written");
    fs::write(&adapter, began.replace("train 200", "train 199")).expect("writable");
    let refused = train(&config, &pieces, &["--resume"]).output().expect("runs");
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && message.contains("it began with other data"), "{message}");
    fs::write(&adapter, began).expect("writable");

    assert!(train(&config, &pieces, &["--resume"]).status().expect("runs").success());
    // What was finished before a kill was not run again, what was not, was.
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
        assert!(!pieces.join(format!("killed/{name}.state.safetensors")).exists(), "{name}");
    }
    assert!(pieces.join("killed/report.html").is_file());
    // Nothing is left to do: it tells what it knows.
    let again = train(&config, &pieces, &["--resume", "--json"]).stdout(Stdio::piped()).output().expect("runs");
    let text = String::from_utf8(again.stdout).expect("UTF-8");
    let line: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
    assert_eq!(line["arms"][0]["seeds"], 2, "{text}");
    fs::remove_dir_all(folder).expect("ours");
}
