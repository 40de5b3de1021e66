//! Standard output that may be a closed pipe or a full disk.

use std::fmt::Display;
use std::io::Write;

use serde::Serialize;
use trellis_data::Place;
use trellis_guidance::{Dataset, Error, Result};

const OUTPUT: Place = Place::Stream("standard output");

/// Prints a line.
pub(crate) fn line(text: impl Display) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{}", escape_control(text)).map_err(|error| Error::io(OUTPUT, error))
}

/// Reports unused files and folders that were found where the data lie.
pub(crate) fn warn_of_data(data: &Dataset) {
    data.warnings().iter().for_each(|warning| warn(warning));
}

/// Prints a warning to standard error.
pub(crate) fn warn(warning: &str) {
    eprintln!("warning: {}", escape_control(warning));
}

/// Prints a line of JSON. Numbers of single precision have no more digits than they need.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    line(serde_json::to_string(value).map_err(|error| Error::io(OUTPUT, error.into()))?)
}

/// Text without characters that a terminal obeys: names come from files.
pub(crate) fn escape_control(text: impl Display) -> String {
    let obeyed = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    text.to_string().chars().map(|c| if obeyed(&c) { '\u{fffd}' } else { c }).collect()
}

/// True if the reader of standard output has left, as `head` does: no reason to complain.
pub(crate) fn reader_left(error: &Error) -> bool {
    matches!(error, Error::Data(trellis_data::Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::BrokenPipe)
}
