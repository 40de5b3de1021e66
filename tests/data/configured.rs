//! Data of a configuration: splits, streams, crops, tokens. Each key by itself leads to other data.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use trellis_data::text::{Text, Tokenizer};
use trellis_data::{Images, idx};
use trellis_guidance::network::InputShape;
use trellis_guidance::{BatchSource, Crop, Dataset, Result};
use trellis_lab::config::{ArmGuide, Config, DataSet};
use trellis_lab::experiment;
use trellis_lab::record::Existing;
use trellis_tensor::{Gpu, GpuOptions, Graph, Plan, StepState};

use crate::data::write;
use crate::gpu;

/// Data of a configuration in TOML, read from a folder.
pub(super) fn dataset(folder: &TempDir, text: &str) -> Result<Dataset> {
    config(text).dataset(&gpu(), Path::new("x.toml"), Some(folder.path()))
}

/// Networks that take tokens.
pub(super) const SEQUENCES: &str = "[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"rnn\"\n";

pub(super) fn config(text: &str) -> Config {
    Config::parse(text, Path::new("x.toml")).expect("a sane file")
}

/// Images of 4 × 4 that are as bright as their number, from `first` on.
pub(super) fn numbered(first: u8, count: u8) -> Images {
    Images {
        channels: 1,
        height: 4,
        width: 4,
        pixels: (first..first + count).flat_map(|number| [number; 16]).collect(),
        labels: (0..u16::from(count)).map(|number| number % 10).collect(),
        classes: 10,
        name: "numbered".to_string(),
    }
}

/// Brightness of the images of each split, darkest first; no two images are alike.
pub(super) fn brightness(data: &Dataset) -> Vec<Vec<f32>> {
    let of_split = |(_, split): (&str, &trellis_guidance::Split)| {
        let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("fits"));
        let mut batches = BatchSource::sequential(data, split, split.count()).expect("fits");
        let batch = batches.batch(&graph, &step_state).expect("fits");
        let means = batch.input.images().and_then(|images| Ok(images.mean(&[1, 2, 3], false)?)).expect("images");
        let plan = Plan::new(&gpu(), &graph, &[means]).expect("fits");
        batches.prepare(0, 1).expect("reads");
        plan.run(1).expect("works");
        let mut values = plan.read(means).expect("kept");
        values.sort_by(f32::total_cmp);
        values
    };
    data.splits().map(of_split).collect()
}

#[test]
fn splits_of_an_idx_set_are_apart_and_its_own_test_images_are_the_test_split() {
    let folder = tempfile::tempdir().expect("writable");
    idx::save(folder.path(), "train-", &numbered(0, 100)).expect("writable");
    let keys = "[data]\nset = \"idx\"\ntrain = 50\nvalidation = 20\ntest = 15\n[training]\nbatch = 8\n";
    for (own, stream) in [(false, false), (true, false), (true, true)] {
        if own {
            idx::save(folder.path(), "t10k-", &numbered(200, 30)).expect("writable");
        }
        let text = keys.replace("[training]", &format!("stream = {stream}\n[training]"));
        let data = dataset(&folder, &text).expect("fits");
        assert_eq!(data.is_streamed(), stream);
        let splits = brightness(&data);
        assert_eq!(splits.iter().map(Vec::len).collect::<Vec<_>>(), [50, 20, 15]);
        let all: BTreeSet<u32> = splits.iter().flatten().map(|value| value.to_bits()).collect();
        assert_eq!(all.len(), 85, "no image in two splits");
        let (brightest, darkest) = (splits[0][49].max(splits[1][19]), splits[2][0]);
        assert_eq!(darkest > brightest, own, "test images are brighter where they are others");
    }
    assert!(!dataset(&folder, keys).expect("fits").is_streamed(), "it has room");
    assert!(dataset(&folder, &keys.replace("test = 15", "test = 31")).is_err(), "30 test images");
}

#[test]
fn folders_are_resized_cropped_and_may_have_broken_files() {
    let folder = tempfile::tempdir().expect("writable");
    // One pixel, which becomes as many as are wanted.
    let png = include_bytes!("../golden/pixel.png");
    for class in ["a", "b"] {
        (0..4).for_each(|number| drop(write(&folder, &format!("train/{class}/{number}.png"), png)));
        (0..2).for_each(|number| drop(write(&folder, &format!("val/{class}/{number}.png"), png)));
    }
    let keys = |more: &str| {
        format!(
            "[data]\nset = \"folder\"\nsize = 6\ntrain = 6\nvalidation = 2\ntest = 4\n{more}\n[training]\nbatch = 3\n"
        )
    };
    let data = dataset(&folder, &keys("")).expect("fits");
    assert_eq!((data.input(), data.stored()), (InputShape::Image([3, 6, 6]), InputShape::Image([3, 6, 6])));
    let data = dataset(&folder, &keys("resize = 9")).expect("fits");
    assert_eq!((data.input(), data.stored()), (InputShape::Image([3, 6, 6]), InputShape::Image([3, 9, 9])));
    (0..2).for_each(|number| drop(write(&folder, &format!("train/a/{number}.png"), b"broken")));
    for stream in [false, true] {
        let more = format!("stream = {stream}\n");
        let error = dataset(&folder, &keys(&more)).expect_err("broken files").to_string();
        assert!(error.contains("skip_broken"), "{error}");
        let data = dataset(&folder, &keys(&format!("{more}skip_broken = true\n"))).expect("the rest is fine");
        let all: usize = data.splits().map(|(_, split)| split.count()).sum();
        assert!(data.is_streamed() == stream && !data.skipped().is_empty());
        // Of four images of the class three are drawn, and of these one or two are broken.
        assert!(
            if stream { all == 12 } else { [10, 11].contains(&all) },
            "{all}: streamed images are not looked at before"
        );
    }
}

#[test]
fn a_text_is_cut_as_the_configuration_says() {
    let folder = tempfile::tempdir().expect("writable");
    let text = write(&folder, "text.txt", "ab ab äb\n".repeat(80).as_bytes());
    let of = |keys: &str| {
        let keys = format!(
            "[data]\nset = \"text\"\ncontext = 5\ntrain = 20\nvalidation = 0\ntest = 4\n{keys}\n{SEQUENCES}[training]\nbatch = 4\n"
        );
        let config = Config::read(&write(&folder, "sub/x.toml", keys.as_bytes())).expect("a sane file");
        let kept = Config::parse(&config.to_toml(), Path::new("again.toml")).expect("what a run keeps");
        assert_eq!(kept, config);
        config.dataset(&gpu(), Path::new("x.toml"), Some(&text))
    };
    let vocabulary = |data: &Dataset| match data.input() {
        InputShape::Tokens(tokens) => tokens.vocabulary,
        InputShape::Image(_) => panic!("tokens"),
    };
    assert_eq!(vocabulary(&of("").expect("fits")), 5);
    assert_eq!(vocabulary(&of("level = \"bytes\"").expect("fits")), 256);
    for (stream, wanted) in [("", false), ("stream = false", false), ("stream = true\nlevel = \"bytes\"", true)] {
        assert_eq!(of(stream).expect("fits").is_streamed(), wanted, "{stream}");
    }
    // Beside the configuration, wherever that is read from.
    let words = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,
        "pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,
        "model":{"type":"WordLevel","vocab":{"?":0,"ab":1,"äb":2},"unk_token":"?"}}"#;
    write(&folder, "sub/words.json", words.as_bytes());
    assert_eq!(vocabulary(&of("tokenizer = \"words.json\"").expect("fits")), 3);
    let error = of("tokenizer = \"none.json\"").expect_err("not there").to_string();
    assert!(error.contains("none.json"), "{error}");
}

#[test]
fn drawn_sequences_have_the_papers_lengths() {
    let time = |set: &str| {
        let text = format!(
            "[data]\nset = \"{set}\"\ntrain = 20\nvalidation = 0\ntest = 20\n{SEQUENCES}[training]\nbatch = 8\n"
        );
        match config(&text).dataset(&gpu(), Path::new("x"), None).expect("fits").input() {
            InputShape::Tokens(tokens) => (tokens.time, tokens.vocabulary),
            InputShape::Image(_) => panic!("tokens"),
        }
    };
    assert_eq!((time("parity"), time("copy_paste")), ((50, 3), (82, 13)));
}

#[test]
fn augmentation_reaches_target_and_guide_and_the_guides_classes_are_its_own() {
    let keys = "[data]\nset = \"folder\"\nsize = 32\nresize = 40\n[training]\ncrop = \"resized\"\ncrop_scale = [0.25, 0.5]\n\
        shift = 2\nflip = true\n[guide]\nclasses = 7\n";
    let config = config(keys);
    for training in [config.training("alone", 1), config.guide_training(&ArmGuide::Trained, 1)] {
        assert_eq!((training.crop, training.shift, training.flip), (Crop::Resized([0.25, 0.5]), 2, true));
    }
    let glyphs =
        self::config("[data]\ntrain = 20\nvalidation = 0\ntest = 20\n[training]\nbatch = 8\n[guide]\nclasses = 7\n");
    assert_eq!(glyphs.data.set, DataSet::Glyphs);
    let data = glyphs.dataset(&gpu(), Path::new("x"), None).expect("fits");
    assert_eq!(glyphs.draw_guide(&ArmGuide::Trained, &data, 0).expect("fits").output().classes, 7);
    assert_eq!(data.output().classes, 10);
}

#[test]
fn what_fits_takes_no_more_than_half_of_the_memory() {
    let gpu = Gpu::with(&GpuOptions { memory_budget: Some(64 << 20), ..GpuOptions::default() }).expect("an adapter");
    assert!(Dataset::fits(&gpu, [10, 10, 11], 1 << 20));
    assert!(!Dataset::fits(&gpu, [11, 11, 11], 1 << 20));
    assert!(!Dataset::fits(&gpu, [usize::MAX, 1, 1], 1 << 20));
}

/// Of more images than are looked at, every so many; streamed and resident alike.
#[test]
pub(super) fn brightness_comes_from_evenly_spaced_images() {
    let count = 25_000_usize;
    let images = Images {
        channels: 1,
        height: 1,
        width: 1,
        // The last third is bright.
        pixels: (0..count).map(|at| if at < 2 * count / 3 { 10 } else { 250 }).collect(),
        labels: vec![0; count],
        classes: 2,
        name: "thirds".to_string(),
    };
    let resident = Dataset::new(&gpu(), &images, None, None).expect("fits");
    let streamed = Dataset::stream(&gpu(), Arc::new(images), None, None, false).expect("fits");
    assert_eq!(resident.describe(), streamed.describe());
    assert_eq!(resident.black(), streamed.black());
    let mean = (10.0 * 2.0 + 250.0) / 3.0;
    let deviation = (((10.0 - mean) * (10.0 - mean) * 2.0 + (250.0 - mean) * (250.0 - mean)) / 3.0_f32).sqrt();
    assert!((resident.black() + mean / deviation).abs() < 1e-3, "{} for {}", resident.black(), -mean / deviation);
}

/// By its description a run that goes on knows its data.
#[test]
fn other_data_has_another_description() {
    let (train, test) = (numbered(0, 40), numbered(100, 20));
    let describe = |train: &Images, test: &Images| {
        let resident = Dataset::new(&gpu(), train, None, Some(test)).expect("fits").describe();
        let source = |images: &Images| Arc::new(images.clone());
        let streamed = Dataset::stream(&gpu(), source(train), None, Some(source(test)), false).expect("fits");
        assert_eq!(resident, streamed.describe());
        resident
    };
    let whole = describe(&train, &test);
    assert_eq!(whole, describe(&train, &test));
    // The same brightness, all of them.
    let mut swapped = train.clone();
    swapped.labels.swap(0, 1);
    let mut moved = test.clone();
    moved.pixels.swap(0, 16);
    let mut ordered = train.clone();
    ordered.pixels.rotate_left(16);
    for (train, test) in [(&swapped, &test), (&train, &moved), (&ordered, &test)] {
        assert_ne!(whole, describe(train, test));
    }
    let text = |words: &str| {
        let text = Text::new("words", words.as_bytes(), Tokenizer::Bytes).expect("a text");
        let streamed = Dataset::stream_text(&gpu(), &Arc::new(text), 4, [3, 0, 1]).expect("fits").describe();
        let text = Text::new("words", words.as_bytes(), Tokenizer::Bytes).expect("a text");
        assert_eq!(Dataset::text(&gpu(), &text, 4, [3, 0, 1]).expect("fits").describe(), streamed);
        streamed
    };
    assert_ne!(text("some words that are read"), text("some wodrs that are read"));
}

/// Without data, memory is counted for what the configuration tells of them; with data, it has to be right.
#[test]
fn classes_are_what_there_is() {
    let counting = Gpu::with(&GpuOptions { dry_run: true, ..GpuOptions::default() }).expect("an adapter");
    let count = |text: &str| config(text).dataset(&counting, Path::new("x.toml"), None);
    let keys = "train = 600\nvalidation = 0\ntest = 99\n";
    let data = count(&format!("[data]\nset = \"folder\"\nresize = 9\nsize = 6\nclasses = 77\n{keys}")).expect("counts");
    assert_eq!((data.input(), data.output().classes), (InputShape::Image([3, 6, 6]), 77));
    assert_eq!(data.splits().map(|(_, split)| split.count()).collect::<Vec<_>>(), [600, 99]);
    assert!(counting.memory_used() > 699 * 3 * 81);
    let unknown = count(&format!("[data]\nset = \"folder\"\n{keys}")).expect_err("of how many classes").to_string();
    assert!(unknown.starts_with("x.toml: `data.classes`"), "{unknown}");
    let data =
        count(&format!("[data]\nset = \"text\"\ncontext = 7\nclasses = 500\n{keys}{SEQUENCES}")).expect("counts");
    assert_eq!((data.output().classes, data.train_count()), (500, 600));
    for (set, shape) in [("idx", [1, 28, 28]), ("cifar", [3, 32, 32])] {
        let data = count(&format!("[data]\nset = \"{set}\"\n{keys}")).expect("counts");
        assert_eq!((data.input(), data.output().classes), (InputShape::Image(shape), 10));
    }

    let folder = tempfile::tempdir().expect("writable");
    let png = include_bytes!("../golden/pixel.png");
    (0..300).for_each(|at| drop(write(&folder, &format!("train/{}/{at}.png", ["cat", "dog"][at % 2]), png)));
    let keys = "[data]\nset = \"folder\"\nsize = 4\ntrain = 200\nvalidation = 0\ntest = 100\n";
    assert_eq!(dataset(&folder, keys).expect("fits").class_names(), ["cat", "dog"]);
    let wrong = dataset(&folder, &format!("{keys}classes = 3\n")).expect_err("2 classes").to_string();
    assert!(wrong.contains("`data.classes`: is 3, but") && wrong.contains("has 2"), "{wrong}");
    let more = dataset(&folder, &keys.replace("200", "201")).expect_err("of 300").to_string();
    let few = "holds 300 images, fewer than train = 201, validation = 0, test = 100; for example train = 270, validation = 0, test = 30";
    assert!(more.contains("`data.train`: ") && more.contains(few), "{more}");
    write(&folder, "val/cat/0.png", png);
    let more = dataset(&folder, keys).expect_err("one to test").to_string();
    assert!(
        more.contains("`data.test`: ") && more.contains("holds 1 images to test with, fewer than test = 100; add some"),
        "{more}"
    );
}

#[test]
fn glyphs_have_their_names() {
    let glyphs = config("[data]\ntrain = 20\nvalidation = 0\ntest = 20\n");
    let data = glyphs.dataset(&gpu(), Path::new("x"), None).expect("fits");
    assert_eq!(data.class_names(), trellis_data::glyphs::NAMES);
}

/// One draw of weights guides untrained and, after its own steps, trained: with steps of no length the two are the same.
#[test]
fn the_two_guides_of_a_seed_are_one_draw() {
    let folder = tempfile::tempdir().expect("writable");
    let keys = "name = \"x\"\nseeds = [1, 2]\narms = [\"untrained\", \"trained\"]\n[data]\ntrain = 40\nvalidation = 0\ntest = 20\n\
        [target]\ndepth = 2\nwidth = 8\n[guide]\nchannels = [3]\nstrides = [2]\nsteps = 1\nlearning_rate = 1e-12\n\
        batch_norm = false\n[training]\nsteps = 1\nbatch = 8\n";
    let config = config(keys);
    let data = config.dataset(&gpu(), Path::new("x"), None).expect("fits");
    let run = experiment::run(&config, &data, folder.path(), Existing::Refuse, &mut |_| {}).expect("trains");
    let similarity = |arm: &str, seed: u64| {
        let run = run.runs_of(arm).find(|run| run.seed == seed).expect("ran");
        run.steps[0].similarity.clone()
    };
    for seed in [1, 2] {
        for (untrained, trained) in similarity("untrained", seed).iter().zip(similarity("trained", seed)) {
            assert!((untrained - trained).abs() < 1e-5, "seed {seed}: {untrained} and {trained}");
        }
    }
    assert_ne!(similarity("trained", 1), similarity("trained", 2));
}
