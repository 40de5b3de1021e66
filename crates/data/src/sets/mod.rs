//! Sets of images in the formats that people have, and drawn symbols.

pub mod cifar;
pub mod folder;
pub mod glyphs;
pub mod idx;
mod name_list;
mod placeholder;

pub use placeholder::Placeholder;
