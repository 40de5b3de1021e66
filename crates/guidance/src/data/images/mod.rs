//! Images: files decoded, brightness measured and normalized.

pub(crate) mod jpeg;
mod normalization;
pub mod picture;
mod sample;

pub use normalization::Normalization;
pub(crate) use sample::Sample;
