//! Guidance: training a network that learns badly on its own with the help of a frozen network of another architecture.
//!
//! The target is trained on its task loss plus, layer by layer, `1 − CKA(target layer, guide layer)`
//! ("Training the Untrainable", arXiv:2410.20035). Everything runs on the GPU; see [`trellis_tensor`] for how.
//!
//! Examples come from files through [`trellis_data`]. Names that most programs need stand here, the others in their modules.
//! Read in this order: [`network`], [`alignment`], [`trainer`]. Experiments of several arms and seeds are another crate,
//! `trellis-lab`.

pub mod alignment;
pub mod data;
mod error;
mod guide;
pub mod network;
pub mod trainer;
pub mod weights;

pub use alignment::gram_match::GramMatch;
pub use alignment::layer_map::LayerMap;
pub use alignment::measure::Measure;
pub use alignment::metric::{Cka, Metric, Ridge, Rsa, Tokens};
pub use alignment::schedule::GuideSchedule;
pub use data::batches::{BatchSource, Crop};
pub use data::dataset::Dataset;
pub use data::split::Split;
pub use error::{Error, Result};
pub use guide::Guide;
pub use network::cnn::Cnn;
pub use network::fcn::Fcn;
pub use network::mobilenet::Mobilenet;
pub use network::network::Network;
pub use network::pass::{CapturePoint, Precision};
pub use network::resnet::Resnet;
pub use network::rnn::Rnn;
pub use network::transformer::Transformer;
pub use network::vit::Vit;
pub use trainer::control::Control;
pub use trainer::guidance::Guidance;
pub use trainer::methods::Method;
pub use trainer::run::{Event, Trainer};
pub use trainer::session::Session;
pub use trainer::training::{Batches, Training};
