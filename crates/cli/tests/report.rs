//! `trellis report`, `trellis compare` and `trellis affinity`: run folders put together.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// An unguided FCN and one that an untrained CNN guides.
const CONFIG: &str = "name = \"small\"\nseeds = [1, 2]\narms = [\"alone\", \"untrained\"]\n[data]\ntrain = 64\nvalidation = 16\n\
                      test = 32\n[target]\ndepth = 2\nwidth = 16\n[training]\nsteps = 6\nbatch = 16\neval_every = 3\n[guide]\n\
                      channels = [4]\nstrides = [2]\nsteps = 0\n";

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
    command.current_dir(folder).args(arguments).env("TRELLIS_TUNING", "off");
    command.output().expect("the command runs")
}

fn trellis(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {told}");
    told
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("writable");
    fs::write(folder.path().join("small.toml"), CONFIG).expect("writable");
    folder
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// Shards that ran apart, in folders of their own, have the tables of one process, byte for byte; a missing one is named.
#[test]
fn shards_of_two_machines_are_one_report() {
    let folder = folder();
    let at = folder.path();
    let sweep = ["sweep", "small.toml", "-m", "training.optimizer=sgd,adam", "-m", "training.learning_rate=0.001,0.01"];
    trellis(at, &[&sweep[..], &["--out", "whole"]].concat());
    trellis(at, &[&sweep[..], &["--out", "a", "--shard", "0/2"]].concat());
    let told = trellis(at, &["report", "a", "--out", "half.html"]);
    assert!(told.contains("open: half.html") && told.contains("half-results.csv"), "{told}");
    let half = read(at, "half.html");
    assert!(half.contains("training.optimizer-adam__training.learning_rate-0.01: not run"), "a gap is said");
    trellis(at, &[&sweep[..], &["--out", "b", "--shard", "1/2"]].concat());
    // The command is that of the whole.
    let page = read(at, "b/small-sweep/report.html");
    assert!(page.contains("learning_rate=0.001,0.01 --out b<") && !page.contains("--shard"));
    trellis(at, &["report", "a", "b", "--out", "parts.html"]);
    trellis(at, &["report", "whole/small-sweep", "--out", "whole.html"]);
    for table in ["results", "differences", "settings"] {
        assert_eq!(read(at, &format!("parts-{table}.csv")), read(at, &format!("whole-{table}.csv")), "{table}");
    }
    let results = read(at, "whole-results.csv");
    assert_eq!(results.lines().count(), 1 + 4 * 2, "{results}");
    assert!(results.contains("\"learning_rate 0.001, optimizer sgd\",alone,2"), "{results}");
    let page = read(at, "parts.html");
    assert!(!page.contains("not run") && page.contains("Over both keys") && page.contains("Curves over each other"));
    // The page of the sweep, which it wrote itself, names its command.
    assert!(
        read(at, "whole/small-sweep/report.html").contains("trellis sweep small.toml -m training.optimizer=sgd,adam")
    );

    let error = run(at, &["report", "small.toml"]);
    assert!(!error.status.success());
    fs::create_dir(at.join("empty")).expect("writable");
    let error = run(at, &["report", "empty"]);
    let told = String::from_utf8_lossy(&error.stderr);
    assert!(!error.status.success() && told.contains("holds no run folder"), "{told}");
}

/// Differing keys and paired differences; runs of other seeds and equal settings count as one.
#[test]
fn runs_are_compared_key_by_key_and_seed_by_seed() {
    let folder = folder();
    let at = folder.path();
    trellis(at, &["train", "small.toml"]);
    trellis(at, &["train", "small.toml", "--set", "name=fast", "--set", "training.learning_rate=0.05"]);
    trellis(at, &["train", "small.toml", "--set", "name=more", "--seeds", "3,4,5"]);
    let told = trellis(at, &["compare", "runs/small", "runs/fast", "runs/more", "--html", "both.html"]);
    assert!(
        told.contains("[1] learning_rate 0.001: 10 runs") && told.contains("[2] learning_rate 0.05: 4 runs"),
        "{told}"
    );
    assert!(told.contains("training.learning_rate  0.001 | 0.05\n"), "{told}");
    assert!(told.contains("[2] - [1] alone              2 "), "{told}");
    assert!(read(at, "both.html").contains("Settings that differ"));

    // The difference is that of the last test evaluations, seed by seed.
    let json: serde_json::Value =
        serde_json::from_str(&trellis(at, &["compare", "runs/small", "runs/fast", "--json"])).expect("JSON");
    let last = |run: &str, seed: u64| {
        let metrics = read(at, &format!("runs/{run}/metrics.jsonl"));
        let mut lines = metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        let own = |line: &serde_json::Value| {
            line["arm"] == "alone" && line["seed"] == seed && line["split"] == "test" && line["step"] == 6
        };
        lines.rfind(own).expect("an evaluation")["loss"].as_f64().expect("a number")
    };
    let wanted = [1, 2].map(|seed| last("fast", seed) - last("small", seed)).iter().sum::<f64>() / 2.0;
    let found = json["differences"][0]["loss"]["mean"].as_f64().expect("a number");
    assert!((found - wanted).abs() < 2e-6, "{found} is not {wanted}");
    assert_eq!(json["keys"][0]["key"], "training.learning_rate");
    // A copy that was made while it ran is no experiment of its own.
    fs::create_dir_all(at.join("copies/small")).expect("writable");
    for file in ["config.toml", "adapter.json"] {
        fs::copy(at.join("runs/small").join(file), at.join("copies/small").join(file)).expect("copied");
    }
    let metrics = read(at, "runs/small/metrics.jsonl");
    let end = metrics
        .lines()
        .position(|line| line.contains("\"arm\":\"untrained\",\"seed\":1") && line.contains("\"step\":3"));
    let half: Vec<&str> = metrics.lines().take(end.expect("an evaluation") + 1).collect();
    fs::write(at.join("copies/small/metrics.jsonl"), half.join("\n") + "\n").expect("writable");
    for (order, page) in [(["copies/small", "runs/small"], "copy-first"), (["runs/small", "copies/small"], "copy-last")]
    {
        trellis(at, &["report", order[0], order[1], "--out", &format!("{page}.html")]);
        let results = read(at, &format!("{page}-results.csv"));
        assert_eq!(results.lines().count(), 3, "{results}");
        assert!(results.contains("alone,2,") && results.contains("untrained,2,"), "{results}");
    }
    trellis(at, &["report", "copies", "--out", "open.html"]);
    let open = read(at, "open.html");
    assert!(
        open.contains("small: untrained, seed 1 is not finished") && open.contains("small: alone, not begun: seed 2")
    );
    // The page of one run is made anew.
    fs::remove_file(at.join("runs/fast/report.html")).expect("written");
    trellis(at, &["report", "runs/fast"]);
    assert!(read(at, "runs/fast/report.html").contains("<h1>fast</h1>"));
}

/// Every network is target and guide; what is there is a matrix, and a picture of it.
#[test]
fn networks_guide_each_other() {
    let folder = folder();
    let at = folder.path();
    let file = "name = \"duel\"\nseeds = [1, 2]\n[data]\ntrain = 64\nvalidation = 16\ntest = 32\n[guide]\nsteps = 3\n[training]\nsteps = 6\n\
                batch = 16\neval_every = 3\n[networks.flat]\nnetwork = \"fcn\"\ndepth = 2\nwidth = 16\n[networks.folded]\nnetwork = \"cnn\"\n\
                channels = [4]\nstrides = [2]\n";
    fs::write(at.join("duel.toml"), file).expect("writable");
    let told = trellis(at, &["affinity", "duel.toml"]);
    assert!(told.contains("open: runs/duel-affinity/report.html runs/duel-affinity/affinity.svg"), "{told}");
    let table = read(at, "runs/duel-affinity/affinity.csv");
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.contains("\nflat,folded,2,") && table.contains("\nfolded,folded,2,"), "{table}");
    // Guides are trained once for both targets.
    let metrics = read(at, "runs/duel-affinity/folded/metrics.jsonl");
    assert_eq!(metrics.matches("\"copied_from\":\"flat\"").count(), 4, "two guides, two seeds");
    let page = read(at, "runs/duel-affinity/report.html");
    assert!(page.contains("Which guides which") && page.contains("steps saved on the way"));
    assert!(read(at, "runs/duel-affinity/affinity.svg").contains("flat"));
    let told = String::from_utf8_lossy(&run(at, &["train", "duel.toml"]).stderr).into_owned();
    assert!(told.contains("trellis affinity"), "{told}");
}
