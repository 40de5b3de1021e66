//! Bytes of a data file: in memory, or in the file until they are needed.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::io::regular_file;

/// Bytes that threads read in pieces.
#[derive(Debug)]
pub(crate) enum Bytes {
    /// All of them: of a file that was packed, say.
    Memory(Vec<u8>),
    /// A file, whose read position moves under the lock. A read is of kilobytes, and short compared with their use.
    File { path: PathBuf, file: Mutex<File>, length: u64 },
    /// Zeros, so many of them.
    Zeros(u64),
}

impl Bytes {
    /// Opens a file and reads nothing yet.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] if it is no regular file.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (file, length) = regular_file::open(path)?;
        Ok(Self::File { path: path.to_owned(), file: Mutex::new(file), length })
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> u64 {
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
    pub(crate) fn read(&self, at: u64, into: &mut [u8]) -> Result<()> {
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
            Self::File { path, file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let read = file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(into));
                read.map_err(|error| match error.kind() {
                    ErrorKind::UnexpectedEof => {
                        Error::data(path, format!("ends before byte {}", at + into.len() as u64), "restore the file")
                    }
                    _ => Error::io(path, error),
                })
            }
        }
    }
}
