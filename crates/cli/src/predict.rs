//! `trellis predict`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use trellis_data::Place;
use trellis_guidance::{Error, Result};
use trellis_lab::recipe::{Candidate, Prediction, Predictor, Recipe, RecipeInput, expand};
use trellis_tensor::Gpu;

use crate::print;

#[derive(Args)]
#[command(after_help = "\
Images are prepared as in the training: the recipe in the checkpoint says how. Folders stand for the JPEG and PNG files in
them. With --json each image is a line. Images that cannot be read are named, the others go on, and the exit code is 1.

Examples:
  trellis predict runs/flowers/trained-1.best.safetensors photo.jpg
  trellis predict runs/flowers/trained-1.best.safetensors ~/photos --json
  trellis predict runs/language/alone-1.safetensors --text \"It was the best of\"")]
pub(crate) struct Predict {
    /// A checkpoint of a run: ARM-SEED.safetensors or ARM-SEED.best.safetensors
    checkpoint: PathBuf,
    /// Image files, or folders of them
    #[arg(required_unless_present = "text", value_name = "IMAGE")]
    images: Vec<PathBuf>,
    /// A text whose next token is predicted, by a network of text
    #[arg(long, value_name = "TEXT", conflicts_with = "images")]
    text: Option<String>,
}

impl Predict {
    pub(crate) fn run(&self, gpu: impl FnOnce() -> Result<Gpu>, as_json: bool) -> Result<()> {
        // Anything that can be wrong is told before the GPU is opened.
        let recipe = Recipe::read(&self.checkpoint)?;
        self.check(&recipe)?;
        let files = expand(&self.images)?;
        let predictor = Predictor::open(&gpu()?, &self.checkpoint)?;
        if let Some(text) = &self.text {
            let prediction = predictor.next_token(text)?;
            let Prediction { best: predictions, notes } = &prediction;
            return match as_json {
                true => print::json(&Line { text: Some(text), predictions, notes, ..Line::default() }),
                false => print_prediction(&format!("after {text:?}"), &prediction, |token| format!("“{token}”")),
            };
        }
        let mut unread = 0;
        predictor.images(&files, |path, prediction| {
            let file = Some(path.display().to_string());
            match &prediction {
                Ok(Prediction { best: predictions, notes }) if as_json => {
                    print::json(&Line { file, predictions, notes, ..Line::default() })
                }
                Ok(prediction) => print_prediction(&path.display().to_string(), prediction, str::to_string),
                Err(error) => {
                    unread += 1;
                    let message = print::escape_control(error);
                    eprintln!("error: {message}");
                    if !as_json {
                        return Ok(());
                    }
                    print::json(&Line { file, error: Some(message), ..Line::default() })
                }
            }
        })?;
        match unread {
            0 => Ok(()),
            count => {
                let others = if count == files.len() { "give JPEG or PNG files" } else { "the others were predicted" };
                let problem = format!("{count} of {} images could not be read", files.len());
                Err(Error::data(Place::setting("predict"), problem, others))
            }
        }
    }

    /// Refuses inputs that the network does not take.
    fn check(&self, recipe: &Recipe) -> Result<()> {
        let (problem, hint) = match (&recipe.input, &self.text) {
            (RecipeInput::Images { .. }, None) | (RecipeInput::Tokens { tokens: Some(_), .. }, Some(_)) => {
                return Ok(());
            }
            (RecipeInput::Images { .. }, Some(_)) => ("takes images, not text".to_string(), "give image files"),
            (RecipeInput::Tokens { tokens: Some(_), .. }, None) => {
                ("takes text, not images".to_string(), "give it with --text \"…\"")
            }
            (RecipeInput::Tokens { .. }, _) => (
                format!("takes {}, drawn for its task, and neither images nor text", recipe.input_shape()),
                "its run's predict.py takes token ids, and `trellis eval` scores it",
            ),
        };
        Err(Error::checkpoint(&self.checkpoint, problem, hint))
    }
}

/// Line that `--json` prints for an example.
#[derive(Default, Serialize)]
struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    predictions: &'a [Candidate],
    notes: &'a [String],
}

/// Prints a prediction; `shown` is a name as a reader sees it.
fn print_prediction(what: &str, prediction: &Prediction, shown: fn(&str) -> String) -> Result<()> {
    let Prediction { best, notes } = prediction;
    let share = |candidate: &Candidate| format!("{} {:.1} %", shown(&candidate.name), 100.0 * candidate.probability);
    let Some((first, others)) = best.split_first() else { return Ok(()) };
    let others: Vec<String> = others.iter().map(share).collect();
    let others = if others.is_empty() { String::new() } else { format!("  (then {})", others.join(", ")) };
    print::line(format_args!("{what}: {}{others}", share(first)))?;
    notes.iter().try_for_each(|note| print::line(format_args!("  note: {note}")))
}
