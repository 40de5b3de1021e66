//! Data that is read while a network trains: the same batches as from the GPU, errors where they belong, no thread left.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use trellis_data::glyphs::glyphs;
use trellis_data::text::{Text, Tokenizer};
use trellis_data::{Images, Place, Source};
use trellis_guidance::network::RnnCell;
use trellis_guidance::{
    BatchSource, Batches, CapturePoint, Cnn, Dataset, Error, Fcn, Guidance, GuideSchedule, Network, Result, Rnn,
    Trainer, Training,
};
use trellis_lab::similarity::LayerMatrix;
use trellis_tensor::ops::{IGNORE, SampleBatch};
use trellis_tensor::{Graph, Plan, StepState};

use crate::gpu;
use crate::training::runs::bits;

fn source(images: &Images) -> Arc<dyn Source> {
    Arc::new(images.clone())
}

/// Guided and unguided steps, more of them than the ring has slots, evaluations of odd sizes, augmentation.
#[test]
fn streamed_images_train_the_same_bits_as_resident_ones() {
    let parts = glyphs(420, 16, 1).split(&[300, 50, 70], 0).expect("enough");
    let splits = [&parts[0], &parts[1], &parts[2]];
    let train = |data: &Dataset| {
        let guide = Network::new(Cnn::new(&[4]), data, 5).expect("fits").freeze();
        let target = Network::new(Fcn::new(2, 16), data, 6).expect("fits");
        let guidance = Guidance::new(guide).schedule(GuideSchedule::first_steps(70));
        let training = Training { batch: 7, shift: 1, flip: true, eval_every: 40, check: true, ..Training::new(150) };
        let record = Trainer::new(&target, data, training).guided_by(guidance).run().expect("trains");
        (bits(&target), record.steps, record.evals)
    };
    let resident = Dataset::new(&gpu(), splits[0], Some(splits[1]), Some(splits[2])).expect("fits");
    let [first, second, third] = splits.map(source);
    let streamed = Dataset::stream(&gpu(), first, Some(second), Some(third), false).expect("fits");
    assert!(streamed.is_streamed() && !resident.is_streamed());
    assert!(train(&resident) == train(&streamed));
    assert!(streamed.skipped().is_empty());

    let network = Network::new(Fcn::new(2, 8), &resident, 6).expect("fits");
    let matrix = |data: &Dataset| {
        let (_, split) = data.splits().last().expect("a test split");
        LayerMatrix::measure(&network, &network, data, split, 20, CapturePoint::default()).expect("fits")
    };
    assert_eq!(matrix(&resident), matrix(&streamed));
}

#[test]
fn streamed_text_trains_the_same_bits_as_resident_text() {
    let words = "the guide pulls the target while it learns, layer by layer; ".repeat(12);
    let text = Text::new("words", words.as_bytes(), Tokenizer::Characters).expect("text");
    let train = |data: &Dataset| {
        let target = Network::new(Rnn::new(RnnCell::Tanh, 1, 8), data, 6).expect("fits");
        let training = Training { batch: 5, eval_every: 4, ..Training::new(9) };
        let record = Trainer::new(&target, data, training).run().expect("trains");
        (bits(&target), record.steps, record.evals)
    };
    let counts = [40, 11, 9];
    let resident = Dataset::text(&gpu(), &text, 10, counts).expect("fits");
    let folder = tempfile::tempdir().expect("writable");
    let path = folder.path().join("words.txt");
    fs::write(&path, &words).expect("writable");
    let on_disk = Text::on_disk(&path, Tokenizer::Characters, folder.path()).expect("text");
    let wanted = train(&resident);
    for text in [text, on_disk] {
        let streamed = Dataset::stream_text(&gpu(), &Arc::new(text), 10, counts).expect("fits");
        assert!(streamed.is_streamed());
        assert!(train(&streamed) == wanted);
    }
}

/// Wide images that say which they are, in brightness and class.
struct Numbered {
    count: usize,
    broken: Vec<usize>,
    panics: bool,
    /// So many reads go well first.
    sound: AtomicUsize,
}

const SIDE: usize = 256;

impl Source for Numbered {
    fn name(&self) -> &str {
        "numbered"
    }

    fn shape(&self) -> [usize; 3] {
        [3, SIDE, SIDE]
    }

    fn classes(&self) -> usize {
        1000
    }

    fn count(&self) -> usize {
        self.count
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> trellis_data::Result<u16> {
        let sound = self.sound.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        if self.broken.contains(&index) && !sound {
            assert!(!self.panics, "on purpose");
            return Err(trellis_data::Error::data(
                Place::dataset("numbered"),
                format!("image {index} is broken"),
                "mend it",
            ));
        }
        assert_eq!(pixels.len(), 3 * SIDE * SIDE);
        pixels.fill(index as u8);
        Ok(index as u16)
    }
}

fn numbered(count: usize, broken: &[usize], panics: bool) -> Arc<dyn Source> {
    Arc::new(Numbered { count, broken: broken.to_vec(), panics, sound: 0.into() })
}

/// Nine of which one breaks once all have been looked at.
fn breaking(panics: bool) -> Arc<dyn Source> {
    Arc::new(Numbered { count: 9, broken: vec![7], panics, sound: 9.into() })
}

/// Labels of the batches of `steps` steps from `first` on, prepared `chunk` at a time. Each image is as bright as its label says.
fn labels(batches: &mut BatchSource<'_>, first: u32, steps: u32, chunk: u32) -> Result<Vec<Vec<u32>>> {
    let (graph, step_state) = (Graph::new(), StepState::new(&gpu())?);
    let batch = batches.batch(&graph, &step_state)?;
    let brightest = batch.input.images()?.max(&[1, 2, 3], false)?;
    let darkest = batch.input.images()?.neg()?.max(&[1, 2, 3], false)?;
    let plan = Plan::new(&gpu(), &graph, &[brightest, darkest, batch.labels])?;
    let (mut all, mut unit) = (Vec::new(), None);
    for step in first..first + steps {
        if (step - first).is_multiple_of(chunk) {
            batches.prepare(step, chunk.min(first + steps - step) as usize)?;
        }
        step_state.set(step)?;
        plan.run(1)?;
        let (brightest, darkest) = (plan.read(brightest)?, plan.read(darkest)?);
        let labels = plan.read_u32(batch.labels)?;
        for ((brightest, darkest), &label) in brightest.iter().zip(darkest).zip(&labels) {
            assert_eq!(*brightest, -darkest, "one brightness");
            if label == IGNORE || label == 0 {
                continue;
            }
            let step = (brightest - batches.data().black()) / label as f32;
            let unit = *unit.get_or_insert(step);
            assert!((step / unit - 1.0).abs() < 1e-4, "image {label} has brightness {brightest}");
        }
        all.push(labels);
    }
    Ok(all)
}

#[test]
fn a_ring_of_few_batches_serves_many_steps_and_goes_on_where_it_stopped() {
    let data = Dataset::stream(&gpu(), numbered(100, &[], false), None, None, false).expect("fits");
    let sampler = SampleBatch { n: 100, batch: 33, seed: 4 };
    let wanted: Vec<Vec<u32>> = (0..12).map(|step| sampler.indices(step)).collect();
    let mut batches = BatchSource::shuffled(&data, 33, 4).expect("fits");
    let depth = batches.depth() as u32;
    assert!((2..10).contains(&depth), "{depth} batches of 7 MB");
    assert_eq!(labels(&mut batches, 0, 12, depth).expect("reads"), wanted);
    assert!(batches.waited().as_nanos() > 0);
    // As after a kill: another batch source, from the middle.
    let mut again = BatchSource::shuffled(&data, 33, 4).expect("fits");
    assert_eq!(labels(&mut again, 7, 5, 3).expect("reads"), wanted[7..]);
    assert!(matches!(batches.prepare(0, batches.depth() + 1), Err(Error::Tensor(trellis_tensor::Error::Size { .. }))));
    // Past the end of a split there is nothing.
    let (_, split) = data.splits().next().expect("a training split");
    let mut all = BatchSource::sequential(&data, split, 30).expect("fits");
    let read = labels(&mut all, 0, 4, 1).expect("reads").concat();
    assert_eq!(read, (0..100).chain([IGNORE; 20]).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_read_is_an_error_with_its_name() {
    let open = |train, validation| Dataset::stream(&gpu(), train, Some(validation), None, false);
    let fine = || numbered(20, &[], false);
    let message = |outcome: Result<Dataset>| outcome.expect_err("broken").to_string();
    assert!(message(open(numbered(20, &[3], false), fine())).contains("image 3 is broken"));
    assert!(message(open(numbered(20, &[3], true), fine())).contains("panicked"));
    assert!(message(open(numbered(0, &[], false), fine())).contains("0 images"));
    assert!(message(open(fine(), numbered(20, &[3], false))).contains("image 3 is broken"));
    // Examples that are not looked at beforehand, or break later, fail where they are needed.
    for (panics, wanted) in [(false, "image 7 is broken"), (true, "panicked")] {
        let data = open(fine(), breaking(panics)).expect("whole so far");
        let (_, split) = data.splits().last().expect("a validation split");
        let mut batches = BatchSource::sequential(&data, split, 4).expect("fits");
        batches.prepare(0, 1).expect("the first four are fine");
        let error = batches.prepare(1, 1).expect_err("broken").to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let tall = Images { height: 8, width: 32, ..glyphs(4, 16, 1) };
    assert!(message(open(source(&glyphs(4, 16, 1)), source(&tall))).contains("one size"));
    let mislabeled = Images { labels: vec![0, 1, 10, 2], ..glyphs(4, 16, 1) };
    assert!(message(open(source(&mislabeled), fine())).contains("one size"));
    let alone = Dataset::stream(&gpu(), source(&mislabeled), None, None, false);
    assert!(message(alone).contains("example 2 has label 10"));
    // Fixed batches are tables of examples by number.
    let data = Dataset::stream(&gpu(), source(&glyphs(40, 16, 1)), None, None, false).expect("fits");
    let target = Network::new(Fcn::new(1, 8), &data, 6).expect("fits");
    let training = Training { batch: 8, batches: Batches::Fixed, ..Training::new(2) };
    let error = Trainer::new(&target, &data, training).run().expect_err("not resident").to_string();
    assert!(error.contains("resident"), "{error}");
    for batch in [0, 41] {
        assert!(BatchSource::shuffled(&data, batch, 1).is_err(), "{batch}");
    }
}

#[test]
fn what_cannot_be_read_may_be_left_out() {
    let train = numbered(40, &[3, 4, 39], false);
    let data = Dataset::stream(&gpu(), train, Some(breaking(false)), None, true).expect("the rest is fine");
    assert_eq!(data.skipped().len(), 3);
    // In training the next image that is not in the batch takes the place of one that is broken.
    let sampler = SampleBatch { n: 40, batch: 8, seed: 2 };
    let batch = |step| -> Vec<u32> {
        let mut taken = sampler.indices(step).to_vec();
        let whole = |index: u32| match index {
            3 | 4 | 39 => {
                let next = (0..40).map(|ahead| (index + ahead) % 40);
                let next = next.into_iter().find(|next| !matches!(next, 3 | 4 | 39) && !taken.contains(next));
                taken.push(next.expect("36 are left"));
                taken[taken.len() - 1]
            }
            index => index,
        };
        sampler.indices(step).into_iter().map(whole).collect()
    };
    let wanted: Vec<Vec<u32>> = (0..6).map(batch).collect();
    let mut batches = BatchSource::shuffled(&data, 8, 2).expect("fits");
    assert_eq!(labels(&mut batches, 0, 6, 2).expect("reads"), wanted);
    // An evaluation does without it.
    let (_, split) = data.splits().last().expect("a validation split");
    let mut batches = BatchSource::sequential(&data, split, 9).expect("fits");
    assert_eq!(labels(&mut batches, 0, 1, 1).expect("reads")[0], [0, 1, 2, 3, 4, 5, 6, IGNORE, 8]);
    assert!(data.skipped().len() == 4 && data.skipped().iter().all(|text| text.contains("is broken")));
    let none: Vec<usize> = (0..5).collect();
    assert!(Dataset::stream(&gpu(), numbered(5, &none, false), None, None, true).is_err());
}

/// Images of which every second one is broken.
struct Holes(Images);

impl Source for Holes {
    fn name(&self) -> &str {
        "holes"
    }

    fn shape(&self) -> [usize; 3] {
        self.0.shape()
    }

    fn classes(&self) -> usize {
        self.0.classes
    }

    fn count(&self) -> usize {
        self.0.count()
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> trellis_data::Result<u16> {
        match index % 2 {
            0 => self.0.read(index, pixels),
            _ => Err(trellis_data::Error::data(Place::dataset("holes"), format!("image {index} is broken"), "mend it")),
        }
    }
}

/// Broken images take no part in the similarity of an evaluation, and none is twice in a batch: streamed or not, the same numbers.
#[test]
fn broken_images_are_compared_with_nothing() {
    let [train, test] = [1, 2].map(|seed| Arc::new(Holes(glyphs(40, 16, seed))) as Arc<dyn Source>);
    let similarity = |data: &Dataset| {
        let guide = Network::new(Cnn::new(&[4]), data, 5).expect("fits").freeze();
        let target = Network::new(Fcn::new(2, 16), data, 6).expect("fits");
        let training = Training { batch: 10, ..Training::new(3) };
        let record = Trainer::new(&target, data, training).guided_by(Guidance::new(guide)).run().expect("trains");
        let evals = record.evals.iter().filter(|eval| eval.step == 0).map(|eval| eval.similarity.clone());
        let steps = record.steps.iter().map(|step| step.similarity.clone());
        (evals.collect::<Vec<_>>(), steps.flatten().fold(0.0, f32::max))
    };
    let streamed = Dataset::stream(&gpu(), train.clone(), None, Some(test.clone()), true).expect("fits");
    let resident = Dataset::load(&gpu(), &*train, None, Some(&*test), true).expect("fits");
    let (ours, greatest) = similarity(&streamed);
    assert_eq!(ours, similarity(&resident).0);
    assert!(ours.iter().flatten().all(|value| *value < 0.999) && greatest < 0.9999, "{ours:?} {greatest}");
    // The same of a matrix of layers, over several batches.
    let network = Network::new(Cnn::new(&[4, 6]), &resident, 6).expect("fits");
    let matrix = |data: &Dataset, batch| {
        let (_, split) = data.splits().last().expect("a test split");
        LayerMatrix::measure(&network, &network, data, split, batch, CapturePoint::default())
    };
    assert_eq!(matrix(&streamed, 6).expect("fits"), matrix(&resident, 6).expect("fits"));
    let error = matrix(&streamed, 21).expect_err("twenty are left").to_string();
    assert!(error.contains("a batch of 21 out of 20 images"), "{error}");
    assert_eq!(streamed.skipped().iter().filter(|text| text.contains("is broken")).count(), 40);
    // Of twenty that can be read, no batch of thirty.
    let target = Network::new(Fcn::new(2, 16), &streamed, 6).expect("fits");
    let training = Training { batch: 30, ..Training::new(3) };
    let error = Trainer::new(&target, &streamed, training).run().expect_err("too few").to_string();
    assert!(error.contains("holes") && error.contains("training.batch"), "{error}");
}
