//! Networks: parameters on a GPU, and how a forward pass over them is recorded.

mod block;
mod cnn;
mod fcn;
mod initial;
mod input_scale;
#[allow(clippy::module_inception, reason = "the file has the name of what is in it")]
mod network;
mod pass;
mod resnet;
mod rnn;
mod transformer;
mod vit;

pub use crate::data::example::{Input, InputShape, LabelPer, Output, TokenShape};
pub use block::{Activation, NormOrder};
pub use cnn::Cnn;
pub use fcn::Fcn;
pub use initial::{HeadBias, InitialWeights};
pub use input_scale::InputScale;
pub use network::{Architecture, Forward, Guide, Network};
pub use pass::{CapturePoint, Captured, ConvKernel, Mode, Pass, Precision};
pub use resnet::{Resnet, Stem};
pub use rnn::{Rnn, RnnCell, Stack};
pub use transformer::{Positions, Transformer};
pub use vit::Vit;
