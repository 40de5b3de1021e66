//! A safetensors file: its tensors as they lie there, and as numbers.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::naming::{Naming, Values, is_ignored};
use crate::error::{Error, Result};
use crate::record::write_atomic;

/// Largest file that is read.
const LARGEST: u64 = 8 << 30;

/// The bytes of a safetensors file.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// A tensor to write: name, shape, values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 4 bytes a number.
    F32,
    /// 2 bytes: 11 bits of precision, up to 65,504.
    F16,
    /// 2 bytes: 8 bits of precision, the range of f32.
    Bf16,
}

/// What a file says of one of its tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSummary {
    /// Its name in the file.
    pub name: String,
    /// Its type in the file: `F32`.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Mean and standard deviation, least and greatest value; of those that are finite. `None` where it holds no floats.
    pub statistics: Option<[f64; 4]>,
    /// Values that are not finite.
    pub not_finite: usize,
}

impl WeightsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Checkpoint`] if it is no safetensors file, or larger than 8 GiB.
    pub fn read(path: &Path) -> Result<Self> {
        let size = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
        if size > LARGEST {
            return Err(Error::checkpoint(path, format!("is {size} bytes long"), "give a file of at most 8 GiB"));
        }
        let file = Self { path: path.to_owned(), bytes: fs::read(path).map_err(|e| Error::io(path, e))? };
        file.parse()?;
        Ok(file)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn parse(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|error| {
            // What torch.save writes is a zip archive, and was a pickle.
            if self.bytes.starts_with(b"PK") || self.bytes.starts_with(&[0x80]) {
                let hint = "in Python: safetensors.torch.save_file(model.state_dict(), \"weights.safetensors\")";
                return Error::checkpoint(&self.path, "is a file of torch.save, which is a program", hint);
            }
            Error::checkpoint(&self.path, format!("is damaged ({error})"), "use another safetensors file")
        })
    }

    /// The numbers of a tensor, as f32.
    pub(super) fn numbers(&self, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
        let data = view.data();
        Ok(match view.dtype() {
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes) as f32).collect(),
            Dtype::F16 => data.as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::BF16 => data.as_chunks::<2>().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect(),
            other => {
                let problem = format!("`{name}` holds {other:?}");
                return Err(Error::checkpoint(&self.path, problem, "give F64, F32, BF16 or F16"));
            }
        })
    }

    /// Shape and numbers of a tensor, if the file holds it.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Ok(view) = self.parse()?.tensor(name) else { return Ok(None) };
        Ok(Some((view.shape().to_vec(), self.numbers(name, &view)?)))
    }

    /// Key and value of what the file says of itself, in order of the keys.
    ///
    /// # Errors
    /// As [`WeightsFile::read`].
    pub fn about(&self) -> Result<Vec<(String, String)>> {
        let (_, header) = SafeTensors::read_metadata(&self.bytes)
            .map_err(|error| Error::checkpoint(&self.path, format!("is damaged ({error})"), "use another file"))?;
        let mut about: Vec<(String, String)> = header.metadata().clone().unwrap_or_default().into_iter().collect();
        about.sort();
        Ok(about)
    }

    /// Every tensor, in order of the names, numbers in names counted as numbers.
    ///
    /// # Errors
    /// As [`WeightsFile::read`].
    pub fn summaries(&self) -> Result<Vec<TensorSummary>> {
        let mut all = Vec::new();
        for (name, view) in self.parse()?.iter() {
            let numbers = self.numbers(name, &view).ok();
            let finite: Vec<f64> =
                numbers.iter().flatten().filter(|v| v.is_finite()).map(|&value| f64::from(value)).collect();
            let count = finite.len().max(1) as f64;
            let mean = finite.iter().sum::<f64>() / count;
            let deviation = (finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
            let (least, greatest) = finite.iter().fold((f64::MAX, f64::MIN), |(l, g), &v| (l.min(v), g.max(v)));
            all.push(TensorSummary {
                name: name.to_string(),
                dtype: format!("{:?}", view.dtype()),
                shape: view.shape().to_vec(),
                statistics: (!finite.is_empty()).then_some([mean, deviation, least, greatest]),
                not_finite: numbers.map_or(0, |numbers| numbers.len() - finite.len()),
            });
        }
        all.sort_by_cached_key(|tensor| sort_key(&tensor.name));
        Ok(all)
    }

    /// Every tensor under the names of `to`, whatever the file's own are: what PyTorch's files hold besides parameters is left
    /// out.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a tensor has no name there, or holds other things than floats.
    pub fn renamed(&self, to: Naming) -> Result<Vec<Named>> {
        let file = self.parse()?;
        let names = file.names();
        let (from, prefix) = Naming::of_file(&names);
        let mut tensors = Vec::new();
        for name in names {
            let stripped = name.strip_prefix(prefix).unwrap_or(name);
            if is_ignored(stripped) {
                continue;
            }
            let unnamed = || {
                let problem = format!("`{name}` has no name in {to:?}");
                Error::checkpoint(&self.path, problem, "convert it under the names it has")
            };
            let (ours, before) = from.ours(stripped).ok_or_else(unnamed)?;
            let (theirs, after) = to.theirs(&ours).ok_or_else(unnamed)?;
            let view = file.tensor(name).map_err(|_| unnamed())?;
            let (mut shape, mut values) = (view.shape().to_vec(), self.numbers(name, &view)?);
            if (before == Values::Transposed) != (after == Values::Transposed) {
                (shape, values) = transposed(&shape, &values).ok_or_else(unnamed)?;
            }
            tensors.push((theirs, shape, values));
        }
        tensors.sort_by_cached_key(|(name, ..)| sort_key(name));
        Ok(tensors)
    }
}

/// Columns as rows; `None` for what is no matrix.
pub(super) fn transposed(shape: &[usize], values: &[f32]) -> Option<(Vec<usize>, Vec<f32>)> {
    let &[rows, columns] = shape else { return None };
    let turned = (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect();
    Some((vec![columns, rows], turned))
}

/// Writes `tensors` as a safetensors file, whole or not at all; `about` is kept under the key `trellis`.
///
/// # Errors
/// [`Error::Io`] if it cannot be written.
pub fn write(path: &Path, tensors: &[Named], format: Format, about: String) -> Result<()> {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(_, _, values)| format.bytes(values)).collect();
    let invalid = |error: safetensors::SafeTensorError| Error::checkpoint(path, error.to_string(), "report this");
    let views = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| {
            Ok((name, TensorView::new(format.dtype(), shape.clone(), bytes).map_err(invalid)?))
        })
        .collect::<Result<Vec<_>>>()?;
    // One entry: the order of several would change from file to file.
    let about = HashMap::from([("trellis".to_string(), about)]);
    write_atomic(path, &safetensors::serialize(views, Some(about)).map_err(invalid)?)
}

impl Format {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}

/// Parts of a name, numbers padded: `layers.2` comes before `layers.10`.
fn sort_key(name: &str) -> Vec<String> {
    let padded = |part: &str| part.parse::<u32>().map_or(part.to_string(), |number| format!("{number:010}"));
    name.split('.').map(padded).collect()
}
