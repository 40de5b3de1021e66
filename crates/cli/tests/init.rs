//! `trellis init`: what it writes trains as it is.

mod pictures;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use pictures::png;
use trellis_data::{glyphs::glyphs, idx};

fn trellis(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trellis")).current_dir(folder).args(arguments).output().expect("the binary runs")
}

/// Writes a configuration with `arguments`, and trains it with one seed for two steps and the guide's two; nothing else in
/// the file is changed. Returns the file.
fn trains(folder: &Path, arguments: &[&str]) -> String {
    let written = trellis(folder, &[&["init", "--force"], arguments].concat());
    assert!(written.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&written.stderr));
    let told = String::from_utf8_lossy(&written.stdout).into_owned();
    let data: Vec<&str> =
        arguments.iter().position(|a| *a == "--data").map_or(vec![], |at| arguments[at..=at + 1].to_vec());
    let next = ["trellis train experiment.toml"].iter().chain(&data).copied().collect::<Vec<_>>().join(" ");
    assert!(told.trim_end().ends_with(&next), "{told}");

    let file = folder.join("experiment.toml");
    let text = fs::read_to_string(&file).expect("written");
    let steps = |line: &str| if line.starts_with("steps = ") { "steps = 2".to_string() } else { line.to_string() };
    fs::write(&file, text.lines().map(steps).collect::<Vec<_>>().join("\n")).expect("writable");
    let arguments = [&["train", "experiment.toml", "--seeds", "1"], &data[..]].concat();
    let output = trellis(folder, &arguments);
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    assert!(folder.join("runs/experiment/trained-1.safetensors").is_file());
    text
}

/// Keys that a file has, each with its value.
fn numbers(text: &str, wanted: &[&str]) {
    for line in wanted {
        let is = |found: &str| found.split('#').next().is_some_and(|key| key.trim() == *line);
        assert!(text.lines().any(is), "{line}\n{text}");
    }
}

#[test]
fn drawn_data_train_as_they_are() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let text = trains(folder, &[]);
    assert!(
        text.contains("set = \"glyphs\"") && text.contains("network = \"fcn\"") && text.contains("network = \"cnn\"")
    );
    let text = trains(folder, &["rnn"]);
    assert!(text.contains("set = \"copy_paste\"") && text.contains("network = \"transformer\""), "{text}");

    // A file that is there stays.
    let before = fs::read(folder.join("experiment.toml")).expect("written");
    let refused = trellis(folder, &["init"]);
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && message.contains("experiment.toml: is there already"), "{message}");
    assert_eq!(fs::read(folder.join("experiment.toml")).expect("still there"), before);
    let json = trellis(folder, &["init", "vit", "resnet", "--out", "b.toml", "--json"]);
    let line: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one JSON line");
    assert_eq!((&line["file"], &line["guide"]), (&"b.toml".into(), &"resnet".into()));
}

#[test]
fn idx_files_and_cifar_train_as_they_are() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    fs::create_dir_all(folder.join("digits")).expect("a folder");
    let images = glyphs(80, 16, 0);
    idx::save(folder.join("digits"), "t10k-", &images).expect("written");
    let text = trains(folder, &["--data", "digits"]);
    numbers(&text, &["set = \"idx\"", "classes = 10", "train = 64", "validation = 8", "test = 8", "batch = 64"]);

    // The names that EMNIST, QMNIST and Kaggle have are those of IDX files too.
    for (renamed, name) in [
        ("emnist", "emnist-letters-test-PART-idx3-ubyte"),
        ("kaggle", "t10k-PART.idx3-ubyte"),
        ("qmnist", "qmnist-test-PART-idx3-ubyte"),
    ] {
        fs::create_dir_all(folder.join(renamed)).expect("a folder");
        for (part, kind) in [("images", "idx3"), ("labels", "idx1")] {
            let from = folder.join(format!("digits/t10k-{part}-{kind}-ubyte"));
            let name = name.replace("PART", part).replace("idx3", kind);
            fs::copy(from, folder.join(renamed).join(name)).expect("copied");
        }
        if renamed == "qmnist" {
            let folder = folder.join(renamed);
            fs::remove_file(folder.join("qmnist-test-labels-idx1-ubyte")).expect("copied");
            let header = [0, 0, 12, 2, 0, 0, 0, 80, 0, 0, 0, 8];
            let labels = images.labels.iter().flat_map(|&label| [u32::from(label); 8]).flat_map(u32::to_be_bytes);
            let labels: Vec<u8> = header.into_iter().chain(labels).collect();
            fs::write(folder.join("qmnist-test-labels-idx2-int"), labels).expect("writable");
        }
        let output = trellis(folder, &["init", "--force", "--data", renamed, "--json"]);
        let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON line");
        assert_eq!(line["set"], "idx", "{renamed}");
        let text = fs::read_to_string(folder.join("experiment.toml")).expect("written");
        numbers(&text, &["set = \"idx\"", "classes = 10", "train = 64"]);
    }

    fs::create_dir_all(folder.join("cifar")).expect("a folder");
    let records = |count: u8| (0..count).flat_map(|i| [&[i % 10], &[3 * i; 3072][..]].concat()).collect::<Vec<u8>>();
    fs::write(folder.join("cifar/data_batch_1.bin"), records(40)).expect("writable");
    fs::write(folder.join("cifar/test_batch.bin"), records(12)).expect("writable");
    let text = trains(folder, &["vit", "resnet", "--data", "cifar"]);
    numbers(&text, &["set = \"cifar\"", "train = 36", "validation = 4", "test = 12", "batch = 32", "patch = 8"]);

    let refused = |arguments: &[&str]| {
        let output = trellis(folder, &[&["init", "--force"], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(
        refused(&["rnn", "--data", "cifar"])
            .contains("rnn takes sequences, and --data gives images (CIFAR-10 in cifar)")
    );
    assert!(refused(&["rnn", "cnn"]).contains("fcn, cnn, resnet, mobilenet and vit go together"));
    fs::create_dir_all(folder.join("none")).expect("a folder");
    assert!(refused(&["--data", "none"]).contains("none: holds nothing that Trellis reads; give a folder"));
    assert!(refused(&["--data", "absent"]).contains("absent: "));
}

#[test]
fn texts_train_as_they_are() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    fs::write(folder.join("a text.txt"), "der Sänger sang. ".repeat(100)).expect("writable");
    let told = trellis(folder, &["init", "--data", "a text.txt"]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains("rnn guided by transformer on the text a text.txt (1700 characters)"), "{told}");
    assert!(told.contains("trellis train experiment.toml --data 'a text.txt'"), "{told}");
    fs::rename(folder.join("a text.txt"), folder.join("text.txt")).expect("renamed");
    let text = trains(folder, &["--data", "text.txt"]);
    assert!(text.contains("level = \"characters\"") && text.contains("context = 64"), "{text}");
    // Of another encoding it is bytes that are told apart.
    fs::write(folder.join("text.txt"), b"der S\xe4nger sang. ".repeat(100)).expect("writable");
    let text = trains(folder, &["transformer", "rnn", "--data", "text.txt"]);
    assert!(text.contains("level = \"bytes\""), "{text}");
    fs::write(folder.join("text.txt"), "short").expect("writable");
    let output = trellis(folder, &["init", "--force", "--data", "text.txt"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("holds 5 characters, too few"));
    fs::write(folder.join("text.txt"), [0, 1, 2]).expect("writable");
    let output = trellis(folder, &["init", "--force", "--data", "text.txt"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no text"));
}

#[test]
fn folders_of_images_train_as_they_are() {
    let place = tempfile::tempdir().expect("writable");
    let folder = place.path();
    let images = |place: &str, count: u32, sides: [u32; 2]| {
        for (class, name) in ["ant", "bee", "cat"].iter().enumerate() {
            let class_folder = folder.join(place).join(name);
            fs::create_dir_all(&class_folder).expect("a folder");
            for number in 0..count {
                let pixel = |x: u32, y: u32| [(90 * class as u32 + x) as u8, (7 * number + y) as u8, (x * y) as u8];
                fs::write(class_folder.join(format!("{number}.png")), png(sides, pixel)).expect("writable");
            }
        }
    };
    images("photos", 20, [23, 19]);
    let text = trains(folder, &["--data", "photos"]);
    // Small images are not made larger.
    numbers(&text, &["set = \"folder\"", "size = 16", "train = 0.8", "validation = 0.1", "test = 0.1", "batch = 32"]);
    // Splits that have folders of their own are taken whole.
    images("split/train", 12, [40, 50]);
    images("split/val", 2, [40, 50]);
    images("split/test", 3, [40, 50]);
    let text = trains(folder, &["cnn", "vit", "--data", "split"]);
    numbers(&text, &["set = \"folder\"", "size = 32", "batch = 32"]);
    for line in ["# train = 36 ", "# validation = 6 ", "# test = 9 "] {
        assert!(text.contains(line), "{text}");
    }
}
