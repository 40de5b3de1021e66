//! `trellis similarity` on two small runs: the table, the line that machines read, the picture, and runs that do not go together.

mod command;

use std::path::Path;

use command::{prints, trellis};
use serde_json::Value;

/// The error of a command that must fail.
fn failure(arguments: &[&str]) -> String {
    let output = trellis(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr)
        .lines()
        .find(|line| line.starts_with("error: "))
        .expect("an error")
        .to_string()
}

/// Trains `text` into `folder`/`name`.
fn train(folder: &Path, name: &str, text: &str) -> String {
    let (file, out) = (folder.join(format!("{name}.toml")), folder.to_string_lossy().into_owned());
    std::fs::write(&file, format!("name = \"{name}\"\n{text}")).expect("writable");
    prints(&["train", &file.to_string_lossy(), "--out", &out]);
    folder.join(name).to_string_lossy().into_owned()
}

fn numbers(table: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(table.clone()).expect("rows of numbers")
}

const GLYPHS: &str = "seeds = [1, 2]\narms = [\"alone\", \"trained\"]\n[data]\ntrain = 64\ntest = 40\n[target]\ndepth = 3\nwidth = 16\n\
    [guide]\nchannels = [4, 6]\nsteps = 3\n[training]\nsteps = 6\nbatch = 16\n";

#[test]
fn two_runs_are_compared_layer_by_layer() {
    let place = tempfile::tempdir().expect("writable");
    let run = train(place.path(), "first", GLYPHS);
    let (alone, guide) = (format!("{run}:alone"), format!("{run}:guide"));
    let svg = place.path().join("layers.svg").to_string_lossy().into_owned();
    let text = prints(&["similarity", &alone, &guide, "--examples", "32", "--svg", &svg]);
    for wanted in [
        "a: ",
        "alone-1.safetensors, fcn 3x16",
        "guide-1.safetensors, cnn 4-6",
        "test split, 32 examples",
        "linear CKA, calibrated",
        "p > 0.05",
        "by 200 permutations",
        "of all ",
        "labels, ",
        "next: trellis similarity ",
    ] {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let picture = std::fs::read_to_string(&svg).expect("written");
    let pairs = picture.matches("calibrated, ").count();
    assert!(
        picture.starts_with("<svg xmlns") && picture.contains("rows: first:alone:1") && picture.ends_with("</svg>\n")
    );

    for measure in ["cka", "debiased_cka", "mutual_knn", "procrustes", "svcca"] {
        let arguments =
            ["similarity", &alone, &guide, "--measure", measure, "--examples", "30", "--permutations", "39", "--json"];
        let output = prints(&arguments);
        assert_eq!(output, prints(&arguments), "the same numbers each time");
        let line: Value = serde_json::from_str(&output).expect("one line of JSON");
        assert_eq!(
            (&line["measure"], &line["examples"], &line["permutations"]),
            (&measure.into(), &30.into(), &39.into())
        );
        let [rows, columns] = ["a", "b"].map(|side| line[side]["layers"].as_array().expect("names").len());
        assert_eq!(rows * columns, pairs, "{measure}");
        let [value, chance, calibrated, p] = ["values", "chance", "calibrated", "p"].map(|key| numbers(&line[key]));
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            let at = |table: &[Vec<f64>]| table[row][column];
            assert!((-1.0..=1.0 + 1e-9).contains(&at(&value)) && (1.0 / 40.0..=1.0).contains(&at(&p)), "{measure}");
            assert!((0.0..=1.0).contains(&at(&calibrated)) && at(&chance) <= 1.0, "{measure}");
            assert_eq!(at(&calibrated) > 0.0, at(&p) <= 0.05, "{measure}");
        }
        assert_eq!(line["a"]["best"].as_array().expect("a list").len(), rows);
        assert_eq!(line["b"]["best"][0]["layer"], line["b"]["layers"][0]);
        assert!(line["agreement"].as_f64().is_some_and(|share| (0.0..=1.0).contains(&share)));
        assert_eq!(line["labels"], 30);
    }

    // A network with itself: equal layers, and predictions that are all the same.
    let line: Value = serde_json::from_str(&prints(&["similarity", &alone, &alone, "--json"])).expect("JSON");
    assert_eq!((&line["examples"], &line["agreement"]), (&40.into(), &1.0.into()));
    assert!(line["notes"][0].as_str().is_some_and(|note| note.contains("only 40 examples")), "{line}");
    let values = numbers(&line["values"]);
    assert!((0..values.len()).all(|layer| (values[layer][layer] - 1.0).abs() < 1e-12), "{values:?}");

    // By a file, and by another seed of it.
    let file = format!("{run}/trained-2.safetensors");
    let line: Value =
        serde_json::from_str(&prints(&["similarity", &file, &format!("{run}:trained:2"), "--json"])).expect("JSON");
    assert_eq!((&line["a"]["seed"], &line["agreement"]), (&2.into(), &1.0.into()));

    // Accuracies are those of `eval` on as many examples.
    let eval: Value = serde_json::from_str(&prints(&["eval", &file, "--json"])).expect("JSON");
    assert!((line["a"]["top1"].as_f64().expect("a share") - eval["top1"].as_f64().expect("a share")).abs() < 1e-6);
}

#[test]
fn runs_that_do_not_go_together_are_errors() {
    let place = tempfile::tempdir().expect("writable");
    let small = GLYPHS.replace("seeds = [1, 2]", "seeds = [1]").replace("steps = 6", "steps = 1");
    let alone = small.replace("[\"alone\", \"trained\"]", "[\"alone\"]");
    let first = train(place.path(), "first", &small);
    let other = train(place.path(), "other", &alone.replace("train = 64", "train = 48"));
    let error = failure(&["similarity", &format!("{first}:alone"), &other]);
    assert!(
        error.contains("alone-1.safetensors: was trained on other data than ") && error.contains("train 48"),
        "{error}"
    );
    let error = failure(&["similarity", &first, &other]);
    assert!(error.contains("several arms, alone, guide, trained; say which"), "{error}");
    let error = failure(&["similarity", &format!("{first}:lone"), &other]);
    assert!(error.contains("holds no network of `lone`"), "{error}");
    let error = failure(&["similarity", &other, &other, "--measure", "mutual_knn", "--examples", "10"]);
    assert!(error.contains("10 examples are too few") && error.contains("at least 12"), "{error}");
    let error = failure(&["similarity", &other, &other, "--data", "x"]);
    assert!(error.contains("leave out --data"), "{error}");

    // Drawn sequences of another seed, with the same numbers of them.
    let sequences = |seed: u64| {
        format!(
            "seeds = [1]\narms = [\"alone\"]\n[data]\nset = \"parity\"\nseed = {seed}\ntest = 30\n[target]\nnetwork = \"rnn\"\n\
             layers = 1\nwidth = 8\n[guide]\nnetwork = \"rnn\"\nlayers = 1\nwidth = 8\n[training]\nsteps = 1\nbatch = 8\n"
        )
    };
    let runs = [1, 2].map(|seed| train(place.path(), &format!("parity{seed}"), &sequences(seed)));
    let error = failure(&["similarity", &runs[0], &runs[1]]);
    assert!(error.contains("has another `data.seed` than ") && error.contains(": 2, there 1"), "{error}");
    let text = prints(&["similarity", &runs[0], &runs[0], "--permutations", "19"]);
    assert!(text.contains("30 examples") && text.contains("by 19 permutations"), "{text}");
}
