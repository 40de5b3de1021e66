//! Weights on disk: safetensors files of ours and of PyTorch's libraries.
//!
//! Networks here have the parameter names of the library that people know them from: [`Resnet`](crate::network::Resnet)
//! torchvision's, [`Vit`](crate::network::Vit) timm's, [`Transformer`](crate::network::Transformer) those of
//! `torch.nn.TransformerEncoder`. Such files are read and written as they are; where names differ, a [`Naming`] says how.

mod checkpoint;
mod file;
mod naming;

pub use checkpoint::{load, save, save_with_recipe};
pub use file::{About, Format, Named, Renamed, TensorSummary, WeightsFile, write};
pub use naming::Naming;
