//! A pretrained guide sees images in the scale that it was trained on; the target keeps its own.

use std::path::Path;

use trellis_data::{Images, Normalization};
use trellis_guidance::network::{InputScale, Mode};
use trellis_guidance::weights::{self, save_with_recipe};
use trellis_guidance::{BatchSource, CapturePoint, Cnn, Dataset, Fcn, Guidance, Network, Trainer, Training};
use trellis_lab::config::{ArmGuide, Config};
use trellis_lab::experiment::{self, Progress};
use trellis_lab::recipe::Recipe;
use trellis_lab::record::Existing;
use trellis_tensor::{Graph, Plan, StepState, Tensor};

use crate::gpu;
use crate::training::runs::small_training;

/// Dark images of noise, with `channels` of 7 × 7 pixels.
fn images(channels: usize, count: usize) -> Images {
    let pixels = (0..count * channels * 49).map(|at| (at * 7919 % 131 + at / 49 * 13 % 41) as u8).collect();
    let labels = (0..count as u16).map(|at| at % 3).collect();
    Images { channels, height: 7, width: 7, pixels, labels, classes: 3, name: "noise".to_string() }
}

fn config(keys: &str) -> Config {
    let weights = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/resnet.safetensors");
    let text = format!(
        "[guide]\nnetwork = \"resnet\"\nblocks = [1, 1]\nwidth = 3\nclasses = 5\nweights = \"{weights}\"\n{keys}\n\
         [target]\ndepth = 2\nwidth = 8\n[training]\nsteps = 2\nbatch = 6\n"
    );
    Config::parse(&text, Path::new("x.toml")).expect("a sane file")
}

/// Activations of every captured layer and logits, one after another, of `count` images.
fn activations(network: &Network, input: &[f32], count: usize) -> Vec<f32> {
    let images = Tensor::from_f32(&gpu(), "images", [count, 3, 7, 7], input).expect("small");
    let graph = Graph::new();
    let forward = network.forward(&graph, graph.leaf(&images), Mode::Eval, CapturePoint::BeforeNorm).expect("fits");
    let kept: Vec<_> = forward.activations.iter().map(|activation| activation.value).chain([forward.logits]).collect();
    let plan = Plan::new(&gpu(), &graph, &kept).expect("small");
    plan.run(1).expect("works");
    kept.iter().flat_map(|&value| plan.read(value).expect("kept")).collect()
}

fn assert_close(given: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(given.len(), expected.len());
    let greatest = expected.iter().fold(0_f32, |most, value| most.max(value.abs()));
    let error = given.iter().zip(expected).fold(0_f32, |most, (a, b)| most.max((a - b).abs())) / greatest;
    assert!(error <= tolerance, "{error:.1e} of {greatest}");
}

#[test]
fn a_guide_of_torchvision_sees_raw_images_in_the_scale_of_imagenet() {
    let set = images(3, 6);
    let data = Dataset::new(&gpu(), &set, None, None).expect("fits");
    // By hand: (x − mean) / std of each channel, as torchvision's transforms do.
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let by_hand = |(at, &byte): (usize, &u8)| {
        let channel = at / 49 % 3;
        ((f64::from(byte) / 255.0 - mean[channel]) / std[channel]) as f32
    };
    let scaled: Vec<f32> = set.pixels.iter().enumerate().map(by_hand).collect();

    let (graph, step_state) = (Graph::new(), StepState::new(&gpu()).expect("small"));
    let input = BatchSource::sequential(&data, data.train(), 6)
        .and_then(|batches| batches.batch(&graph, &step_state))
        .expect("fits")
        .input;
    let guide = |keys: &str| {
        let config = config(keys);
        let guide = config.draw_guide(&ArmGuide::Trained, &data, 1).expect("fits");
        weights::load(&guide, config.guide.keys.weights.as_ref().expect("given")).expect("fits");
        guide
    };
    let plain = guide("");
    let expected = activations(&plain, &scaled, 6);
    for keys in ["mean = \"imagenet\"\nstd = \"imagenet\"", "mean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"]
    {
        let guide = guide(keys).freeze();
        let forward = guide.forward(&graph, input, CapturePoint::BeforeNorm).expect("fits");
        let kept: Vec<_> =
            forward.activations.iter().map(|activation| activation.value).chain([forward.logits]).collect();
        let plan = Plan::new(&gpu(), &graph, &kept).expect("small");
        plan.run(1).expect("works");
        let seen: Vec<f32> = kept.iter().flat_map(|&value| plan.read(value).expect("kept")).collect();
        assert_close(&seen, &expected, 1e-5);
    }
    // Activations under the target's scale are far from these.
    let Normalization { mean, deviation } = data.normalization().expect("images");
    let target: Vec<f32> = set.pixels.iter().map(|&byte| (f32::from(byte) / 255.0 - mean) / deviation).collect();
    let other = activations(&plain, &target, 6);
    assert!(other.iter().zip(&expected).any(|(a, b)| (a - b).abs() > 0.1));
}

/// The same two scales, given in two ways: the data's are the target's and the guide has keys, or the other way round.
#[test]
fn steps_and_evaluations_compare_with_the_scaled_guide() {
    let (train, test) = (images(1, 24), images(1, 9));
    let ours = Normalization { mean: 0.25, deviation: 0.5 };
    let theirs = Normalization { mean: 0.4, deviation: 0.05 };
    let scale = |units: Normalization| InputScale { mean: vec![units.mean], std: vec![units.deviation] };
    let run = |of_data: Normalization, guide_scale: Option<InputScale>, target_scale: Option<InputScale>| {
        let data = Dataset::new(&gpu(), &train, None, Some(&test)).expect("fits").normalized(of_data);
        let scaled = |network: Network, scale: Option<InputScale>| match scale {
            Some(scale) => network.with_input_scale(&scale, of_data).expect("fits"),
            None => network,
        };
        let guide = Network::new(Cnn { batch_norm: false, ..Cnn::new(&[4, 4]) }, &data, 5).expect("fits");
        let target = Network::new(Fcn::new(2, 8), &data, 6).expect("fits");
        let (guide, target) = (scaled(guide, guide_scale), scaled(target, target_scale));
        let training = Training { batch: 12, ..small_training(3) };
        let trainer = Trainer::new(&target, &data, training).guided_by(Guidance::new(guide.freeze()));
        let run = trainer.run().expect("trains");
        let steps = run.steps.iter().flat_map(|step| [&[step.loss], &step.similarity[..]].concat());
        let evals = run.evals.iter().flat_map(|eval| [&[eval.loss], &eval.similarity[..]].concat());
        steps.chain(evals).collect::<Vec<f32>>()
    };
    let scaled = run(ours, Some(scale(theirs)), None);
    assert_close(&scaled, &run(theirs, None, Some(scale(ours))), 1e-4);
    let plain = run(ours, None, None);
    assert!(scaled.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-3), "{scaled:?}");
}

#[test]
fn a_scale_that_does_not_fit_is_refused_by_its_key() {
    let of = |keys: &str| Config::parse(&format!("[guide]\n{keys}\n"), Path::new("x.toml")).map_err(|e| e.to_string());
    for (keys, wanted) in [
        ("mean = [0.5]", "`guide.std`: is missing"),
        ("std = [0.5]", "`guide.mean`: is missing"),
        ("mean = [123.7]\nstd = [58.4]", "from 0 to 1"),
        ("mean = [0.5]\nstd = [0.0]", "`guide.std`: 0 is out of range"),
        ("mean = []\nstd = []", "`guide.mean`: is 0 or empty"),
        ("mean = \"imagnet\"\nstd = \"imagenet\"", "did you mean `imagenet`?"),
        ("mean = 0.5\nstd = 0.5", "a list with a number for each channel, or \"imagenet\""),
        ("normalize = \"imagenet\"", "did you mean `mean`?"),
    ] {
        let message = of(keys).expect_err(keys);
        assert!(message.contains(wanted), "{keys}: {message}");
    }
    let tokens = "[data]\nset = \"parity\"\n[target]\nnetwork = \"rnn\"\n[guide]\nnetwork = \"rnn\"\n\
        mean = \"imagenet\"\nstd = \"imagenet\"\n";
    let message = Config::parse(tokens, Path::new("x.toml")).expect_err("tokens").to_string();
    assert!(message.contains("guide.mean"), "{message}");
    // Images of one channel.
    let gray =
        of("mean = \"imagenet\"\nstd = \"imagenet\"\n[data]\ntrain = 20\nvalidation = 0\ntest = 20").expect("sane");
    let data = gray.dataset(&gpu(), Path::new("x.toml"), None).expect("glyphs");
    let message = gray.draw_guide(&ArmGuide::Trained, &data, 0).expect_err("one channel").to_string();
    assert!(
        message.contains("`guide.mean`: has 3 values, one for each channel, and the images have 1; give 1"),
        "{message}"
    );
}

#[test]
fn weights_of_an_unknown_scale_are_warned_of() {
    let folder = tempfile::tempdir().expect("writable");
    let data = Dataset::new(&gpu(), &images(3, 24), None, Some(&images(3, 12))).expect("fits");
    for (number, (keys, wanted)) in [("", 1), ("mean = \"imagenet\"\nstd = \"imagenet\"", 0)].into_iter().enumerate() {
        let config =
            Config { name: number.to_string(), arms: vec!["trained".to_string()], seeds: vec![1], ..config(keys) };
        let mut warnings = Vec::new();
        experiment::run(&config, &data, folder.path(), Existing::Refuse, &mut |progress| {
            if let Progress::Warning(text) = progress {
                warnings.push(text.to_string());
            }
        })
        .expect("runs");
        assert_eq!(warnings.iter().filter(|text| text.contains("set guide.mean and guide.std")).count(), wanted);
    }
}

/// A guide of ours says in which scale it saw images; a configuration that says nothing, or otherwise, is refused with what to set.
#[test]
fn the_scale_of_a_guide_of_ours_is_not_forgotten() {
    let folder = tempfile::tempdir().expect("writable");
    let data = Dataset::new(&gpu(), &images(3, 24), None, Some(&images(3, 12))).expect("fits");
    let run = |name: &str, keys: &str| {
        let mut config =
            Config { name: name.to_string(), arms: vec!["trained".to_string()], seeds: vec![1], ..config(keys) };
        if name != "first" {
            config.guide.keys.weights = Some(folder.path().join("first/guide-1.safetensors"));
        }
        experiment::run(&config, &data, folder.path(), Existing::Refuse, &mut |_| {})
            .map(drop)
            .map_err(|e| e.to_string())
    };
    let imagenet = "mean = \"imagenet\"\nstd = \"imagenet\"";
    run("first", imagenet).expect("runs");
    for (name, keys) in [("none", ""), ("other", "mean = [0.5, 0.5, 0.5]\nstd = [0.2, 0.2, 0.2]")] {
        let error = run(name, keys).expect_err(name);
        assert!(error.contains("guide.mean = [0.485, 0.456, 0.406]") && error.contains("guide-1"), "{error}");
    }
    run("same", imagenet).expect("as it was trained");
}

/// Scale and all, a guide's checkpoint is evaluated by its recipe as in the run.
#[test]
fn the_scale_stands_in_the_run_and_in_the_guides_recipe() {
    let folder = tempfile::tempdir().expect("writable");
    let data = Dataset::new(&gpu(), &images(3, 24), None, Some(&images(3, 12))).expect("fits");
    let text = "name = \"scaled\"\nseeds = [1]\narms = [\"trained\"]\n[guide]\nchannels = [4]\nstrides = [2]\nsteps = 2\n\
        mean = \"imagenet\"\nstd = \"imagenet\"\n[target]\ndepth = 2\nwidth = 8\n[training]\nsteps = 2\nbatch = 6\n";
    let config = Config::parse(text, Path::new("x.toml")).expect("sane");
    let done = experiment::run(&config, &data, folder.path(), Existing::Refuse, &mut |_| {}).expect("runs");
    let report = std::fs::read_to_string(folder.path().join("scaled/report.html")).expect("written");
    let words = "input scaled by mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]";
    assert!(report.contains(words) && done.config_toml.contains("mean = \"imagenet\""), "{}", done.config_toml);
    let path = folder.path().join("scaled/guide-1.safetensors");
    let recipe = Recipe::read(&path).expect("written");
    assert_eq!(recipe.version, 2);
    let network = recipe.network(&gpu(), &path).expect("fits");
    assert_eq!(network.input_scale(), Some(&InputScale::imagenet()));
    let (_, test) = data.splits().last().expect("a test split");
    let eval = trellis_guidance::trainer::evaluate(&network, &data, "test", test, 6).expect("evaluates");
    let logged = done.guides[0].last_eval("test").expect("evaluated");
    assert_eq!((eval.loss, eval.top1), (logged.loss, logged.top1));
    // The target sees the data's scale, and says so as ever.
    assert_eq!(Recipe::read(&folder.path().join("scaled/trained-1.safetensors")).expect("written").version, 1);
    let again = folder.path().join("again.safetensors");
    save_with_recipe(&network, &again, &recipe.to_json()).expect("writable");
    assert_eq!(Recipe::read(&again).expect("written"), recipe);
}
