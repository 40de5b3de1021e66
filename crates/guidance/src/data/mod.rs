//! Examples on the GPU: images and text of [`trellis_data`], uploaded once or streamed, and sequences that are drawn there.
//!
//! A [`Dataset`] has splits; a [`BatchSource`] makes batches of one. [`DrawnSequences`] says what the GPU draws.

pub(crate) mod batches;
pub(crate) mod dataset;
pub(crate) mod example;
mod label_shares;
mod prefetch;
mod sequences;
pub(crate) mod split;

pub(crate) use batches::{BatchSource, Crop};
pub use dataset::Batch;
pub(crate) use dataset::Dataset;
pub use sequences::DrawnSequences;
pub(crate) use split::Split;
