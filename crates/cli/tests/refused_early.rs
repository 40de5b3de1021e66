//! Refusals before a run begins: of weights that do not fit, and of memory that does not suffice.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Standard output and error of the command, and true if it succeeded.
fn trellis(arguments: &[&str], megabytes: Option<&str>) -> (String, bool) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trellis"));
    if let Some(megabytes) = megabytes {
        command.env("TRELLIS_MEMORY_MB", megabytes);
    }
    let output = command.args(arguments).output().expect("the binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (text, output.status.success())
}

fn config(folder: &Path, more: &str) -> String {
    let path = folder.join("x.toml");
    let text = "arms = [\"alone\", \"own\"]\n[data]\ntrain = 64\nvalidation = 16\ntest = 32\n[target]\ndepth = 2\nwidth = 16\n\
                [training]\nsteps = 2\nbatch = 16\n[guide]\nchannels = [4]\nstrides = [2]\n";
    fs::write(&path, format!("{text}{more}")).expect("writable");
    path.to_string_lossy().into_owned()
}

/// The weights of every guide are looked at, whatever its table.
#[test]
fn plan_refuses_weights_that_train_refuses() {
    let place = tempfile::tempdir().expect("writable");
    let weights = place.path().join("bad.safetensors");
    fs::write(&weights, "not found").expect("writable");
    let named = "[arm.own]\nguide = \"other\"\n[guides.other]\nchannels = [4]\nstrides = [2]\n";
    let own = "[arm.own]\nguide = \"trained\"\n";
    let line = "weights = \"bad.safetensors\"\n";
    for more in [format!("{named}{line}"), format!("{line}{own}")] {
        let file = config(place.path(), &more);
        for command in ["plan", "train"] {
            let (text, succeeds) = trellis(&[command, &file, "--out", &place.path().to_string_lossy()][..2], None);
            assert!(!succeeds && text.contains("bad.safetensors: is text; give a .safetensors file"), "{text}");
        }
    }
}

/// Classes that do not go with the data are refused before any other guide is trained.
#[test]
fn classes_of_a_guide_are_looked_at_first() {
    let place = tempfile::tempdir().expect("writable");
    let named = "[arm.own]\nguide = \"other\"\n[guides.other]\nclasses = 7\nsteps = 2\n";
    let own = "[arm.own]\nguide = \"untrained\"\n";
    for (more, key) in [
        (named.to_string(), "`guides.other.classes`: are not those of the data"),
        (
            format!("classes = 7\nsteps = 2\n{}", own.replace("untrained", "trained")),
            "`guide.classes`: are not those of",
        ),
        (format!("classes = 7\nbias = \"label_prior\"\n{own}"), "the head has 7 classes, and the data 10"),
    ] {
        let file = config(place.path(), &more);
        for command in ["plan", "profile", "train"] {
            let out = place.path().join("runs");
            let arguments = [command, &file, "--out", &out.to_string_lossy()];
            let (text, succeeds) = trellis(if command == "train" { &arguments } else { &arguments[..2] }, None);
            assert!(!succeeds && text.contains(key), "{command}: {text}");
            assert!(!out.exists(), "{command}");
        }
    }
}

/// A configuration may name weights that its user is to get; the head of ours says how.
#[test]
fn missing_weights_are_named_with_the_place_that_may_tell_of_them() {
    let place = tempfile::tempdir().expect("writable");
    let file = config(place.path(), "weights = \"none.safetensors\"\n[arm.own]\nguide = \"trained\"\n");
    for command in ["plan", "train"] {
        let (text, succeeds) = trellis(&[command, &file], None);
        let told = "none.safetensors: is not there, and `weights` of a guide names it; put the file there, or correct \
                    `weights`; the first lines of the configuration may say how to get it";
        assert!(!succeeds && text.contains(told), "{text}");
    }
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/configs/");
    let help = trellis(&["plan", "--help"], None).0;
    let shown = help.lines().filter_map(|line| line.trim().strip_prefix("trellis plan examples/configs/"));
    let shown: Vec<&str> = shown.filter(|file| !file.contains("--data")).collect();
    assert!(shown.len() >= 2, "{help}");
    for file in shown {
        let (text, succeeds) = trellis(&["plan", &format!("{examples}{file}")], None);
        assert!(succeeds, "{file}: {text}");
        let sequences =
            "data: copy_paste, train 128, test 512, sequences of 24 tokens from a vocabulary of 11, 11 classes\n";
        assert!(file != "demo.toml" || text.contains(sequences), "{text}");
    }
}

/// The table names the arm that takes most, or the training of a guide.
#[test]
fn plan_tells_the_training_of_a_guide_from_an_arm() {
    let place = tempfile::tempdir().expect("writable");
    let large = "[arm.own]\nguide = \"trained\"\n";
    let file = config(place.path(), large);
    let (text, succeeds) =
        trellis(&["plan", &file, "--set", "guide.channels=[256,64]", "--set", "guide.strides=[2,2]"], None);
    assert!(succeeds && text.starts_with("experiment, training of the guide, which takes most\n"), "{text}");
    let (text, _) =
        trellis(&["plan", &file, "--set", "guide.channels=[256,64]", "--set", "guide.strides=[2,2]", "--json"], None);
    assert!(text.contains("\"arm\":\"guide\",\"guide_training\":true"), "{text}");
    let (text, _) = trellis(&["plan", &file, "--set", "target.width=512"], None);
    assert!(text.starts_with("experiment, arm own, which takes most\n"), "{text}");
}

/// A profile's own buffers count too.
#[test]
fn profiles_that_do_not_fit_are_refused_with_their_table() {
    let place = tempfile::tempdir().expect("writable");
    let file = config(place.path(), "[arm.own]\nguide = \"untrained\"\n");
    let (text, succeeds) = trellis(&["profile", &file, "--steps", "1"], Some("100"));
    assert!(
        !succeeds && text.contains("buffers whose copy is measured") && text.contains("may use 100.00 MiB"),
        "{text}"
    );
    let (text, succeeds) = trellis(&["profile", &file, "--steps", "1"], Some("140"));
    assert!(succeeds && text.contains("ceilings, measured"), "{text}");
}
