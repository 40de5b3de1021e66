//! Sets of images in the formats that people have, drawn symbols, and sequences that the GPU draws.

pub mod cifar;
pub mod folder;
pub mod glyphs;
pub mod idx;
mod placeholder;
mod sequences;

pub use placeholder::Placeholder;
pub use sequences::DrawnSequences;
