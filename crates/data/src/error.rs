//! Errors of reading and writing: what was wrong, where, what to do.
//!
//! Every variant carries the facts, [`Display`](fmt::Display) makes the sentence. Messages are one line, so that they
//! read well behind `error:` in a terminal and in a log file.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of files or of the data in them. `{:?}`, which a `main` that returns it prints, is the sentence too.
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write.
    Io {
        /// The file, folder or stream.
        place: Place,
        /// Error of the operating system.
        source: io::Error,
    },
    /// Data were read, but are not what they should be.
    Data {
        /// The file, folder or data set.
        place: Place,
        /// Description of the problem.
        problem: String,
        /// Advice on what to do.
        hint: String,
    },
    /// A data set is too small for the split that was asked for.
    Split {
        /// Name of the data set.
        name: String,
        /// Images it holds.
        available: usize,
        /// Images wanted in each part.
        wanted: Vec<usize>,
    },
}

/// Place of an error. Paths are files by themselves; what is no path is said to be none: `Place::setting("training")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A file or folder.
    File(PathBuf),
    /// A data set, by its name.
    Dataset(String),
    /// A table of a configuration, a command or an option of one, an environment variable.
    Setting(String),
    /// The terminal, or another stream without a path.
    Stream(&'static str),
}

impl Place {
    /// [`Place::Dataset`] of this name.
    pub fn dataset(name: impl Into<String>) -> Self {
        Self::Dataset(name.into())
    }

    /// [`Place::Setting`] of this name.
    pub fn setting(name: impl Into<String>) -> Self {
        Self::Setting(name.into())
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        Self::File(path.clone())
    }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Self> for Place {
    fn from(place: &Self) -> Self {
        place.clone()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Dataset(name) | Self::Setting(name) => f.write_str(name),
            Self::Stream(name) => f.write_str(name),
        }
    }
}

impl Error {
    /// [`Error::Io`] at `place`; for `map_err(|e| Error::io(path, e))`.
    pub fn io(place: impl Into<Place>, source: io::Error) -> Self {
        Self::Io { place: place.into(), source }
    }

    /// [`Error::Data`] at `place`.
    pub fn data(place: impl Into<Place>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Data { place: place.into(), problem: problem.into(), hint: hint.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { place, source } => write!(f, "{place}: {source}; {}", advice(source.kind())),
            Self::Data { place, problem, hint } => write!(f, "{place}: {problem}; {hint}"),
            Self::Split { name, available, wanted } => {
                let parts = wanted.iter().map(usize::to_string).collect::<Vec<_>>().join(" + ");
                write!(
                    f,
                    "data set {name}: a split of {parts} images was asked for, but it holds {available}; \
                     make the parts smaller"
                )
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Data { .. } | Self::Split { .. } => None,
        }
    }
}

/// Advice about an error of the operating system.
fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "check the path",
        ErrorKind::PermissionDenied => "check who may read or write it (ls -l), or choose another place",
        ErrorKind::IsADirectory => "give a file, not a folder",
        ErrorKind::NotADirectory => "give a folder, not a file",
        ErrorKind::AlreadyExists => "choose another name, or move the old one away",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space, or choose another place",
        ErrorKind::ReadOnlyFilesystem => "choose a place that can be written",
        ErrorKind::InvalidData => "save it as UTF-8 text",
        _ => "check the disk and try again",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_where_and_what_to_do() {
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(
            Error::io(Path::new("runs/demo"), denied).to_string(),
            "runs/demo: permission denied; check who may read or write it (ls -l), or choose another place"
        );
        assert_eq!(
            Error::data(Path::new("a/t10k-labels"), "holds 3 bytes", "download it again").to_string(),
            "a/t10k-labels: holds 3 bytes; download it again"
        );
        assert_eq!(
            Error::data(Place::dataset("mnist"), "has no images", "give it some").to_string(),
            "mnist: has no images; give it some"
        );
        assert_eq!(
            Error::Split { name: "mnist".into(), available: 10, wanted: vec![8, 4] }.to_string(),
            "data set mnist: a split of 8 + 4 images was asked for, but it holds 10; make the parts smaller"
        );
    }

    #[test]
    fn io_keeps_its_source() {
        use std::error::Error as _;
        assert!(Error::io(Path::new("x"), io::Error::from(ErrorKind::NotFound)).source().is_some());
        assert!(Error::data(Path::new("x"), "p", "h").source().is_none());
    }
}
