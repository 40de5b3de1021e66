//! A safetensors file: its tensors as they lie there, and as numbers.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use trellis_data::io::Bytes;

use super::naming::{GPT2_HEAD, Naming, Values, no_parameter};
use super::write::{Named, RECIPE};
use crate::error::{Error, Result};

/// Largest header that is read, the most that the library writes.
const LARGEST_HEADER: u64 = 100_000_000;

/// A safetensors file, of which a tensor is read when it is wanted.
#[derive(Debug)]
pub struct WeightsFile {
    path: PathBuf,
    bytes: Bytes,
    /// Offset at which the tensors begin.
    start: u64,
    header: Metadata,
}

/// Summary of a tensor in a file: name, type, shape and statistics.
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
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read or is no regular file, [`Error::Checkpoint`] if it is no safetensors file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = Bytes::open(path)?;
        let mut length = [0; 8];
        let first = bytes.len().min(8) as usize;
        bytes.read(0, &mut length[..first])?;
        let damaged = |problem: String| match other_kind(&length[..first]) {
            Some((kind, hint)) => Error::checkpoint(path, format!("is {kind}"), hint),
            None => Error::checkpoint(path, format!("is damaged ({problem})"), "use another safetensors file"),
        };
        let length = u64::from_le_bytes(length);
        if first < 8 || length > LARGEST_HEADER || length + 8 > bytes.len() {
            return Err(damaged("its header is not all there".to_string()));
        }
        let mut header = vec![0; length as usize];
        bytes.read(8, &mut header)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| damaged(error.to_string()))?;
        let (start, mut end) = (length + 8, 0);
        for name in header.offset_keys() {
            let info = header.info(&name).expect("its own name");
            let (from, to) = info.data_offsets;
            if from != end || to.checked_sub(from) != size_of(info) {
                return Err(damaged(format!("`{name}` has not the bytes of its shape")));
            }
            end = to;
        }
        if start.checked_add(end as u64) != Some(bytes.len()) {
            return Err(damaged(format!("{end} bytes of tensors in a file of {}", bytes.len())));
        }
        Ok(Self { path: path.to_owned(), bytes, start, header })
    }

    /// Path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of its tensors, in the order in which they lie there.
    pub(super) fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    /// Type and shape of a tensor, if the file holds it.
    pub(super) fn info(&self, name: &str) -> Option<&TensorInfo> {
        self.header.info(name)
    }

    /// The numbers of a tensor, as f32.
    pub(super) fn numbers(&self, name: &str, info: &TensorInfo) -> Result<Vec<f32>> {
        self.some_numbers(name, info, 0..info.shape.iter().product())
    }

    /// Some of the numbers of a tensor, row-major, as f32.
    pub(super) fn some_numbers(&self, name: &str, info: &TensorInfo, which: Range<usize>) -> Result<Vec<f32>> {
        let size = info.dtype.bitsize() / 8;
        let read = || {
            let mut bytes = vec![0; which.len() * size];
            self.bytes.read(self.start + (info.data_offsets.0 + which.start * size) as u64, &mut bytes)?;
            Ok::<Vec<u8>, Error>(bytes)
        };
        Ok(match info.dtype {
            Dtype::F32 => read()?.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect(),
            Dtype::F64 => {
                let narrow = |&bytes: &[u8; 8]| {
                    let wide = f64::from_le_bytes(bytes);
                    Some(wide as f32).filter(|narrow| narrow.is_finite() || !wide.is_finite())
                };
                let bytes = read()?;
                let numbers: Option<Vec<f32>> = bytes.as_chunks::<8>().0.iter().map(narrow).collect();
                numbers.ok_or_else(|| {
                    let problem = format!("`{name}` has numbers beyond 3.4e38, the greatest of f32");
                    Error::checkpoint(&self.path, problem, "scale them before they are saved")
                })?
            }
            Dtype::F16 => read()?.as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect(),
            Dtype::BF16 => {
                read()?.as_chunks::<2>().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect()
            }
            other => {
                let problem = format!("`{name}` holds {other:?}");
                return Err(Error::checkpoint(&self.path, problem, "give F64, F32, BF16 or F16"));
            }
        })
    }

    /// Shape and numbers of a tensor, if the file holds it.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<(Vec<usize>, Vec<f32>)>> {
        let Some(info) = self.info(name) else { return Ok(None) };
        Ok(Some((info.shape.clone(), self.numbers(name, info)?)))
    }

    /// Key and value of the file's metadata, in order of the keys.
    pub fn about(&self) -> Vec<(String, String)> {
        let mut about: Vec<(String, String)> = self.header.metadata().clone().unwrap_or_default().into_iter().collect();
        about.sort();
        about
    }

    /// JSON of its recipe, if it has one.
    pub fn recipe(&self) -> Option<String> {
        self.about().into_iter().find(|(key, _)| key == RECIPE).map(|(_, text)| text)
    }

    /// Every tensor, in order of the names, numbers in names counted as numbers.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read.
    pub fn summaries(&self) -> Result<Vec<TensorSummary>> {
        let mut names = self.names();
        names.sort_by_cached_key(|name| sort_key(name));
        names.into_iter().map(|name| self.summary(name)).collect()
    }

    fn summary(&self, name: String) -> Result<TensorSummary> {
        let info = self.info(&name).expect("its own name");
        let numbers = match self.numbers(&name, info) {
            Ok(numbers) => Some(numbers),
            Err(Error::Checkpoint { .. }) => None,
            Err(error) => return Err(error),
        };
        let finite: Vec<f64> =
            numbers.iter().flatten().filter(|v| v.is_finite()).map(|&value| f64::from(value)).collect();
        let count = finite.len().max(1) as f64;
        let mean = finite.iter().sum::<f64>() / count;
        let deviation = (finite.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count).sqrt();
        let (least, greatest) = finite.iter().fold((f64::MAX, f64::MIN), |(l, g), &v| (l.min(v), g.max(v)));
        Ok(TensorSummary {
            dtype: format!("{:?}", info.dtype),
            shape: info.shape.clone(),
            name,
            statistics: (!finite.is_empty()).then_some([mean, deviation, least, greatest]),
            not_finite: numbers.map_or(0, |numbers| numbers.len() - finite.len()),
        })
    }

    /// Why the file needs no tensor `name`, by the naming and prefix of its others: it is no parameter, or a copy of one.
    pub(super) fn redundant(&self, name: &str, naming: Naming, prefix: &str) -> Result<Option<&'static str>> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let stripped = name.strip_prefix(prefix).unwrap_or(name);
        let [head, embedding] = GPT2_HEAD;
        if naming == Naming::Gpt2 && stripped == head {
            let (own, other) = (self.tensor(name)?, self.tensor(&format!("{prefix}{embedding}"))?);
            return Ok((own == other).then_some("equal to the embedding"));
        }
        Ok(no_parameter(naming, stripped, &info.shape))
    }

    /// Every tensor under its own name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for one that holds other things than floats.
    pub fn unrenamed(&self) -> Result<Renamed> {
        let tensor = |name: String| {
            let (shape, values) = self.tensor(&name)?.unwrap_or_default();
            Ok((name, shape, values))
        };
        Ok(Renamed { tensors: self.names().into_iter().map(tensor).collect::<Result<_>>()?, left_out: Vec::new() })
    }

    /// Every tensor under the names of `to`, whatever the file's own are, but for what is redundant.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if a tensor has no name there, or that of another, or holds other things than floats.
    pub fn renamed(&self, to: Naming) -> Result<Renamed> {
        let names = self.names();
        let (from, prefix) = Naming::of_file(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let (mut tensors, mut taken, mut left_out) = (Vec::new(), BTreeSet::new(), Vec::new());
        for name in &names {
            if let Some(reason) = self.redundant(name, from, prefix)? {
                left_out.push((name.clone(), reason));
                continue;
            }
            let stripped = name.strip_prefix(prefix).unwrap_or(name);
            let unnamed = || {
                let problem = format!("`{name}` has no name among those of {to}");
                Error::checkpoint(&self.path, problem, "keep its names: --names own")
            };
            let (ours, before) = from.ours(stripped).ok_or_else(unnamed)?;
            let (theirs, after) = to.theirs(&ours).ok_or_else(unnamed)?;
            if !taken.insert(theirs.clone()) {
                let problem = format!("`{name}` would have the name of another, `{theirs}`");
                return Err(Error::checkpoint(&self.path, problem, "remove one of them"));
            }
            let (mut shape, mut values) = self.tensor(name)?.ok_or_else(unnamed)?;
            if (before == Values::Transposed) != (after == Values::Transposed) {
                (shape, values) = transposed(&shape, &values).ok_or_else(unnamed)?;
            }
            tensors.push((theirs, shape, values));
        }
        if let Some(missing) = to.always().find(|name| !taken.contains(*name)) {
            let problem = format!("has no tensor to be `{missing}`, so it is not of such a network");
            return Err(Error::checkpoint(&self.path, problem, "keep its names: --names own"));
        }
        tensors.sort_by_cached_key(|(name, ..)| sort_key(name));
        Ok(Renamed { tensors, left_out })
    }
}

/// Kind of a file that begins with these bytes, if such files are often given in place of safetensors, and what to do.
fn other_kind(first: &[u8]) -> Option<(&'static str, &'static str)> {
    let save = "in Python: safetensors.torch.save_file(model.state_dict(), \"weights.safetensors\")";
    let known: [(&[u8], _, _); 8] = [
        // torch.save writes a zip archive, and once wrote a pickle.
        (b"PK", "a file of torch.save, which is a program", save),
        (&[0x80], "a file of torch.save, which is a program", save),
        (b"version ", "a pointer of Git LFS, not the file that it points to", "in its repository: git lfs pull"),
        (
            b"<",
            "a web page: the download went wrong",
            "download the file itself, on Hugging Face by its download arrow",
        ),
        (
            b"{",
            "JSON, such as the index of weights in several files",
            "give the .safetensors files themselves, joined into one",
        ),
        (b"GGUF", "a GGUF file", "use the safetensors file that it was made of"),
        (b"\x89HDF", "an HDF5 file of Keras", "save the weights from PyTorch as safetensors"),
        (b"\x1f\x8b", "packed by gzip", "unpack it: gunzip"),
    ];
    known.into_iter().find(|(start, ..)| first.starts_with(start)).map(|(_, kind, hint)| (kind, hint))
}

/// A file's tensors under other names.
#[derive(Clone, Debug, PartialEq)]
pub struct Renamed {
    /// Name, shape and values of each.
    pub tensors: Vec<Named>,
    /// Further contents of the file, under their own names, and why they are not needed.
    pub left_out: Vec<(String, &'static str)>,
}

/// Bytes of a tensor, if they are a number.
fn size_of(info: &TensorInfo) -> Option<usize> {
    let elements = info.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    let bits = elements.checked_mul(info.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// Columns as rows; `None` for what is no matrix.
pub(super) fn transposed(shape: &[usize], values: &[f32]) -> Option<(Vec<usize>, Vec<f32>)> {
    let &[rows, columns] = shape else { return None };
    let turned = (0..values.len()).map(|at| values[at % rows * columns + at / rows]).collect();
    Some((vec![columns, rows], turned))
}

/// Parts of a name, numbers padded: `layers.2` comes before `layers.10`.
fn sort_key(name: &str) -> Vec<String> {
    let padded = |part: &str| part.parse::<u32>().map_or(part.to_string(), |number| format!("{number:010}"));
    name.split('.').map(padded).collect()
}
