//! Batches of a plan: looked up in data on the GPU, drawn there, or streamed through a ring of batches that CPU threads
//! fill ahead.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use trellis_data::{Place, Skipped, Source};
use trellis_tensor::ops::SampleBatch;
use trellis_tensor::{Graph, Log, StepState, Tensor, TensorType};

use crate::data::example::InputShape;
use crate::data::prefetch::{HostBatch, Prefetcher, ReadBatch, Values};
use crate::data::split::{Examples, Split, TextBlocks};
use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};

/// Batch source of a plan, one batch a step. [`BatchSource::batch`] records the batches. If [`Dataset::is_streamed`],
/// [`BatchSource::prepare`] must be called before each [`Plan::run`](trellis_tensor::Plan::run), with at most [`BatchSource::depth`]
/// steps.
pub struct BatchSource<'a> {
    data: &'a Dataset,
    split: Split,
    order: Order,
    batch: usize,
    crop: Crop,
    ring: Option<StagingRing>,
}

/// Part of an image that training sees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Crop {
    /// The middle, if [`Dataset::cropped`]; else all.
    #[default]
    Center,
    /// As much, somewhere else at each step.
    Random,
    /// A box that covers a share of the image between these two and is up to 4/3 as wide as high, or as high as wide.
    /// It is resized to the size that networks take; another at each step.
    Resized([f32; 2]),
}

#[derive(Clone, Copy)]
enum Order {
    /// Without replacement within an epoch.
    Shuffled { seed: u64 },
    /// `step · batch …`; past the end, nothing, with labels that are ignored.
    Sequential,
}

/// Batches on the GPU that are written before the steps that read them.
struct StagingRing {
    /// `[slots · stride, …]`
    values: Tensor,
    labels: Tensor,
    slots: usize,
    stride: usize,
    fill: ReadBatch,
    threads: usize,
    /// The step after the last that has examples.
    end: u32,
    loader: Option<Prefetcher>,
    waited: Duration,
}

/// Bytes of a ring, unless one batch takes more.
const RING: usize = 64 << 20;

/// Bytes that threads fill ahead, unless two batches take more.
const AHEAD: usize = 1 << 30;

impl<'a> BatchSource<'a> {
    /// Random training examples, without replacement within an epoch; streamed or not, the same ones.
    ///
    /// # Errors
    /// When `batch` is 0 or more than there are, or memory does not allow a ring.
    pub fn shuffled(data: &'a Dataset, batch: usize, seed: u64) -> Result<Self> {
        Self::new(data, data.train(), Order::Shuffled { seed }, batch)
    }

    /// Examples `step · batch …` of `split`; past its end, nothing, with labels that are ignored. Of a streamed set, an image that
    /// is left out as broken is black, and its label is ignored too.
    ///
    /// # Errors
    /// When `batch` is 0, or memory does not allow a ring.
    pub fn sequential(data: &'a Dataset, split: &Split, batch: usize) -> Result<Self> {
        Self::new(data, split, Order::Sequential, batch)
    }

    fn new(data: &'a Dataset, split: &Split, order: Order, batch: usize) -> Result<Self> {
        let streamed = matches!(split.examples, Examples::Source(_) | Examples::Blocks(_));
        let ring = if streamed { Some(StagingRing::new(data, split, order, batch)?) } else { None };
        Ok(Self { data, split: split.clone(), order, batch, crop: Crop::Center, ring })
    }

    /// Sets which part of shuffled images it takes.
    pub fn crop(self, crop: Crop) -> Self {
        Self { crop, ..self }
    }

    /// The batch of the step that `step_state` shows.
    ///
    /// # Errors
    /// As when the batch source is made.
    pub fn batch<'g>(&self, graph: &'g Graph, step_state: &StepState) -> Result<Batch<'g>> {
        let now = graph.leaf(step_state.tensor());
        // Threads that read a streamed set draw the same numbers.
        let index = match self.order {
            Order::Shuffled { seed } => now.sample_batch(self.split.drawable(), self.batch, seed)?,
            Order::Sequential => now.sequential_batch(self.split.count(), self.batch)?,
        };
        let [values, labels] = match &self.ring {
            Some(ring) => {
                let slot = now.ring_batch(ring.slots, ring.stride, self.batch)?;
                self.data.look_up(graph, &ring.values, &ring.labels, slot)?
            }
            None => self.data.gather(graph, &self.split, index)?,
        };
        let input = match (self.order, self.crop, self.data.input()) {
            (Order::Shuffled { seed }, Crop::Random, InputShape::Image([_, size, _])) => {
                values.random_crop(now, size, seed)?.into()
            }
            (Order::Shuffled { seed }, Crop::Resized(share), InputShape::Image([_, size, _])) => {
                values.random_resized_crop(now, size, share, seed)?.into()
            }
            _ => self.data.center(values)?,
        };
        Ok(Batch { input, labels, index, split: self.split.name })
    }

    /// Reads the batches of `steps` steps, from step `first` on, into place. Waits for the threads that read them, not
    /// for the GPU. Steps that were submitted before still read theirs.
    ///
    /// # Errors
    /// Any error of reading an example; [`Error::Size`](trellis_tensor::Error::Size) for more steps than
    /// [`BatchSource::depth`].
    pub fn prepare(&mut self, first: u32, steps: usize) -> Result<()> {
        match &mut self.ring {
            Some(ring) => ring.prepare(self.data.name(), first, steps),
            None => Ok(()),
        }
    }

    /// Steps that can be prepared at once, at most [`Log::CAPACITY`].
    pub fn depth(&self) -> usize {
        self.ring.as_ref().map_or(Log::CAPACITY, |ring| ring.slots)
    }

    /// Examples of a step.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// The data set.
    pub fn data(&self) -> &'a Dataset {
        self.data
    }

    /// Total time that [`BatchSource::prepare`] has waited for examples.
    pub fn waited(&self) -> Duration {
        self.ring.as_ref().map_or(Duration::ZERO, StagingRing::waited)
    }
}

impl StagingRing {
    fn new(data: &Dataset, split: &Split, order: Order, batch: usize) -> Result<Self> {
        if batch == 0 {
            return Err(Error::config(Place::setting("training"), "batch", "is 0", "give a number above 0"));
        }
        let sampler = match order {
            Order::Shuffled { seed } => {
                let sampler = SampleBatch { n: split.count(), batch, seed };
                // The same message as where the GPU draws.
                let graph = Graph::new();
                graph.leaf(StepState::new(data.gpu())?.tensor()).sample_batch(sampler.n, batch, seed)?;
                Some(sampler)
            }
            Order::Sequential => None,
        };
        let count = split.count();
        let draw = move |step: u32| match sampler {
            Some(sampler) => sampler.indices(step).into_iter().map(|index| Some(index as usize)).collect(),
            None => {
                let first = u64::from(step) * batch as u64;
                let index = |i: u64| usize::try_from(first + i).ok().filter(|&index| index < count);
                (0..batch as u64).map(index).collect::<Vec<_>>()
            }
        };
        // Writes are of whole words.
        let stride = batch.next_multiple_of(4);
        let (example, labels, fill): (TensorType, usize, ReadBatch) = match (&split.examples, data.stored()) {
            (Examples::Source(source), InputShape::Image(shape)) => {
                let (skipped, random) = (data.skipping(), sampler.is_some());
                let reader = ImageReader { source: source.clone(), split: split.name, skipped, random };
                let features = shape.iter().product();
                let fill = move |step| reader.fill(&draw(step), stride, features);
                (TensorType::u8(shape), 1, Arc::new(fill))
            }
            (Examples::Blocks(blocks), InputShape::Tokens(tokens)) => {
                let (blocks, time) = (blocks.clone(), tokens.time);
                let fill = move |step| blocks.fill(&draw(step), stride);
                (TensorType::u32([time]), time, Arc::new(fill))
            }
            _ => unreachable!("only these are streamed"),
        };
        let bytes = (stride * example.bytes()).max(1);
        let slots = (RING / bytes).clamp(1, Log::CAPACITY);
        let rows = slots * stride;
        let ty = TensorType { shape: [&[rows], &example.shape[..]].concat().into(), ..example };
        let labels = if labels == 1 { TensorType::u32([rows]) } else { TensorType::u32([rows, labels]) };
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            values: Tensor::zeros(data.gpu(), "streamed batches", ty)?,
            labels: Tensor::zeros(data.gpu(), "streamed labels", labels)?,
            slots,
            stride,
            fill,
            threads: threads.min(AHEAD / (2 * bytes)).max(1),
            end: sampler.map_or(u32::try_from(count.div_ceil(batch)).unwrap_or(u32::MAX), |_| u32::MAX),
            loader: None,
            waited: Duration::ZERO,
        })
    }

    fn prepare(&mut self, name: &str, first: u32, steps: usize) -> Result<()> {
        if steps > self.slots {
            let (tensor, expected) = (self.values.name().to_string(), self.slots);
            return Err(trellis_tensor::Error::Size { tensor, expected, given: steps }.into());
        }
        // Another pass, or a run that goes on in its middle.
        if self.loader.as_ref().is_none_or(|loader| loader.next() != first) {
            self.waited = self.waited();
            self.loader = Some(Prefetcher::start(first, self.end, self.threads, &self.fill));
        }
        let Some(loader) = &mut self.loader else { return Ok(()) };
        for step in first as usize..first as usize + steps {
            let panicked =
                || Err(Error::data(Place::dataset(name), "reading an example panicked", "mend what reads it"));
            let HostBatch { values, labels } = match step as u32 >= self.end {
                true => (self.fill)(step as u32)?,
                false => loader.take().unwrap_or_else(panicked)?,
            };
            let row = step % self.slots * self.stride;
            let at = |tensor: &Tensor| row * tensor.shape()[1..].iter().product::<usize>();
            match values {
                Values::Bytes(bytes) => self.values.write_u8_at(at(&self.values), &bytes)?,
                Values::Tokens(tokens) => self.values.write_u32_at(at(&self.values), &tokens)?,
            }
            self.labels.write_u32_at(at(&self.labels), &labels)?;
        }
        Ok(())
    }

    fn waited(&self) -> Duration {
        self.waited + self.loader.as_ref().map_or(Duration::ZERO, Prefetcher::waited)
    }
}

/// Reads batches of images.
struct ImageReader {
    source: Arc<dyn Source>,
    /// Name of the split that it reads.
    split: &'static str,
    /// Record of images that cannot be read, if they may be left out.
    skipped: Option<Skipped>,
    /// True if another image may take the place of one that is left out.
    random: bool,
}

impl ImageReader {
    /// The images at `indices`, in slots of `features` bytes; no image where there is no index.
    fn fill(&self, indices: &[Option<usize>], stride: usize, features: usize) -> Result<HostBatch> {
        let mut pixels = vec![0; stride * features];
        let mut labels = vec![u32::MAX; stride];
        // No image is twice in a batch, as its similarity to itself would count.
        let mut taken: HashSet<usize> = indices.iter().flatten().copied().collect();
        for ((index, pixels), label) in indices.iter().zip(pixels.chunks_mut(features)).zip(&mut labels) {
            if let Some(index) = index {
                *label = self.read(*index, &mut taken, pixels)?;
            }
        }
        Ok(HostBatch { values: Values::Bytes(pixels), labels })
    }

    /// The image at `index`; in its place the next one that can be read and is not `taken`, or none.
    fn read(&self, index: usize, taken: &mut HashSet<usize>, pixels: &mut [u8]) -> Result<u32> {
        let count = self.source.count();
        for other in (index..count).chain(0..index) {
            if other != index && taken.contains(&other) {
                continue;
            }
            match (self.source.read_checked(other, pixels), &self.skipped) {
                (Ok(label), _) => {
                    taken.insert(other);
                    return Ok(u32::from(label));
                }
                (Err(error), Some(skipped)) => {
                    skipped.note(self.split, self.source.class_of(other), &error);
                    if !self.random {
                        pixels.fill(0);
                        return Ok(u32::MAX);
                    }
                }
                (Err(error), None) => return Err(error.into()),
            }
        }
        let problem = format!("has not as many images that can be read as a batch has examples, {}", taken.len());
        Err(Error::data(Place::dataset(self.source.name()), problem, "give it more, or make `training.batch` smaller"))
    }
}

impl TextBlocks {
    /// The blocks at `indices` and the token after each of theirs; no token where there is no index.
    fn fill(&self, indices: &[Option<usize>], stride: usize) -> Result<HostBatch> {
        let mut tokens = vec![u32::MAX; stride * self.time];
        let mut next = tokens.clone();
        for (at, index) in indices.iter().enumerate().filter_map(|(at, index)| Some((at, (*index)?))) {
            let text = self.text.tokens((self.first + index) * self.time, self.time + 1)?;
            let to = at * self.time..(at + 1) * self.time;
            tokens[to.clone()].copy_from_slice(&text[..self.time]);
            next[to].copy_from_slice(&text[1..]);
        }
        Ok(HostBatch { values: Values::Tokens(tokens), labels: next })
    }
}
