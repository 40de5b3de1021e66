//! Scale of the images that a network sees, where it is not that of the data: that of its own training.

use serde::{Deserialize, Serialize};
use trellis_data::{Normalization, Place};
use trellis_tensor::{Gpu, Graph, Tensor, Var};

use super::{Input, InputShape};
use crate::error::{Error, Result};

/// Mean and standard deviation of each channel: a network sees `(x − mean) / std` of pixels `x` from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputScale {
    /// Mean of each channel. Shape (channels).
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, above 0. Shape (channels).
    pub std: Vec<f32>,
}

impl InputScale {
    /// Mean of ImageNet's red, green and blue, as torchvision and timm have it.
    pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

    /// Standard deviation of ImageNet's red, green and blue, as torchvision and timm have it.
    pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// Scale that torchvision's and most of timm's networks were trained on.
    pub fn imagenet() -> Self {
        Self { mean: Self::IMAGENET_MEAN.to_vec(), std: Self::IMAGENET_STD.to_vec() }
    }

    /// Refuses a scale that is not for images of `input`.
    fn check(&self, input: InputShape) -> Result<()> {
        let bad = |key: &str, problem: String, hint: &str| {
            Err(Error::config(Place::setting("configuration"), key, problem, hint))
        };
        let InputShape::Image([channels, ..]) = input else {
            return bad(
                "guide.mean",
                "scales images, and the network takes tokens".to_string(),
                "remove `mean` and `std`",
            );
        };
        for (key, values) in [("guide.mean", &self.mean), ("guide.std", &self.std)] {
            if values.len() != channels {
                let problem =
                    format!("has {} values, one for each channel, and the images have {channels}", values.len());
                return bad(key, problem, &format!("give {channels}"));
            }
        }
        let fits =
            self.mean.iter().all(|mean| mean.is_finite()) && self.std.iter().all(|&std| std > 0.0 && std.is_finite());
        match fits {
            true => Ok(()),
            false => bad(
                "guide.std",
                format!("{:?} with mean {:?} is no scale", self.std, self.mean),
                "give numbers above 0",
            ),
        }
    }
}

/// A scale as two tensors that turn images in the units of the data into it.
#[derive(Clone, Debug)]
pub(super) struct Rescaling {
    pub(super) scale: InputScale,
    /// Factor of each channel, `[channels, 1, 1]`.
    factor: Tensor,
    /// Offset that is added then, `[channels, 1, 1]`.
    offset: Tensor,
}

impl Rescaling {
    /// From images of the shape `input` in the units `from`.
    pub(super) fn new(gpu: &Gpu, scale: &InputScale, from: Normalization, input: InputShape) -> Result<Self> {
        scale.check(input)?;
        let (mean, deviation) = (f64::from(from.mean), f64::from(from.deviation));
        let factor = |&std: &f32| (deviation / f64::from(std)) as f32;
        let offset = |(&own, &std): (&f32, &f32)| ((mean - f64::from(own)) / f64::from(std)) as f32;
        let tensor = |name: &str, values: Vec<f32>| Tensor::from_f32(gpu, name, [values.len(), 1, 1], &values);
        Ok(Self {
            factor: tensor("input factor", scale.std.iter().map(factor).collect())?,
            offset: tensor("input offset", scale.mean.iter().zip(&scale.std).map(offset).collect())?,
            scale: scale.clone(),
        })
    }

    /// Records the change of scale. Tokens stay as they are.
    pub(super) fn apply<'g>(&self, graph: &'g Graph, input: Input<'g>) -> Result<Input<'g>> {
        let Input::Images(images) = input else { return Ok(input) };
        let _scope = graph.scope("input scale");
        let scaled: Var<'g> = images.mul(graph.leaf(&self.factor))?.add(graph.leaf(&self.offset))?;
        Ok(scaled.into())
    }
}
