//! Examples on the GPU: images and text of [`trellis_data`], uploaded once or streamed, and sequences that are drawn there.
//!
//! A [`Dataset`] has splits; a [`BatchSource`] makes batches of one. [`DrawnSequences`] says what the GPU draws.

pub mod batches;
pub mod dataset;
pub mod example;
mod label_shares;
mod prefetch;
mod sequences;
pub mod split;

pub use batches::{BatchSource, Crop};
pub use dataset::{Batch, Dataset};
pub use sequences::DrawnSequences;
pub use split::Split;
