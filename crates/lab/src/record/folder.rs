//! `runs/<name>/`: the files of an experiment, written so that a killed run keeps what it measured.
//!
//! | file | holds |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `config-1.toml`, … | those that it had before it was extended |
//! | `adapter.json` | the device, the version of Trellis, and what the data was |
//! | `metrics.jsonl` | one JSON object a line, appended as the run goes |
//! | `predict.py` | a program for PyTorch that predicts with the networks of the folder |
//! | `summary.json` | one [`ArmSummary`] an arm, one [`LeftOut`] a class with broken files and one [`Missing`] a run with gaps, once the experiment is finished |
//! | `.lock` | nothing; it is locked while a process writes to the folder |
//!
//! All but `metrics.jsonl` are written to a temporary name in the folder and renamed, so each is there whole or not at
//! all.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::metrics::{Line, Rewind, What, read_metrics};
use super::names::{ADAPTER, CONFIG, LOCK, METRICS, PREDICT, SUMMARY, arms_of, checked_name, is_guide};
use super::{ArmSummary, Diverged, EvalRecord, Experiment, LeftOut, Missing, RunRecord, StepRecord, extension};
use trellis_data::io::write_atomic;
use trellis_guidance::{Error, Result};

/// Problem of a folder into which another process writes.
pub const LOCKED: &str = "another run is writing to it";

/// Handling of a run folder that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse with an error.
    Refuse,
    /// Rename the old folder to `<name>-1`, or the first such number that is free, and start a new one.
    MoveAside,
    /// Go on in the old folder, whose configuration must be the same or one that this extends: with more seeds, arms or
    /// steps. Without a folder, start a new one.
    Resume,
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

#[derive(Default, Serialize, Deserialize)]
struct Summary {
    name: String,
    adapter: String,
    version: String,
    seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    diverged: Vec<Diverged>,
    #[serde(default)]
    left_out: Vec<LeftOut>,
    #[serde(default)]
    missing: Vec<Missing>,
    #[serde(default)]
    memory: BTreeMap<String, u64>,
    arms: Vec<ArmSummary>,
}

/// The open folder of an experiment.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    metrics: File,
    /// True if the folder was there before: only then there are lines of earlier processes.
    resumed: bool,
    /// New path of an older folder of the name, if it was moved.
    moved: Option<PathBuf>,
    // Held as long as the folder is: the lock goes with the process, however it ends.
    _lock: File,
}

/// Refuses a folder without metrics that holds more than the files which are written before them.
///
/// # Errors
/// [`Error::Data`] with what it holds.
fn check_empty(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(|e| Error::io(path, e))? {
        let name = entry.map_err(|e| Error::io(path, e))?.file_name().to_string_lossy().into_owned();
        // A file that is being written has a dot before its name.
        if ![LOCK, CONFIG, ADAPTER].iter().any(|first| name.contains(first)) {
            let hint = format!("restore {METRICS}, or train anew without --resume");
            return Err(Error::data(path, format!("has no {METRICS} to go on with, and holds {name}"), hint));
        }
    }
    Ok(())
}

impl RunFolder {
    /// Makes `<root>/<name>/` for `experiment` (name, adapter, version and configuration; its runs are not written) and
    /// puts `config.toml`, `adapter.json` and an empty `metrics.jsonl` into it.
    ///
    /// # Errors
    /// [`Error::Config`] if the name is no plain file name. [`Error::Data`] if another process writes to a folder of
    /// that name, or it is to be resumed and this configuration does not extend its own. [`Error::Data`] if the folder
    /// exists and `existing` refuses, or if something cannot be written; the new folder is then removed again.
    pub(crate) fn create(root: &Path, experiment: &Experiment, existing: Existing) -> Result<Self> {
        let name = checked_name(root, &experiment.name)?;
        fs::create_dir_all(root).map_err(|e| Error::io(root, e))?;
        let path = root.join(name);
        let mut moved = None;
        match existing {
            Existing::MoveAside if path.symlink_metadata().is_ok() => moved = Some(move_aside(root, name)?),
            Existing::Resume if path.join(METRICS).exists() => return Self::resume(&path, experiment),
            // Killed before it had any: nothing is lost.
            Existing::Resume if path.exists() => {
                return check_empty(&path).and_then(|()| Self::fill(&path, experiment));
            }
            _ => {}
        }
        fs::create_dir(&path).map_err(|e| Error::io(&path, e))?;
        let folder = Self::fill(&path, experiment).inspect_err(|_| {
            // Nothing half-written; the folder is ours and a moment old. The first error is the one to tell.
            let _ = fs::remove_dir_all(&path);
        })?;
        Ok(Self { moved, ..folder })
    }

    fn fill(path: &Path, experiment: &Experiment) -> Result<Self> {
        let lock = lock(path)?;
        write_atomic(&path.join(CONFIG), experiment.config_toml.as_bytes())?;
        let Experiment { adapter, version, data, class_names, .. } = experiment.clone();
        let adapter = Adapter { adapter, version, data, class_names };
        write_json(&path.join(ADAPTER), &adapter)?;
        let file = path.join(METRICS);
        let metrics = OpenOptions::new().append(true).create_new(true).open(&file).map_err(|e| Error::io(&file, e))?;
        Ok(Self { path: path.to_owned(), metrics, resumed: false, moved: None, _lock: lock })
    }

    fn resume(path: &Path, experiment: &Experiment) -> Result<Self> {
        let config = path.join(CONFIG);
        let text = fs::read_to_string(&config).map_err(|e| Error::io(&config, e))?;
        if text == experiment.config_toml {
            return Self::open(path);
        }
        let longer = extension::check(&config, &text, &experiment.config_toml)?;
        let folder = Self::open(path)?;
        if longer {
            folder.check_states()?;
        }
        Ok(folder)
    }

    /// Writes the configuration of `experiment` if it is another one than that of the folder. The old one then stays as
    /// `config-1.toml`, or the first such number that is free.
    ///
    /// # Errors
    /// [`Error::Data`] if a file cannot be read or written.
    pub(crate) fn extend(&self, experiment: &Experiment) -> Result<()> {
        let config = self.path.join(CONFIG);
        let text = fs::read_to_string(&config).map_err(|e| Error::io(&config, e))?;
        if text == experiment.config_toml {
            return Ok(());
        }
        let numbered = |k: u32| self.path.join(format!("config-{k}.toml"));
        let free = (1u32..).map(numbered).find(|old| old.symlink_metadata().is_err());
        write_atomic(&free.unwrap_or_else(|| numbered(0)), text.as_bytes())?;
        // It is of the experiment as it was.
        match fs::remove_file(self.path.join(SUMMARY)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::io(self.path.join(SUMMARY), error)),
            _ => {}
        }
        Ok(write_atomic(&config, experiment.config_toml.as_bytes())?)
    }

    /// Refuses finished runs of arms without a state from which they can go on.
    fn check_states(&self) -> Result<()> {
        let runs = read_metrics(&self.path.join(METRICS))?;
        let lost = runs.iter().filter(|run| !is_guide(&run.arm) && run.is_finished());
        let Some(run) = lost.into_iter().find(|run| !self.state(&run.arm, run.seed).exists()) else { return Ok(()) };
        let problem = format!(
            "is not there, so that {}, seed {} cannot go on to more steps: somebody removed it, or an older version at the end of the run",
            run.arm, run.seed
        );
        let hint = "train anew, under another `name` or without --resume";
        Err(Error::data(self.state(&run.arm, run.seed), problem, hint))
    }

    /// File of the state from which a run goes on.
    pub(crate) fn state(&self, arm: &str, seed: u64) -> PathBuf {
        self.path.join(format!("{arm}-{seed}.state.safetensors"))
    }

    /// Opens the folder of an earlier, killed experiment to go on writing; a last line that was cut short is removed.
    ///
    /// # Errors
    /// [`Error::Data`] if its metrics cannot be opened, or another process writes to it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let lock = lock(path)?;
        let file = path.join(METRICS);
        let open = || -> io::Result<File> {
            let whole = fs::read(&file)?.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            let metrics = OpenOptions::new().append(true).open(&file)?;
            metrics.set_len(whole as u64)?;
            Ok(metrics)
        };
        let metrics = open().map_err(|e| Error::io(&file, e))?;
        Ok(Self { path: path.to_owned(), metrics, resumed: true, moved: None, _lock: lock })
    }

    /// The folder; checkpoints and the report belong into it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// File of its measurements.
    pub(crate) fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS)
    }

    /// Folder that an older one of the name has become, where there was one and it was moved aside.
    pub(crate) fn moved(&self) -> Option<&Path> {
        self.moved.as_deref()
    }

    /// Removes the lines of a run that begins anew, since an earlier process was killed before it kept a state.
    ///
    /// # Errors
    /// [`Error::Data`] if the metrics cannot be replaced, or hold lines that no run writes.
    pub(crate) fn begin_anew(&mut self, arm: &str, seed: u64) -> Result<()> {
        self.rewind(Rewind { arm, seed, to: None, keeps_eval: false })
    }

    /// Removes the lines of a run that a state of `step` steps does not know of: they will be written again. `evaluates`
    /// says whether it evaluates at that step once more. Errors as [`RunFolder::begin_anew`].
    pub(crate) fn go_back(&mut self, arm: &str, seed: u64, step: u32, evaluates: bool) -> Result<()> {
        self.rewind(Rewind { arm, seed, to: Some(step.into()), keeps_eval: !evaluates })
    }

    fn rewind(&mut self, rewind: Rewind<'_>) -> Result<()> {
        let file = self.path.join(METRICS);
        if self.resumed && rewind.apply(&file)? {
            self.metrics = OpenOptions::new().append(true).open(&file).map_err(|e| Error::io(&file, e))?;
        }
        Ok(())
    }

    /// Notes that a run begins (or goes on), with its pairs of guide layer and target layer.
    ///
    /// # Errors
    /// [`Error::Data`] if the line cannot be written; so for all methods that add lines.
    pub(crate) fn start(&mut self, arm: &str, seed: u64, pairs: &[[String; 2]]) -> Result<()> {
        self.append(arm, seed, [What::Start { pairs: pairs.to_vec() }])
    }

    /// Adds optimizer steps, in one write.
    ///
    /// # Errors
    /// [`Error::Data`] if the lines cannot be written.
    pub(crate) fn steps(&mut self, arm: &str, seed: u64, steps: &[StepRecord]) -> Result<()> {
        self.append(arm, seed, steps.iter().cloned().map(What::Step))
    }

    /// Adds an evaluation.
    ///
    /// # Errors
    /// [`Error::Data`] if the line cannot be written.
    pub(crate) fn eval(&mut self, arm: &str, seed: u64, eval: &EvalRecord) -> Result<()> {
        self.append(arm, seed, [What::Eval(eval.clone())])
    }

    /// Notes that a run is finished, with its time in seconds, its optimizer steps per second, the step of its best weights by
    /// validation, and the folder that it was copied from, if it was.
    ///
    /// # Errors
    /// [`Error::Data`] if the line cannot be written.
    pub(crate) fn end(&mut self, run: &RunRecord) -> Result<()> {
        self.append(&run.arm, run.seed, [What::of_end(run)])
    }

    /// Adds a whole finished run, in one write.
    ///
    /// # Errors
    /// [`Error::Data`] if the lines cannot be written.
    pub(crate) fn whole(&mut self, run: &RunRecord) -> Result<()> {
        let start = What::Start { pairs: run.pairs.clone() };
        let steps = run.steps.iter().cloned().map(What::Step);
        let evals = run.evals.iter().cloned().map(What::Eval);
        self.append(&run.arm, run.seed, [start].into_iter().chain(steps).chain(evals).chain([What::of_end(run)]))
    }

    /// Writes `summary.json`.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be written.
    pub(crate) fn finish(&self, experiment: &Experiment) -> Result<()> {
        let Experiment { name, adapter, version, seconds, failure, diverged, left_out, missing, memory, .. } =
            experiment.clone();
        let arms = experiment.summary();
        let summary = Summary { name, adapter, version, seconds, failure, diverged, left_out, missing, memory, arms };
        write_json(&self.path.join(SUMMARY), &summary)
    }

    /// One write for all lines and no buffer between: lines are with the operating system when it returns.
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
    /// [`Error::Data`] if a file cannot be read, and with the line if one does not hold what it should; only
    /// the last line of `metrics.jsonl` may be cut short.
    pub fn read(folder: &Path) -> Result<Self> {
        let config = folder.join(CONFIG);
        let config_toml = fs::read_to_string(&config).map_err(|e| Error::io(&config, e))?;
        let Adapter { adapter, version, data, class_names } = read_json(&folder.join(ADAPTER))?;
        let all = read_metrics(&folder.join(METRICS))?;
        let (guides, mut runs) = all.into_iter().partition::<Vec<RunRecord>, _>(|run| is_guide(&run.arm));
        // In the order of the file: a run that was copied from elsewhere stands before others.
        let order = arms_of(&config_toml);
        runs.sort_by_key(|run| order.iter().position(|arm| *arm == run.arm).unwrap_or(usize::MAX));
        let file = folder.join(SUMMARY);
        let summary = if file.exists() { read_json::<Summary>(&file)? } else { Summary::default() };
        let trained = || runs.iter().chain(&guides).map(|run| run.seconds).sum();
        let seconds = if file.exists() { summary.seconds } else { trained() };
        let absolute = fs::canonicalize(folder).map_err(|e| Error::io(folder, e))?;
        let name = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Missing from folders of older versions, and of runs that are not finished.
        let predict_py = fs::read_to_string(folder.join(PREDICT)).ok();
        Ok(Self {
            name,
            adapter,
            version,
            data,
            class_names,
            config_toml,
            runs,
            guides,
            seconds,
            failure: summary.failure,
            diverged: summary.diverged,
            left_out: summary.left_out,
            missing: summary.missing,
            memory: summary.memory,
            predict_py,
        })
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| Error::io(path, e.into()))?;
    text.push(b'\n');
    Ok(write_atomic(path, &text)?)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(|e| Error::io(path, e))?;
    serde_json::from_slice(&text)
        .map_err(|e| Error::data(path, format!("not what a run writes: {e}"), "remove or repair it, or run again"))
}

/// The lock of the folder at `path`; refused while another process has it.
pub(super) fn lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let lock = File::create(&file).map_err(|e| Error::io(&file, e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            Err(Error::data(path, LOCKED, "wait for its end, or choose another name or --out"))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(&file, e)),
    }
}

/// Moves an older folder aside and returns its new path.
fn move_aside(root: &Path, name: &str) -> Result<PathBuf> {
    if root.join(name).join(METRICS).exists() {
        lock(&root.join(name))?;
    }
    let free = (1u32..).map(|k| root.join(format!("{name}-{k}"))).find(|old| old.symlink_metadata().is_err());
    let old = free.unwrap_or_else(|| root.join(format!("{name}-0")));
    fs::rename(root.join(name), &old).map_err(|e| Error::io(root.join(name), e))?;
    Ok(old)
}
