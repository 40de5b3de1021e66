//! `metrics.jsonl`: its lines, read back into runs, and taken back to the state from which a run goes on.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::mem::swap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{EvalRecord, RunRecord, StepRecord};
use trellis_data::io::replace;
use trellis_guidance::{Error, Result};

/// Longest line of `metrics.jsonl` that is read, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// One line of `metrics.jsonl`: `{"arm":"alone","seed":0,"kind":"step","step":0,"loss":2.3,"learning_rate":0.001}`.
#[derive(Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) arm: String,
    pub(super) seed: u64,
    #[serde(flatten)]
    pub(super) what: What,
}

/// Content of a line about its run.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum What {
    Start {
        pairs: Vec<[String; 2]>,
    },
    Step(StepRecord),
    Eval(EvalRecord),
    End {
        seconds: f64,
        steps_per_s: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        best_step: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copied_from: Option<String>,
    },
}

impl What {
    /// The end of a finished run.
    pub(super) fn of_end(run: &RunRecord) -> Self {
        let RunRecord { seconds, steps_per_s, best_step, .. } = *run;
        Self::End { seconds, steps_per_s, best_step, copied_from: run.copied_from.clone() }
    }
}

/// Runs in order of their first line; steps by number and evaluations by step and split, the last of each kept.
pub(super) fn read_metrics(path: &Path) -> Result<Vec<RunRecord>> {
    let mut reader = BufReader::new(File::open(path).map_err(|e| Error::io(path, e))?);
    let mut runs: Vec<RunRecord> = Vec::new();
    let (mut text, mut before) = (Vec::new(), Vec::new());
    for number in 1.. {
        swap(&mut text, &mut before);
        text.clear();
        reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut text).map_err(|e| Error::io(path, e))?;
        if text.last() != Some(&b'\n') && (text.len() as u64) < LONGEST_LINE {
            break; // The end, or a line that a killed run could not finish.
        }
        let line = parse(path, number, &text, &before)?;
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
            What::End { seconds, steps_per_s, best_step, copied_from } => {
                (run.seconds, run.steps_per_s, run.best_step) = (seconds, steps_per_s, best_step);
                run.copied_from = copied_from;
            }
        }
    }
    for run in &mut runs {
        keep_last(&mut run.steps, |a, b| a.step.cmp(&b.step));
        keep_last(&mut run.evals, |a, b| a.step.cmp(&b.step).then_with(|| a.split.cmp(&b.split)));
    }
    Ok(runs)
}

/// Line `number` of the metrics at `path`; `before` is the line before it, empty if there is none.
fn parse(path: &Path, number: usize, text: &[u8], before: &[u8]) -> Result<Line> {
    serde_json::from_slice(text).map_err(|error| {
        let before = serde_json::from_slice::<Line>(before);
        let after = before.map_or(String::new(), |line| format!(", after {}", line.place()));
        let hint = "remove the line; `trellis train --resume` then goes on, and tells which steps are missing";
        Error::data(path, format!("line {number}{after}: not what a run writes: {error}"), hint)
    })
}

impl Line {
    /// Run and step of the line, for messages.
    fn place(&self) -> String {
        let what = match &self.what {
            What::Start { .. } => "the start".to_string(),
            What::Step(step) => format!("step {}", step.step),
            What::Eval(eval) => format!("the {} evaluation after step {}", eval.split, eval.step),
            What::End { .. } => "the end".to_string(),
        };
        format!("{what} of {}, seed {}", self.arm, self.seed)
    }
}

/// Sorts, and keeps of equals the one that came last.
fn keep_last<T>(records: &mut Vec<T>, order: impl Fn(&T, &T) -> Ordering) {
    records.reverse();
    records.sort_by(&order); // Stable: of equals, the last one is now the first.
    records.dedup_by(|a, b| order(a, b).is_eq());
}

/// A run in a file of metrics, and how much of it stays.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rewind<'a> {
    pub(super) arm: &'a str,
    pub(super) seed: u64,
    /// Steps that stay; `None` for no line of the run at all.
    pub(super) to: Option<u64>,
    /// True if evaluations at the step `to` stay. They go where the run evaluates there again.
    pub(super) keeps_eval: bool,
}

impl Rewind<'_> {
    fn keeps(&self, line: &Line) -> bool {
        if line.arm != self.arm || line.seed != self.seed {
            return true;
        }
        let Some(to) = self.to else { return false };
        match &line.what {
            What::Start { .. } => true,
            What::Step(step) => step.step < to,
            What::Eval(eval) => eval.step < to || (eval.step == to && self.keeps_eval),
            What::End { .. } => false,
        }
    }

    /// Removes lines that do not stay from the file at `path`; lines of other runs stay as they are, byte for byte. The
    /// file is replaced whole or not at all, and not touched where nothing goes. Returns true if it was replaced.
    ///
    /// # Errors
    /// [`Error::Data`] if the file cannot be read, or has a line that no run writes.
    pub(super) fn apply(&self, path: &Path) -> Result<bool> {
        let text = fs::read(path).map_err(|e| Error::io(path, e))?;
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut gone = false;
        for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
            match self.keeps(&parse(path, number, line, &[])?) {
                true => kept.push(line),
                false => gone = true,
            }
        }
        if gone {
            replace(path, |temporary| {
                let mut file = BufWriter::new(fs::File::create(temporary)?);
                kept.iter().try_for_each(|line| file.write_all(line))?;
                file.flush()
            })?;
        }
        Ok(gone)
    }
}
