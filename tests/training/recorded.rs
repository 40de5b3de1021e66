//! Guides whose layers were recorded, by Trellis itself or by PyTorch.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use trellis_data::Source;
use trellis_data::glyphs::glyphs;
use trellis_guidance::trainer::StepRecord;
use trellis_guidance::{
    BatchSource, Batches, CapturePoint, Cnn, Control, Dataset, Guidance, Guide, Method, Network, Rsa, Session, Trainer,
    Training,
};
use trellis_lab::config::Config;
use trellis_lab::experiment;
use trellis_lab::record::Existing;
use trellis_tensor::{Graph, Plan, StepState};

use super::runs::{bits, data, networks, small_training};
use crate::gpu;

type Layers = Vec<(String, Vec<usize>, Vec<f32>)>;

/// Layers of a guide on each example of both splits, computed in batches of 16 as a step does.
fn said(data: &Dataset, guide: &Guide) -> Layers {
    let mut all = Layers::new();
    for (split, examples) in data.splits() {
        let (graph, step_state) = (Graph::new(), StepState::new(data.gpu()).expect("fits"));
        let batch =
            BatchSource::sequential(data, examples, 16).expect("fits").batch(&graph, &step_state).expect("fits");
        let layers = guide.forward(&graph, batch.input, CapturePoint::default()).expect("fits").activations;
        step_state.advance(&graph).expect("once");
        let keep: Vec<_> = layers.iter().map(|layer| layer.value).collect();
        let plan = Plan::new(data.gpu(), &graph, &keep).expect("fits");
        let mut values = vec![Vec::new(); layers.len()];
        for _ in 0..examples.count().div_ceil(16) {
            plan.run(1).expect("works");
            values.iter_mut().zip(&keep).for_each(|(values, &layer)| values.extend(plan.read(layer).expect("kept")));
        }
        for (layer, mut values) in layers.iter().zip(values) {
            let shape = [&[examples.count()], &layer.value.shape()[1..]].concat();
            values.truncate(shape.iter().product());
            all.push((format!("{split}.{}", layer.name), shape, values));
        }
    }
    all
}

fn save(path: &Path, layers: &Layers, metadata: &[(&str, String)]) {
    let bytes: Vec<Vec<u8>> =
        layers.iter().map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect()).collect();
    let views = layers.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("whole"))
    });
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, text)| (key.to_string(), text.clone())).collect();
    serialize_to_file(views.collect::<Vec<_>>(), Some(metadata), path).expect("writable");
}

fn guide(data: &Dataset) -> Guide {
    Network::new(Cnn::new(&[4, 8]), data, 5).expect("fits").freeze()
}

fn names(guide: &Guide) -> String {
    guide.layers().expect("layers").join(" ")
}

/// The same guide, run in each step and looked up, trains the same bits.
#[test]
fn a_recorded_guide_is_the_guide() {
    let data = data(&gpu());
    let guide = guide(&data);
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("guide.safetensors");
    save(&path, &said(&data, &guide), &[("trellis", data.describe_examples()), ("layers", names(&guide))]);
    let recorded = Guide::recorded(&data, &path).expect("of these data");
    assert_eq!(recorded.layers().expect("layers"), guide.layers().expect("layers"));
    assert!(recorded.network().is_none());
    for (control, batches) in
        [(Control::None, Batches::Random), (Control::Permuted, Batches::Random), (Control::None, Batches::Fixed)]
    {
        let train = |guide: &Guide| {
            let target = networks(&data).0;
            let training = Training { batches, ..small_training(7) };
            let guidance = Guidance::new(guide.clone()).control(control);
            let record = Trainer::new(&target, &data, training).guided_by(guidance).run().expect("trains");
            let steps: Vec<StepRecord> = record.steps;
            let last = record.evals.last().expect("evaluated").similarity.clone();
            (bits(&target), steps.into_iter().map(|step| step.similarity).collect::<Vec<_>>(), last, record.pairs)
        };
        let (run, looked_up) = (train(&guide), train(&recorded));
        assert_eq!((&run.0, &run.1, &run.3), (&looked_up.0, &looked_up.1, &looked_up.3), "{control:?}");
        // An evaluation has other batches, whose sums may round another way.
        for (one, other) in run.2.iter().zip(&looked_up.2) {
            assert!((one - other).abs() < 1e-5, "{one} and {other}");
        }
    }
}

/// A Gram matrix of all examples in place of a layer pulls as the layer does, streamed or not.
#[test]
fn gram_matrices_of_all_examples_guide() {
    let resident = data(&gpu());
    let guide = guide(&resident);
    let gram = |(name, shape, values): (String, Vec<usize>, Vec<f32>)| {
        let rows: Vec<&[f32]> = values.chunks(values.len() / shape[0]).collect();
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>() as f32;
        let all = rows.iter().flat_map(|a| rows.iter().map(|b| product(a, b)));
        (name, vec![shape[0]; 2], all.collect())
    };
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("guide.safetensors");
    let grams: Layers = said(&resident, &guide).into_iter().map(gram).collect();
    let about = [("trellis", resident.describe_examples()), ("layers", names(&guide)), ("grams", names(&guide))];
    save(&path, &grams, &about);
    let parts = glyphs(120, 16, 1).split(&[80, 40], 0).expect("enough glyphs");
    let [train, test] =
        parts.try_into().map(|parts: [_; 2]| parts.map(|part| Arc::new(part) as Arc<dyn Source>)).expect("two");
    let streamed = Dataset::stream(&gpu(), train, None, Some(test), false).expect("fits");
    let train = |data: &Dataset, guide: &Guide| {
        let target = networks(data).0;
        let record = Trainer::new(&target, data, small_training(7))
            .guided_by(Guidance::new(guide.clone()))
            .run()
            .expect("trains");
        let last = record.evals.last().expect("evaluated").similarity.clone();
        record.steps.into_iter().flat_map(|step| step.similarity).chain(last).collect::<Vec<f32>>()
    };
    let wanted = train(&resident, &guide);
    for data in [&resident, &streamed] {
        let recorded = Guide::recorded(data, &path).expect("of these data");
        for (at, (got, wanted)) in train(data, &recorded).iter().zip(&wanted).enumerate() {
            assert!((got - wanted).abs() < 1e-3, "{at}: {got}, not {wanted}");
        }
    }
    let recorded = Guide::recorded(&resident, &path).expect("of these data");
    let refused = |guidance: Guidance| {
        Session::new(&networks(&resident).0, &resident, small_training(2), &[guidance])
            .map(drop)
            .expect_err("refused")
            .to_string()
    };
    assert!(refused(Guidance::new(recorded.clone()).align(Rsa::Cosine)).contains("`metric`"));
    assert!(refused(Guidance::new(recorded).control(Control::Permuted)).contains("`control`"));
    save(&path, &said(&resident, &guide), &about);
    let error = Guide::recorded(&resident, &path).expect_err("no square").to_string();
    assert!(error.contains("is no Gram matrix of all examples"), "{error}");
}

/// Rows that are read before each step are those that a step looks up.
#[test]
fn a_recorded_guide_streams_with_its_data() {
    let resident = data(&gpu());
    let guide = guide(&resident);
    let parts = glyphs(120, 16, 1).split(&[80, 40], 0).expect("enough glyphs");
    let [train, test] =
        parts.try_into().map(|parts: [_; 2]| parts.map(|part| Arc::new(part) as Arc<dyn Source>)).expect("two");
    let streamed = Dataset::stream(&gpu(), train, None, Some(test), false).expect("fits");
    assert_eq!(streamed.describe_examples(), resident.describe_examples());
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("guide.safetensors");
    save(&path, &said(&resident, &guide), &[("trellis", resident.describe_examples()), ("layers", names(&guide))]);
    let recorded = Guide::recorded(&streamed, &path).expect("of these data");
    let train = |data: &Dataset, guide: &Guide, seed| {
        let target = networks(data).0;
        let training = Training { seed, eval_every: 5, ..small_training(23) };
        let record =
            Trainer::new(&target, data, training).guided_by(Guidance::new(guide.clone())).run().expect("trains");
        let steps: Vec<Vec<f32>> = record.steps.into_iter().map(|step| step.similarity).collect();
        (bits(&target), steps)
    };
    // One guide serves several runs, each with batches of its own.
    for seed in [3, 4] {
        assert_eq!(train(&streamed, &recorded, seed), train(&resident, &guide, seed), "seed {seed}");
    }
    let fixed = Training { batches: Batches::Fixed, ..small_training(2) };
    let error = Session::new(&networks(&resident).0, &resident, fixed, &[Guidance::new(recorded)]).map(drop);
    assert!(error.expect_err("refused").to_string().contains("`batches`"));
}

#[test]
fn what_is_wrong_with_a_recording_is_told() {
    let data = data(&gpu());
    let guide = guide(&data);
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("guide.safetensors");
    let good = said(&data, &guide);
    let about = [("trellis", data.describe_examples()), ("layers", names(&guide))];
    let refused = |layers: &Layers, about: &[(&str, String)]| {
        save(&path, layers, about);
        Guide::recorded(&data, &path).expect_err("refused").to_string()
    };
    let other = [("trellis", "train 9 of others".to_string()), about[1].clone()];
    assert!(refused(&good, &other).contains("is of other data: train 9 of others"));
    assert!(refused(&good, &about[1..]).contains("does not say of which data"));
    assert!(refused(&good, &about[..1]).contains("does not name its layers"));
    let unknown = [about[0].clone(), ("layers", "conv1 conv9".to_string())];
    assert!(refused(&good, &unknown).contains("lacks `train.conv9`"));
    let mut short = good.clone();
    let row = short[0].2.len() / short[0].1[0];
    short[0].1[0] -= 1;
    let left = short[0].2.len() - row;
    short[0].2.truncate(left);
    let error = refused(&short, &about);
    assert!(error.contains("which should be [80, …]") && error.contains("activations.py"), "{error}");
    let mut broken = good.clone();
    broken[0].2[3 * row + 1] = f32::NAN;
    assert!(refused(&broken, &about).contains("in row 3 of `train."));

    // Settings that need a guide that is run.
    save(&path, &good, &about);
    let guidance = Guidance::new(Guide::recorded(&data, &path).expect("of these data"));
    let target = networks(&data).0;
    let refused = |guidance: Guidance, training: Training| {
        Session::new(&target, &data, training, &[guidance]).map(drop).expect_err("refused").to_string()
    };
    assert!(refused(guidance.clone().method(Method::Hints), small_training(2)).contains("`method`"));
    assert!(refused(guidance.clone().control(Control::Noise), small_training(2)).contains("`control`"));
    let shifted = Training { shift: 1, ..small_training(2) };
    assert!(refused(guidance, shifted).contains("recorded on images as they are"));
}

/// The configuration that a run keeps is read again, a run is extended, and another file in the place of the guide is told.
#[test]
fn a_run_with_recorded_layers_goes_on() {
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("guide.safetensors");
    let config = |seeds: &str, seed: usize| {
        let text = format!(
            "name = \"x\"\nseeds = {seeds}\narms = [\"alone\", \"trained\"]\n[data]\ntrain = 64\ntest = 40\nseed = {seed}\n\
             [target]\ndepth = 3\nwidth = 16\n[guide]\nactivations = {path:?}\n[training]\nsteps = 4\nbatch = 16\n"
        );
        Config::parse(&text, Path::new("x.toml")).expect("a sane file")
    };
    let first = config("[1]", 0);
    let data = first.dataset(&gpu(), Path::new("x.toml"), None).expect("fits");
    let guide = guide(&data);
    let about = [("trellis", data.describe_examples()), ("layers", names(&guide))];
    let layers = said(&data, &guide);
    save(&path, &layers, &about);
    let train =
        |config: &Config, data: &Dataset, existing| experiment::run(config, data, folder.path(), existing, &mut |_| {});
    let done = train(&first, &data, Existing::MoveAside).expect("trains");
    assert_eq!(done.runs.len(), 2);
    let kept = folder.path().join("x");
    let read = Config::read(&kept.join("config.toml")).expect("as it was written");
    assert_eq!(read.to_toml(), first.to_toml());
    let page = std::fs::read_to_string(kept.join("report.html")).expect("written");
    assert!(page.contains("layers that were recorded in"), "the report tells what guided");

    let more = train(&config("[1, 2]", 0), &data, Existing::Resume).expect("goes on");
    assert_eq!(more.runs.len(), 4);
    let mut other = layers.clone();
    other[0].2[0] += 1.0;
    save(&path, &other, &about);
    let error = train(&config("[1, 2, 3]", 0), &data, Existing::Resume).expect_err("refused").to_string();
    assert!(error.contains("is not the file with which this run began"), "{error}");
    let read = Config::read(&kept.join("config.toml")).expect("as it was");
    assert_eq!(read.seeds, [1, 2], "a refusal leaves the run as it was");

    // A file of other data is refused before an older run is moved aside.
    let shuffled = config("[1]", 5);
    let data = shuffled.dataset(&gpu(), Path::new("x.toml"), None).expect("fits");
    let error = train(&shuffled, &data, Existing::MoveAside).expect_err("refused").to_string();
    assert!(error.contains("is of other data"), "{error}");
    assert!(!folder.path().join("x-1").exists(), "the run is where it was");
}
