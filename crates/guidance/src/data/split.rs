//! A split of a data set: how many examples it has, and where they come from.

use std::sync::Arc;

use trellis_data::text::Text;
use trellis_data::{Place, Source};
use trellis_tensor::Tensor;
use trellis_tensor::ops::Sequences;

use crate::error::{Error, Result};

/// One split.
#[derive(Clone, Debug)]
pub struct Split {
    /// `train`, `validation` or `test`.
    pub(crate) name: &'static str,
    pub(crate) examples: Examples,
    pub(crate) count: usize,
}

/// Origin of the examples of a split.
#[derive(Clone, Debug)]
pub(crate) enum Examples {
    /// On the GPU: bytes `u8[count, channels, height, width]` and labels `u32[count]`; or blocks of text `u32[count, time]` and
    /// the token that follows each of theirs.
    Resident { values: Tensor, labels: Tensor },
    /// Drawn where they are needed.
    Drawn(Sequences),
    /// Read while they are needed.
    Source(Arc<dyn Source>),
    /// Text in the memory of the CPU.
    Blocks(TextBlocks),
}

/// Neighboring blocks of `time` tokens of a text, from block `first` on.
#[derive(Clone, Debug)]
pub(crate) struct TextBlocks {
    pub(crate) text: Arc<Text>,
    pub(crate) first: usize,
    pub(crate) time: usize,
}

/// Drawn training examples have numbers below this: batches are always of new ones.
const DRAWN: usize = (1 << 31) - 1;

impl Split {
    /// Number of examples.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Its first `count` examples, or all.
    pub fn first(&self, count: usize) -> Self {
        Self { count: self.count.min(count), ..self.clone() }
    }

    /// The examples, `u8[count, channels, height, width]` or blocks of text, and their labels, where they lie on the GPU as a whole.
    pub fn resident(&self) -> Option<[&Tensor; 2]> {
        match &self.examples {
            Examples::Resident { values, labels } => Some([values, labels]),
            Examples::Drawn(_) | Examples::Source(_) | Examples::Blocks(_) => None,
        }
    }

    /// Number of examples that training draws from.
    pub fn drawable(&self) -> usize {
        if let Examples::Drawn(_) = self.examples { DRAWN } else { self.count }
    }
}

/// Refuses splits of images that do not go together.
pub(crate) fn same_size(splits: [Option<&dyn Source>; 3]) -> Result<()> {
    let mut splits = splits.into_iter().flatten();
    let shape = splits.clone().next().map(|train| train.shape());
    splits.try_for_each(|split| {
        if Some(split.shape()) == shape && split.count() > 0 {
            return Ok(());
        }
        let [_, height, width] = split.shape();
        let problem = format!("{} images of {height}x{width}", split.count());
        Err(Error::data(Place::dataset(split.name()), problem, "all splits need images of one size, at least one each"))
    })
}
