//! Files: opened with care, written whole or not at all.

mod bytes;
pub mod regular_file;
mod replace;

pub use bytes::Bytes;
pub use replace::{replace, write_atomic};
