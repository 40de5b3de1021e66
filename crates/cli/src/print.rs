//! Standard output that may be a closed pipe or a full disk.

use std::fmt::Display;
use std::io::Write;

use trellis_guidance::{Error, Result};

/// Prints a line.
pub(crate) fn line(text: impl Display) -> Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").map_err(|error| Error::io("standard output", error))
}

/// Whether the reader of standard output has left, as `head` does: no reason to complain.
pub(crate) fn reader_left(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
}
