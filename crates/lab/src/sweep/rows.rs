//! The table of a sweep, from the folders of its cells.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use trellis_data::io::write_atomic;
use trellis_guidance::{Error, Result};

use super::axes::Cell;
use crate::config::Config;
use crate::record::{ArmSummary, Experiment};

/// State of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing ran yet.
    Missing,
    /// Some runs are finished, of so many.
    Begun(usize, usize),
    /// All runs are finished.
    Finished,
    /// It ended with this error.
    Failed(String),
}

/// A cell of a sweep, with what its finished runs say.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// Its state.
    pub state: State,
    /// A summary for each arm, of finished runs.
    pub arms: Vec<ArmSummary>,
}

/// File of a cell's folder that holds the error it ended with, where its record could not hold it.
const ERROR: &str = "error.txt";

impl Cell {
    /// Notes in the cell's folder within `sweep` that it ended with an error, or that it did not.
    ///
    /// # Errors
    /// [`Error::Data`] if the file cannot be written or removed.
    pub fn note(&self, sweep: &Path, error: Option<&Error>) -> Result<()> {
        let (folder, file) = (sweep.join(&self.name), sweep.join(&self.name).join(ERROR));
        match error {
            Some(error) => {
                fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
                Ok(write_atomic(&file, format!("{error}\n").as_bytes())?)
            }
            None => match fs::remove_file(&file) {
                Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(&file, e)),
                _ => Ok(()),
            },
        }
    }

    fn row(&self, sweep: &Path) -> Result<Row> {
        let folder = sweep.join(&self.name);
        let failed = match fs::read_to_string(folder.join(ERROR)) {
            Ok(text) => Some(text.trim().to_string()),
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(e) => return Err(Error::io(folder.join(ERROR), e)),
        };
        let row = |state, arms| Ok(Row { cell: self.clone(), state, arms });
        if !folder.join("config.toml").exists() {
            return row(failed.map_or(State::Missing, State::Failed), Vec::new());
        }
        let experiment = Experiment::read(&folder)?;
        let config = Config::parse(&experiment.config_toml, &folder.join("config.toml"))?;
        let all = config.arms.len() * config.seeds.len();
        let finished = experiment.runs.iter().filter(|run| run.is_finished()).count();
        let state = match failed.or_else(|| experiment.failure.clone()) {
            Some(error) => State::Failed(error),
            None if finished < all => State::Begun(finished, all),
            None => State::Finished,
        };
        row(state, experiment.summary())
    }
}

/// A row for each cell, from the folders in `sweep`.
///
/// # Errors
/// Errors of reading a folder.
pub fn rows(sweep: &Path, cells: &[Cell]) -> Result<Vec<Row>> {
    cells.iter().map(|cell| cell.row(sweep)).collect()
}

/// The table as CSV: a line for each cell and arm, with the values of the keys that differ. It holds no times, so two machines of
/// the same kind give the same bytes.
pub fn csv(rows: &[Row]) -> String {
    let key = |set: &String| quoted(set.split_once('=').map_or(set.as_str(), |(key, _)| key));
    let value = |set: &String| quoted(set.split_once('=').map_or("", |(_, value)| value));
    let joined = |cell: &Cell, of: &dyn Fn(&String) -> String| cell.set.iter().map(of).collect::<Vec<_>>().join(",");
    let mut text = String::new();
    if let Some(first) = rows.first() {
        let _ = writeln!(
            text,
            "cell,{},state,arm,seeds,top1_mean,top1_ci95,test_loss_mean,test_loss_ci95,top1_difference,top1_difference_ci95,p",
            joined(&first.cell, &key)
        );
    }
    let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:?}"));
    for Row { cell, state, arms } in rows {
        let state = match state {
            State::Missing => "missing",
            State::Begun(..) => "begun",
            State::Finished => "finished",
            State::Failed(_) => "failed",
        };
        let begin = format!("{},{},{state}", quoted(&cell.name), joined(cell, &value));
        if arms.is_empty() {
            let _ = writeln!(text, "{begin}{}", ",".repeat(9));
        }
        for arm in arms {
            let difference = arm.top1_difference.as_ref();
            let numbers = [
                arm.top1_mean,
                arm.top1_ci95,
                arm.test_loss_mean,
                arm.test_loss_ci95,
                difference.and_then(|d| d.mean),
                difference.and_then(|d| d.ci95),
                difference.and_then(|d| d.p),
            ]
            .map(number);
            let _ = writeln!(text, "{begin},{},{},{}", quoted(&arm.name), arm.seeds, numbers.join(","));
        }
    }
    text
}

/// A field of CSV (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}
