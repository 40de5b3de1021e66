//! Errors outside the engine, and their messages: what was wrong, where, what to do.
//!
//! Every variant carries the facts, [`Display`](std::fmt::Display) makes the sentence. Messages are one line, so that
//! they read well behind `error:` in a terminal and in a log file.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of data, configuration, checkpoints or training. `{:?}`, which a `main` that returns it prints, is the sentence too.
#[non_exhaustive]
pub enum Error {
    /// The operating system refused to read or write `path`.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A data file was read, but does not hold what it should.
    Data {
        /// The file or folder.
        path: PathBuf,
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
    /// A configuration file does not say something that can be run.
    Config {
        /// The configuration file.
        path: PathBuf,
        /// The key at fault, dotted (`target.depth`); empty if it is the file as a whole.
        key: String,
        /// Description of the problem.
        problem: String,
        /// Advice on what to do.
        hint: String,
    },
    /// A checkpoint cannot be used.
    Checkpoint {
        /// The safetensors file.
        path: PathBuf,
        /// Description of the problem.
        problem: String,
        /// Advice on what to do.
        hint: String,
    },
    /// Training left the finite numbers and was stopped.
    Diverged {
        /// Optimizer step, counted from 0.
        step: u64,
        /// The first layer, in forward order, that holds a number that is not finite.
        layer: String,
        /// Form in which it failed, for example "the task loss is NaN".
        what: String,
        /// True if a guide pulled.
        guided: bool,
    },
    /// The gradient of a measure is not what its definition promises: a bug of ours, or a fault of the adapter.
    Invariant {
        /// Optimizer step, counted from 0.
        step: u64,
        /// The target's layer.
        layer: String,
        /// Property that should hold.
        invariant: &'static str,
        /// By how much it does not, relative to |X| |dX|.
        value: f64,
        /// Largest value that is taken for rounding.
        tolerance: f64,
    },
    /// An experiment does not fit into memory.
    Memory {
        /// Memory that it takes, and memory that there is.
        problem: String,
        /// The table of `trellis plan`.
        table: String,
    },
    /// One run of an experiment failed.
    Run {
        /// Name of the run, for example "arm trained, seed 1".
        run: String,
        /// Why.
        source: Box<Error>,
    },
    /// The engine refused: shapes, device, memory.
    Tensor(trellis_tensor::Error),
}

impl Error {
    /// [`Error::Io`] of `path`; for `map_err(|e| Error::io(path, e))`.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io { path: path.as_ref().to_owned(), source }
    }

    /// This error as that of one run of an experiment.
    pub fn in_run(self, run: String) -> Self {
        Self::Run { run, source: Box::new(self) }
    }

    /// [`Error::Data`] of `path`.
    pub fn data(path: impl AsRef<Path>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Data { path: path.as_ref().to_owned(), problem: problem.into(), hint: hint.into() }
    }

    /// [`Error::Config`] of `key` in `path`.
    pub fn config(
        path: impl AsRef<Path>,
        key: impl Into<String>,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let path = path.as_ref().to_owned();
        Self::Config { path, key: key.into(), problem: problem.into(), hint: hint.into() }
    }

    /// [`Error::Checkpoint`] of `path`.
    pub fn checkpoint(path: impl AsRef<Path>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().to_owned(), problem: problem.into(), hint: hint.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}; {}", path.display(), advice(source.kind())),
            Self::Data { path, problem, hint } | Self::Checkpoint { path, problem, hint } => {
                write!(f, "{}: {problem}; {hint}", path.display())
            }
            Self::Split { name, available, wanted } => {
                let parts = wanted.iter().map(usize::to_string).collect::<Vec<_>>().join(" + ");
                write!(
                    f,
                    "data set {name}: a split of {parts} images was asked for, but it holds {available}; \
                     make the parts smaller"
                )
            }
            Self::Config { path, key, problem, hint } if key.is_empty() => {
                write!(f, "{}: {problem}; {hint}", path.display())
            }
            Self::Config { path, key, problem, hint } => {
                write!(f, "{}: `{key}`: {problem}; {hint}", path.display())
            }
            Self::Diverged { step, layer, what, guided } => write!(
                f,
                "training diverged at step {step}, layer {layer}: {what}; try a lower learning rate{}",
                if *guided {
                    ", gradient-norm clipping or a smaller alignment weight"
                } else {
                    " or gradient-norm clipping"
                }
            ),
            Self::Invariant { step, layer, invariant, value, tolerance } => write!(
                f,
                "step {step}, layer {layer}: the alignment gradient breaks an invariant: {invariant}, but it is off by \
                 {value:.1e} of |X| |dX|, where {tolerance:.0e} is rounding; please report it with the adapter's name"
            ),
            Self::Memory { problem, table } => {
                write!(
                    f,
                    "the experiment does not fit into memory: {problem}; use a smaller batch or network, or \
                     `training.recompute`, or raise TRELLIS_MEMORY_MB. It would take:\n{table}"
                )
            }
            Self::Run { run, source } => write!(f, "{run}: {source}"),
            Self::Tensor(source) => source.fmt(f),
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
            Self::Tensor(source) => source.source(),
            Self::Run { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<trellis_tensor::Error> for Error {
    fn from(source: trellis_tensor::Error) -> Self {
        Self::Tensor(source)
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
            Error::io("runs/demo", denied).to_string(),
            "runs/demo: permission denied; check who may read or write it (ls -l), or choose another place"
        );
        assert_eq!(
            Error::data("a/t10k-labels", "holds 3 bytes", "download it again").to_string(),
            "a/t10k-labels: holds 3 bytes; download it again"
        );
        assert_eq!(
            Error::Split { name: "mnist".into(), available: 10, wanted: vec![8, 4] }.to_string(),
            "data set mnist: a split of 8 + 4 images was asked for, but it holds 10; make the parts smaller"
        );
        assert_eq!(
            Error::config("x.toml", "target.dept", "unknown key", "did you mean `depth`?").to_string(),
            "x.toml: `target.dept`: unknown key; did you mean `depth`?"
        );
        assert_eq!(
            Error::config("x.toml", "", "is empty", "see examples/").to_string(),
            "x.toml: is empty; see examples/"
        );
        assert_eq!(
            Error::checkpoint("s.safetensors", "is cut short", "use the one before").to_string(),
            "s.safetensors: is cut short; use the one before"
        );
        let diverged =
            Error::Diverged { step: 7, layer: "fc2".into(), what: "the task loss is NaN".into(), guided: true };
        assert!(diverged.to_string().starts_with("training diverged at step 7, layer fc2: the task loss is NaN; try"));
    }

    #[test]
    fn io_keeps_its_source() {
        use std::error::Error as _;
        assert!(Error::io("x", io::Error::from(ErrorKind::NotFound)).source().is_some());
        assert!(Error::data("x", "p", "h").source().is_none());
    }
}
