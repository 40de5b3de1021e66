//! Errors outside the engine, and their messages: what was wrong, where, what to do.
//!
//! Every variant carries the facts, [`Display`](std::fmt::Display) makes the sentence. Messages are one line, so that
//! they read well behind `error:` in a terminal and in a log file.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use trellis_data::Place;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of data, configuration, checkpoints or training. `{:?}`, which a `main` that returns it prints, is the sentence too.
#[non_exhaustive]
pub enum Error {
    /// A file or a data set: what is read from it, or written to it.
    Data(trellis_data::Error),
    /// A setting, in a configuration file or a program, cannot be run.
    Config {
        /// The configuration file, or the group of settings.
        place: Place,
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
    /// [`trellis_data::Error::Io`] at `place`; for `map_err(|e| Error::io(path, e))`.
    pub fn io(place: impl Into<Place>, source: io::Error) -> Self {
        Self::Data(trellis_data::Error::io(place, source))
    }

    /// This error as that of one run of an experiment.
    pub fn in_run(self, run: String) -> Self {
        Self::Run { run, source: Box::new(self) }
    }

    /// True for [`Error::Diverged`], in a run or by itself.
    pub fn is_divergence(&self) -> bool {
        match self {
            Self::Run { source, .. } => source.is_divergence(),
            other => matches!(other, Self::Diverged { .. }),
        }
    }

    /// [`trellis_data::Error::Data`] at `place`.
    pub fn data(place: impl Into<Place>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Data(trellis_data::Error::data(place, problem, hint))
    }

    /// [`Error::Config`] of `key` at `place`.
    pub fn config(
        place: impl Into<Place>,
        key: impl Into<String>,
        problem: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self::Config { place: place.into(), key: key.into(), problem: problem.into(), hint: hint.into() }
    }

    /// [`Error::Checkpoint`] of `path`.
    pub fn checkpoint(path: impl AsRef<Path>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.as_ref().to_owned(), problem: problem.into(), hint: hint.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Data(source) => source.fmt(f),
            Self::Checkpoint { path, problem, hint } => write!(f, "{}: {problem}; {hint}", path.display()),
            Self::Config { place, key, problem, hint } if key.is_empty() => write!(f, "{place}: {problem}; {hint}"),
            Self::Config { place, key, problem, hint } => write!(f, "{place}: `{key}`: {problem}; {hint}"),
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
                 {value:.1e} of |X| |dX|, where {tolerance:.0e} is rounding; please report it with the \
                 adapter's name, unless the measure is your own"
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
            Self::Data(source) => source.source(),
            Self::Tensor(source) => source.source(),
            Self::Run { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<trellis_data::Error> for Error {
    fn from(source: trellis_data::Error) -> Self {
        Self::Data(source)
    }
}

impl From<trellis_tensor::Error> for Error {
    fn from(source: trellis_tensor::Error) -> Self {
        Self::Tensor(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_where_and_what_to_do() {
        let problem = Error::data(Place::dataset("mnist"), "holds 3 bytes", "download it again");
        assert_eq!(problem.to_string(), "mnist: holds 3 bytes; download it again");
        assert_eq!(
            Error::config(Path::new("x.toml"), "target.dept", "unknown key", "did you mean `depth`?").to_string(),
            "x.toml: `target.dept`: unknown key; did you mean `depth`?"
        );
        assert_eq!(
            Error::config(Path::new("x.toml"), "", "is empty", "see examples/").to_string(),
            "x.toml: is empty; see examples/"
        );
        assert_eq!(
            Error::config(Place::setting("training"), "batch", "is 0", "give a number above 0").to_string(),
            "training: `batch`: is 0; give a number above 0"
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
        assert!(Error::io(Path::new("x"), io::ErrorKind::NotFound.into()).source().is_some());
        assert!(Error::data(Path::new("x"), "p", "h").source().is_none());
    }
}
