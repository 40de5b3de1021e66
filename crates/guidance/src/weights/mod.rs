//! Weights on disk: safetensors files of ours and of PyTorch's libraries.
//!
//! Networks here have the parameter names of the library that people know them from: [`Resnet`](crate::Resnet)
//! torchvision's, [`Vit`](crate::Vit) timm's, [`Transformer`](crate::Transformer) those of
//! `torch.nn.TransformerEncoder`. Such files are read and written as they are; where names differ, a [`Naming`] says how.

mod checkpoint;
mod convert;
mod file;
mod naming;
mod summary;
mod write;

pub use checkpoint::{copy_with_recipe, load, save, save_with_recipe};
pub use convert::{Converted, Renamed};
pub use file::WeightsFile;
pub use naming::Naming;
pub use summary::TensorSummary;
pub use write::{About, Format, Named, write};
pub(crate) use write::{Entry, write_entries};
