//! `runs/<name>/`: the files of an experiment, written so that a killed run keeps what it measured.
//!
//! | file | holds |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `adapter.json` | the device, the version of Trellis, and what the data was |
//! | `metrics.jsonl` | one JSON object a line, appended as the run goes: see [`Line`] |
//! | `summary.json` | one [`ArmSummary`] an arm, once the experiment is finished |
//! | `.lock` | nothing; it is locked while a process writes to the folder |
//!
//! All but `metrics.jsonl` are written to a temporary name in the folder and renamed, so each is there whole or not at
//! all.

use std::cmp::Ordering;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ArmSummary, EvalRecord, Experiment, RunRecord, StepRecord};
use crate::error::{Error, Result};

const CONFIG: &str = "config.toml";
const ADAPTER: &str = "adapter.json";
const METRICS: &str = "metrics.jsonl";
const SUMMARY: &str = "summary.json";
const LOCK: &str = ".lock";

/// What the training of guides by themselves is called where arms are named.
pub(crate) const GUIDE: &str = "guide";

/// Longest line of `metrics.jsonl` that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// What to do if the folder of a run is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse with an error.
    Refuse,
    /// Rename the old folder to `<name>-1`, or the first such number that is free, and start a new one.
    MoveAside,
    /// Go on in the old folder, which must be of the same configuration; without one, start a new one.
    Resume,
}

/// One line of `metrics.jsonl`: `{"arm":"alone","seed":0,"kind":"step","step":0,"loss":2.3,"learning_rate":0.001}`.
#[derive(Serialize, Deserialize)]
struct Line {
    arm: String,
    seed: u64,
    #[serde(flatten)]
    what: What,
}

/// What a line tells of its run.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum What {
    Start { pairs: Vec<[String; 2]> },
    Step(StepRecord),
    Eval(EvalRecord),
    End { seconds: f64, steps_per_s: f64 },
}

#[derive(Serialize, Deserialize)]
struct Adapter {
    adapter: String,
    version: String,
    #[serde(default)]
    data: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    class_names: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Summary {
    name: String,
    adapter: String,
    version: String,
    seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    arms: Vec<ArmSummary>,
}

/// The open folder of an experiment.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    // Held as long as the folder is: the lock goes with the process, however it ends.
    _lock: File,
}

impl RunFolder {
    /// Makes `<root>/<name>/` for `experiment` (name, adapter, version and configuration; its runs are not written) and
    /// puts `config.toml`, `adapter.json` and an empty `metrics.jsonl` into it.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is no plain file name, [`Error::Data`] if another process writes to a folder of that
    /// name, or it is to be resumed and is of another configuration; [`Error::Io`] if the folder exists and `existing` refuses, or if something cannot be written; the new folder
    /// is then removed again.
    pub fn create(root: &Path, experiment: &Experiment, existing: Existing) -> Result<Self> {
        let name = checked_name(root, &experiment.name)?;
        fs::create_dir_all(root).map_err(|e| Error::io(root, e))?;
        let path = root.join(name);
        match existing {
            Existing::MoveAside if path.symlink_metadata().is_ok() => move_aside(root, name)?,
            Existing::Resume if path.join(METRICS).exists() => return Self::resume(&path, experiment),
            _ => {}
        }
        fs::create_dir(&path).map_err(|e| Error::io(&path, e))?;
        Self::fill(&path, experiment).inspect_err(|_| {
            // Nothing half-written; the folder is ours and a moment old. The first error is the one to tell.
            let _ = fs::remove_dir_all(&path);
        })
    }

    fn fill(path: &Path, experiment: &Experiment) -> Result<Self> {
        let lock = lock(path)?;
        write_atomic(&path.join(CONFIG), experiment.config_toml.as_bytes())?;
        let Experiment { adapter, version, data, class_names, .. } = experiment.clone();
        let adapter = Adapter { adapter, version, data, class_names };
        write_json(&path.join(ADAPTER), &adapter)?;
        let file = path.join(METRICS);
        let metrics = OpenOptions::new().append(true).create_new(true).open(&file);
        Ok(Self { path: path.to_owned(), metrics: metrics.map_err(|e| Error::io(&file, e))?, _lock: lock })
    }

    fn resume(path: &Path, experiment: &Experiment) -> Result<Self> {
        let config = path.join(CONFIG);
        let text = fs::read_to_string(&config).map_err(|e| Error::io(&config, e))?;
        // Where they differ is the best help.
        let mut lines = text.lines().zip(experiment.config_toml.lines());
        if text != experiment.config_toml {
            let (old, new) = lines.find(|(old, new)| old != new).unwrap_or(("other lines", "these"));
            let hint = "give the same file and seeds, or do not resume: the old folder is then moved aside";
            return Err(Error::data(&config, format!("has `{old}`, not `{new}`"), hint));
        }
        Self::open(path)
    }

    /// Opens the folder of an earlier, killed experiment to go on writing; a last line that was cut short is removed.
    ///
    /// # Errors
    /// [`Error::Io`] if its metrics cannot be opened, [`Error::Data`] if another process writes to it.
    pub fn open(path: &Path) -> Result<Self> {
        let lock = lock(path)?;
        let file = path.join(METRICS);
        let open = || -> io::Result<File> {
            let whole = fs::read(&file)?.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            let metrics = OpenOptions::new().append(true).open(&file)?;
            metrics.set_len(whole as u64)?;
            Ok(metrics)
        };
        Ok(Self { path: path.to_owned(), metrics: open().map_err(|e| Error::io(&file, e))?, _lock: lock })
    }

    /// The folder; checkpoints and the report belong into it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes that a run begins (or goes on), with its pairs of guide layer and target layer.
    ///
    /// # Errors
    /// [`Error::Io`] if the line cannot be written; so for all methods that add lines.
    pub fn start(&mut self, arm: &str, seed: u64, pairs: &[[String; 2]]) -> Result<()> {
        self.append(arm, seed, [What::Start { pairs: pairs.to_vec() }])
    }

    /// Adds optimiser steps, in one write.
    ///
    /// # Errors
    /// [`Error::Io`] if the lines cannot be written.
    pub fn steps(&mut self, arm: &str, seed: u64, steps: &[StepRecord]) -> Result<()> {
        self.append(arm, seed, steps.iter().cloned().map(What::Step))
    }

    /// Adds an evaluation.
    ///
    /// # Errors
    /// [`Error::Io`] if the line cannot be written.
    pub fn eval(&mut self, arm: &str, seed: u64, eval: &EvalRecord) -> Result<()> {
        self.append(arm, seed, [What::Eval(eval.clone())])
    }

    /// Notes that a run is finished, with its time in seconds and its optimiser steps per second.
    ///
    /// # Errors
    /// [`Error::Io`] if the line cannot be written.
    pub fn end(&mut self, arm: &str, seed: u64, seconds: f64, steps_per_s: f64) -> Result<()> {
        self.append(arm, seed, [What::End { seconds, steps_per_s }])
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written.
    pub fn finish(&self, experiment: &Experiment) -> Result<()> {
        let Experiment { name, adapter, version, seconds, failure, .. } = experiment.clone();
        let summary = Summary { name, adapter, version, seconds, failure, arms: experiment.summary() };
        write_json(&self.path.join(SUMMARY), &summary)
    }

    /// One write for all lines and no buffer between: what is returned from is with the operating system.
    fn append(&mut self, arm: &str, seed: u64, what: impl IntoIterator<Item = What>) -> Result<()> {
        let mut text = Vec::new();
        for what in what {
            let line = Line { arm: arm.to_owned(), seed, what };
            serde_json::to_writer(&mut text, &line).map_err(|e| Error::io(self.path.join(METRICS), e.into()))?;
            text.push(b'\n');
        }
        self.metrics.write_all(&text).map_err(|e| Error::io(self.path.join(METRICS), e))
    }
}

impl Experiment {
    /// Reads an experiment back from its folder, a finished one or one that was killed.
    ///
    /// A step or evaluation that was logged twice, as a resumed run may do, counts as it was logged last. The name is
    /// that of the folder. Without `summary.json` the time is that of the finished runs.
    ///
    /// # Errors
    /// [`Error::Io`] if a file cannot be read, [`Error::Data`] with the line if one does not hold what it should; only
    /// the last line of `metrics.jsonl` may be cut short.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = folder.join(CONFIG);
        let config_toml = fs::read_to_string(&config).map_err(|e| Error::io(&config, e))?;
        let Adapter { adapter, version, data, class_names } = read_json(&folder.join(ADAPTER))?;
        let all = read_metrics(&folder.join(METRICS))?;
        let (guides, runs) = all.into_iter().partition::<Vec<RunRecord>, _>(|run| run.arm == GUIDE);
        let summary = folder.join(SUMMARY);
        let (seconds, failure) = if summary.exists() {
            let summary = read_json::<Summary>(&summary)?;
            (summary.seconds, summary.failure)
        } else {
            (runs.iter().chain(&guides).map(|run| run.seconds).sum(), None)
        };
        let absolute = fs::canonicalize(folder).map_err(|e| Error::io(folder, e))?;
        let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Self { name, adapter, version, data, class_names, config_toml, runs, guides, seconds, failure })
    }
}

/// Runs in order of their first line; steps by number and evaluations by step and split, the last of each kept.
fn read_metrics(path: &Path) -> Result<Vec<RunRecord>> {
    let mut reader = BufReader::new(File::open(path).map_err(|e| Error::io(path, e))?);
    let mut runs: Vec<RunRecord> = Vec::new();
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text).map_err(|e| Error::io(path, e))?;
        if text.last() != Some(&b'\n') && (text.len() as u64) < LONGEST_LINE {
            break; // The end, or a line that a killed run could not finish.
        }
        let line: Line = serde_json::from_slice(&text).map_err(|e| bad_json(path, &format!("line {number}: "), &e))?;
        let known = runs.iter().position(|run| run.arm == line.arm && run.seed == line.seed);
        let index = known.unwrap_or_else(|| {
            runs.push(RunRecord { arm: line.arm, seed: line.seed, ..RunRecord::default() });
            runs.len() - 1
        });
        let run = &mut runs[index];
        match line.what {
            What::Start { pairs } => run.pairs = pairs,
            What::Step(step) => run.steps.push(step),
            What::Eval(eval) => run.evals.push(eval),
            What::End { seconds, steps_per_s } => (run.seconds, run.steps_per_s) = (seconds, steps_per_s),
        }
    }
    for run in &mut runs {
        keep_last(&mut run.steps, |a, b| a.step.cmp(&b.step));
        keep_last(&mut run.evals, |a, b| a.step.cmp(&b.step).then_with(|| a.split.cmp(&b.split)));
    }
    Ok(runs)
}

/// Sorts, and keeps of equals the one that came last.
fn keep_last<T>(records: &mut Vec<T>, order: impl Fn(&T, &T) -> Ordering) {
    records.reverse();
    records.sort_by(&order); // Stable: of equals, the last one is now the first.
    records.dedup_by(|a, b| order(a, b).is_eq());
}

/// Writes a file whole or not at all: to a temporary name in the same folder, which is then renamed to `path`.
///
/// # Errors
/// [`Error::Io`] with `path`; the temporary file is removed and an earlier file at `path` is as it was.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<()> {
    replace(path, |temporary| fs::write(temporary, contents))
}

/// [`write_atomic`] of what `write` writes to the temporary name that it is given. Errors as there.
pub(crate) fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> Result<()> {
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

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::io(path, e.into()))?;
    text.push(b'\n');
    write_atomic(path, &text)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&text).map_err(|e| bad_json(path, "", &e))
}

fn bad_json(path: &Path, place: &str, error: &serde_json::Error) -> Error {
    Error::data(path, format!("{place}not what a run writes: {error}"), "remove or repair it, or run again")
}

/// Letters, digits, `.`, `_` and `-`, not beginning with a dot: one folder below the root on every system.
/// `path` is where the name comes from or goes to.
pub(crate) fn checked_name<'a>(path: &Path, name: &'a str) -> Result<&'a str> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(name);
    }
    let problem = format!("{name:?} cannot be the name of a folder");
    Err(Error::config(path, "name", problem, "use up to 100 letters, digits, `.`, `_` and `-`, no dot first"))
}

/// The lock of the folder at `path`; refused while another process has it.
fn lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let lock = File::create(&file).map_err(|e| Error::io(&file, e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(Error::data(path, "another run is writing to it", "wait for its end, or choose another name or --out"))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(&file, e)),
    }
}

fn move_aside(root: &Path, name: &str) -> Result<()> {
    if root.join(name).join(METRICS).exists() {
        lock(&root.join(name))?;
    }
    let free = (1u32..).map(|k| root.join(format!("{name}-{k}"))).find(|old| old.symlink_metadata().is_err());
    let old = free.unwrap_or_else(|| root.join(format!("{name}-0")));
    fs::rename(root.join(name), &old).map_err(|e| Error::io(root.join(name), e))
}
