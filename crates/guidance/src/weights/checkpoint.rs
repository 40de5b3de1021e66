//! A network's parameters and running statistics, to a file and from one.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use safetensors::tensor::TensorInfo;
use trellis_tensor::Tensor;

use super::convert::transposed;
use super::file::WeightsFile;
use super::naming::{Naming, Values, is_behind_encoder};
use super::write::{About, Contents, Entry, Format, write_entries};
use crate::error::{Error, Result};
use crate::network::Network;

/// Writes the parameters of `network`, whole or not at all. Names are those of the layers: `fc1.weight`.
///
/// # Errors
/// [`Error::Data`] if it cannot be written, or a lost device.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    save_about(network, path, None)
}

/// [`save`] with all that is needed to use the parameters elsewhere, as runs write them: a recipe, JSON of the laboratory.
///
/// # Errors
/// As [`save`].
pub fn save_with_recipe(network: &Network, path: &Path, recipe: &str) -> Result<()> {
    save_about(network, path, Some(recipe.to_string()))
}

/// Copies a file that [`save_with_recipe`] wrote, with another recipe.
///
/// # Errors
/// [`Error::Data`] if a file cannot be read or written, [`Error::Checkpoint`] if the first is damaged.
pub fn copy_with_recipe(from: &Path, to: &Path, recipe: &str) -> Result<()> {
    let file = WeightsFile::read(from)?;
    let names = file.names();
    let mut tensors = Vec::new();
    for name in &names {
        let info = file.info(name).expect("its own name");
        tensors.push((name, info.shape.clone(), file.numbers(name, info)?));
    }
    let entries = tensors.iter().map(|(name, shape, values)| Entry::given(name, shape.clone(), values)).collect();
    let text = file.about().into_iter().find(|(key, _)| key == "trellis").map_or(String::new(), |(_, text)| text);
    write_entries(to, entries, Format::F32, About { text, recipe: Some(recipe.to_string()) })
}

fn save_about(network: &Network, path: &Path, recipe: Option<String>) -> Result<()> {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for tensor in network.tensors() {
        let (name, rows) = whole(tensor.name());
        match (rows, entries.last_mut()) {
            // The next rows of the same parameter.
            (Some(Range { start: 1.., .. }), Some(Entry { shape, contents: Contents::OnGpu(parts), .. })) => {
                shape[0] += tensor.shape()[0];
                parts.push(tensor);
            }
            _ => entries.push(Entry::on_gpu(name, tensor)),
        }
    }
    let text = format!("{}, {}", env!("CARGO_PKG_VERSION"), network.describe());
    write_entries(path, entries, Format::F32, About { text, recipe })
}

/// Reads the parameters of `network` from a safetensors file: one that [`save`] wrote, or one of a library whose names are
/// known, see [`Naming`]. F16, BF16 and F64 become f32. On an error the network is as it was. Gives the names of tensors that the network
/// has no use for: those behind the encoder of a BERT.
///
/// # Errors
/// [`Error::Data`] if it cannot be read; [`Error::Checkpoint`] if the file is damaged, holds a number that is not finite or a running
/// variance below 0, or is of another network. The message names tensors that are missing, unexpected or of another
/// shape.
pub fn load(network: &Network, path: &Path) -> Result<Vec<String>> {
    let file = WeightsFile::read(path)?;
    let names = file.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted: Vec<&str> = network.tensors().map(|tensor| whole(tensor.name()).0).collect();
    let (naming, prefix) = Naming::of_network(&names, &wanted);
    let find = |tensor: &Tensor| {
        let (name, lie) = naming.theirs(whole(tensor.name()).0)?;
        let name = format!("{prefix}{name}");
        Some((file.info(&name)?, name, lie))
    };
    let numbers_of = |tensor: &Tensor, (info, name, lie): &(&TensorInfo, String, Values)| {
        let (ours, rows) = whole(tensor.name());
        if *lie == Values::Stacked {
            return stacked(&file, name, tensor);
        }
        let Some(rows) = rows else { return Ok(fitted(*lie, &info.shape, file.numbers(name, info)?, tensor)) };
        let ends = network.tensors().filter_map(|t| Some(whole(t.name())).filter(|w| w.0 == ours)?.1);
        let count = ends.map(|rows| rows.end).max().unwrap_or(0);
        rows_of(&file, name, info, rows, [count, tensor.shape()[1]])
    };
    let (mut missing, mut other, mut used) = (Vec::new(), Vec::new(), Vec::new());
    let mut found = Vec::new();
    for tensor in network.tensors() {
        let ours = whole(tensor.name()).0;
        let Some(place) = find(tensor) else {
            // Sines are the same in every file, and PyTorch does not keep them.
            if ours != SINUSOIDAL {
                missing.push(format!("`{ours}`"));
            }
            continue;
        };
        let (info, name, lie) = &place;
        if *lie == Values::Stacked {
            used.extend(parts(name));
            let absent: Vec<String> = parts(name).into_iter().filter(|part| file.info(part).is_none()).collect();
            if !absent.is_empty() {
                missing.extend(absent.into_iter().map(|part| format!("`{part}`")));
                continue;
            }
        }
        let numbers = numbers_of(tensor, &place)?;
        match &numbers {
            Some(numbers) if !numbers.iter().all(|value| value.is_finite()) => {
                return Err(Error::checkpoint(path, format!("`{name}` is not finite"), "use an earlier checkpoint"));
            }
            Some(numbers) if ours.ends_with(VARIANCE) && numbers.iter().any(|&value| value < 0.0) => {
                let least = numbers.iter().copied().fold(0.0, f32::min);
                let problem = format!("`{name}` holds {least}, and a variance is never below 0");
                let hint = "use another file: this one is damaged, or of no batch norm";
                return Err(Error::checkpoint(path, problem, hint));
            }
            Some(_) => {}
            None => other.push(format!("`{name}` is {:?} {:?}, not {tensor:?}", info.dtype, info.shape)),
        }
        used.push(name.clone());
        found.push((tensor, place));
    }
    let (mut unexpected, mut unused) = (Vec::new(), Vec::new());
    for name in names.iter().filter(|name| !used.iter().any(|used| used == *name)) {
        if is_behind_encoder(naming, name, prefix) {
            unused.push(name.to_string());
        } else if file.redundant(name, naming, prefix)?.is_none() {
            unexpected.push(format!("`{name}`"));
        }
    }
    let mut problem = String::new();
    for (what, names) in [("lacks ", missing), ("has also ", unexpected), ("", other)] {
        list(&mut problem, what, names);
    }
    if !problem.is_empty() {
        let hint = format!("load it into the network that it is of, not {}", network.describe());
        return Err(Error::checkpoint(path, problem, hint));
    }
    // Once more, now that all is known to fit: the numbers of all tensors together may be more than the CPU has memory for.
    for (tensor, place) in found {
        if let Some(numbers) = numbers_of(tensor, &place)? {
            tensor.write_f32(&numbers)?;
            tensor.gpu().flush()?;
        }
    }
    Ok(unused)
}

/// The name in a file of the tensor that we call `name`, and which of its rows ours are, if not all: see
/// [`Pass::linear`](crate::network::Pass::linear).
fn whole(name: &str) -> (&str, Option<Range<usize>>) {
    let part = |name: &'_ str| {
        let (whole, rows) = name.strip_suffix(']')?.split_once('[')?;
        let (start, end) = rows.split_once("..")?;
        Some((whole.len(), start.parse().ok()?..end.parse().ok()?))
    };
    part(name).map_or((name, None), |(length, rows)| (&name[..length], Some(rows)))
}

/// Names of the three tensors of a file that are one of ours, of which `query` is the first.
fn parts(query: &str) -> [String; 3] {
    ["query", "key", "value"].map(|part| query.replacen(".query.", &format!(".{part}."), 1))
}

/// The numbers of three tensors of a file, one behind the other, if all are there and fit.
fn stacked(file: &WeightsFile, query: &str, tensor: &Tensor) -> Result<Option<Vec<f32>>> {
    let wanted = &tensor.shape()[..];
    let mut numbers = Vec::new();
    for name in parts(query) {
        let Some(info) = file.info(&name) else { return Ok(None) };
        if info.shape.len() != wanted.len() || 3 * info.shape[0] != wanted[0] || info.shape[1..] != wanted[1..] {
            return Ok(None);
        }
        numbers.extend(file.numbers(&name, info)?);
    }
    Ok(Some(numbers))
}

/// Rows of a matrix in a file, if it is of this shape.
fn rows_of(
    file: &WeightsFile,
    name: &str,
    info: &TensorInfo,
    rows: Range<usize>,
    shape: [usize; 2],
) -> Result<Option<Vec<f32>>> {
    if info.shape != shape {
        return Ok(None);
    }
    file.some_numbers(name, info, rows.start * shape[1]..rows.end * shape[1]).map(Some)
}

/// The buffer of positions that are not trained.
const SINUSOIDAL: &str = "positions";

/// End of the names of running variances of batch norm.
const VARIANCE: &str = ".running_var";

/// Names that a message lists.
const LISTED: usize = 4;

/// Adds the first few of `names` to `problem`.
fn list(problem: &mut String, what: &str, names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    let separator = if problem.is_empty() { "" } else { "; " };
    let more = names.len().saturating_sub(LISTED);
    let shown = names[..names.len() - more].join(", ");
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let _ = write!(problem, "{separator}{what}{shown}{more}");
}

/// The file's numbers as `tensor` takes them, if they fit.
fn fitted(lie: Values, shape: &[usize], numbers: Vec<f32>, tensor: &Tensor) -> Option<Vec<f32>> {
    let wanted = &tensor.shape()[..];
    match lie {
        Values::Same => (shape == wanted).then_some(numbers),
        Values::Transposed => {
            transposed(shape, &numbers).filter(|(shape, _)| shape == wanted).map(|(_, values)| values)
        }
        Values::Stacked => None,
        Values::FirstRows => {
            let fits = shape.len() == 2 && wanted.len() == 2 && shape[1] == wanted[1] && shape[0] >= wanted[0];
            fits.then(|| numbers[..wanted[0] * wanted[1]].to_vec())
        }
    }
}
