//! Record of an experiment while it runs.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::beside::{Beside, Key, Turn};
use super::{Progress, twins};
use crate::config::Config;
use crate::record::{Experiment, RunFolder};
use trellis_guidance::{Error, Result};

/// Record of an experiment that its workers share.
pub(super) struct Journal<'a> {
    pub(super) path: &'a Path,
    /// The experiment, without its runs.
    pub(super) of: &'a Experiment,
    /// The experiment as this process found it.
    pub(super) earlier: &'a Experiment,
    pub(super) beside: &'a Beside,
    /// Arm, seed and error of each run that diverged.
    pub(super) diverged: Mutex<Vec<(String, u64, Error)>>,
    /// Names of the splits that evaluations look at.
    pub(super) splits: Vec<&'static str>,
    pub(super) folder: Mutex<RunFolder>,
    pub(super) progress: Mutex<&'a mut (dyn FnMut(Progress<'_>) + Send)>,
}

impl Journal<'_> {
    pub(super) fn folder(&self) -> MutexGuard<'_, RunFolder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, progress: Progress<'_>) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)(progress);
    }

    /// Trains a run by `train`, or copies it from an experiment beside this one that has finished the same. Waits while one is at it.
    pub(super) fn train_or_copy(
        &self,
        config: &Config,
        (arm, seed): (&str, u64),
        key: Option<Key>,
        train: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        let other = match self.beside.turn(key) {
            Turn::Train(claim) => {
                train()?;
                claim.finished(self.path);
                return Ok(true);
            }
            Turn::Finished(other) => other,
        };
        // A run that was begun here goes on from its state.
        let begun = self.folder().state(arm, seed).exists();
        if begun || !twins::copy_run(&other, (arm, seed), config, self.of, &mut self.folder())? {
            train()?;
            return Ok(true);
        }
        Ok(false)
    }
}
