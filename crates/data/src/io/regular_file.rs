//! Files that a user names: a folder would fail later and worse, opening a pipe would wait for ever, a device has no end.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a regular file, and tells its length.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] for what is none.
pub fn open(path: &Path) -> Result<(File, u64)> {
    let metadata = fs::metadata(path).map_err(|source| Error::io(path, source))?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() { "a folder" } else { "a device or pipe" };
        return Err(Error::data(path, format!("is {kind}, not a file"), "put the file itself there"));
    }
    Ok((File::open(path).map_err(|source| Error::io(path, source))?, metadata.len()))
}

/// Reads a regular file of at most `largest` bytes.
///
/// # Errors
/// As [`open`]; [`Error::Data`] for a larger one.
pub fn read(path: &Path, largest: u64) -> Result<Vec<u8>> {
    let (file, length) = open(path)?;
    let mut bytes = Vec::with_capacity(length.min(largest) as usize + 1);
    // It may grow while it is read.
    file.take(largest + 1).read_to_end(&mut bytes).map_err(|source| Error::io(path, source))?;
    if bytes.len() as u64 > largest {
        let length = length.max(bytes.len() as u64);
        return Err(Error::data(path, format!("has {length} bytes, more than {largest}"), "is it the right file?"));
    }
    Ok(bytes)
}
