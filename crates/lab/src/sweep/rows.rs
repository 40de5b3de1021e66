//! The table of a sweep, from the folders of its cells.

use std::fmt::{self, Write};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use trellis_data::io::write_atomic;
use trellis_guidance::trainer::EvalRecord;
use trellis_guidance::{Error, Result};

use super::axes::Cell;
use crate::config::Config;
use crate::csv::field;
use crate::record::names::{CONFIG, ERROR};
use crate::record::{ArmSummary, Experiment, other_in};
use crate::stats::mean;

/// State of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing ran yet.
    Missing,
    /// Some runs are finished, of so many.
    Begun(usize, usize),
    /// All runs are finished.
    Finished,
    /// All runs came to an end, and so many of them diverged.
    Diverged(usize),
    /// The folder is of an experiment with other settings, of which this is one.
    Other(String),
    /// It ended with this error.
    Failed(String),
}

/// A combination of a sweep, with what the finished runs of all its repetitions say.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Name of the combination; empty where there are only repetitions.
    pub name: String,
    /// The keys and values that it sets.
    pub set: Vec<String>,
    /// Its run folders, one unless it is repeated.
    pub folders: Vec<String>,
    /// Its state.
    pub state: State,
    /// A summary for each arm, of finished runs.
    pub arms: Vec<ArmSummary>,
    /// For each arm mean top-1 and loss on the validation split, by which settings are chosen; NaN without one, and where a run
    /// diverged.
    pub validation: Vec<[f64; 2]>,
}

impl State {
    /// True if all runs came to an end, also those that diverged.
    pub(super) fn is_ended(&self) -> bool {
        matches!(self, Self::Finished | Self::Diverged(_))
    }
}

/// In words, as table and file have it.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("not run"),
            Self::Begun(finished, all) => write!(f, "{finished} of {all} runs"),
            Self::Finished => f.write_str("finished"),
            Self::Diverged(runs) => write!(f, "{runs} diverged"),
            Self::Other(_) => f.write_str("other settings"),
            Self::Failed(_) => f.write_str("failed"),
        }
    }
}

impl Cell {
    /// Prepares the cell's folder within `sweep` for another try: what an earlier one noted is removed.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be removed.
    pub fn begin(&self, sweep: &Path) -> Result<()> {
        let folder = sweep.join(self.folder());
        match fs::remove_file(folder.join(ERROR)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(folder.join(ERROR), e)),
            _ => {}
        }
        // A folder that holds nothing else goes too.
        let _ = fs::remove_dir(folder);
        Ok(())
    }

    /// Notes in the cell's folder within `sweep` that it ended with an error. An experiment that has begun keeps its own record, and one
    /// that was refused leaves it as it is.
    ///
    /// # Errors
    /// [`Error::Data`] if the file cannot be written.
    pub fn note(&self, sweep: &Path, error: &Error) -> Result<()> {
        let folder = sweep.join(self.folder());
        if folder.join(CONFIG).exists() {
            return Ok(());
        }
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        Ok(write_atomic(&folder.join(ERROR), format!("{error}\n").as_bytes())?)
    }

    /// State of the cell's folder within `sweep`, and its experiment where it is the cell's.
    fn found(&self, config: &Config, sweep: &Path) -> Result<(State, Option<Experiment>)> {
        let folder = sweep.join(self.folder());
        let failed = match fs::read_to_string(folder.join(ERROR)) {
            Ok(text) => Some(text.trim().to_string()),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io(folder.join(ERROR), e)),
        };
        if !folder.join(CONFIG).exists() {
            return Ok((failed.map_or(State::Missing, State::Failed), None));
        }
        // Another process may be at it just now.
        let read = || {
            let experiment = Experiment::read(&folder)?;
            let config = Config::parse(&experiment.config_toml, &folder.join(CONFIG))?;
            Ok::<_, Error>((experiment, config))
        };
        let (experiment, of_folder) = match read() {
            Ok(both) => both,
            Err(error) => return Ok((State::Failed(error.to_string()), None)),
        };
        if let Some(setting) = other_in(&of_folder, config) {
            return Ok((State::Other(setting), None));
        }
        let finished = |arm: &String, seed: u64| {
            // Epochs are steps once the data are known.
            let training = config.training_of(arm);
            let steps = if training.epochs.is_some() { 0 } else { training.steps };
            experiment.runs_of(arm).any(|run| run.seed == seed && run.is_finished_after(steps))
        };
        let all = config.arms.len() * config.seeds.len();
        let done = config.arms.iter().flat_map(|arm| config.seeds.iter().map(move |&seed| (arm, seed)));
        let done = done.filter(|&(arm, seed)| finished(arm, seed)).count();
        let diverged = experiment.diverged.iter().filter(|run| config.seeds.contains(&run.seed)).count();
        let state = match &experiment.failure {
            Some(_) if diverged > 0 && done + diverged == all => State::Diverged(diverged),
            Some(error) => State::Failed(error.clone()),
            None if done < all => State::Begun(done, all),
            None => State::Finished,
        };
        Ok((state, Some(experiment)))
    }
}

/// The row of a combination's `cells`, each with its configuration, and their runs together.
fn row(cells: &[(&Cell, &Config)], sweep: &Path) -> Result<(Row, Option<Experiment>)> {
    let (mut states, mut together) = (Vec::new(), None::<Experiment>);
    for (cell, config) in cells {
        let (state, experiment) = cell.found(config, sweep)?;
        states.push(match state {
            State::Failed(error) if cells.len() > 1 => State::Failed(format!("{}: {error}", cell.folder())),
            State::Other(setting) if cells.len() > 1 => State::Other(format!("{}: {setting}", cell.folder())),
            state => state,
        });
        match (&mut together, experiment) {
            (Some(all), Some(next)) => {
                all.runs.extend(next.runs);
                all.diverged.extend(next.diverged);
            }
            (None, next) => together = next,
            (Some(_), None) => {}
        }
    }
    let runs = cells.iter().map(|(_, config)| config.arms.len() * config.seeds.len());
    let done = states.iter().zip(runs.clone()).map(|(state, all)| match state {
        State::Finished => all,
        State::Diverged(runs) => all - runs,
        State::Begun(done, _) => *done,
        _ => 0,
    });
    let (done, all) = (done.sum(), runs.sum());
    let worst = states.iter().find(|state| matches!(state, State::Failed(_) | State::Other(_))).cloned();
    let diverged = states.iter().map(|state| if let State::Diverged(runs) = state { *runs } else { 0 }).sum();
    let state = match worst {
        Some(worst) => worst,
        None if states.iter().all(|state| *state == State::Finished) => State::Finished,
        None if states.iter().all(State::is_ended) => State::Diverged(diverged),
        None if states.iter().all(|state| *state == State::Missing) => State::Missing,
        None => State::Begun(done, all),
    };
    let arms = together.as_ref().map_or(Vec::new(), Experiment::summary);
    let validation = match &together {
        Some(experiment) => arms.iter().map(|arm| validation(experiment, &arm.name)).collect(),
        None => Vec::new(),
    };
    let (name, set) = cells.first().map_or_else(Default::default, |(cell, _)| (cell.name.clone(), cell.set.clone()));
    let folders = cells.iter().map(|(cell, _)| cell.folder()).collect();
    Ok((Row { name, set, folders, state, arms, validation }, together))
}

/// Mean top-1 and loss of an arm's last evaluations on the validation split, over finished runs; NaN if one diverged.
fn validation(experiment: &Experiment, arm: &str) -> [f64; 2] {
    if experiment.diverged.iter().any(|run| run.arm == arm) {
        return [f64::NAN; 2];
    }
    let runs = experiment.runs_of(arm).filter(|run| experiment.is_complete(run));
    let evals: Vec<_> = runs.filter_map(|run| run.last_eval("validation")).collect();
    let of = |value: fn(&EvalRecord) -> f32| {
        mean(&evals.iter().map(|eval| f64::from(value(eval))).collect::<Vec<_>>()).unwrap_or(f64::NAN)
    };
    [of(|eval| eval.top1), of(|eval| eval.loss)]
}

/// A row for each combination, from the folders in `sweep`. Each cell has the configuration that it is to have; repetitions of a
/// combination stand beside each other.
///
/// # Errors
/// Errors of reading a folder.
pub fn rows<'c>(sweep: &Path, cells: impl IntoIterator<Item = (&'c Cell, &'c Config)>) -> Result<Vec<Row>> {
    Ok(rows_with(sweep, cells)?.into_iter().map(|(row, _)| row).collect())
}

/// [`rows`], each with the runs of all its repetitions; `None` where nothing ran.
///
/// # Errors
/// As there.
pub(crate) fn rows_with<'c>(
    sweep: &Path,
    cells: impl IntoIterator<Item = (&'c Cell, &'c Config)>,
) -> Result<Vec<(Row, Option<Experiment>)>> {
    let cells: Vec<_> = cells.into_iter().collect();
    cells.chunk_by(|(a, _), (b, _)| a.name == b.name).map(|repetitions| row(repetitions, sweep)).collect()
}

/// The row and arm that are best by their validation loss, of rows whose runs came to an end.
pub fn best(rows: &[Row]) -> Option<(&Row, &ArmSummary)> {
    let ended = rows.iter().filter(|row| row.state.is_ended());
    let all = ended.flat_map(|row| row.arms.iter().zip(&row.validation).map(move |(arm, [_, loss])| (row, arm, *loss)));
    let best = all.filter(|(.., loss)| loss.is_finite()).min_by(|a, b| a.2.total_cmp(&b.2))?;
    Some((best.0, best.1))
}

/// The table as CSV: a line for each cell and arm, with the values of the keys that differ. It holds no times, so two machines of
/// the same kind give the same bytes.
pub fn csv(rows: &[Row]) -> String {
    let key = |set: &String| field(set.split_once('=').map_or(set.as_str(), |(key, _)| key));
    let value = |set: &String| field(set.split_once('=').map_or("", |(_, value)| value));
    let joined =
        |row: &Row, of: &dyn Fn(&String) -> String| row.set.iter().map(|set| of(set) + ",").collect::<String>();
    let mut text = String::new();
    if let Some(first) = rows.first() {
        let _ = writeln!(
            text,
            "cell,{}state,arm,seeds,validation_top1,validation_loss,top1_mean,top1_ci95,test_loss_mean,test_loss_ci95,\
             top1_difference,top1_difference_ci95,top1_p",
            joined(first, &key)
        );
    }
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:?}"));
    for row in rows {
        let Row { name, state, arms, validation, .. } = row;
        let begin = format!("{},{}{state}", field(name), joined(row, &value));
        if arms.is_empty() {
            let _ = writeln!(text, "{begin}{}", ",".repeat(11));
        }
        for (arm, [top1, loss]) in arms.iter().zip(validation) {
            let difference = arm.top1_difference.as_ref();
            let numbers = [
                Some(*top1).filter(|top1| top1.is_finite()),
                Some(*loss).filter(|loss| loss.is_finite()),
                arm.top1_mean,
                arm.top1_ci95,
                arm.test_loss_mean,
                arm.test_loss_ci95,
                difference.and_then(|d| d.mean),
                difference.and_then(|d| d.ci95),
                difference.and_then(|d| d.p),
            ]
            .map(number);
            let _ = writeln!(text, "{begin},{},{},{}", field(&arm.name), arm.seeds, numbers.join(","));
        }
    }
    text
}
