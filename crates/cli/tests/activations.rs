//! A guide that PyTorch runs: `trellis examples`, `examples/activations.py`, and a run that is guided by what it wrote.

mod command;

use std::path::Path;
use std::process::Command;

use command::{prints, trellis};
use serde_json::Value;

/// A run on glyphs, guided by the file of activations beside it.
fn configuration(folder: &Path, arms: &str, guide: &str) -> String {
    let text = format!(
        "name = \"x\"\nseeds = [1]\narms = {arms}\n[data]\ntrain = 96\ntest = 300\n[target]\ndepth = 4\nwidth = 16\n\
         [guide]\n{guide}\n[training]\nsteps = 4\nbatch = 16\n"
    );
    let file = folder.join("x.toml");
    std::fs::write(&file, text).expect("writable");
    file.to_string_lossy().into_owned()
}

#[test]
fn examples_are_written_as_networks_see_them() {
    let place = tempfile::tempdir().expect("writable");
    let file = configuration(place.path(), "[\"alone\"]", "");
    let out = place.path().join("examples.safetensors").to_string_lossy().into_owned();
    let said: Value = serde_json::from_str(&prints(&["examples", &file, "--out", &out, "--json"])).expect("JSON");
    let listed: Vec<Value> = prints(&["inspect", &out, "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .filter(|line: &Value| line["name"].is_string())
        .collect();
    let shapes: Vec<String> = listed.iter().map(|tensor| format!("{} {}", tensor["name"], tensor["shape"])).collect();
    assert_eq!(
        shapes,
        [
            "\"test.input\" [300,1,16,16]",
            "\"test.labels\" [300]",
            "\"train.input\" [96,1,16,16]",
            "\"train.labels\" [96]"
        ]
    );
    assert!(said["data"].as_str().expect("text").starts_with("train 96, "), "{said}");
    // Normalized: the mean of all pixels is near 0, their deviation near 1.
    let train = &listed[2];
    let [mean, std] = ["mean", "std"].map(|key| train[key].as_f64().expect("a number"));
    assert!(mean.abs() < 0.05 && (std - 1.0).abs() < 0.05, "{train}");

    let drawn = place.path().join("drawn.toml");
    std::fs::write(
        &drawn,
        "arms = [\"alone\"]\n[data]\nset = \"parity\"\n[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"rnn\"\n",
    )
    .expect("writable");
    let refused = trellis(&["examples", &drawn.to_string_lossy(), "--out", &out]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("every batch is of new examples"));
}

#[test]
fn activations_are_all_of_a_guide() {
    let place = tempfile::tempdir().expect("writable");
    let error = |arms: &str, guide: &str| {
        let output = trellis(&["plan", &configuration(place.path(), arms, guide)]);
        assert_eq!(output.status.code(), Some(1), "{guide}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let file = "activations = \"none.safetensors\"";
    let beside = error("[\"trained\"]", &format!("network = \"cnn\"\n{file}"));
    assert!(beside.contains("`network` has no meaning beside `activations`"), "{beside}");
    let steps = error("[\"trained\"]", &format!("steps = 3\n{file}"));
    assert!(steps.contains("`steps` has no meaning beside `activations`"), "{steps}");
    let untrained = error("[\"trained\", \"untrained\"]", file);
    assert!(untrained.contains("`guide.activations`: have no untrained guide"), "{untrained}");
    let unused = error("[\"alone\"]", file);
    assert!(unused.contains("no arm has the trained guide"), "{unused}");
    let missing = error("[\"trained\"]", file);
    assert!(missing.contains("none.safetensors"), "{missing}");
    // Text takes them as well: the network that is not there is not asked what it takes.
    let text = place.path().join("text.toml");
    std::fs::write(
        &text,
        format!("arms = [\"trained\"]\n[data]\nset = \"text\"\n[target]\nnetwork = \"rnn\"\n[guide]\n{file}\n"),
    )
    .expect("writable");
    let of_text = trellis(&["config", &text.to_string_lossy()]);
    assert!(of_text.status.success(), "{}", String::from_utf8_lossy(&of_text.stderr));
    // The file lies beside the configuration, wherever the command is run.
    let shown = String::from_utf8_lossy(&of_text.stdout).into_owned();
    assert!(shown.contains(&format!("activations = {:?}", place.path().join("none.safetensors"))), "{shown}");
}

/// The module of `examples/activations.py`, which is none of Trellis' networks, guides an FCN.
#[test]
fn a_module_of_pytorch_guides() {
    let Ok(python) = std::env::var("TRELLIS_PYTHON") else {
        eprintln!("skipped: TRELLIS_PYTHON names no Python with torch and safetensors");
        return;
    };
    let place = tempfile::tempdir().expect("writable");
    let [examples, guide] = ["examples", "guide"].map(|name| place.path().join(format!("{name}.safetensors")));
    let file = configuration(place.path(), "[\"alone\", \"trained\"]", &format!("activations = {guide:?}"));
    prints(&["examples", &file, "--out", &examples.to_string_lossy()]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/activations.py");
    let run = Command::new(python).arg(script).args([&examples, &guide]).output().expect("runs");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let out = place.path().to_string_lossy().into_owned();
    prints(&["train", &file, "--out", &out]);
    let metrics = std::fs::read_to_string(place.path().join("x").join("metrics.jsonl")).expect("written");
    let lines = metrics.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let guided: Vec<Value> = lines.filter(|line| line["arm"] == "trained").collect();
    let first = guided.iter().find(|line| line["similarity"].is_array()).expect("compared");
    let values = first["similarity"].as_array().expect("a list");
    assert!(values.iter().all(|value| value.as_f64().is_some_and(|value| (0.0..=1.0).contains(&value))), "{first}");
    assert!(prints(&["plan", &file]).contains("trained guide, recorded layers"));

    // Another seed of the split puts other examples in these rows.
    let other = trellis(&["train", &file, "--out", &out, "--set", "data.seed=5"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("is of other data"), "another order");
}
