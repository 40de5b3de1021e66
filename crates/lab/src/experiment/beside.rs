//! Experiments beside each other in one process, as those of a sweep: a run that two of them share is trained once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Everything that a run's bits depend on: name, number of steps, settings and seed.
pub(super) type Key = (String, u32, String, u64);

/// The folders of experiments beside each other, and the runs that each of them trains now or has trained.
#[derive(Debug, Default)]
pub struct Beside {
    folders: Vec<PathBuf>,
    /// Runs that are claimed; with the folder of their experiment once they are finished.
    claims: Mutex<HashMap<Key, Option<PathBuf>>>,
    changed: Condvar,
}

/// Turn of one experiment to train a run that others may share.
pub(super) enum Turn<'b> {
    /// The run is to be trained here. Others that share it wait until the claim is dropped.
    Train(Claim<'b>),
    /// Another experiment has finished the run in this folder.
    Finished(PathBuf),
}

/// Claim on a run. Dropped, it lets the next experiment try.
pub(super) struct Claim<'b> {
    beside: &'b Beside,
    key: Option<Key>,
}

impl Beside {
    /// Experiments with these run folders, of which some may not exist yet.
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, ..Self::default() }
    }

    pub(super) fn folders(&self) -> &[PathBuf] {
        &self.folders
    }

    /// Blocks while another experiment trains the run. A run without a key is shared with none.
    pub(super) fn turn(&self, key: Option<Key>) -> Turn<'_> {
        let mut claims = self.claims();
        while let Some(known) = key.as_ref().and_then(|key| claims.get(key)) {
            match known {
                Some(folder) => return Turn::Finished(folder.clone()),
                None => claims = self.changed.wait(claims).unwrap_or_else(PoisonError::into_inner),
            }
        }
        claims.extend(key.clone().map(|key| (key, None)));
        Turn::Train(Claim { beside: self, key })
    }

    fn claims(&self) -> MutexGuard<'_, HashMap<Key, Option<PathBuf>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// Notes that the run is finished in `folder`.
    pub(super) fn finished(mut self, folder: &Path) {
        if let Some(key) = self.key.take() {
            self.beside.claims().insert(key, Some(folder.to_path_buf()));
            self.beside.changed.notify_all();
        }
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.beside.claims().remove(&key);
            self.beside.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    fn key(seed: u64) -> Key {
        ("alone".to_string(), 3, "settings".to_string(), seed)
    }

    #[test]
    fn a_shared_run_is_trained_once_whoever_comes_first() {
        let (beside, trained) = (Beside::new(Vec::new()), AtomicUsize::new(0));
        let work = || match beside.turn(Some(key(1))) {
            Turn::Train(claim) => {
                trained.fetch_add(1, Ordering::Relaxed);
                thread::yield_now();
                claim.finished(Path::new("first"));
            }
            Turn::Finished(folder) => assert_eq!(folder, Path::new("first")),
        };
        thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(work))));
        assert_eq!(trained.into_inner(), 1);
    }

    #[test]
    fn after_a_failure_the_next_one_tries_and_other_runs_never_wait() {
        let beside = Beside::default();
        let Turn::Train(first) = beside.turn(Some(key(1))) else { panic!("nobody has it") };
        assert!(matches!(beside.turn(Some(key(2))), Turn::Train(_)));
        assert!(matches!(beside.turn(None), Turn::Train(_)));
        thread::scope(|scope| {
            let second = scope.spawn(|| matches!(beside.turn(Some(key(1))), Turn::Train(_)));
            drop(first);
            assert!(second.join().expect("it waits, then it has its turn"));
        });
    }
}
