//! The matrix of an affinity: what each guide was worth to each target.

use std::fmt::Write;
use std::path::Path;

use super::ALONE;
use super::cluster::order;
use crate::config::Config;
use crate::record::{Difference, Experiment, Speed};
use crate::stats::mean;
use crate::sweep::{Cell, Row, State, rows_with};
use trellis_guidance::Result;
use trellis_guidance::trainer::RunRecord;

/// Worth of a guide to a target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worth {
    /// Test top-1 minus that of the target alone, seed by seed; `None` where no seed has both.
    pub gain: Option<Difference>,
    /// Learning speed compared with the target alone.
    pub speed: Option<Speed>,
    /// Similarity of the layers at the end, mean over pairs and seeds.
    pub alignment: Option<f64>,
}

/// Networks × networks: rows are targets, columns guides. Alike rows stand beside each other, and so do alike columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Affinity {
    /// Name of the experiment.
    pub name: String,
    /// The targets, with the mean test top-1 of each alone.
    pub targets: Vec<(String, Option<f64>)>,
    /// The guides.
    pub guides: Vec<String>,
    /// Worth, target by target.
    pub worth: Vec<Vec<Worth>>,
    /// Device, and version of Trellis.
    pub made_by: String,
    /// Greatest number of seeds of a target.
    pub seeds: usize,
    /// Targets that are not finished, with their state.
    pub missing: Vec<(String, State)>,
}

impl Affinity {
    /// Reads the experiments of an affinity called `name` from the `folder` that they lie in.
    ///
    /// # Errors
    /// Errors of reading a folder.
    pub fn read(name: &str, folder: &Path, experiments: &[(Cell, Config)]) -> Result<Self> {
        let found = rows_with(folder, experiments.iter().map(|(cell, config)| (cell, config)))?;
        let guides: Vec<String> = found.iter().map(|(row, _)| row.name.clone()).collect();
        let worth: Vec<Vec<Worth>> = found
            .iter()
            .map(|(row, experiment)| guides.iter().map(|guide| Worth::of(row, experiment.as_ref(), guide)).collect())
            .collect();
        let gain = |worth: &Worth| worth.gain.as_ref().and_then(|gain| gain.mean).unwrap_or(f64::NAN);
        let by_target: Vec<Vec<f64>> = worth.iter().map(|row| row.iter().map(gain).collect()).collect();
        let by_guide: Vec<Vec<f64>> =
            (0..guides.len()).map(|guide| by_target.iter().map(|row| row[guide]).collect()).collect();
        let (rows, columns) = (order(&by_target), order(&by_guide));
        let alone = |row: &Row| row.arms.iter().find(|arm| arm.name == ALONE)?.top1_mean;
        let first = found.iter().find_map(|(_, experiment)| experiment.as_ref());
        let seeds = found.iter().flat_map(|(row, _)| row.arms.iter().map(|arm| arm.seeds)).max().unwrap_or(0);
        let open = |(row, _): &(Row, Option<Experiment>)| (row.name.clone(), row.state.clone());
        Ok(Self {
            name: name.to_string(),
            targets: rows.iter().map(|&row| (found[row].0.name.clone(), alone(&found[row].0))).collect(),
            guides: columns.iter().map(|&column| guides[column].clone()).collect(),
            worth: rows.iter().map(|&row| columns.iter().map(|&column| worth[row][column].clone()).collect()).collect(),
            made_by: first.map_or(String::new(), |e| format!("{}, Trellis {}", e.adapter, e.version)),
            seeds,
            missing: found.iter().map(open).filter(|(_, state)| *state != State::Finished).collect(),
        })
    }

    /// The matrix as CSV: a line for each pair.
    pub fn csv(&self) -> String {
        let mut text =
            String::from("target,guide,seeds,alone_top1,gain,gain_ci95,gain_p,reached,steps,steps_saved,alignment\n");
        let number = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:?}"));
        for ((target, alone), row) in self.targets.iter().zip(&self.worth) {
            for (guide, worth) in self.guides.iter().zip(row) {
                let (gain, speed) = (worth.gain.as_ref(), worth.speed.as_ref());
                let _ = writeln!(
                    text,
                    "{target},{guide},{},{},{},{},{},{},{},{},{}",
                    gain.map_or(0, |gain| gain.seeds),
                    number(*alone),
                    number(gain.and_then(|gain| gain.mean)),
                    number(gain.and_then(|gain| gain.ci95)),
                    number(gain.and_then(|gain| gain.p)),
                    speed.map_or(String::new(), |speed| speed.reached.to_string()),
                    number(speed.and_then(|speed| speed.steps)),
                    number(speed.and_then(|speed| speed.saved)),
                    number(worth.alignment),
                );
            }
        }
        text
    }
}

impl Worth {
    fn of(row: &Row, experiment: Option<&Experiment>, guide: &str) -> Self {
        let arm = row.arms.iter().find(|arm| arm.name == guide);
        let (Some(arm), Some(experiment)) = (arm.cloned(), experiment) else { return Self::default() };
        let at_end = |run: &RunRecord| {
            let similarity = &run.last_eval("test")?.similarity;
            mean(&similarity.iter().map(|value| f64::from(*value)).collect::<Vec<_>>())
        };
        let ends: Vec<f64> = experiment.runs_of(guide).filter(|run| run.is_finished()).filter_map(at_end).collect();
        Self { gain: arm.top1_difference, speed: arm.speed, alignment: mean(&ends).filter(|mean| mean.is_finite()) }
    }
}
