//! Examples of a data set in a file, as networks see them, for programs that run a guide of their own.

use std::path::Path;

use trellis_data::Place;
use trellis_guidance::network::Input;
use trellis_guidance::weights::{Format, Named, write};
use trellis_guidance::{BatchSource, Dataset, Error, Result};
use trellis_tensor::{Graph, Plan, StepState};

/// Examples of a step.
const BATCH: usize = 256;

/// Writes the training and the test split of `data` to a safetensors file: `train.input` `[examples, channels, height, width]`, normalized,
/// or tokens `[examples, time]`; `train.labels`; and the same of `test`. Its metadata `trellis` tell the data from others. All
/// numbers are f32, and are held in the memory of the CPU until they are written.
///
/// # Errors
/// [`Error::Config`] for drawn sequences, of which each batch is new; errors of reading and writing.
pub fn write_examples(data: &Dataset, path: &Path) -> Result<()> {
    if data.is_drawn() {
        let (problem, hint) = ("is drawn: every batch is of new examples", "choose images or a text");
        return Err(Error::config(Place::setting("data"), "set", problem, hint));
    }
    if data.may_lack_images() {
        let problem = "leaves broken images out while it reads, and a row is needed for each";
        return Err(Error::config(
            Place::setting("data"),
            "skip_broken",
            problem,
            "remove the broken images and the key",
        ));
    }
    let mut tensors: Vec<Named> = Vec::new();
    for (name, split) in data.splits().filter(|(name, _)| *name != "validation") {
        let (count, batch) = (split.count(), split.count().min(BATCH));
        let (graph, step_state) = (Graph::new(), StepState::new(data.gpu())?);
        let mut batches = BatchSource::sequential(data, split, batch)?;
        let examples = batches.batch(&graph, &step_state)?;
        let input = match examples.input {
            Input::Images(images) => images,
            Input::Tokens(tokens, _) => tokens,
        };
        step_state.advance(&graph)?;
        let plan = Plan::new(data.gpu(), &graph, &[input, examples.labels])?;
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        for step in 0..count.div_ceil(batch) {
            batches.prepare(step as u32, 1)?;
            plan.run(1)?;
            match examples.input {
                Input::Images(_) => values.extend(plan.read(input)?),
                Input::Tokens(..) => values.extend(plan.read_u32(input)?.into_iter().map(|id| id as f32)),
            }
            labels.extend(plan.read_u32(examples.labels)?.into_iter().map(|label| label as f32));
        }
        for (what, mut values, shape) in [("input", values, input.shape()), ("labels", labels, examples.labels.shape())]
        {
            let shape = [&[count], &shape[1..]].concat();
            // The last batch may be longer than what is left.
            values.truncate(shape.iter().product());
            tensors.push((format!("{name}.{what}"), shape, values));
        }
    }
    write(path, &tensors, Format::F32, data.describe_examples())
}
