//! Files that are written whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;

use crate::error::{Error, Result};

/// Writes a file whole or not at all: to a temporary name in the same folder, which is then renamed to `path`.
///
/// # Errors
/// [`Error::Io`] with `path`; the temporary file is removed and an earlier file at `path` is as it was.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<()> {
    replace(path, |temporary| fs::write(temporary, contents))
}

/// [`write_atomic`] with contents that `write` writes to the temporary name that it is given. Errors as there.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
    let file = path.file_name().ok_or_else(|| Error::io(path, ErrorKind::InvalidFilename.into()))?;
    let temporary = path.with_file_name(format!(".{}.{}.tmp", file.to_string_lossy(), std::process::id()));
    let written = write(&temporary).and_then(|()| {
        OpenOptions::new().write(true).open(&temporary)?.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|e| {
        let _ = fs::remove_file(&temporary); // The first error is the one to tell.
        Error::io(path, e)
    })
}
