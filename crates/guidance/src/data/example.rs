//! Inputs and outputs of a network.

use std::fmt;

use serde::{Deserialize, Serialize};
use trellis_data::Place;
use trellis_tensor::{DType, Gpu, Tensor, TensorType, Var};

use crate::error::{Error, Result};

/// One example of a network's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputShape {
    /// An image: channels, height, width.
    Image([usize; 3]),
    /// A sequence of tokens.
    Tokens(TokenShape),
}

/// A sequence of token ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenShape {
    /// Positions of a sequence, padding counted.
    pub time: usize,
    /// Ids are below this.
    pub vocabulary: usize,
    /// The id that fills shorter sequences up, at their end.
    pub padding: Option<u32>,
}

/// A batch of examples in a graph.
#[derive(Clone, Copy, Debug)]
pub enum Input<'g> {
    /// Images `[batch, channels, height, width]`.
    Images(Var<'g>),
    /// Token ids `u32[batch, time]`, and what they are.
    Tokens(Var<'g>, TokenShape),
}

/// Output classes, and what each label covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Classes: of labels, or a vocabulary.
    pub classes: usize,
    /// Part of an example that each label covers.
    #[serde(rename = "each")]
    pub label_per: LabelPer,
}

/// Part of an example that each label covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelPer {
    /// Each example: logits `[batch, classes]`.
    Example,
    /// Each position of a sequence: logits `[batch, time, classes]`.
    Position,
}

impl From<[usize; 3]> for InputShape {
    fn from(image: [usize; 3]) -> Self {
        Self::Image(image)
    }
}

impl From<TokenShape> for InputShape {
    fn from(tokens: TokenShape) -> Self {
        Self::Tokens(tokens)
    }
}

impl From<usize> for Output {
    /// Label of each example, one of so many classes.
    fn from(classes: usize) -> Self {
        Self { classes, label_per: LabelPer::Example }
    }
}

impl<'g> From<Var<'g>> for Input<'g> {
    fn from(images: Var<'g>) -> Self {
        Self::Images(images)
    }
}

impl<'g> Input<'g> {
    /// The images.
    ///
    /// # Errors
    /// [`Error::Config`] where they are tokens.
    pub fn images(self) -> Result<Var<'g>> {
        match self {
            Self::Images(images) => Ok(images),
            Self::Tokens(_, shape) => Err(unfit(shape.into(), "a network of images")),
        }
    }

    /// The ids `u32[batch, time]`, and what they are.
    ///
    /// # Errors
    /// [`Error::Config`] where they are images.
    pub fn tokens(self) -> Result<(Var<'g>, TokenShape)> {
        match self {
            Self::Tokens(ids, shape) => Ok((ids, shape)),
            Self::Images(images) => {
                let image = images.shape();
                let size = |axis: usize| image.get(axis).copied().unwrap_or(0);
                Err(unfit([size(1), size(2), size(3)].into(), "a network of sequences"))
            }
        }
    }

    /// Examples.
    pub fn batch(self) -> usize {
        let (Self::Images(values) | Self::Tokens(values, _)) = self;
        values.shape().first().copied().unwrap_or(0)
    }
}

impl Output {
    /// The classes of an example.
    ///
    /// # Errors
    /// [`Error::Config`] where each position has a label.
    pub fn of_examples(self) -> Result<usize> {
        match self.label_per {
            LabelPer::Example => Ok(self.classes),
            LabelPer::Position => {
                let problem = "has one output an example, and the data a label for each position";
                Err(Error::config(Place::setting("network"), "output", problem, "choose another network or data set"))
            }
        }
    }
}

fn unfit(shape: InputShape, network: &str) -> Error {
    Error::config(
        Place::setting("network"),
        "input",
        format!("{shape} do not go into {network}"),
        "choose another network or data set",
    )
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image([channels, height, width]) => write!(f, "images [{channels}, {height}, {width}]"),
            Self::Tokens(TokenShape { time, vocabulary, .. }) => {
                write!(f, "sequences of {time} tokens from a vocabulary of {vocabulary}")
            }
        }
    }
}

impl InputShape {
    /// Values of a batch for a pass that is recorded for its names and shapes alone.
    pub(crate) fn placeholder(self, gpu: &Gpu) -> Result<Tensor> {
        let shape = match self {
            Self::Image(image) => TensorType::f32([&[BLANK][..], &image].concat()),
            Self::Tokens(TokenShape { time, .. }) => TensorType::u32([BLANK, time]),
        };
        Ok(Tensor::zeros(gpu, "placeholder", shape)?)
    }

    /// A batch of such examples.
    pub fn of<'g>(self, values: Var<'g>) -> Input<'g> {
        match self {
            Self::Image(_) => Input::Images(values),
            Self::Tokens(shape) => Input::Tokens(values, shape),
        }
    }

    /// Refuses a batch of other examples.
    pub(crate) fn check(self, input: Input<'_>, layer: String) -> Result<()> {
        let (Input::Images(values) | Input::Tokens(values, _)) = input;
        let shape = values.shape();
        let fits = match (self, input) {
            (Self::Image(image), Input::Images(_)) => shape.rank() == 4 && shape[1..] == image,
            (Self::Tokens(tokens), Input::Tokens(_, other)) => {
                tokens == other && shape.rank() == 2 && shape[1] == tokens.time && values.ty().dtype == DType::U32
            }
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let problem = format!("this network takes {self}, not {}", values.ty());
        Err(trellis_tensor::Error::Shape { op: "forward", layer, problem }.into())
    }
}

/// Examples of a placeholder batch: enough for statistics over it.
const BLANK: usize = 2;
