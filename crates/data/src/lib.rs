//! Examples on the CPU: small gray or color images with one label each, and text. Nothing here needs a GPU.
//!
//! [`glyphs`] draws ten symbols and needs no download. [`idx`] reads MNIST, Fashion-MNIST and whatever else comes in
//! their file format, [`cifar`] CIFAR-10 and CIFAR-100, [`folder`] JPEG and PNG files. Each gives a [`Source`], which
//! reads an image when it is wanted; [`Images`] are a source in memory, a [`Subset`] is a split of one. [`text`] cuts a
//! file into tokens. `trellis_guidance::Dataset` takes them to the GPU.

mod error;
mod images;
pub mod io;
mod left_out;
mod normalization;
pub mod picture;
mod pixel_stats;

mod sets;
mod source;
pub mod text;

pub use error::{Error, Place, Result};
pub use images::Images;
pub use left_out::LeftOut;
pub use normalization::Normalization;
pub use pixel_stats::PixelStats;
pub use sets::{Placeholder, cifar, folder, glyphs, idx};
pub use source::{Problems, Skipped, Source, Subset};
