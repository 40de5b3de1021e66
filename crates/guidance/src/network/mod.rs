//! Networks: parameters on a GPU, and how a forward pass over them is recorded.

mod block;
pub(crate) mod cnn;
pub(crate) mod fcn;
mod fixup;
mod from_data;
mod initial;
mod input_scale;
pub(crate) mod mobilenet;
#[allow(clippy::module_inception, reason = "the file has the name of what is in it")]
pub(crate) mod network;
pub(crate) mod pass;
pub(crate) mod resnet;
pub(crate) mod rnn;
pub(crate) mod transformer;
pub(crate) mod vit;

pub use crate::data::example::{Input, InputShape, LabelPer, Output, TokenShape};
pub use block::{Activation, NormOrder};
pub use from_data::HeadBias;
pub use initial::{InitialWeights, WeightsOf};
pub use input_scale::InputScale;
pub(crate) use network::Network;
pub use network::{Architecture, Forward};
pub(crate) use pass::{CapturePoint, Precision};
pub use pass::{Captured, ConvKernel, Mode, Pass};
pub use resnet::Stem;
pub use rnn::{RnnCell, Stack};
pub use transformer::Positions;
