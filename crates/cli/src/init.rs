//! `trellis init`

mod guess;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::json;
use trellis_data::Place;
use trellis_data::io::write_atomic;
use trellis_guidance::{Error, Result};
use trellis_lab::config::Config;

use crate::next::Invocation;
use crate::{next, print};
use guess::{Data, Set, guess};

#[derive(Args)]
#[command(after_help = "\
Networks of images: fcn, cnn, resnet, mobilenet, vit. Networks of sequences: rnn, transformer. Any two of one line go together. With
--data the kind of data, their sizes and counts are guessed from what lies there; without, data are drawn.

Examples:
  trellis init                                  an FCN guided by a CNN on drawn glyphs
  trellis init rnn transformer                  sequences
  trellis init resnet vit --data ~/photos       a folder with a folder of JPEG or PNG files for each class
  trellis init --data ~/mnist --out mnist.toml
  trellis init --data shakespeare.txt")]
pub(crate) struct Init {
    /// Network that is trained; fcn, or rnn for a text
    target: Option<Kind>,
    /// Network that guides it; cnn, or transformer for sequences
    guide: Option<Kind>,
    /// Folder or file of the data
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE", default_value = "experiment.toml")]
    out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

/// Kinds of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Fully connected, of images
    Fcn,
    /// Convolutional, of images
    Cnn,
    /// Residual, of images
    Resnet,
    /// Of depthwise convolutions, of images
    Mobilenet,
    /// Vision transformer, of images
    Vit,
    /// Recurrent, of sequences
    Rnn,
    /// Transformer, of sequences
    Transformer,
}

impl Kind {
    fn takes_tokens(self) -> bool {
        matches!(self, Self::Rnn | Self::Transformer)
    }

    fn section(self) -> &'static str {
        match self {
            Self::Fcn => include_str!("init/networks/fcn.toml"),
            Self::Cnn => include_str!("init/networks/cnn.toml"),
            Self::Resnet => include_str!("init/networks/resnet.toml"),
            Self::Mobilenet => include_str!("init/networks/mobilenet.toml"),
            Self::Vit => include_str!("init/networks/vit.toml"),
            Self::Rnn => include_str!("init/networks/rnn.toml"),
            Self::Transformer => include_str!("init/networks/transformer.toml"),
        }
    }

    /// Learning rate of a guide.
    fn guide_rate(self) -> &'static str {
        match self {
            Self::Fcn | Self::Cnn | Self::Resnet | Self::Mobilenet => "0.01",
            Self::Vit | Self::Rnn | Self::Transformer => "0.003",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

/// Line about the other unit of length.
const IN_EPOCHS: &str = "\n# epochs = 20  # in place of `steps`: how often the training data are seen";

/// Column of the comments behind keys.
const COLUMN: usize = 31;

impl Init {
    pub(crate) fn run(&self, as_json: bool) -> Result<()> {
        let data = self.data.as_deref().map(guess).transpose()?;
        let (target, guide) = pair(self.target, self.guide, data.as_ref())?;
        let data = data.unwrap_or_else(|| Data::drawn(target.takes_tokens()));
        let text = configuration(target, guide, &data, &self.out, self.data.as_deref());
        // The text must be one that `trellis train` reads.
        Config::parse(&text, &self.out)?;
        self.write(&text)?;
        let (file, set) = (self.out.display().to_string(), data.set.name());
        if as_json {
            let (target, guide) = (target.to_string(), guide.to_string());
            return print::line(json!({"file": file, "target": target, "guide": guide, "set": set}));
        }
        print::line(format_args!("{file}: {target} guided by {guide} on {}", data.what))?;
        next::after_init(&Invocation { file: &self.out, data: self.data.as_deref(), set: &[] })
    }

    /// Writes the file whole or not at all, and over another one only if that is wanted.
    fn write(&self, text: &str) -> Result<()> {
        if self.force {
            return Ok(write_atomic(&self.out, text.as_bytes())?);
        }
        let mut new = OpenOptions::new();
        let written = new.write(true).create_new(true).open(&self.out).and_then(|mut f| f.write_all(text.as_bytes()));
        written.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Error::config(&self.out, "", "is there already", "choose another name with --out, or add --force")
            }
            _ => Error::io(&self.out, error),
        })
    }
}

/// Target and guide, where one is left out the usual one for the other and for the data.
fn pair(target: Option<Kind>, guide: Option<Kind>, data: Option<&Data>) -> Result<(Kind, Kind)> {
    let tokens = data.map(|data| data.set.gives_tokens());
    let about_tokens = tokens.or(target.or(guide).map(Kind::takes_tokens)).unwrap_or(false);
    let target = target.unwrap_or(if about_tokens { Kind::Rnn } else { Kind::Fcn });
    let guide = guide.unwrap_or(match target {
        Kind::Rnn => Kind::Transformer,
        Kind::Transformer => Kind::Rnn,
        Kind::Cnn => Kind::Resnet,
        Kind::Fcn | Kind::Resnet | Kind::Mobilenet | Kind::Vit => Kind::Cnn,
    });
    let takes = |kind: Kind| if kind.takes_tokens() { "sequences" } else { "images" };
    let hint = "fcn, cnn, resnet, mobilenet and vit go together, and so do rnn and transformer";
    let refused = |problem: String| Error::config(Place::setting(format!("{target} {guide}")), "", problem, hint);
    if target.takes_tokens() != guide.takes_tokens() {
        let problem = format!("{target} takes {} and {guide} takes {}", takes(target), takes(guide));
        return Err(refused(problem));
    }
    match data {
        Some(data) if data.set.gives_tokens() != target.takes_tokens() => {
            let given = if data.set.gives_tokens() { "sequences" } else { "images" };
            Err(refused(format!("{target} takes {}, and --data gives {given} ({})", takes(target), data.what)))
        }
        _ => Ok((target, guide)),
    }
}

/// The file.
fn configuration(target: Kind, guide: Kind, data: &Data, file: &Path, place: Option<&Path>) -> String {
    let tokens = target.takes_tokens();
    let (steps, rate, eval_every) = if tokens { (400, "0.002", 50) } else { (300, "0.001", 50) };
    let batch = batch(data.train, if tokens { 64 } else { 128 });
    let epochs = match data.set {
        Set::CopyPaste => String::new(),
        _ => format!(": {:.1} times the training data", f64::from(steps) * batch as f64 / data.train as f64),
    };
    let mut values: Vec<(&str, String)> = vec![
        ("target", target.to_string()),
        ("guide", guide.to_string()),
        ("what", plain(&data.what)),
        ("file", plain(&next::shell(file))),
        ("data", place.map_or(String::new(), |place| plain(&format!(" --data {}", next::shell(place))))),
        ("name", name(file)),
        ("patch", patch(data.sides).to_string()),
        ("first", (steps / 3).to_string()),
        ("steps", steps.to_string()),
        ("epochs", epochs),
        ("in_epochs", if data.set == Set::CopyPaste { String::new() } else { IN_EPOCHS.to_string() }),
        ("batch", batch.to_string()),
        ("rate", rate.to_string()),
        ("eval_every", eval_every.to_string()),
        ("other", "0.003".to_string()),
        ("augment", if tokens { String::new() } else { include_str!("init/augment.toml").trim_end().to_string() }),
    ];
    values.extend(data.values.iter().map(|(key, value)| (*key, value.clone())));
    let guide_values = vec![("steps", steps.to_string()), ("rate", guide.guide_rate().to_string())];
    let guide_section = fill(include_str!("init/guide.toml"), &guide_values);
    let sections = [
        include_str!("init/start.toml").to_string(),
        data.set.section().to_string(),
        format!("[target]\n{}", target.section()),
        format!("[guide]\n{}{guide_section}", guide.section()),
        include_str!("init/guidance.toml").to_string(),
        include_str!("init/training.toml").to_string(),
    ];
    sections.map(|section| fill(&section, &values)).join("\n").lines().map(aligned).collect()
}

/// A template with its `{key}`s filled in; others stay for later.
fn fill(template: &str, values: &[(&str, String)]) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let found = values.iter().find_map(|(key, value)| Some((value, after.strip_prefix(*key)?.strip_prefix('}')?)));
        match found {
            Some((value, behind)) => {
                text.push_str(value);
                rest = behind;
            }
            None => {
                text.push('{');
                rest = after;
            }
        }
    }
    text + rest
}

/// A line whose comment, if it has one behind something else, begins at one column.
fn aligned(line: &str) -> String {
    match line.rfind("  # ") {
        Some(at) if !line[..at].trim().is_empty() => {
            let (code, comment) = (&line[..at], line[at..].trim_start());
            format!("{code:<width$} {comment}\n", width = COLUMN - 1)
        }
        _ => format!("{line}\n"),
    }
}

/// Text on one line, for a comment.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The name of the experiment: that of its file.
fn name(file: &Path) -> String {
    let stem = file.file_stem().map_or(String::new(), |stem| stem.to_string_lossy().into_owned());
    let plain: String = stem.chars().map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let name: String = plain.trim_start_matches('.').chars().take(100).collect();
    if name.is_empty() { "experiment".to_string() } else { name }
}

/// Largest power of two that is no more than `most` and no more than there are examples.
fn batch(examples: usize, most: usize) -> usize {
    let fits = examples.min(most).max(1);
    1 << fits.ilog2()
}

/// Smallest patch that cuts an image into at most 25.
fn patch([height, width]: [usize; 2]) -> usize {
    let divides = |side: &usize| height.is_multiple_of(*side) && width.is_multiple_of(*side);
    let divisors = || (1..=height.min(width)).filter(divides);
    divisors().find(|side| height / side * (width / side) <= 25).or(divisors().next_back()).unwrap_or(1)
}
