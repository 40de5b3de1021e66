//! Bytes of a data file: in memory, or in the file until they are needed.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::error::{Error, Result};
use crate::io::regular_file;

/// Bytes that threads read in pieces.
#[derive(Debug)]
pub enum Bytes {
    /// All of them: of a file that was packed, say.
    Memory(Vec<u8>),
    /// A file, whose place to read moves under the lock: a read is of kilobytes, and short beside what is made of it. It was last written at
    /// the time, where the system tells: what is written later is another file.
    File {
        /// Path of the file.
        path: PathBuf,
        /// The open file.
        file: Mutex<File>,
        /// Number of its bytes when it was opened.
        length: u64,
        /// Time at which it was last written before it was opened.
        written: Option<SystemTime>,
    },
    /// So many that are all 0.
    Zeros(u64),
}

impl Bytes {
    /// Opens a file and reads nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] if it is no regular file.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, length) = regular_file::open(path)?;
        let written = file.metadata().and_then(|metadata| metadata.modified()).ok();
        Ok(Self::File { path: path.to_owned(), file: Mutex::new(file), length, written })
    }

    /// Number of bytes.
    #[allow(clippy::len_without_is_empty, reason = "an empty file is read like others")]
    pub fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { length, .. } | Self::Zeros(length) => *length,
        }
    }

    /// Fills `into` from byte `at` on.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] where the file has become shorter than it was.
    ///
    /// # Panics
    /// Past the end of bytes in memory, as a slice does.
    pub fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
        match self {
            Self::Memory(bytes) => {
                let at = at as usize;
                into.copy_from_slice(&bytes[at..at + into.len()]);
                Ok(())
            }
            Self::Zeros(_) => {
                into.fill(0);
                Ok(())
            }
            Self::File { path, file, written, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(into));
                read.map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => {
                        Error::data(path, format!("ends before byte {}", at + into.len() as u64), "restore the file")
                    }
                    _ => Error::io(path, error),
                })?;
                let now = file.metadata().and_then(|metadata| metadata.modified()).ok();
                let hint = "leave it alone while it is in use, and begin again";
                let same = (now == *written).then_some(());
                same.ok_or_else(|| Error::data(path, "was written while it was read", hint))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_file_that_is_written_while_it_is_read_is_an_error() {
        let folder = tempfile::tempdir().expect("writable");
        let path = folder.path().join("written");
        std::fs::write(&path, [1; 64]).expect("writable");
        let bytes = Bytes::open(&path).expect("there");
        let mut read = [0; 8];
        bytes.read(8, &mut read).expect("as it was");
        std::thread::sleep(Duration::from_millis(20));
        std::fs::write(&path, [2; 64]).expect("writable");
        let error = bytes.read(8, &mut read).expect_err("another file now").to_string();
        assert!(error.contains("written: ") && error.contains("was written while it was read"), "{error}");
    }
}
