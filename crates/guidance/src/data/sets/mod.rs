//! Sets of images in the formats that people have, drawn symbols, and sequences that the GPU draws.

mod blank;
pub mod cifar;
pub mod folder;
pub mod glyphs;
pub mod idx;
mod sequences;

pub use blank::Blank;
pub use sequences::DrawnSequences;
