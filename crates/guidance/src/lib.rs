//! Guidance: training a network that learns badly on its own with the help of a frozen network of another architecture.
//!
//! The target is trained on its task loss plus, layer by layer, `1 − CKA(target layer, guide layer)`
//! ("Training the Untrainable", arXiv:2410.20035). Everything runs on the GPU; see [`trellis_tensor`] for how.
//!
//! Examples come from files through [`trellis_data`]. Read in this order: [`network`], [`alignment`], [`trainer`]. Experiments of several arms and seeds are another crate, `trellis-lab`.

pub mod alignment;
pub mod data;
pub mod error;
pub mod network;
pub mod trainer;
pub mod weights;

pub use alignment::{Cka, GuideSchedule, LayerMap, LayerMatrix, Measure, Metric, Ridge, Rsa, Tokens};
pub use data::{BatchSource, Crop, Dataset, Split};
pub use error::{Error, Result};
pub use network::{CapturePoint, Cnn, Fcn, Guide, Network, Precision, Resnet, Rnn, Transformer, Vit};
pub use trainer::{Batches, Control, Event, Guidance, Session, Trainer, Training};
