//! Writing safetensors files, from numbers or straight from the GPU.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use half::{bf16, f16};
use trellis_data::io::replace;
use trellis_tensor::Tensor;

use crate::error::{Error, Result};

/// A tensor to write: name, shape, values.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Format in which numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 4 bytes a number.
    F32,
    /// 2 bytes: 11 bits of precision, up to 65,504.
    F16,
    /// 2 bytes: 8 bits of precision, the range of f32.
    Bf16,
}

/// Text that a file says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Version and network in a few words, or whatever else a reader should know; key `trellis`.
    pub text: String,
    /// JSON of a recipe, if the file has one; key `recipe`.
    pub recipe: Option<String>,
}

impl From<String> for About {
    fn from(text: String) -> Self {
        Self { text, recipe: None }
    }
}

/// A tensor to write.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) shape: Vec<usize>,
    pub(crate) contents: Contents<'a>,
}

impl<'a> Entry<'a> {
    pub(crate) fn given(name: &'a str, shape: Vec<usize>, values: &'a [f32]) -> Self {
        Self { name, shape, contents: Contents::Given(values) }
    }

    pub(crate) fn on_gpu(name: &'a str, tensor: &'a Tensor) -> Self {
        Self { name, shape: tensor.shape().to_vec(), contents: Contents::OnGpu(vec![tensor]) }
    }
}

/// Numbers to write.
pub(crate) enum Contents<'a> {
    Given(&'a [f32]),
    /// In these tensors, one after another.
    OnGpu(Vec<&'a Tensor>),
    /// Block after block, each read when it is wanted.
    Blocks(Box<dyn Iterator<Item = Result<Vec<f32>>> + 'a>),
}

/// Numbers that become bytes at once.
const BYTES: usize = 1 << 20;

/// Writes `tensors` as a safetensors file, whole or not at all: the same tensors and text give the same bytes. Its
/// metadata are `format` (`pt`, without which Hugging Face's `transformers` refuses a file) and what `about` holds.
///
/// # Errors
/// [`Error::Data`] if it cannot be written; [`Error::Checkpoint`] if a number is finite and would not be so in `format`.
pub fn write(path: &Path, tensors: &[Named], format: Format, about: impl Into<About>) -> Result<()> {
    let entries = tensors.iter().map(|(name, shape, values)| Entry::given(name, shape.clone(), values));
    write_entries(path, entries.collect(), format, about.into())
}

/// [`write()`] of tensors wherever they are. Those on the GPU are copied in blocks, which take 40 MiB of the memory of the
/// CPU, however large the tensors are.
pub(crate) fn write_entries(path: &Path, mut tensors: Vec<Entry<'_>>, format: Format, about: About) -> Result<()> {
    tensors.sort_by(|a, b| a.name.cmp(b.name));
    let header = header(&tensors, format, about);
    let mut lost = None;
    let written = replace(path, |temporary| {
        let mut file = BufWriter::new(File::create(temporary)?);
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        for Entry { name, contents, .. } in tensors {
            let mut put = |block: Result<&[f32]>| {
                let checked = block.and_then(|block| format.check(path, name, block).map(|()| block));
                let block = checked.map_err(|error| {
                    let message = io::Error::other(error.to_string());
                    lost = Some(error);
                    message
                })?;
                block.chunks(BYTES).try_for_each(|some| file.write_all(&format.bytes(some)))
            };
            match contents {
                Contents::Given(values) => put(Ok(values))?,
                Contents::OnGpu(parts) => {
                    for part in parts {
                        for first in (0..part.ty().elements()).step_by(Tensor::TRANSFER_BLOCK) {
                            let block =
                                part.read_f32_at(first..part.ty().elements().min(first + Tensor::TRANSFER_BLOCK));
                            put(block.as_deref().map_err(|error| error.clone().into()))?;
                        }
                    }
                }
                Contents::Blocks(mut blocks) => blocks.try_for_each(|block| match block {
                    Ok(block) => put(Ok(&block)),
                    Err(error) => put(Err(error)),
                })?,
            }
        }
        file.into_inner()?;
        Ok(())
    });
    match lost {
        Some(error) => Err(error),
        None => Ok(written?),
    }
}

/// JSON that tells where each tensor lies, spaces up to a multiple of 8 bytes. By hand, because the library keeps a file's text
/// in a map whose order changes from process to process.
fn header(tensors: &[Entry<'_>], format: Format, About { text, recipe }: About) -> Vec<u8> {
    let texts = [("format", Some("pt".to_string())), (RECIPE, recipe), ("trellis", Some(text))];
    let texts: BTreeMap<&str, String> = texts.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
    let mut entries = vec![format!("\"__metadata__\":{}", serde_json::json!(texts))];
    let mut end = 0;
    for Entry { name, shape, .. } in tensors {
        let start = end;
        end += shape.iter().product::<usize>() * format.size();
        let dtype = format.name();
        entries.push(format!(
            "{}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{start},{end}]}}",
            serde_json::json!(name)
        ));
    }
    let mut header = format!("{{{}}}", entries.join(",")).into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

/// Key of the recipe in the file's metadata.
pub(super) const RECIPE: &str = "recipe";

impl Format {
    fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
        }
    }

    /// Bytes of a number.
    fn size(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// Refuses numbers of tensor `name` that are finite and would not be so in the file at `path`.
    fn check(self, path: &Path, name: &str, values: &[f32]) -> Result<()> {
        let finite = || values.iter().copied().filter(|value| value.is_finite());
        let (lost, greatest, hint) = match self {
            Self::F32 => return Ok(()),
            Self::F16 => (
                finite().any(|value| f16::from_f32(value).is_infinite()),
                "65,504, the greatest of f16",
                "write bf16 or f32",
            ),
            Self::Bf16 => (
                finite().any(|value| bf16::from_f32(value).is_infinite()),
                "3.39e38, the greatest of bf16",
                "write f32",
            ),
        };
        match lost {
            true => Err(Error::checkpoint(path, format!("`{name}` has numbers beyond {greatest}"), hint)),
            false => Ok(()),
        }
    }

    fn bytes(self, values: &[f32]) -> Vec<u8> {
        let values = values.iter();
        match self {
            Self::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
            Self::F16 => values.flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
            Self::Bf16 => values.flat_map(|&value| bf16::from_f32(value).to_le_bytes()).collect(),
        }
    }
}
