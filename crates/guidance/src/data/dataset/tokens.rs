//! Data sets of tokens: drawn on the GPU, or cut out of a text.

use std::sync::Arc;

use trellis_data::text::Text;
use trellis_data::{Place, Skipped};
use trellis_tensor::ops::SequenceTask;
use trellis_tensor::{Gpu, Tensor};

use super::{Dataset, MOST_CONFUSED, class_names, counts};
use crate::data::DrawnSequences;
use crate::data::example::{LabelPer, Output, TokenShape};
use crate::data::split::{Examples, Split, TextBlocks};
use crate::error::{Error, Result};

impl Dataset {
    /// Sequences that are drawn on the GPU. Training batches are always of new examples; `counts` says how many of the
    /// training, validation and test split an evaluation looks at. Seed and split decide them.
    ///
    /// # Errors
    /// [`Error::Config`] if there is no training example.
    pub fn drawn(gpu: &Gpu, drawn: DrawnSequences, counts: [usize; 3]) -> Result<Self> {
        let split = |name, count: usize, stream: u32| {
            (count > 0).then_some(Split { name, examples: Examples::Drawn(drawn.sequences(stream)), count })
        };
        let [train, validation, test] = counts;
        let sequences = drawn.sequences(0);
        let padding = (sequences.task == SequenceTask::Parity).then_some(2);
        let shape = TokenShape { time: sequences.time(), vocabulary: sequences.vocabulary(), padding };
        let output = match sequences.task {
            SequenceTask::Parity => 2.into(),
            SequenceTask::CopyPaste { .. } => Output { classes: sequences.vocabulary(), label_per: LabelPer::Position },
        };
        Self::of_tokens(
            gpu,
            drawn.name(),
            shape,
            output,
            [split("train", train, 0), split("validation", validation, 1), split("test", test, 2)],
        )
    }

    /// Text in blocks of `time` tokens; the label of each is the token that follows. The splits are of so many blocks each, one
    /// after another from the beginning.
    ///
    /// # Errors
    /// [`Error::Data`] if the text is too short, or no block is for training; when memory does not allow it.
    pub fn text(gpu: &Gpu, text: &Text, time: usize, counts: [usize; 3]) -> Result<Self> {
        let upload = |first: usize, count: usize| {
            let upload = |what: &str, from: usize| {
                Ok::<Tensor, Error>(Tensor::from_u32(gpu, what, [count, time], &text.tokens(from, count * time)?)?)
            };
            let (values, labels) = (upload("tokens", first * time)?, upload("next tokens", first * time + 1)?);
            Ok(Examples::Resident { values, labels })
        };
        Self::of_text(gpu, text, time, counts, upload)
    }

    /// [`Dataset::text`], but the text stays in the memory of the CPU and threads send each batch ahead of its step.
    ///
    /// # Errors
    /// As [`Dataset::text`].
    pub fn stream_text(gpu: &Gpu, text: &Arc<Text>, time: usize, counts: [usize; 3]) -> Result<Self> {
        let blocks = |first: usize, _| Ok(Examples::Blocks(TextBlocks { text: text.clone(), first, time }));
        Self::of_text(gpu, text, time, counts, blocks)
    }

    /// Data set of a text; `examples` makes a split of the block that it begins with and its number of blocks.
    fn of_text(
        gpu: &Gpu,
        text: &Text,
        time: usize,
        counts: [usize; 3],
        examples: impl Fn(usize, usize) -> Result<Examples>,
    ) -> Result<Self> {
        let available = text.len().saturating_sub(1) / time.max(1);
        let wanted = counts.iter().try_fold(0_usize, |sum, &count| sum.checked_add(count));
        let [train, validation, test] = counts;
        if time == 0 || train == 0 || wanted.is_none_or(|wanted| wanted > available) {
            let problem = format!("has {available} blocks of {time} tokens, not {train} + {validation} + {test}");
            return Err(Error::data(
                Place::dataset(text.name()),
                problem,
                "make the splits smaller, at least one training block",
            ));
        }
        let split = |name, first: usize, count: usize| {
            let split = || Ok::<Split, Error>(Split { name, examples: examples(first, count)?, count });
            (count > 0).then(split).transpose()
        };
        let splits = [
            split("train", 0, train)?,
            split("validation", train, validation)?,
            split("test", train + validation, test)?,
        ];
        let shape = TokenShape { time, vocabulary: text.vocabulary(), padding: None };
        let output = Output { classes: text.vocabulary(), label_per: LabelPer::Position };
        let data = Self::of_tokens(gpu, text.name(), shape, output, splits)?;
        let contents = format!("{} tokens, checksum {:08x}", text.len(), text.checksum()?);
        let class_names = class_names(text.vocabulary(), MOST_CONFUSED, |id| text.token_name(id));
        Ok(Self { contents, class_names, tokens: text.token_kind(), ..data })
    }

    fn of_tokens(gpu: &Gpu, name: &str, shape: TokenShape, output: Output, splits: [Option<Split>; 3]) -> Result<Self> {
        let asked = counts(&splits);
        let [Some(train), validation, test] = splits else {
            return Err(Error::config(Place::setting("data"), "train", "is 0", "give a number above 0"));
        };
        Ok(Self {
            gpu: gpu.clone(),
            name: name.to_string(),
            stored: shape.into(),
            input: shape.into(),
            output,
            normalization: None,
            train,
            validation,
            test,
            skipped: Skipped::default(),
            skip_broken: false,
            contents: "drawn".to_string(),
            class_names: Vec::new(),
            warnings: Vec::new(),
            asked,
            all_class_names: Arc::default(),
            tokens: None,
        })
    }
}
