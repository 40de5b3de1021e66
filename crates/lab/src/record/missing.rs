//! Gaps in `metrics.jsonl`: lines that a run wrote and that are not there any more.

use std::fmt;

use serde::{Deserialize, Serialize};
use trellis_guidance::Training;
use trellis_guidance::trainer::RunRecord;

use super::names::is_guide;

/// Measurements that are missing from the metrics of one run, as after a full disk or an edit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The arm, or the guide by itself.
    pub arm: String,
    /// Seed of the run.
    pub seed: u64,
    /// First and last number of each group of missing steps.
    pub steps: Vec<[u64; 2]>,
    /// Steps after which an evaluation of some split is missing.
    pub evals: Vec<u64>,
}

impl Missing {
    /// Gaps in `run`, if there are any: up to the end of a finished run, else up to its last step. `splits` are those that
    /// each evaluation looks at.
    pub(crate) fn of(run: &RunRecord, training: &Training, splits: &[&str]) -> Option<Self> {
        if Self::is_done(run, training) {
            return Self::before(u64::from(training.steps), true, run, training, splits);
        }
        let end = run.steps.last().map_or(0, |step| step.step + 1);
        Self::before(end, false, run, training, splits)
    }

    /// True if nothing is left to train. A guide that is finished is never extended.
    pub(crate) fn is_done(run: &RunRecord, training: &Training) -> bool {
        if is_guide(&run.arm) { run.is_finished() } else { run.is_finished_after(training.steps) }
    }

    /// Gaps in `run` before `step`, that step's own evaluations included where `last`.
    pub(crate) fn before(step: u64, last: bool, run: &RunRecord, training: &Training, splits: &[&str]) -> Option<Self> {
        let mut steps = Vec::new();
        let mut next = 0;
        for found in run.steps.iter().map(|record| record.step).filter(|&found| found < step).chain([step]) {
            if found > next {
                steps.push([next, found - 1]);
            }
            next = found + 1;
        }
        let wanted = (0..step + u64::from(last)).filter(|&at| training.evaluates_after(at as u32));
        let is_there = |at, split: &str| run.evals.iter().any(|eval| eval.step == at && eval.split == split);
        let evals: Vec<u64> = wanted.filter(|&at| !splits.iter().all(|split| is_there(at, split))).collect();
        let gap = !steps.is_empty() || !evals.is_empty();
        gap.then(|| Self { arm: run.arm.clone(), seed: run.seed, steps, evals })
    }

    /// The gaps without the name of the run: `steps 3, 7 to 9; evaluations after steps 4, 8`.
    pub(crate) fn gaps(&self) -> String {
        let listed = |name: &str, many: bool, numbers: Vec<String>| {
            let plural = if many { "s" } else { "" };
            (!numbers.is_empty()).then(|| format!("{name}{plural} {}", numbers.join(", ")))
        };
        let range = |&[first, last]: &[u64; 2]| match last - first {
            0 => first.to_string(),
            _ => format!("{first} to {last}"),
        };
        let many = self.steps.iter().map(|[first, last]| last - first + 1).sum::<u64>() > 1;
        let steps = listed("step", many, self.steps.iter().map(range).collect());
        let evals = self.evals.iter().map(u64::to_string).collect();
        let evals = listed("evaluations after step", self.evals.len() > 1, evals);
        [steps, evals].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, seed {} lacks {}", self.arm, self.seed, self.gaps())
    }
}
