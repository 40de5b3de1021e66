//! Recorded activations: layers of any network, for each example of a data set.

use std::path::{Path, PathBuf};

use trellis_tensor::ops::SampleBatch;
use trellis_tensor::{Graph, Log, StepState, Tensor, TensorType, Var};

use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};
use crate::guide::COMPARED;
use crate::weights::WeightsFile;

/// Metadata of the file that names the data, and that names the layers.
const DATA: &str = "trellis";
const LAYERS: &str = "layers";
/// Metadata that names those layers whose arrays are Gram matrices of all examples.
const GRAMS: &str = "grams";

/// Hint behind what is wrong with a file.
const HINT: &str = "record it anew with examples/activations.py, from `trellis examples` of this configuration";

/// Bytes of the rings of a stream, unless the rows of one step take more.
const RING: usize = 64 << 20;

/// Layers of a guide for each example.
#[derive(Debug)]
pub(super) struct Recorded {
    file: WeightsFile,
    path: PathBuf,
    layers: Vec<String>,
    /// True for each layer that is a Gram matrix.
    grams: Vec<bool>,
    /// Tables `[examples, …]` by split and layer. Where training rows are streamed, those of the first examples alone.
    splits: Vec<(&'static str, Vec<Tensor>)>,
    /// True if the rows of a training step are read before it.
    streamed: bool,
    /// True if the file says that it is of these data.
    of_these: bool,
    /// Hash of the numbers that were read.
    hash: u64,
}

/// Rows of the training steps of a run, in rings on the GPU that are filled from the file before the steps that read them.
#[derive(Debug)]
pub(super) struct Stream {
    /// `[slots · batch, …]` for each layer.
    rings: Vec<Tensor>,
    slots: usize,
    sampler: SampleBatch,
}

impl Recorded {
    pub(super) fn read(data: &Dataset, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::checkpoint(path, problem, HINT);
        let file = WeightsFile::read(path)?;
        let about = |key: &str| file.about().into_iter().find(|(own, _)| own == key).map(|(_, text)| text);
        let of = about(DATA).ok_or_else(|| bad(format!("does not say of which data it is: no metadata `{DATA}`")))?;
        let here = data.describe_examples();
        let of_these = of == here;
        // A data set that is only counted has no contents to tell it from others.
        if !of_these && !data.gpu().is_dry_run() {
            return Err(bad(format!("is of other data: {of}; here it is {here}")));
        }
        let names = about(LAYERS).ok_or_else(|| bad(format!("does not name its layers: no metadata `{LAYERS}`")))?;
        let layers: Vec<String> = names.split_whitespace().map(str::to_string).collect();
        if let Some(twice) = layers.iter().enumerate().find(|(at, layer)| layers[..*at].contains(layer)) {
            return Err(bad(format!("names the layer `{}` twice", twice.1)));
        }
        let named = about(GRAMS).unwrap_or_default();
        if let Some(unknown) = named.split_whitespace().find(|name| !layers.iter().any(|layer| layer == name)) {
            return Err(bad(format!("names `{unknown}` among its Gram matrices, which is none of its layers")));
        }
        let grams = layers.iter().map(|layer| named.split_whitespace().any(|name| name == layer)).collect::<Vec<_>>();
        if data.is_drawn() {
            let problem = "cannot hold the examples of this set, of which every batch is new".to_string();
            return Err(Error::checkpoint(path, problem, "give the guide as a network"));
        }
        if data.skipping().is_some() {
            let problem = "cannot tell which images are left out as broken".to_string();
            return Err(Error::checkpoint(path, problem, "do without `data.skip_broken`"));
        }
        let shapes = layers.iter().map(|layer| file.shape(&format!("train.{layer}")));
        let row: usize = shapes.flatten().map(|shape| 4 * shape.iter().skip(1).product::<usize>()).sum();
        let (largest, room) = (data.gpu().caps().max_binding as usize, data.gpu().memory_budget() / 2);
        let streamed = data.is_streamed()
            || (data.train().count() * row) as u64 > room
            || layers.iter().any(|layer| bytes_of(&file, layer) > largest);
        let (mut splits, mut hash) = (Vec::new(), FNV);
        for (split, examples) in data.splits().filter(|(name, _)| *name != "validation") {
            // Evaluations look at the first of a split.
            let first = examples.count().min(COMPARED);
            let held = if split == "test" || streamed { first } else { examples.count() };
            let wanted = if split == "test" { first } else { examples.count() };
            let table = |(layer, &gram): (&String, &bool)| {
                let name = format!("{split}.{layer}");
                let shape = checked_shape(&file, path, &name, wanted, split == "test")?;
                let trained = file.shape(&format!("train.{layer}")).unwrap_or_default();
                if gram && shape != [shape[0]; 2] {
                    return Err(bad(format!("has `{name}` of {shape:?}, which is no Gram matrix of all examples")));
                }
                if !gram && trained.get(1..) != Some(&shape[1..]) {
                    return Err(bad(format!("has `{name}` of {shape:?}, but `train.{layer}` of {trained:?}")));
                }
                read_table(data, &file, path, &name, &[&[held], &shape[1..]].concat(), &mut hash)
            };
            splits.push((split, layers.iter().zip(&grams).map(table).collect::<Result<Vec<_>>>()?));
        }
        Ok(Self { file, path: path.to_path_buf(), layers, grams, splits, streamed, of_these, hash })
    }

    /// Stream of a run of random batches, if rows are streamed.
    pub(super) fn stream(&self, data: &Dataset, batch: usize, seed: u64) -> Result<Option<Stream>> {
        let tables = self.splits.iter().find(|(split, _)| *split == "train" && self.streamed);
        let Some((_, tables)) = tables else { return Ok(None) };
        let row: usize = tables.iter().map(|table| 4 * table.shape()[1..].iter().product::<usize>()).sum();
        let slots = (RING / (row * batch).max(1)).clamp(1, Log::CAPACITY);
        let ring = |table: &Tensor| {
            let ty = TensorType::f32([&[slots * batch], &table.shape()[1..]].concat());
            Tensor::zeros(data.gpu(), "streamed rows of a guide", ty)
        };
        let rings = tables.iter().map(ring).collect::<trellis_tensor::Result<Vec<_>>>()?;
        let sampler = SampleBatch { n: data.train().count(), batch, seed };
        Ok(Some(Stream { rings, slots, sampler }))
    }

    /// Reads the rows of `steps` steps from step `first` on into a stream. Steps that were submitted before still read theirs.
    pub(super) fn fill(&self, stream: &Stream, first: u32, steps: usize) -> Result<()> {
        for step in first..first + steps as u32 {
            let indices = stream.sampler.indices(step);
            for (layer, ring) in self.layers.iter().zip(&stream.rings) {
                let (name, features) = (format!("train.{layer}"), ring.shape()[1..].iter().product::<usize>());
                let mut rows = Vec::with_capacity(indices.len() * features);
                for &index in &indices {
                    let at = index as usize * features;
                    rows.extend(self.file.numbers_at(&name, at..at + features)?);
                }
                if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
                    let row = indices[at / features.max(1)];
                    let problem = format!("has a number in row {row} of `{name}` that is not finite");
                    return Err(Error::checkpoint(&self.path, problem, HINT));
                }
                ring.write_f32_at(step as usize % stream.slots * indices.len() * features, &rows)?;
            }
        }
        Ok(())
    }

    /// Checks the numbers that a run would put on the GPU, where a dry run has not read them. True if the file is of these data.
    pub(super) fn check(&self, data: &Dataset) -> Result<bool> {
        for (split, tables) in self.splits.iter().filter(|_| data.gpu().is_dry_run()) {
            for (layer, table) in self.layers.iter().zip(tables) {
                let name = format!("{split}.{layer}");
                finite_rows(&self.file, &self.path, &name, table.ty().elements(), table.shape()[0])?;
            }
        }
        Ok(self.of_these)
    }

    /// True if layer number `layer` is a Gram matrix of all examples.
    pub(super) fn is_gram(&self, layer: usize) -> bool {
        self.grams[layer]
    }

    /// Number that tells this recording from others: of the rows on the GPU.
    pub(super) fn fingerprint(&self) -> u64 {
        self.hash
    }

    pub(super) fn layers(&self) -> &[String] {
        &self.layers
    }

    /// Rows of layer number `layer` for the examples of a batch.
    pub(super) fn rows<'g>(&self, graph: &'g Graph, batch: &Batch<'g>, layer: usize) -> Result<Var<'g>> {
        let Some((_, tables)) = self.splits.iter().find(|(split, _)| *split == batch.split) else {
            let problem = format!("has no rows of the {} split", batch.split);
            return Err(Error::checkpoint(&self.path, problem, HINT));
        };
        Ok(graph.leaf(&tables[layer]).gather(batch.index)?)
    }

    /// True if the rows of a training step are read before it.
    pub(super) fn is_streamed(&self) -> bool {
        self.streamed
    }
}

impl Stream {
    /// Number of steps whose rows it holds.
    pub(super) fn depth(&self) -> usize {
        self.slots
    }

    /// Rows of layer number `layer` for the batch of the step that `step_state` shows.
    pub(super) fn rows<'g>(&self, graph: &'g Graph, step_state: &StepState, layer: usize) -> Result<Var<'g>> {
        let now = graph.leaf(step_state.tensor());
        let slot = now.ring_batch(self.slots, self.sampler.batch, self.sampler.batch)?;
        Ok(graph.leaf(&self.rings[layer]).gather(slot)?)
    }
}

/// Bytes of the training rows of a layer, as f32.
fn bytes_of(file: &WeightsFile, layer: &str) -> usize {
    file.shape(&format!("train.{layer}")).map_or(0, |shape| 4 * shape.iter().product::<usize>())
}

/// Shape of an array of `rows` rows, or `more`.
fn checked_shape(file: &WeightsFile, path: &Path, name: &str, rows: usize, more: bool) -> Result<Vec<usize>> {
    let bad = |problem: String| Error::checkpoint(path, problem, HINT);
    let shape = file.shape(name).ok_or_else(|| bad(format!("lacks `{name}`")))?;
    let enough = shape.first().is_some_and(|&own| own == rows || own > rows && more);
    if shape.len() < 2 || !enough {
        return Err(bad(format!("has `{name}` of {shape:?}, which should be [{rows}, …], a row for each example")));
    }
    Ok(shape)
}

/// Start and factor of the hash FNV-1a.
const FNV: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_FACTOR: u64 = 0x0100_0000_01b3;

/// The first rows of an array, as a table of this shape on the GPU.
fn read_table(
    data: &Dataset,
    file: &WeightsFile,
    path: &Path,
    name: &str,
    shape: &[usize],
    hash: &mut u64,
) -> Result<Tensor> {
    let (ty, most) = (TensorType::f32(shape.to_vec()), data.gpu().caps().max_binding);
    let title = format!("recorded {name}");
    if data.gpu().is_dry_run() {
        return Ok(Tensor::zeros(data.gpu(), &title, ty)?);
    }
    if ty.bytes() as u64 > most {
        let problem = format!("has `{name}` of {} MiB, and this adapter binds {} MiB", ty.bytes() >> 20, most >> 20);
        let hint = "record fewer features (a mean over pixels, or a random projection), or leave the layer out";
        return Err(Error::checkpoint(path, problem, hint));
    }
    let values = finite_rows(file, path, name, ty.elements(), shape[0])?;
    *hash = values.iter().fold(*hash, |hash, value| (hash ^ u64::from(value.to_bits())).wrapping_mul(FNV_FACTOR));
    Ok(Tensor::from_f32(data.gpu(), &title, ty.shape, &values)?)
}

/// The first numbers of an array, which make so many rows.
fn finite_rows(file: &WeightsFile, path: &Path, name: &str, count: usize, rows: usize) -> Result<Vec<f32>> {
    let values = file.numbers_at(name, 0..count)?;
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let problem = format!("has a number in row {} of `{name}` that is not finite", at * rows / values.len());
        return Err(Error::checkpoint(path, problem, HINT));
    }
    Ok(values)
}
