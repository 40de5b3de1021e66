//! Checkpoints: a network's parameters and running statistics as a safetensors file.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::error::{Error, Result};
use crate::network::Network;
use crate::record::write_atomic;

/// Largest checkpoint that is read.
const LARGEST: u64 = 8 << 30;

/// Writes the parameters of `network`, whole or not at all. Names are those of the layers: `fc1.weight`.
///
/// # Errors
/// [`Error::Io`] if it cannot be written, or a lost device.
pub fn save(network: &Network, path: &Path) -> Result<()> {
    let mut tensors = Vec::new();
    for tensor in network.tensors() {
        let bytes: Vec<u8> = tensor.read_f32()?.iter().flat_map(|value| value.to_le_bytes()).collect();
        tensors.push((tensor.name().to_string(), tensor.shape().to_vec(), bytes));
    }
    let invalid = |error: safetensors::SafeTensorError| Error::checkpoint(path, error.to_string(), "report this");
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(invalid)?)))
        .collect::<Result<Vec<_>>>()?;
    // One entry: the order of several would change from file to file.
    let about = format!("{}, {}", env!("CARGO_PKG_VERSION"), network.describe());
    let about = HashMap::from([("trellis".to_string(), about)]);
    write_atomic(path, &safetensors::serialize(views, Some(about)).map_err(invalid)?)
}

/// Reads the parameters of `network` from a file that [`save`] wrote. On an error the network is as it was.
///
/// # Errors
/// [`Error::Io`], or [`Error::Checkpoint`] if the file is damaged, holds a number that is not finite, or is of another
/// network.
pub fn load(network: &Network, path: &Path) -> Result<()> {
    let size = fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if size > LARGEST {
        return Err(Error::checkpoint(path, format!("is {size} bytes long"), "give a checkpoint of at most 8 GiB"));
    }
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| Error::checkpoint(path, format!("is damaged ({error})"), "use another checkpoint"))?;
    let other = |problem: String| {
        Error::checkpoint(path, problem, format!("load it into the network that it is of, not {}", network.describe()))
    };
    let mut values = Vec::new();
    for tensor in network.tensors() {
        let name = tensor.name();
        let view = file.tensor(name).map_err(|_| other(format!("holds no `{name}`")))?;
        if view.dtype() != Dtype::F32 || view.shape() != &tensor.shape()[..] {
            return Err(other(format!("`{name}` is {:?} {:?}, not {tensor:?}", view.dtype(), view.shape())));
        }
        let floats: Vec<f32> = view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        if !floats.iter().all(|value| value.is_finite()) {
            return Err(Error::checkpoint(path, format!("`{name}` is not finite"), "use an earlier checkpoint"));
        }
        values.push(floats);
    }
    if file.len() != values.len() {
        return Err(other(format!("holds {} tensors, the network has {}", file.len(), values.len())));
    }
    for (tensor, floats) in network.tensors().zip(values) {
        tensor.write_f32(&floats)?;
    }
    Ok(())
}
