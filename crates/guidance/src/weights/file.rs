//! A safetensors file: its tensors as they lie there, and as numbers.

use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use trellis_data::io::Bytes;

use super::naming::{GPT2_HEAD, MASK, Naming, no_parameter};
use super::write::RECIPE;
use crate::error::{Error, Result};

/// Largest header that is read, the most that the library writes.
const LARGEST_HEADER: u64 = 100_000_000;

/// Numbers that are read at once: 4 MiB of them as f32.
const BLOCK: usize = 1 << 20;

/// Blocks of up to [`BLOCK`] numbers, of `count` in all.
pub(super) fn blocks(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(BLOCK).map(move |first| first..count.min(first + BLOCK))
}

/// A safetensors file, of which a tensor is read when it is wanted.
#[derive(Debug)]
pub struct WeightsFile {
    pub(super) path: PathBuf,
    bytes: Bytes,
    /// Offset at which the tensors begin.
    start: u64,
    header: Metadata,
}

impl WeightsFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read or is no regular file, [`Error::Checkpoint`] if it is no safetensors file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = Bytes::open(path)?;
        let mut first = vec![0; bytes.len().min(512) as usize];
        bytes.read(0, &mut first)?;
        let damaged = |problem: String| match other_kind(&first) {
            Some((kind, hint)) => Error::checkpoint(path, format!("is {kind}"), hint),
            None => Error::checkpoint(path, format!("is damaged ({problem})"), "use another safetensors file"),
        };
        let length = first.first_chunk().map(|length| u64::from_le_bytes(*length));
        let length = length.filter(|length| *length <= LARGEST_HEADER && length + 8 <= bytes.len());
        let length = length.ok_or_else(|| damaged("its header is not all there".to_string()))?;
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

    /// Some of the numbers of a tensor, row-major, as f32. Their bytes are read in blocks.
    pub(super) fn some_numbers(&self, name: &str, info: &TensorInfo, which: Range<usize>) -> Result<Vec<f32>> {
        if !matches!(info.dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16) {
            let problem = format!("`{name}` holds {:?}", info.dtype);
            return Err(Error::checkpoint(&self.path, problem, "give F64, F32, BF16 or F16"));
        }
        let size = info.dtype.bitsize() / 8;
        let mut numbers = Vec::with_capacity(which.len());
        let mut bytes = Vec::new();
        for block in blocks(which.len()) {
            bytes.resize(block.len() * size, 0);
            let first = info.data_offsets.0 + (which.start + block.start) * size;
            self.bytes.read(self.start + first as u64, &mut bytes)?;
            match info.dtype {
                Dtype::F64 => {
                    let wide = bytes.as_chunks::<8>().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
                    numbers.extend(wide.clone().map(|wide| wide as f32));
                    if wide.zip(&numbers[block.start..]).any(|(wide, narrow)| wide.is_finite() && !narrow.is_finite()) {
                        let problem = format!("`{name}` has numbers beyond 3.4e38, the greatest of f32");
                        return Err(Error::checkpoint(&self.path, problem, "scale them before they are saved"));
                    }
                }
                Dtype::F16 => numbers.extend(bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32())),
                Dtype::BF16 => numbers.extend(bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32())),
                _ => numbers.extend(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes))),
            }
        }
        Ok(numbers)
    }

    /// Shape of a tensor, if the file holds it.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.info(name).map(|info| info.shape.clone())
    }

    /// Some of the numbers of a tensor, row-major, as f32; none where the file does not hold it.
    pub(crate) fn numbers_at(&self, name: &str, which: Range<usize>) -> Result<Vec<f32>> {
        self.info(name).map_or(Ok(Vec::new()), |info| self.some_numbers(name, info, which))
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

    /// Why the file needs no tensor `name`, by the naming and prefix of its others: it is no parameter, or a copy of one.
    pub(super) fn redundant(&self, name: &str, naming: Naming, prefix: &str) -> Result<Option<&'static str>> {
        let Some(info) = self.info(name) else { return Ok(None) };
        let stripped = name.strip_prefix(prefix).unwrap_or(name);
        let [head, embedding] = GPT2_HEAD;
        if naming == Naming::Gpt2 && stripped == head {
            let embedding = format!("{prefix}{embedding}");
            let Some(other) = self.info(&embedding).filter(|other| other.shape == info.shape) else { return Ok(None) };
            for block in blocks(info.shape.iter().product()) {
                let own = self.some_numbers(name, info, block.clone())?;
                let embedded = self.some_numbers(&embedding, other, block)?;
                // Bit for bit: a number that is none is as good a copy as others.
                if own.iter().zip(&embedded).any(|(own, embedded)| own.to_bits() != embedded.to_bits()) {
                    return Ok(None);
                }
            }
            return Ok(Some("equal to the embedding"));
        }
        match no_parameter(naming, stripped, &info.shape) {
            Some(MASK) if !self.is_causal_mask(name, info)? => Ok(None),
            reason => Ok(reason),
        }
    }

    /// True if the rows of a mask `[1, 1, n, n]` are 1 up to the diagonal and 0 beyond, in whatever type.
    fn is_causal_mask(&self, name: &str, info: &TensorInfo) -> Result<bool> {
        let columns = info.shape[3];
        for row in 0..info.shape[2] {
            let numbers = match info.dtype {
                Dtype::BOOL | Dtype::U8 => {
                    let mut bytes = vec![0; columns];
                    self.bytes.read(self.start + (info.data_offsets.0 + row * columns) as u64, &mut bytes)?;
                    bytes.into_iter().map(f32::from).collect()
                }
                Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16 => {
                    self.some_numbers(name, info, row * columns..(row + 1) * columns)?
                }
                _ => return Ok(false),
            };
            if numbers.iter().enumerate().any(|(column, &number)| number != f32::from(u8::from(column <= row))) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Kind of a file that begins with these bytes, if such files are often given in place of safetensors, and what to do.
fn other_kind(first: &[u8]) -> Option<(&'static str, &'static str)> {
    let save = "in Python: safetensors.torch.save_file(model.state_dict(), \"weights.safetensors\")";
    let known: [(&[u8], _, _); 6] = [
        // torch.save writes a zip archive, and once wrote a pickle.
        (b"PK", "a file of torch.save, which is a program", save),
        (&[0x80], "a file of torch.save, which is a program", save),
        (b"version ", "a pointer of Git LFS, not the file that it points to", "in its repository: git lfs pull"),
        (b"GGUF", "a GGUF file", "use the safetensors file that it was made of"),
        (b"\x89HDF", "an HDF5 file of Keras", "save the weights from PyTorch as safetensors"),
        (b"\x1f\x8b", "packed by gzip", "unpack it: gunzip"),
    ];
    let known = known.into_iter().find(|(start, ..)| first.starts_with(start)).map(|(_, kind, hint)| (kind, hint));
    known.or_else(|| {
        let download = "download the file itself, on Hugging Face by its download arrow";
        let text = text(first)?;
        Some(match text.bytes().next()? {
            b'<' => ("a web page: the download went wrong", download),
            b'{' if text.contains("\"weight_map\"") || text.contains("\"total_size\"") => {
                ("the index of weights in several files", "give the .safetensors files themselves, joined into one")
            }
            b'{' | b'[' => ("JSON, such as a configuration or the error of a server", download),
            _ => ("text", "give a .safetensors file"),
        })
    })
}

/// The text that a file begins with, without what is blank; `None` for one that holds other than text.
fn text(first: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(first) {
        Ok(text) => text,
        // The last character goes on behind these bytes.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&first[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim_start_matches('\u{feff}').trim_start();
    (!text.is_empty() && !text.contains(|c: char| c.is_control() && !c.is_whitespace())).then_some(text)
}

/// Bytes of a tensor, if they are a number.
fn size_of(info: &TensorInfo) -> Option<usize> {
    let elements = info.shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size))?;
    let bits = elements.checked_mul(info.dtype.bitsize())?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// Parts of a name, numbers padded: `layers.2` comes before `layers.10`.
pub(super) fn sort_key(name: &str) -> Vec<String> {
    let padded = |part: &str| part.parse::<u32>().map_or(part.to_string(), |number| format!("{number:010}"));
    name.split('.').map(padded).collect()
}
