//! Recorded activations: layers of any network, for each example of a data set.

use std::path::{Path, PathBuf};

use trellis_tensor::{Graph, Tensor, TensorType, Var};

use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};
use crate::guide::COMPARED;
use crate::weights::WeightsFile;

/// Metadata of the file that names the data, and that names the layers.
const DATA: &str = "trellis";
const LAYERS: &str = "layers";

/// Hint behind what is wrong with a file.
const HINT: &str = "record it anew with examples/activations.py, from `trellis examples` of this configuration";

/// Layers of a guide for each example.
#[derive(Debug)]
pub(super) struct Recorded {
    path: PathBuf,
    layers: Vec<String>,
    /// Tables `[examples, …]` by split and layer.
    splits: Vec<(&'static str, Vec<Tensor>)>,
}

impl Recorded {
    pub(super) fn read(data: &Dataset, path: &Path) -> Result<Self> {
        let bad = |problem: String| Error::checkpoint(path, problem, HINT);
        let file = WeightsFile::read(path)?;
        let about = |key: &str| file.about().into_iter().find(|(own, _)| own == key).map(|(_, text)| text);
        let of = about(DATA).ok_or_else(|| bad(format!("does not say of which data it is: no metadata `{DATA}`")))?;
        // A data set that is only counted has no contents to tell it from others.
        if of != data.describe() && !data.gpu().is_dry_run() {
            return Err(bad(format!("is of other data: {of}; here it is {}", data.describe())));
        }
        let names = about(LAYERS).ok_or_else(|| bad(format!("does not name its layers: no metadata `{LAYERS}`")))?;
        let layers: Vec<String> = names.split_whitespace().map(str::to_string).collect();
        if data.is_drawn() {
            let problem = "cannot hold the examples of this set, of which every batch is new".to_string();
            return Err(Error::checkpoint(path, problem, "give the guide as a network"));
        }
        if data.skipping().is_some() {
            let problem = "cannot tell which images are left out as broken".to_string();
            return Err(Error::checkpoint(path, problem, "do without `data.skip_broken`"));
        }
        let mut splits = Vec::new();
        for (split, examples) in data.splits().filter(|(name, _)| *name != "validation") {
            // Evaluations look at the first of the test split.
            let rows = if split == "test" { examples.count().min(COMPARED) } else { examples.count() };
            let table = |layer: &String| read_table(data, &file, path, &format!("{split}.{layer}"), rows);
            splits.push((split, layers.iter().map(table).collect::<Result<Vec<_>>>()?));
        }
        Ok(Self { path: path.to_path_buf(), layers, splits })
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
}

fn read_table(data: &Dataset, file: &WeightsFile, path: &Path, name: &str, rows: usize) -> Result<Tensor> {
    let bad = |problem: String| Error::checkpoint(path, problem, HINT);
    let shape = file.shape(name).ok_or_else(|| bad(format!("lacks `{name}`")))?;
    // Of a test split there may be more.
    let enough = shape.first().is_some_and(|&own| own == rows || own > rows && name.starts_with("test."));
    if shape.len() < 2 || !enough {
        return Err(bad(format!("has `{name}` of {shape:?}, which should be [{rows}, …], a row for each example")));
    }
    let shape = [&[rows], &shape[1..]].concat();
    let (ty, most) = (TensorType::f32(shape), data.gpu().caps().max_binding);
    if ty.bytes() as u64 > most && !data.gpu().is_dry_run() {
        let problem = format!("has `{name}` of {} MiB, and this adapter binds {} MiB", ty.bytes() >> 20, most >> 20);
        let hint = "record fewer features (a mean over pixels, or a random projection), or leave the layer out";
        return Err(Error::checkpoint(path, problem, hint));
    }
    let title = format!("recorded {name}");
    if data.gpu().is_dry_run() {
        return Ok(Tensor::zeros(data.gpu(), &title, ty)?);
    }
    let mut values = file.tensor(name)?.map(|(_, values)| values).unwrap_or_default();
    values.truncate(ty.elements());
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let row = at * rows / values.len();
        return Err(bad(format!("has a number in row {row} of `{name}` that is not finite")));
    }
    Ok(Tensor::from_f32(data.gpu(), &title, ty.shape, &values)?)
}
