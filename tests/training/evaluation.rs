//! Evaluations: what they count, that they change nothing, what they warn of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use trellis_data::glyphs::glyphs;
use trellis_data::{Images, Place, Source};
use trellis_guidance::network::Mode;
use trellis_guidance::{BatchSource, CapturePoint, Cnn, Dataset, Event, Fcn, Guidance, Network, Trainer, Training};
use trellis_tensor::{Graph, Plan, StepState, Var};

use crate::gpu;
use crate::training::runs::{bits, data, networks, small_training};

#[test]
fn evaluation_does_not_train() {
    let data = data(&gpu());
    let (target, guidance) = networks(&data);
    let before = bits(&target);
    let training = Training { steps: 0, ..small_training(0) };
    let run = Trainer::new(&target, &data, training).measured_against(guidance).run().expect("evaluates");
    assert_eq!(bits(&target), before);
    assert!(run.evals.iter().all(|e| e.loss > 1.0 && e.top1 < 0.6));
    let test = run.last_eval("test").expect("evaluated");
    assert_eq!(test.similarity.len(), run.pairs.len());
}

#[test]
fn a_constant_layer_is_warned_of_once_and_pulls_nothing() {
    let data = data(&gpu());
    let (target, _) = networks(&data);
    let guide = Network::new(Cnn { batch_norm: false, ..Cnn::new(&[4, 8]) }, &data, 5).expect("fits");
    for tensor in guide.params().tensors().iter().filter(|t| t.name().starts_with("conv2")) {
        tensor.write_f32(&vec![0.0; tensor.ty().elements()]).expect("fits");
    }
    let mut warnings = Vec::new();
    let training = Training { eval_every: 2, ..small_training(6) };
    let run = Trainer::new(&target, &data, training)
        .guided_by(Guidance::new(guide.freeze()))
        .run_with(&mut |event| {
            if let Event::Warning(text) = event {
                warnings.push(text.to_string());
            }
            Ok(())
        })
        .expect("trains");
    assert_eq!(warnings.len(), 2, "{warnings:?}"); // conv2 and pool, which follows from it
    assert!(warnings[0].contains("conv2"), "{warnings:?}");
    assert!(
        run.steps
            .iter()
            .all(|step| step.loss.is_finite() && step.similarity.iter().all(|similarity| similarity.is_finite()))
    );
}

/// More images than fit one evaluation step, and no multiple of it: each counts once.
#[test]
fn an_evaluation_counts_every_image_once() {
    let parts = glyphs(16 + 620, 16, 1).split(&[16, 620], 0).expect("enough glyphs");
    let data = Dataset::new(&gpu(), &parts[0], None, Some(&parts[1])).expect("fits");
    let target = Network::new(Fcn::new(2, 16), &data, 6).expect("fits");
    let evaluated = Trainer::new(&target, &data, small_training(0)).run().expect("evaluates");
    let test = evaluated.last_eval("test").expect("evaluated");

    let (step_state, graph) = (StepState::new(&gpu()).expect("fits"), Graph::new());
    let (_, split) = data.splits().last().expect("a test split");
    let all = BatchSource::sequential(&data, split, 620)
        .and_then(|batches| batches.batch(&graph, &step_state))
        .expect("fits");
    let logits = target.forward(&graph, all.input, Mode::Eval, CapturePoint::default()).expect("fits").logits;
    let loss = logits.cross_entropy(all.labels, 0.0).expect("legal");
    let right = logits.top1(all.labels).and_then(Var::sum_all).expect("legal");
    let plan = Plan::new(&gpu(), &graph, &[loss, right]).expect("fits");
    plan.run(1).expect("works");
    let (loss, right) = (plan.read(loss).expect("kept")[0], plan.read(right).expect("kept")[0]);
    assert!((test.loss - loss).abs() < 1e-4, "{} for {loss}", test.loss);
    assert!((test.top1 - right / 620.0).abs() < 1e-6, "{} for {}", test.top1, right / 620.0);
}

/// Each label and what the network says of its image, counted once, at the end, over the test split.
#[test]
fn confusion_is_counted_at_the_end_and_agrees_with_top1() {
    let parts = glyphs(100 + 620, 16, 1).split(&[100, 620], 0).expect("enough glyphs");
    let data = Dataset::new(&gpu(), &parts[0], None, Some(&parts[1])).expect("fits");
    let target = Network::new(Fcn::new(2, 16), &data, 6).expect("fits");
    let training = Training { eval_every: 20, ..small_training(40) };
    let run = Trainer::new(&target, &data, training).run().expect("trains");
    let (last, earlier) = run.evals.split_last().expect("evaluated");
    assert!(earlier.iter().all(|eval| eval.confusion.is_empty()) && last.split == "test");
    let counted: Vec<usize> = last.confusion.iter().map(|row| row.iter().sum::<u32>() as usize).collect();
    let labels: Vec<usize> =
        (0..10).map(|class| parts[1].labels.iter().filter(|&&label| label == class).count()).collect();
    assert_eq!(counted, labels);
    let right: u32 = last.confusion.iter().enumerate().map(|(class, row)| row[class]).sum();
    assert!((right as f32 / 620.0 - last.top1).abs() < 1e-6, "{right} of 620 for {}", last.top1);
    assert!(last.top1 < 0.9, "mistakes of many kinds");
}

/// Of a large training split the first 10,000 are looked at, of others all.
#[test]
fn an_evaluation_looks_at_some_of_many_training_images() {
    let count = 10_300;
    let images = Images {
        channels: 1,
        height: 1,
        width: 2,
        // All that come after the first 10,000 are of class 1, and so would everything be to this network.
        pixels: (0..count).flat_map(|at| if at < 10_000 { [0, 9] } else { [9, 0] }).collect(),
        labels: (0..count).map(|at| u16::from(at >= 10_000)).collect(),
        classes: 2,
        name: "many".to_string(),
    };
    let counted = |splits: [Option<&Images>; 2], classes: usize| {
        let [train, test] = splits.map(|split| split.map(|split| Images { classes, ..split.clone() }));
        let data = Dataset::new(&gpu(), &train.expect("a training split"), None, test.as_ref()).expect("fits");
        let target = Network::new(Fcn { batch_norm: false, ..Fcn::new(1, 4) }, &data, 6).expect("fits");
        let run = Trainer::new(&target, &data, small_training(0)).run().expect("evaluates");
        let last = run.evals.last().expect("evaluated");
        last.confusion.iter().map(|row| row.iter().sum::<u32>()).collect::<Vec<u32>>()
    };
    assert_eq!(counted([Some(&images), None], 2), [10_000, 0]);
    assert_eq!(counted([Some(&images), Some(&images)], 2), [10_000, 300]);
    // A matrix of more than 100 classes is for nobody's eyes.
    assert_eq!(counted([Some(&images), None], 100).len(), 100);
    assert!(counted([Some(&images), None], 101).is_empty());
}

/// All that cannot be read may be left out, but not all there is.
#[test]
fn a_split_without_a_label_is_an_error() {
    let blank = glyphs(20, 16, 1);
    let all = blank.count();
    let breaking = |sound: usize| Arc::new(Breaking { images: blank.clone(), sound: sound.into() });
    let open = |test| Dataset::stream(&gpu(), Arc::new(blank.clone()), None, Some(test), true);
    assert!(open(breaking(0)).expect_err("nothing to look at").to_string().contains("none of 20 images can be read"));
    let data = open(breaking(all)).expect("whole so far");
    let target = Network::new(Fcn::new(1, 4), &data, 6).expect("fits");
    let error = Trainer::new(&target, &data, small_training(0)).run().expect_err("nothing to score").to_string();
    assert!(error.contains("no example of its test split has a label"), "{error}");
    assert_eq!(data.skipped().len(), 1);
}

/// Images that cannot be read after so many reads.
struct Breaking {
    images: Images,
    sound: AtomicUsize,
}

impl Source for Breaking {
    fn name(&self) -> &str {
        "breaking"
    }

    fn shape(&self) -> [usize; 3] {
        self.images.shape()
    }

    fn classes(&self) -> usize {
        self.images.classes
    }

    fn count(&self) -> usize {
        self.images.count()
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> trellis_data::Result<u16> {
        if self.sound.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err() {
            return Err(trellis_data::Error::data(Place::dataset("breaking"), "is no image", "mend it"));
        }
        self.images.read(index, pixels)
    }
}
