//! Arms of one's own: each key of `[arm.<name>]` has the effect that it names, and guides are made only for arms that use them.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use tempfile::TempDir;
use trellis_guidance::network::{HeadBias, InitialWeights, RnnCell};
use trellis_guidance::trainer::{EvalRecord, RunRecord};
use trellis_guidance::weights::WeightsFile;
use trellis_guidance::{Dataset, Network, Rnn};
use trellis_lab::config::Config;
use trellis_lab::experiment::{self, Progress};
use trellis_lab::record::{Existing, Experiment};
use trellis_tensor::{Gpu, GpuOptions};

use crate::{gpu, open};

const SMALL: &str = "name = \"x\"\nseeds = [1]\n\
    [data]\nset = \"copy_paste\"\nlengths = [4, 4]\nsymbols = 4\ntrain = 64\nvalidation = 0\ntest = 32\n\
    [target]\nnetwork = \"rnn\"\nlayers = 2\nwidth = 8\nhidden = 8\n\
    [guide]\nnetwork = \"transformer\"\nlayers = 2\nwidth = 8\nheads = 2\nhidden = 8\nsteps = 2\n\
    [guidance]\nfirst_steps = 2\n[training]\nsteps = 4\nbatch = 16\n";

fn train(folder: &TempDir, arms: &str, tables: &str) -> Experiment {
    let text = format!("arms = {arms}\n{SMALL}{tables}");
    let config = Config::parse(&text, Path::new("x.toml")).expect("a sane file");
    let data = config.dataset(&gpu(), Path::new("x.toml"), None).expect("fits");
    experiment::run(&config, &data, folder.path(), Existing::MoveAside, &mut |_| {}).expect("trains")
}

fn run<'a>(experiment: &'a Experiment, arm: &'a str) -> &'a RunRecord {
    experiment.runs_of(arm).next().expect("ran")
}

fn losses(experiment: &Experiment, arm: &str) -> Vec<f32> {
    run(experiment, arm).steps.iter().map(|step| step.loss).collect()
}

#[test]
fn each_key_has_its_effect() {
    let folder = tempfile::tempdir().expect("writable");
    let arms = "[\"alone\", \"untrained\", \"brief\", \"fading\", \"strong\", \"orthogonal\", \"prior\", \"slow\"]";
    let tables = "[arm.brief]\nguide = \"untrained\"\nfirst_steps = 2\n\
        [arm.fading]\nguide = \"untrained\"\ndecay_steps = 3\n\
        [arm.strong]\nguide = \"untrained\"\nweight = 5.0\n\
        [arm.orthogonal]\nguide = \"none\"\ninit = \"orthogonal\"\n\
        [arm.prior]\nguide = \"none\"\nbias = \"label_prior\"\n\
        [arm.slow]\nguide = \"none\"\nlearning_rate = 0.0001\n";
    let done = train(&folder, arms, tables);
    assert_eq!(done.arms(), ["alone", "untrained", "brief", "fading", "strong", "orthogonal", "prior", "slow"]);
    let of = |arm: &str| losses(&done, arm);
    let guided = |arm: &str| run(&done, arm).steps.iter().filter(|step| step.alignment.is_some()).count();
    assert_eq!(["alone", "untrained", "brief", "fading", "strong", "orthogonal"].map(guided), [0, 4, 2, 3, 4, 0]);

    // One draw of weights and batches: up to where the key acts, arms are the same to the bit.
    assert_eq!(of("untrained")[0], of("alone")[0]);
    assert_eq!(of("brief")[..3], of("untrained")[..3]);
    assert_ne!(of("brief")[3], of("untrained")[3]);
    assert_ne!(of("fading")[2], of("untrained")[2]);
    assert_ne!(of("strong")[1], of("untrained")[1]);
    assert_ne!(of("untrained")[1], of("alone")[1]);
    assert_eq!(of("slow")[0], of("alone")[0]);
    assert_ne!(of("slow")[1], of("alone")[1]);
    assert_ne!(of("orthogonal")[0], of("alone")[0]);
    assert_ne!(of("prior")[0], of("alone")[0]);

    // Unguided arms are compared with the guide that another arm has.
    let measured = |eval: &EvalRecord| eval.split == "test" && eval.similarity.len() == 2;
    assert!(["alone", "orthogonal", "prior"].iter().all(|arm| run(&done, arm).evals.iter().any(measured)));

    // No arm uses a trained guide: none is trained, and the one that was used is kept.
    assert!(done.guides.is_empty());
    let path = |name: &str| folder.path().join("x").join(name);
    assert!(!path("guide-1.safetensors").exists() && path("untrained-guide-1.safetensors").is_file());
    WeightsFile::read(&path("untrained-guide-1.safetensors")).expect("weights");
}

/// Two guides pull in one arm, each as in its own; the first step has both losses.
#[test]
fn further_guides_pull_as_in_their_own_arms() {
    let folder = tempfile::tempdir().expect("writable");
    let tables = "[guides.small]\nnetwork = \"rnn\"\nlayers = 1\nwidth = 8\nhidden = 8\nsteps = 2\n\
        [arm.one]\nguide = \"small\"\nweight = 2.0\nguidance = { map = \"last\" }\n\
        [arm.two]\nguide = \"untrained\"\nfirst_steps = 2\n\
        [arm.both]\nguide = \"small\"\nweight = 2.0\nguidance = { map = \"last\" }\nalso = [\"two\"]\n";
    let done = train(&folder, "[\"alone\", \"one\", \"two\", \"both\"]", tables);
    let [one, two, both] = ["one", "two", "both"].map(|arm| run(&done, arm));
    let named = |number: usize, run: &RunRecord| -> Vec<[String; 2]> {
        run.pairs.iter().map(|[guide, target]| [format!("{number}:{guide}"), target.clone()]).collect()
    };
    assert_eq!(both.pairs, [named(1, one), named(2, two)].concat());
    // Dropout apart the first step sees the same weights and batch.
    let similarity = |run: &RunRecord, step: usize| run.steps[step].similarity.clone();
    assert_eq!(similarity(both, 0), [similarity(one, 0), similarity(two, 0)].concat());
    let gone = &similarity(both, 3)[one.pairs.len()..];
    assert!(gone.iter().all(|value| value.is_nan()), "the second guide has left: {gone:?}");
    assert!(both.steps[3].alignment.is_some_and(f32::is_finite));
    assert_ne!(both.steps[1].loss, one.steps[1].loss);
    let page = std::fs::read_to_string(folder.path().join("x").join("report.html")).expect("written");
    assert!(
        page.contains("and as guide 2 that of the arm two") && !page.contains("was not finite"),
        "nothing is missing from the plots"
    );
    assert!(!page.contains("and that of two"), "a further guide is named once");
}

#[test]
fn guides_are_made_for_the_arms_that_use_them() {
    let folder = tempfile::tempdir().expect("writable");
    let kept = |name: &str| folder.path().join("x").join(name).is_file();
    let done = train(&folder, "[\"alone\"]", "");
    assert!(done.guides.is_empty() && !kept("guide-1.safetensors") && !kept("untrained-guide-1.safetensors"));
    assert!(run(&done, "alone").pairs.is_empty());

    let done = train(&folder, "[\"alone\", \"trained_first\"]", "[arm.trained_first]\nfirst_steps = 1\n");
    assert_eq!(done.guides.len(), 1);
    assert!(kept("guide-1.safetensors") && !kept("untrained-guide-1.safetensors"));
    let guided = run(&done, "trained_first").steps.iter().filter(|step| step.alignment.is_some()).count();
    assert_eq!(guided, 1, "the arm's own length counts");
    assert_eq!(run(&done, "alone").pairs, run(&done, "trained_first").pairs);
}

/// Two guides beside each other: each is trained as its table says, kept under its name, and found again by a run that is resumed.
#[test]
fn a_named_guide_guides_its_arm() {
    let folder = tempfile::tempdir().expect("writable");
    let kept = |name: &str| folder.path().join("x").join(name).is_file();
    let tables = "[guides.small]\nnetwork = \"transformer\"\nlayers = 1\nwidth = 8\nheads = 2\nhidden = 8\nsteps = 3\n\
        [guides.drawn]\nnetwork = \"rnn\"\nlayers = 1\nwidth = 8\nhidden = 8\nsteps = 0\n\
        [arm.own]\nguide = \"small\"\n[arm.other]\nguide = \"drawn\"\nschedule = { first_steps = 1 }\n";
    let arms = "[\"alone\", \"trained\", \"own\", \"other\"]";
    let done = train(&folder, arms, tables);
    let trained: Vec<(&str, usize)> = done.guides.iter().map(|run| (run.arm.as_str(), run.steps.len())).collect();
    assert_eq!(trained, [("guide", 2), ("guide-small", 3)], "the drawn one is not trained");
    assert!(["guide-1", "guide-small-1", "guide-drawn-1"].iter().all(|name| kept(&format!("{name}.safetensors"))));
    assert_eq!(losses(&done, "own")[0], losses(&done, "trained")[0]);
    assert_ne!(losses(&done, "own")[1], losses(&done, "trained")[1]);
    let guided = run(&done, "other").steps.iter().filter(|step| step.alignment.is_some()).count();
    assert_eq!(guided, 1);

    let told = done.further_scores();
    assert!(told[0].starts_with("guide by itself: ") && told[1].starts_with("guide-small by itself: "), "{told:?}");

    let text = format!("arms = {arms}\n{SMALL}{tables}");
    let config = Config::parse(&text, Path::new("x.toml")).expect("a sane file");
    let data = config.dataset(&gpu(), Path::new("x.toml"), None).expect("fits");
    let again = experiment::run(&config, &data, folder.path(), Existing::Resume, &mut |_| {}).expect("is finished");
    assert_eq!((again.guides.len(), losses(&again, "own")), (2, losses(&done, "own")));
}

/// Each name draws other weights, the guide alone trains the first steps, and each has its effect in a file.
#[test]
fn initial_weights_and_steps_without_labels_have_their_effect() {
    let folder = tempfile::tempdir().expect("writable");
    let weights = ["kaiming", "xavier", "orthogonal", "identity", "lsuv"];
    let table = |name: &&str| format!("[arm.{name}]\nguide = \"none\"\ninit = \"{name}\"\n");
    let tables = weights.iter().map(table).collect::<String>()
        + "[arm.unlabeled]\nguide = \"untrained\"\nunlabeled_steps = 2\n\
           [arm.brief]\nguide = \"untrained\"\nfirst_steps = 2\n";
    let arms = [&["alone"], &weights[..], &["unlabeled", "brief"]].concat();
    let done = train(&folder, &format!("{arms:?}"), &tables);
    let first: Vec<f32> = arms[..6].iter().map(|arm| losses(&done, arm)[0]).collect();
    for (at, arm) in arms[..6].iter().enumerate() {
        assert!(!first[..at].contains(&first[at]), "{arm}: {first:?}");
    }
    let (unlabeled, brief) = (losses(&done, "unlabeled"), losses(&done, "brief"));
    assert_eq!((unlabeled[0], unlabeled.len()), (brief[0], 4));
    assert_ne!(unlabeled[1], brief[1]);
    let guided = |arm: &str| run(&done, arm).steps.iter().filter(|step| step.alignment.is_some()).count();
    assert_eq!((guided("unlabeled"), guided("brief")), (2, 2), "the guide leaves when the labels come");
    let report = std::fs::read_to_string(folder.path().join("x/report.html")).expect("a report");
    assert!(report.contains("no labels in the first 2") && report.contains("recurrent weights lsuv"));
}

/// An arm goes on where another one ended: of this experiment, or of another run.
#[test]
fn a_target_begins_with_the_weights_of_another_arm() {
    let folder = tempfile::tempdir().expect("writable");
    let last = |experiment: &Experiment, arm: &str| {
        let evals = &run(experiment, arm).evals;
        evals.iter().rev().find(|eval| eval.split == "test").map(|eval| (eval.loss, eval.top1)).expect("evaluated")
    };
    let first = |experiment: &Experiment, arm: &str| {
        let evals = &run(experiment, arm).evals;
        evals.iter().find(|eval| eval.split == "test").map(|eval| (eval.loss, eval.top1)).expect("evaluated")
    };
    let done =
        train(&folder, "[\"alone\", \"next\"]", "[arm.next]\nguide = \"none\"\ninit_from = \"alone\"\ndropout = 0.1\n");
    assert_eq!(first(&done, "next"), last(&done, "alone"));
    assert_ne!(first(&done, "next"), first(&done, "alone"));
    let report = std::fs::read_to_string(folder.path().join("x/report.html")).expect("a report");
    assert!(report.contains("begins with the weights of alone"));

    let source = folder.path().join("x");
    let begun = |target: &str, from: &str| {
        let tables = format!("[arm.next]\nguide = \"none\"\ninit_from = \"{from}\"\n");
        let text = format!("arms = [\"next\"]\n{SMALL}{tables}").replace("name = \"x\"", "name = \"y\"");
        let config = Config::parse(&text.replace("layers = 2\nwidth = 8\nhidden", target), Path::new("x.toml"));
        let config = config.expect("a sane file");
        let data = config.dataset(&gpu(), Path::new("x.toml"), None).expect("fits");
        let planned = experiment::check_weights(&config, &data).map_err(|error| error.to_string());
        let trained = experiment::run(&config, &data, folder.path(), Existing::MoveAside, &mut |_| {});
        let trained = trained.map_err(|error| error.to_string());
        assert_eq!(planned.is_ok(), trained.is_ok(), "what is planned is what is trained");
        assert!(planned.is_ok() || planned.err() == trained.as_ref().err().cloned());
        trained
    };
    // A run folder lies beside the file that names it.
    let file = folder.path().join("next.toml");
    let text = "arms = [\"next\"]\n[arm.next]\nguide = \"none\"\ninit_from = \"x:alone\"\n";
    std::fs::write(&file, text).expect("writable");
    let named = Config::read(&file).expect("a sane file").arm["next"].init_from.clone().expect("given");
    assert_eq!((named.run.as_deref(), named.arm.as_str()), (Some(source.as_path()), "alone"));
    let same = "layers = 2\nwidth = 8\nhidden";
    let next = begun(same, &format!("{}:alone", source.display())).expect("the same target");
    assert_eq!(first(&next, "next"), last(&done, "alone"));
    let missing = begun(same, &format!("{}:other", source.display())).expect_err("no such file");
    assert!(missing.contains("other-1.safetensors"), "{missing}");
    let other = begun("layers = 3\nwidth = 8\nhidden", &format!("{}:alone", source.display())).expect_err("deeper");
    assert!(other.contains("alone-1.safetensors") && other.contains("rnn 3x8") && other.contains("rnn 2x8"), "{other}");
}

/// Whatever stands in the guide's place, it is another run.
#[test]
fn controls_pull_another_way() {
    let folder = tempfile::tempdir().expect("writable");
    let controls = ["none", "permuted", "noise", "rotated", "input", "labels"];
    let table = |control: &&str| format!("[arm.{control}]\nguide = \"untrained\"\ncontrol = \"{control}\"\n");
    let done = train(&folder, &format!("{controls:?}"), &controls.iter().map(table).collect::<String>());
    let second: Vec<f32> = controls.iter().map(|control| losses(&done, control)[1]).collect();
    for (at, control) in controls.iter().enumerate() {
        assert_eq!(losses(&done, control)[0], losses(&done, "none")[0], "{control}");
        assert!(!second[..at].contains(&second[at]), "{control}: {second:?}");
        assert!(run(&done, control).evals.iter().any(|eval| !eval.similarity.is_empty()), "{control}");
    }
}

/// Another optimizer, batch and length than those of the other arms.
#[test]
fn an_arm_trains_in_its_own_way() {
    let folder = tempfile::tempdir().expect("writable");
    let tables = "[arm.own]\nguide = \"none\"\ntraining = { optimizer = \"sgd\", momentum = 0.0 }\n\
        [arm.last]\nguide = \"untrained\"\nguidance = { map = \"last\", metric = \"rsa_cosine\" }\n\
        [arm.measure]\nguide = \"untrained\"\nguidance = { metric = \"rsa_cosine\" }\n\
        [arm.long]\nguide = \"none\"\ntraining = { steps = 6, batch = 8, eval_every = 3 }\n";
    let done = train(&folder, "[\"alone\", \"own\", \"long\", \"untrained\", \"last\", \"measure\"]", tables);
    let of = |arm: &str| losses(&done, arm);
    assert_eq!(of("own")[0], of("alone")[0]);
    assert_ne!(of("own")[1], of("alone")[1]);
    assert_eq!((of("alone").len(), of("long").len()), (4, 6));
    assert_ne!(of("long")[0], of("alone")[0], "half of the sequences");
    let steps: Vec<u64> =
        run(&done, "long").evals.iter().filter(|eval| eval.split == "test").map(|eval| eval.step).collect();
    assert_eq!(steps, [0, 3, 6]);
    assert_eq!((run(&done, "untrained").pairs.len(), run(&done, "last").pairs.len()), (2, 1));
    assert_ne!(of("untrained")[1], of("last")[1]);
    // The same pairs by another measure.
    assert_eq!(run(&done, "measure").pairs, run(&done, "untrained").pairs);
    assert_ne!(of("measure")[1], of("untrained")[1]);
    // Each arm is complete after its own steps.
    let complete: Vec<usize> = done.summary().iter().map(|arm| arm.seeds).collect();
    assert_eq!(complete, [1; 6]);
}

/// Every gate has an orthogonal matrix of its own; all other weights are drawn as ever.
#[test]
fn recurrent_weights_are_orthogonal() {
    let data = drawn();
    for (cell, gates) in [(RnnCell::Tanh, 1), (RnnCell::Gru, 3), (RnnCell::Lstm, 4)] {
        let network = |init| Network::new(Rnn { init, ..Rnn::new(cell, 2, 8) }, &data, 5).expect("fits");
        let (usual, ours) = (network(InitialWeights::Default), network(InitialWeights::Orthogonal));
        for (usual, ours) in usual.tensors().zip(ours.tensors()) {
            let (name, values) = (ours.name(), ours.read_f32().expect("a tensor"));
            if !name.starts_with("rnn.weight_hh") {
                assert_eq!(values, usual.read_f32().expect("a tensor"), "{name}");
                continue;
            }
            assert_eq!(values.len(), gates * 64);
            for gate in values.chunks(64) {
                let dot = |i: usize, j: usize| (0..8).map(|k| gate[8 * i + k] * gate[8 * j + k]).sum::<f32>();
                for (i, j) in (0..8).flat_map(|i| (0..8).map(move |j| (i, j))) {
                    assert!((dot(i, j) - f32::from(i == j)).abs() < 1e-5, "{name}: rows {i} and {j}");
                }
            }
        }
    }
    let wrong = Network::new(Rnn { init: InitialWeights::Kaiming, ..Rnn::new(RnnCell::Gru, 1, 8) }, &data, 5);
    assert!(wrong.expect_err("no such weights").to_string().contains("`orthogonal`, a matrix for each gate"));
}

#[test]
fn a_head_without_bias_is_refused() {
    let data = drawn();
    let tied = trellis_guidance::Transformer { tied: true, ..Default::default() };
    let network = Network::new(tied, &data, 1).expect("fits");
    let error = network.set_head_bias(HeadBias::LabelPrior, &data).expect_err("tied").to_string();
    assert!(error.contains("`bias`") && error.contains("has none"), "{error}");
}

fn drawn() -> Dataset {
    let drawn = trellis_guidance::data::DrawnSequences::copy_paste(4, [4, 4], 0).expect("sane");
    Dataset::drawn(&gpu(), drawn, [16, 0, 16]).expect("fits")
}

/// Two workers share the seeds out: every seed has the bits that it has with one.
#[test]
fn seeds_on_several_devices_have_the_same_bits() {
    let folders = [tempfile::tempdir().expect("writable"), tempfile::tempdir().expect("writable")];
    let text = format!("arms = [\"alone\", \"trained\"]\n{SMALL}").replace("seeds = [1]", "seeds = [3, 1, 2]");
    let config = Config::parse(&text, Path::new("x.toml")).expect("a sane file");
    let copy = |gpu: &Gpu| config.dataset(gpu, Path::new("x.toml"), None).expect("fits");
    let copies = [copy(&gpu()), copy(&open(GpuOptions { devices: 2, ..GpuOptions::default() }))];
    let total = AtomicU64::new(0);
    let done = [&copies[..1], &copies].map(|copies| {
        let folder = folders[copies.len() - 1].path();
        experiment::run_on(&config, copies, folder, Existing::Refuse, &mut |progress| {
            if let Progress::Steps(_, _, steps, _) = progress {
                total.fetch_add(steps, Ordering::Relaxed);
            }
        })
        .expect("trains")
    });
    assert_eq!(total.into_inner(), 2 * 3 * (2 + 4 + 4), "guide and two arms of three seeds, twice");
    let seeds = |experiment: &Experiment| {
        let mut seeds: Vec<u64> = experiment.runs_of("trained").map(|run| run.seed).collect();
        seeds.sort_unstable();
        seeds
    };
    assert_eq!(done.each_ref().map(seeds), [[1, 2, 3], [1, 2, 3]]);
    for name in ["guide", "alone", "trained"].iter().flat_map(|arm| [1, 2, 3].map(|seed| format!("{arm}-{seed}"))) {
        let read =
            |folder: &TempDir| std::fs::read(folder.path().join(format!("x/{name}.safetensors"))).expect("weights");
        assert!(read(&folders[0]) == read(&folders[1]), "{name}");
    }
    for (seed, arm) in [1, 2, 3].into_iter().flat_map(|seed| [(seed, "alone"), (seed, "trained")]) {
        let [one, two] = done.each_ref().map(|all| {
            let run = all.runs_of(arm).find(|run| run.seed == seed).expect("ran");
            (run.steps.clone(), run.evals.clone())
        });
        assert_eq!(one, two, "{arm}, seed {seed}");
    }
    let other = Config::parse(&text.replace("test = 32", "test = 48"), Path::new("x.toml")).expect("a sane file");
    let copies = [copies[0].clone(), other.dataset(&gpu(), Path::new("x.toml"), None).expect("fits")];
    let error =
        experiment::run_on(&config, &copies, folders[0].path(), Existing::Refuse, &mut |_| {}).expect_err("differ");
    assert!(error.to_string().contains("the same data each"), "{error}");
    let none = experiment::run_on(&config, &[], folders[0].path(), Existing::Refuse, &mut |_| {}).expect_err("no copy");
    assert!(none.to_string().contains("at least one copy"), "{none}");
}
