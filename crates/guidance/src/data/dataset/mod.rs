//! Data sets: on the GPU, uploaded once or drawn there, or streamed to it from the CPU. A [`BatchSource`](crate::BatchSource) makes batches
//! of them.

mod images;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use trellis_data::text::TokenKind;
use trellis_data::{LeftOut, Normalization, Place, Skipped};
use trellis_tensor::{Gpu, Graph, Tensor, Var};

use crate::data::example::{Input, InputShape, Output};
use crate::data::split::{Examples, Split};
use crate::error::{Error, Result};

/// Examples in up to three splits.
#[derive(Clone, Debug)]
pub struct Dataset {
    gpu: Gpu,
    name: String,
    /// Shape of an example as it is stored, and as a network takes it.
    stored: InputShape,
    input: InputShape,
    output: Output,
    /// Normalization that gives the training pixels mean 0 and variance 1; `None` where there are no images.
    normalization: Option<Normalization>,
    train: Split,
    validation: Option<Split>,
    test: Option<Split>,
    skipped: Skipped,
    skip_broken: bool,
    /// Description that tells the set from another of the same kind and size.
    contents: String,
    /// Class names, unless they are just the indices or there are more than 100.
    class_names: Vec<String>,
    /// Warnings for the user about the data that were found.
    warnings: Vec<String>,
    /// Examples that the splits were asked to have; fewer are there where broken ones were left out.
    asked: [usize; 3],
    /// Names of all classes of images, however many; empty if they are just the indices.
    all_class_names: Arc<[String]>,
    /// Meaning of the tokens of text.
    tokens: Option<TokenKind>,
}

/// A batch in a graph.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'g> {
    /// Input of networks: images are normalized, `[batch, channels, height, width]`; tokens are `u32[batch, time]`.
    pub input: Input<'g>,
    /// `u32[batch]`, or `u32[batch, time]` where each position has a label.
    pub labels: Var<'g>,
    /// Numbers of the examples in their split, `u32[batch]`.
    pub index: Var<'g>,
    /// The split: `train`, `validation` or `test`.
    pub split: &'static str,
}

impl<'g> Batch<'g> {
    /// Logits as `[rows, classes]` and labels as `[rows]`: a row for each example, or for each of its positions.
    pub(crate) fn rows(&self, logits: Var<'g>) -> Result<(Var<'g>, Var<'g>)> {
        let rows = self.labels.ty().elements();
        Ok((logits.reshape([rows, logits.shape().last_axis()])?, self.labels.reshape([rows])?))
    }
}

/// Largest size in bytes of images that are uploaded as a whole, unless something else is asked for.
const RESIDENT: u64 = 4 << 30;

/// Number of images sampled for normalization and the data checksum: of training images, and of others.
const SAMPLED: usize = 10_000;
const SAMPLED_HELD_OUT: usize = 1_000;

/// Largest number of classes for which a confusion matrix is kept.
pub(crate) const MOST_CONFUSED: usize = 100;

/// Class names, unless they are just the indices or there are more than `most`.
fn class_names(classes: usize, most: usize, name: impl Fn(usize) -> String) -> Vec<String> {
    let names: Vec<String> = if classes <= most { (0..classes).map(name).collect() } else { Vec::new() };
    let numbers = names.iter().enumerate().all(|(class, name)| *name == class.to_string());
    if numbers { Vec::new() } else { names }
}

fn counts(splits: &[Option<Split>; 3]) -> [usize; 3] {
    std::array::from_fn(|split| splits[split].as_ref().map_or(0, Split::count))
}

impl Dataset {
    /// The same images seen in other units than those of its own training images: in those of a network that was trained on
    /// others. Sets without images stay as they are.
    pub fn normalized(self, normalization: Normalization) -> Self {
        Self { normalization: self.normalization.map(|_| normalization), ..self }
    }

    /// The same set on `gpu`, which only counts memory: as large, without contents.
    pub fn counted_on(&self, gpu: &Gpu) -> Result<Self> {
        let placeholder = |tensor: &Tensor| Tensor::zeros(gpu, tensor.name(), tensor.ty().clone());
        let counted = |split: &Split| {
            let examples = match &split.examples {
                Examples::Resident { values, labels } => {
                    Examples::Resident { values: placeholder(values)?, labels: placeholder(labels)? }
                }
                elsewhere => elsewhere.clone(),
            };
            Ok::<Split, Error>(Split { name: split.name, examples, count: split.count })
        };
        let [validation, test] = [&self.validation, &self.test].map(|split| split.as_ref().map(counted).transpose());
        let (train, validation, test) = (counted(&self.train)?, validation?, test?);
        Ok(Self { gpu: gpu.clone(), train, validation, test, ..self.clone() })
    }

    /// Short description of the contents, by which another set in its place is noticed.
    pub fn describe(&self) -> String {
        format!("{}, {}", self.extent(), self.contents)
    }

    /// [`Dataset::describe`], and the part of an image that networks see.
    pub fn describe_examples(&self) -> String {
        let seen = if self.input == self.stored { String::new() } else { format!(", seen as {}", self.input) };
        self.describe() + &seen
    }

    /// True if an image of a batch may be left out as broken while training.
    pub fn may_lack_images(&self) -> bool {
        self.skip_broken && self.is_streamed()
    }

    /// Number of examples of each split, their size, and the number of classes, in a few words.
    pub fn extent(&self) -> String {
        let counts: Vec<String> = self.splits().map(|(name, split)| format!("{name} {}", split.count)).collect();
        let of = if matches!(self.stored, InputShape::Tokens(_)) { "," } else { " of" };
        format!("{}, {}{of} {} classes", counts.join(", "), self.stored, self.output.classes)
    }

    /// Names of classes or tokens, unless they are just the indices or there are more than 100.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    /// Problems of the examples that have been left out so far because they could not be read.
    pub fn skipped(&self) -> Vec<String> {
        self.skipped.list()
    }

    /// Number of examples of each class that have been left out so far because they could not be read, by split.
    /// Classes of which none is left out are omitted. Of a streamed set, only examples that were read count.
    pub fn left_out(&self) -> Vec<LeftOut> {
        Self::left_out_of(std::slice::from_ref(self))
    }

    /// [`Dataset::left_out`] of all copies of one set together.
    pub fn left_out_of(copies: &[Self]) -> Vec<LeftOut> {
        let mut all = BTreeMap::new();
        copies.iter().for_each(|copy| all.extend(copy.skipped.all()));
        let mut classes: BTreeMap<Option<u16>, LeftOut> = BTreeMap::new();
        for ((_, split), class) in all {
            let name = |class: u16| {
                let names = copies.first().map_or(&[][..], |copy| &copy.all_class_names);
                names.get(usize::from(class)).cloned().unwrap_or_else(|| class.to_string())
            };
            let row = classes.entry(class).or_insert_with(|| LeftOut { class: class.map(name), ..LeftOut::default() });
            *row.of_split(split) += 1;
        }
        classes.into_values().collect()
    }

    /// Warnings for the user about the data that were found: folders that are not used, say.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The same set with sentences for the user, [`Dataset::warnings`].
    pub fn with_warnings(self, warnings: Vec<String>) -> Self {
        Self { warnings, ..self }
    }

    /// Examples that training, validation and test split were asked to have, those included that could not be read.
    pub fn asked(&self) -> [usize; 3] {
        self.asked
    }

    /// Record for examples that cannot be read, if they may be left out.
    pub(crate) fn skipping(&self) -> Option<Skipped> {
        self.skip_broken.then(|| self.skipped.clone())
    }

    /// True if training batches are always of new examples.
    pub fn is_drawn(&self) -> bool {
        self.train.drawable() != self.train.count()
    }

    /// True if batches are read while they are needed, so that a [`BatchSource`](crate::BatchSource) must be prepared.
    pub fn is_streamed(&self) -> bool {
        matches!(self.train.examples, Examples::Source(_) | Examples::Blocks(_))
    }

    /// Training examples by index, `[batch]`.
    ///
    /// # Errors
    /// When `index` holds no indices; [`Error::Config`] where the examples are streamed.
    pub(crate) fn train_examples<'g>(&self, graph: &'g Graph, index: Var<'g>) -> Result<Batch<'g>> {
        let [values, labels] = self.gather(graph, &self.train, index)?;
        Ok(Batch { input: self.center(values)?, labels, index, split: self.train.name })
    }

    /// The same images, of which networks see a box of `size` × `size` pixels.
    /// [`Training::crop`](crate::Training::crop) says where in the image it is; in evaluations it is the middle.
    ///
    /// # Errors
    /// [`Error::Config`] unless these are images that hold such a box.
    pub fn cropped(self, size: usize) -> Result<Self> {
        match self.stored {
            InputShape::Image([channels, height, width]) if (1..=height.min(width)).contains(&size) => {
                Ok(Self { input: [channels, size, size].into(), ..self })
            }
            stored => {
                let problem = format!("{stored} hold no box of {size} x {size} pixels");
                Err(Error::config(Place::setting("data"), "size", problem, "make it smaller"))
            }
        }
    }

    /// The middle of stored images, as large as networks take them; of others, all.
    pub(crate) fn center<'g>(&self, values: Var<'g>) -> Result<Input<'g>> {
        let (InputShape::Image(stored), InputShape::Image(input)) = (self.stored, self.input) else {
            return Ok(self.input.of(values));
        };
        let mut middle = values;
        for axis in (1..3).filter(|&axis| stored[axis] > input[axis]) {
            middle = middle.slice(axis + 1, (stored[axis] - input[axis]) / 2, input[axis])?;
        }
        Ok(middle.into())
    }

    /// Examples of `split` by index, `[batch]`, as they are stored, and their labels.
    pub(crate) fn gather<'g>(&self, graph: &'g Graph, split: &Split, index: Var<'g>) -> Result<[Var<'g>; 2]> {
        match &split.examples {
            Examples::Resident { values, labels } => self.look_up(graph, values, labels, index),
            Examples::Drawn(sequences) => Ok(index.sequences(*sequences)?),
            Examples::Source(_) | Examples::Blocks(_) => {
                let hint = "make it smaller so that it fits into memory, or do without (random batches need no such)";
                Err(Error::config(
                    Place::setting("data"),
                    "stream",
                    "examples by number need a resident data set",
                    hint,
                ))
            }
        }
    }

    /// Examples by index, `[batch]`, of a table on the GPU.
    pub(crate) fn look_up<'g>(
        &self,
        graph: &'g Graph,
        values: &Tensor,
        labels: &Tensor,
        index: Var<'g>,
    ) -> Result<[Var<'g>; 2]> {
        let (values, labels) = (graph.leaf(values), graph.leaf(labels).gather_labels(index)?);
        let values = match self.normalization {
            Some(units) => values.gather_images(index, units.scale(), units.shift())?,
            None => values.gather_labels(index)?,
        };
        Ok([values, labels])
    }

    /// The normalized value of a black pixel, with which shifted images are filled; 0 where there are no images.
    pub fn black(&self) -> f32 {
        self.normalization.map_or(0.0, Normalization::shift)
    }

    /// Units in which networks see brightness; `None` where there are no images.
    pub fn normalization(&self) -> Option<Normalization> {
        self.normalization
    }

    /// Names of all classes of images, however many; empty if they are just the indices.
    pub fn all_class_names(&self) -> &[String] {
        &self.all_class_names
    }

    /// Meaning of the tokens of text; `None` where there is no text.
    pub fn token_kind(&self) -> Option<&TokenKind> {
        self.tokens.as_ref()
    }

    /// The training split.
    pub fn train(&self) -> &Split {
        &self.train
    }

    /// The splits that exist, by name.
    pub fn splits(&self) -> impl Iterator<Item = (&'static str, &Split)> {
        let named =
            [("train", Some(&self.train)), ("validation", self.validation.as_ref()), ("test", self.test.as_ref())];
        named.into_iter().filter_map(|(name, split)| Some((name, split?)))
    }

    /// The device that holds it.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shape of an example.
    pub fn input(&self) -> InputShape {
        self.input
    }

    /// Output classes, and what each label covers.
    pub fn output(&self) -> Output {
        self.output
    }

    /// Shape of an example as it is stored: larger than [`Dataset::input`] where images are cropped.
    pub fn stored(&self) -> InputShape {
        self.stored
    }

    /// Training examples; of drawn ones, those that an evaluation looks at.
    pub fn train_count(&self) -> usize {
        self.train.count
    }
}
