//! Splits as shares, folders of classes, epochs, and proposals where something does not fit.

use std::collections::BTreeSet;
use std::path::Path;

use tempfile::TempDir;
use trellis_data::idx;
use trellis_guidance::Dataset;
use trellis_lab::config::Config;
use trellis_lab::experiment;
use trellis_lab::record::Existing;
use trellis_tensor::{Gpu, GpuOptions};

use super::configured::{SEQUENCES, brightness, config, dataset, numbered};
use crate::data::write;
use crate::gpu;

/// A folder of two or three classes: `per` images each of `names`, of one pixel.
fn classes(folder: &TempDir, names: &[&str], per: usize) {
    let png = include_bytes!("../golden/pixel.png");
    for name in names {
        (0..per).for_each(|number| drop(write(folder, &format!("{name}/{number}.png"), png)));
    }
}

fn sizes(data: &Dataset) -> Vec<(&'static str, usize)> {
    data.splits().map(|(name, split)| (name, split.count())).collect()
}

#[test]
fn a_folder_of_classes_is_enough() {
    let folder = tempfile::tempdir().expect("writable");
    classes(&folder, &["cat", "dog", "cow"], 30);
    write(&folder, "__MACOSX/cat/._0.png", b"x");
    let keys = "[data]\nset = \"folder\"\nsize = 4\n";
    for stream in ["", "stream = true\n"] {
        let data = dataset(&folder, &format!("{keys}{stream}")).expect("fits");
        assert_eq!(sizes(&data), [("train", 72), ("validation", 9), ("test", 9)]);
        assert_eq!(data.class_names(), ["cat", "cow", "dog"]);
        assert!(data.warnings().len() == 1 && data.warnings()[0].contains("__MACOSX"), "{:?}", data.warnings());
    }
    // All that is beside `train` has its own meaning.
    let folder = tempfile::tempdir().expect("writable");
    classes(&folder, &["train/cat", "train/dog"], 10);
    assert_eq!(sizes(&dataset(&folder, keys).expect("fits")), [("train", 15), ("validation", 2), ("test", 3)]);
    classes(&folder, &["valid/cat", "valid/dog"], 3);
    let splits = sizes(&dataset(&folder, keys).expect("fits"));
    assert_eq!(splits, [("train", 18), ("validation", 2), ("test", 6)], "to test with where there is nothing else");
    classes(&folder, &["test/cat", "test/dog"], 2);
    let data = dataset(&folder, keys).expect("fits");
    assert_eq!(sizes(&data), [("train", 20), ("validation", 6), ("test", 4)]);
    assert!(data.warnings().is_empty());
    let shares = format!("{keys}train = 0.5\nvalidation = 0.5\ntest = 1.0\n");
    assert_eq!(sizes(&dataset(&folder, &shares).expect("fits")), [("train", 10), ("validation", 3), ("test", 4)]);
}

#[test]
fn shares_are_of_every_set_that_is_read() {
    let folder = tempfile::tempdir().expect("writable");
    idx::save(folder.path(), "train-", &numbered(0, 100)).expect("writable");
    let keys = "[data]\nset = \"idx\"\ntrain = 0.5\nvalidation = 0.25\ntest = 0.25\n";
    for stream in ["", "stream = true\n"] {
        let splits = brightness(&dataset(&folder, &format!("{keys}{stream}")).expect("fits"));
        assert_eq!(splits.iter().map(Vec::len).collect::<Vec<_>>(), [50, 25, 25]);
        let all: BTreeSet<u32> = splits.iter().flatten().map(|value| value.to_bits()).collect();
        assert_eq!(all.len(), 100, "no image in two splits");
    }
    idx::save(folder.path(), "t10k-", &numbered(200, 40)).expect("writable");
    let splits = sizes(&dataset(&folder, keys).expect("fits"));
    assert_eq!(splits, [("train", 50), ("validation", 25), ("test", 10)], "a quarter of the test images");
    // 40 blocks of 5 tokens, and the one after them.
    let text = write(&folder, "text.txt", "ab ab".repeat(41).as_bytes());
    for stream in ["", "stream = true\nlevel = \"bytes\"\n"] {
        let keys = format!(
            "[data]\nset = \"text\"\ncontext = 5\ntrain = 0.5\nvalidation = 0.0\ntest = 8\n{stream}{SEQUENCES}"
        );
        let data = config(&keys).dataset(&gpu(), Path::new("x.toml"), Some(&text)).expect("fits");
        assert_eq!((sizes(&data), data.is_streamed()), (vec![("train", 20), ("test", 8)], !stream.is_empty()));
        let many = keys.replace("test = 8", "test = 800");
        let error = config(&many).dataset(&gpu(), Path::new("x.toml"), Some(&text)).expect_err("of 40").to_string();
        assert!(
            error
                .contains("holds 40 blocks of 5 tokens, fewer than train = 0.5 (20), validation = 0.0 (0), test = 800"),
            "{error}"
        );
    }
    // Without data there is nothing to have a share of.
    let counting = Gpu::with(&GpuOptions { dry_run: true, ..GpuOptions::default() }).expect("an adapter");
    for text in [keys, "[data]\nset = \"folder\"\nclasses = 3\n"] {
        let error = config(text).dataset(&counting, Path::new("x.toml"), None).expect_err("no data").to_string();
        assert!(error.contains("`data.train`") && error.contains("--data"), "{error}");
    }
}

/// A proposal of a message is copied into the file, and runs.
#[test]
fn what_is_proposed_runs() {
    let (folder, out) = (tempfile::tempdir().expect("writable"), tempfile::tempdir().expect("writable"));
    classes(&folder, &["cat", "dog", "cow"], 10);
    let text = "name = \"x\"\nseeds = [1]\narms = [\"alone\"]\n[target]\ndepth = 2\nwidth = 8\n[guide]\nsteps = 1\n\
        [training]\nepochs = 1\nbatch = 128\n[data]\nset = \"folder\"\nsize = 4\ntrain = 2000\nvalidation = 500\ntest = 1000\n";
    let message = dataset(&folder, text).expect_err("30 images").to_string();
    let proposed = |key: &str| {
        let (_, rest) = message.split_once("for example ").expect("a proposal");
        let (_, rest) = rest.split_once(&format!("{key} = ")).expect("of each key");
        rest.chars().take_while(char::is_ascii_digit).collect::<String>()
    };
    let mut copied = text.to_string();
    for (key, old) in [("train", 2000), ("validation", 500), ("test", 1000), ("batch", 128)] {
        copied = copied.replace(&format!("{key} = {old}"), &format!("{key} = {}", proposed(key)));
    }
    let as_shares = text.replace("2000", "0.8").replace("500", "0.1").replace("1000", "0.1");
    let as_shares = as_shares.replace("128", &proposed("batch"));
    for text in [&copied, &as_shares] {
        let (config, data) = (config(text), dataset(&folder, text).expect("fits"));
        let run = experiment::run(&config, &data, out.path(), Existing::MoveAside, &mut |_| {}).expect("trains");
        assert_eq!(run.runs[0].steps.len(), 1, "16 of 24");
    }
    let batch = dataset(&folder, &copied.replace("batch = 16", "batch = 25")).expect_err("24 images").to_string();
    assert!(
        batch.contains("`training.batch`: 25 is more than the 24 images") && batch.contains("batch = 16"),
        "{batch}"
    );
}

#[test]
fn epochs_become_steps_once_the_data_are_known() {
    let folder = tempfile::tempdir().expect("writable");
    classes(&folder, &["cat", "dog"], 20);
    let text = "name = \"x\"\nseeds = [1]\narms = [\"trained_first\"]\n[target]\ndepth = 2\nwidth = 8\n\
        [guide]\nchannels = [3]\nepochs = 1\n[training]\nepochs = 2\neval_every_epochs = 1\nbatch = 7\n\
        [data]\nset = \"folder\"\nsize = 4\ntrain = 0.75\n";
    let notes = write(&folder, "notes.txt", b"x");
    let (config, data) = (config(text), dataset(&folder, text).expect("fits"));
    // 30 images are 4 batches of 7.
    let resolved = config.resolved_for(Path::new("x.toml"), &data).expect("fits");
    assert_eq!((resolved.training.steps, resolved.training.eval_every, resolved.guide.keys.steps), (8, 4, 4));
    assert_eq!(resolved.guidance.first_steps, Some(4));
    assert_eq!(resolved.data.train.and_then(|amount| amount.count()), Some(30));
    assert_eq!(resolved.resolved_for(Path::new("x.toml"), &data).expect("again"), resolved);
    // An arm with epochs or a batch of its own has epochs of its own length: 30 images are 2 batches of 15.
    let own = text.replace("[\"trained_first\"]", "[\"trained_first\", \"long\", \"wide\"]")
        + "[arm.long]\nguide = \"none\"\ntraining = { epochs = 3 }\n[arm.wide]\nguide = \"none\"\ntraining = { batch = 15 }\n";
    let own = self::config(&own).resolved_for(Path::new("x.toml"), &data).expect("fits");
    let steps = |arm: &str| (own.training_of(arm).steps, own.training_of(arm).eval_every);
    assert_eq!(["trained_first", "long", "wide"].map(steps), [(8, 4), (12, 4), (4, 2)]);
    let out = tempfile::tempdir().expect("writable");
    let run =
        |data: &Dataset, existing| experiment::run(&config, data, out.path(), existing, &mut |_| {}).expect("trains");
    let first = run(&data, Existing::Refuse);
    assert!(first.data.contains("not used") && first.data.contains("`notes.txt`"), "{}", first.data);
    assert_eq!((first.runs[0].steps.len(), first.guides[0].steps.len()), (8, 4));
    let test: Vec<u64> = first.runs[0].evals.iter().filter(|eval| eval.split == "test").map(|eval| eval.step).collect();
    assert_eq!(test, [0, 4, 8]);
    // The configuration in the folder is in steps and numbers, reads back as itself, and goes on with the file in
    // epochs.
    let kept = Config::parse(&first.config_toml, Path::new("kept.toml")).expect("a sane file");
    assert_eq!(kept, resolved);
    std::fs::remove_file(notes).expect("there");
    let tidied = dataset(&folder, text).expect("fits");
    assert_eq!(run(&tidied, Existing::Resume).runs, first.runs);
    let error =
        |text: &str| self::config(text).resolved_for(Path::new("x.toml"), &data).expect_err("does not fit").to_string();
    let more = error(&text.replace("epochs = 2", "epochs = 2\nwarmup = 9\nschedule = \"cosine\""));
    assert!(more.contains("x.toml: `training.warmup`: 9 is longer than the training, 8 steps"), "{more}");
    assert!(error(&text.replace("epochs = 2", "epochs = 2000000000")).contains("`training.epochs`: 2000000000 epochs"));
    assert!(error(&text.replace("epochs = 1\n[t", "epochs = 0\n[t")).contains("guide.steps"));
    // Without a batch in the file, it is all that is there, of up to 128.
    let none = self::config(&text.replace("batch = 7\n", ""));
    let resolved = none.resolved_for(Path::new("x.toml"), &data).expect("fits");
    assert_eq!((resolved.training.batch, resolved.training.steps), (Some(30), 2));
    assert_eq!(resolved.training("trained_first", 1).batch, 30);
}

#[test]
fn a_batch_fits_what_broken_files_leave() {
    let folder = tempfile::tempdir().expect("writable");
    classes(&folder, &["cat", "dog"], 10);
    (0..6).for_each(|number| drop(write(&folder, &format!("cat/{number}.png"), b"broken")));
    let text = "[data]\nset = \"folder\"\nsize = 4\nskip_broken = true\ntrain = 0.85\nvalidation = 0.0\ntest = 0.15\n[training]\nbatch = 17\n";
    let data = dataset(&folder, text).expect("fits");
    let left = data.train_count();
    assert!(left < 17, "{left}");
    let error = config(text).resolved_for(Path::new("x.toml"), &data).expect_err("too few are left").to_string();
    assert!(error.contains(&format!("17 is more than the {left} training examples")), "{error}");
    let fewer = config(&text.replace("batch = 17", &format!("batch = {left}")));
    let resolved = fewer.resolved_for(Path::new("x.toml"), &data).expect("fits");
    assert_eq!(
        resolved.data.train.and_then(|amount| amount.count()),
        Some(17),
        "as many as are drawn, broken ones too"
    );
}
