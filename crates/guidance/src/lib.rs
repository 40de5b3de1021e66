//! Guidance: training a network that learns badly on its own with the help of a frozen network of another architecture.
//!
//! The target is trained on its task loss plus, layer by layer, `1 − CKA(target layer, guide layer)`
//! ("Training the Untrainable", arXiv:2410.20035). Everything runs on the GPU; see [`trellis_tensor`] for how.
//!
//! Read in this order: [`network`], [`alignment`], [`layer_map`], [`schedule`], [`trainer`], then [`experiment`].

pub mod alignment;
mod checkpoints;
pub mod config;
pub mod data;
pub mod dataset;
pub mod error;
pub mod experiment;
mod feed;
mod label_shares;
pub mod layer_map;
pub mod layer_matrix;
mod loader;
pub mod memory;
pub mod network;
pub mod profile;
pub mod recipe;
pub mod record;
mod regular_file;
pub mod report;
pub mod schedule;
mod split;
pub mod stats;
pub mod trainer;
pub mod tune;
pub mod weights;
pub mod workload;

pub use alignment::{Cka, Metric, Ridge, Rsa, Tokens};
pub use config::Config;
pub use dataset::Dataset;
pub use error::{Error, Result};
pub use feed::{Crop, Feed};
pub use layer_map::LayerMap;
pub use layer_matrix::LayerMatrix;
pub use network::{Cnn, Fcn, Guide, Network, Precision, Resnet, Rnn, TapAt, Transformer, Vit};
pub use profile::Profile;
pub use recipe::Recipe;
pub use schedule::Schedule;
pub use split::Split;
pub use trainer::{Batches, Event, Guidance, Session, Trainer, Training};
