//! Combinations of a sweep, trained one after the other, or several at once.

use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use indicatif::{HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use trellis_guidance::{Error, Result};
use trellis_lab::comparison::Manifest;
use trellis_lab::config::Config;
use trellis_lab::experiment::{self, Beside, Progress};
use trellis_lab::record::{Existing, LOCKED, further_seeds};
use trellis_lab::sweep::{Cell, Shard};
use trellis_tensor::Gpu;

use crate::run::in_a_line;
use crate::{next, print};

/// Combinations to train.
pub(super) struct Work<'a> {
    pub(super) file: &'a Path,
    pub(super) place: Option<&'a Path>,
    /// Folder of the sweep.
    pub(super) sweep: &'a Path,
    pub(super) cells: &'a [Cell],
    pub(super) configs: &'a [Config],
    pub(super) json: bool,
}

impl Work<'_> {
    /// Trains the combinations of a shard on devices that are opened for it, and returns the number of those that failed. `sweep.json` tells of
    /// all combinations from the beginning, and of this command once it came to its end.
    pub(super) fn run(
        &self,
        affinity: Option<(String, u32)>,
        gpus: impl FnOnce() -> Result<Vec<Gpu>>,
        shard: Shard,
    ) -> Result<usize> {
        let file = std::path::absolute(self.file).map_err(|e| Error::io(self.file, e))?;
        let folders = self.cells.iter().map(Cell::folder).collect();
        let manifest = Manifest { command: next::command_of_all(), file, folders, affinity };
        manifest.begin(self.sweep)?;
        let failed = self.train(&gpus()?, shard)?;
        if failed == 0 {
            manifest.write(self.sweep)?;
        }
        Ok(failed)
    }

    /// Trains the combinations of a shard, each device one at a time, and returns the number of those that failed.
    fn train(&self, gpus: &[Gpu], shard: Shard) -> Result<usize> {
        let own: Vec<usize> = (0..self.cells.len()).filter(|&cell| shard.has(cell)).collect();
        if !self.json {
            let part = if shard == Shard::WHOLE {
                String::new()
            } else {
                format!(", of which shard {shard} has {}", own.len())
            };
            let name = gpus.first().map_or("", Gpu::name);
            print::line(format_args!("{} combinations{part}; {name}", self.cells.len()))?;
        }
        let beside = Beside::new(self.cells.iter().map(|cell| self.sweep.join(cell.folder())).collect());
        let (began, next, failed) = (Instant::now(), AtomicUsize::new(0), AtomicUsize::new(0));
        let bars = MultiProgress::new();
        let work = |gpu: &Gpu| -> Result<()> {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(&cell) = own.get(number) else { return Ok(()) };
                // Those that other devices are at count for half.
                let done = (number + 1).saturating_sub(gpus.len());
                let to_go = match done {
                    0 => String::new(),
                    _ => {
                        let left = began.elapsed().mul_f64((own.len() - done) as f64 / done as f64);
                        format!(", {} to go", HumanDuration(left))
                    }
                };
                let what = format!("{}/{} {}", number + 1, own.len(), self.cells[cell].folder());
                let bar = bars.add(bar(format!("{what}{to_go}")));
                let ok = self.try_cell(gpu, cell, &beside, &bar)?;
                bar.finish_and_clear();
                if ok && !self.json && bar.is_hidden() {
                    print::line(format_args!("{what}: finished"))?;
                }
                failed.fetch_add(usize::from(!ok), Ordering::Relaxed);
            }
        };
        thread::scope(|scope| {
            let workers: Vec<_> = gpus.iter().map(|gpu| scope.spawn(move || work(gpu))).collect();
            workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })?;
        Ok(failed.into_inner())
    }

    /// Trains a combination, or goes on with it; `false` if it failed, which is told and noted. Runs of arms may have diverged.
    fn try_cell(&self, gpu: &Gpu, number: usize, beside: &Beside, bar: &ProgressBar) -> Result<bool> {
        let cell = &self.cells[number];
        cell.begin(self.sweep)?;
        let error = match self.train_cell(gpu, &self.configs[number], beside, bar) {
            Ok(()) => return Ok(true),
            Err(error) => error,
        };
        // A value that is too high is a result of the sweep. The experiment has told it, and its folder keeps it.
        if error.is_divergence() {
            return Ok(true);
        }
        if is_locked(&error) {
            bar.suspend(|| print::warn(&format!("{}: left to it: {error}", cell.folder())));
            return Ok(true);
        }
        cell.note(self.sweep, &error)?;
        bar.suspend(|| print::warn(&format!("{}: {error}", cell.folder())));
        Ok(false)
    }

    fn train_cell(&self, gpu: &Gpu, config: &Config, beside: &Beside, bar: &ProgressBar) -> Result<()> {
        let data = config.dataset(gpu, self.file, self.place)?;
        let mut config = config.resolved_for(self.file, &data)?;
        let further = further_seeds(&self.sweep.join(&config.name), &config);
        if !further.is_empty() {
            let kept = format!("{}: seeds {further:?} of an earlier command are kept, and count", config.name);
            bar.suspend(|| print::warn(&kept));
        }
        config.seeds.extend(further);
        let config = &config;
        let existing = if self.sweep.join(&config.name).exists() { Existing::Resume } else { Existing::Refuse };
        let mut tell = |progress: Progress<'_>| match progress {
            Progress::Total(steps) => bar.set_length(steps),
            Progress::Run(arm, seed) => bar.set_message(format!("{arm}, seed {seed}")),
            Progress::Warning(text) => bar.suspend(|| print::warn(&format!("{}: {text}", config.name))),
            Progress::Steps(_, _, steps, _) => bar.inc(steps),
            Progress::Done(run) if !self.json && bar.is_hidden() => {
                // If there is no reader, the table at the end will tell.
                let _ = print::line(format_args!("  {}", in_a_line(run)));
            }
            Progress::MovedAside(_) | Progress::Done(_) => {}
        };
        experiment::run_beside(config, std::slice::from_ref(&data), self.sweep, existing, beside, &mut tell).map(drop)
    }
}

/// Hidden where standard error is no terminal.
fn bar(what: String) -> ProgressBar {
    let template = "{prefix}  {bar:24} {percent:>3} %  {msg}";
    let bar =
        ProgressBar::new(0).with_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    bar.with_prefix(what)
}

/// True if another process writes into the folder.
fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Data(trellis_data::Error::Data { problem, .. }) if problem == LOCKED)
}
