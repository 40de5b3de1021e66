//! A network's parameters and running statistics, to a file and from one.

use std::fmt::Write;
use std::path::Path;

use trellis_tensor::Tensor;

use super::file::{Format, Named, WeightsFile, transposed, write};
use super::naming::{Naming, Values, is_ignored};
use crate::error::{Error, Result};
use crate::network::Network;

/// Writes the parameters of `network`, whole or not at all. Names are those of the layers: `fc1.weight`.
///
/// # Errors
/// [`Error::Io`] if it cannot be written, or a lost device.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    let named = |tensor: &Tensor| Ok((tensor.name().to_string(), tensor.shape().to_vec(), tensor.read_f32()?));
    let tensors = network.tensors().map(named).collect::<Result<Vec<Named>>>()?;
    write(path, &tensors, Format::F32, format!("{}, {}", env!("CARGO_PKG_VERSION"), network.describe()))
}

/// Reads the parameters of `network` from a safetensors file: one that [`save`] wrote, or one of a library whose names are
/// known, see [`Naming`]. F16, BF16 and F64 become f32. On an error the network is as it was.
///
/// # Errors
/// [`Error::Io`], or [`Error::Checkpoint`] if the file is damaged, holds a number that is not finite, or is of another
/// network; the message names tensors that are missing, unexpected or of another shape.
pub fn load(network: &Network, path: &Path) -> Result<()> {
    let file = WeightsFile::read(path)?;
    let names = file.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (naming, prefix) = Naming::of_network(&names, &network.tensors().map(Tensor::name).collect::<Vec<_>>());
    let (mut missing, mut other, mut values, mut used) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for tensor in network.tensors() {
        let theirs = naming.theirs(tensor.name());
        let found = theirs.map(|(name, lie)| (format!("{prefix}{name}"), lie));
        let Some((info, name, lie)) = found.and_then(|(name, lie)| Some((file.info(&name)?, name, lie))) else {
            // Sines are the same in every file, and PyTorch does not keep them.
            if tensor.name() != SINUSOIDAL {
                missing.push(format!("`{}`", tensor.name()));
            }
            continue;
        };
        let numbers = file.numbers(&name, info)?;
        match fitted(lie, &info.shape, numbers, tensor) {
            Some(numbers) if !numbers.iter().all(|value| value.is_finite()) => {
                return Err(Error::checkpoint(path, format!("`{name}` is not finite"), "use an earlier checkpoint"));
            }
            Some(numbers) => values.push((tensor, numbers)),
            None => other.push(format!("`{name}` is {:?} {:?}, not {tensor:?}", info.dtype, info.shape)),
        }
        used.push(name);
    }
    let unexpected: Vec<String> = names
        .iter()
        .filter(|name| !used.iter().any(|used| used == *name) && !is_ignored(name))
        .map(|name| format!("`{name}`"))
        .collect();
    let mut problem = String::new();
    for (what, names) in [("lacks ", missing), ("has also ", unexpected), ("", other)] {
        list(&mut problem, what, names);
    }
    if !problem.is_empty() {
        let hint = format!("load it into the network that it is of, not {}", network.describe());
        return Err(Error::checkpoint(path, problem, hint));
    }
    for (tensor, numbers) in values {
        tensor.write_f32(&numbers)?;
    }
    Ok(())
}

/// The buffer of positions that are not trained.
const SINUSOIDAL: &str = "positions";

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
        Values::FirstRows => {
            let fits = shape.len() == 2 && wanted.len() == 2 && shape[1] == wanted[1] && shape[0] >= wanted[0];
            fits.then(|| numbers[..wanted[0] * wanted[1]].to_vec())
        }
    }
}
