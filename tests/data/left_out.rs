//! Files that cannot be read: how many of which class and split stands in the record of a run.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use trellis_data::LeftOut;
use trellis_lab::config::Config;
use trellis_lab::experiment;
use trellis_lab::record::{Existing, Experiment};

use crate::data::write;
use crate::gpu;

/// A folder of two classes in three splits, with two broken training images of `a` and a broken test image of `b`.
fn damaged() -> TempDir {
    let folder = tempfile::tempdir().expect("writable");
    let png = include_bytes!("../golden/pixel.png");
    for (split, count) in [("train", 8), ("val", 4), ("test", 4)] {
        for class in ["a", "b"] {
            (0..count).for_each(|number| drop(write(&folder, &format!("data/{split}/{class}/{number}.png"), png)));
        }
    }
    for file in ["train/a/3.png", "train/a/5.png", "test/b/0.png"] {
        write(&folder, &format!("data/{file}"), &png[..30]);
    }
    folder
}

#[test]
fn broken_files_are_counted_by_class_and_split_in_summary_and_report() {
    for stream in [false, true] {
        let folder = damaged();
        let text = format!(
            "name = \"run\"\nseeds = [1]\narms = [\"alone\"]\n[data]\nset = \"folder\"\nsize = 6\nskip_broken = true\n\
             stream = {stream}\n[target]\ndepth = 1\nwidth = 4\n[training]\nsteps = 1\nbatch = 4\n"
        );
        let config = Config::parse(&text, Path::new("x.toml")).expect("sane");
        let data =
            config.dataset(&gpu(), Path::new("x.toml"), Some(&folder.path().join("data"))).expect("the rest is fine");
        assert_eq!(data.is_streamed(), stream);
        experiment::run(&config, &data, folder.path(), Existing::Refuse, &mut |_| {}).expect("runs");

        let summary = fs::read_to_string(folder.path().join("run/summary.json")).expect("written");
        let summary: Value = serde_json::from_str(&summary).expect("JSON");
        let wanted = json!([
            {"class": "a", "train": 2, "validation": 0, "test": 0}, {"class": "b", "train": 0, "validation": 0, "test": 1}
        ]);
        assert_eq!(summary["left_out"], wanted, "streamed: {stream}");
        let report = fs::read_to_string(folder.path().join("run/report.html")).expect("written");
        for row in ["a</td><td>2</td><td>0</td><td>0</td><td>2", "All</td><td>2</td><td>0</td><td>1</td><td>3"] {
            assert!(report.contains(&format!("<tr><td>{row}</td></tr>")), "{row}");
        }
        // Counts that are read back are those that were written; a process that goes on does not forget them.
        let read = |run: &str| Experiment::read(&folder.path().join(run)).expect("a run").left_out;
        let before = read("run");
        assert_eq!(before.iter().map(LeftOut::total).sum::<usize>(), 3);
        experiment::run(&config, &data, folder.path(), Existing::Resume, &mut |_| {}).expect("goes on");
        assert_eq!(read("run"), before);
    }
}

/// A class whose training images are all broken is no class to train on.
#[test]
fn a_class_that_loses_all_its_images_is_told() {
    let folder = tempfile::tempdir().expect("writable");
    let png = include_bytes!("../golden/pixel.png");
    for number in 0..9 {
        write(&folder, &format!("data/train/a/{number}.png"), png);
        write(&folder, &format!("data/test/a/{number}.png"), png);
        write(&folder, &format!("data/test/b/{number}.png"), png);
        write(&folder, &format!("data/train/b/{number}.png"), &png[..20]);
    }
    let text = "arms = [\"alone\"]\n[data]\nset = \"folder\"\nsize = 6\nskip_broken = true\n[training]\nbatch = 4\n";
    let config = Config::parse(text, Path::new("x.toml")).expect("sane");
    let error = config.dataset(&gpu(), Path::new("x.toml"), Some(&folder.path().join("data"))).expect_err("no b");
    assert!(error.to_string().contains("no training image of class b"), "{error}");
}
