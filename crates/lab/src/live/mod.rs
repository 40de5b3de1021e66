//! The live page: an experiment as one HTML file that trains in a browser.
//!
//! `arms.rs` records the plans of every arm on a GPU that was opened as a browser's would be. `numbers.rs` has what the page must know
//! besides: layers, settings, the losses of the native run. `page.rs` puts both into a file with the page's own program,
//! of which `replay.js` is the lesson: plans in, WebGPU calls out.

mod arms;
mod look;
mod numbers;
mod page;

pub use page::{LARGEST, write_page};
