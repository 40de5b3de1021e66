//! Networks against PyTorch.

pub(crate) mod against_pytorch; // networks against PyTorch, by name
mod initial_weights; // initial weights by name
mod mobilenets; // networks of depthwise convolutions against PyTorch
mod real_size; // by hand: ResNet-18, ResNet-50, ViT-B/16 against PyTorch
mod recurrent; // recurrent layers and networks against PyTorch, over long times
mod resnets; // residual networks against PyTorch
mod transformers; // attention and its networks against PyTorch
