//! `sweep.json`: the folders that a sweep or an affinity is to have, so that a missing one has a name.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use trellis_data::io::write_atomic;
use trellis_guidance::{Error, Result};

/// Name of the file.
const FILE: &str = "sweep.json";

/// A sweep as its folder tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The command that made it.
    pub command: String,
    /// Absolute path of its configuration.
    #[serde(default)]
    pub file: PathBuf,
    /// Names of all run folders, those of other shards too.
    pub folders: Vec<String>,
    /// Of an affinity, the file of its networks and the number of repetitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<(String, u32)>,
}

impl Manifest {
    /// Writes it into the folder of a sweep that begins. One of the same folders stays: its command made what is there.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn begin(&self, sweep: &Path) -> Result<()> {
        match Self::read(sweep) {
            Ok(Some(known)) if known.folders == self.folders && known.affinity == self.affinity => Ok(()),
            _ => self.write(sweep),
        }
    }

    /// Writes it into the folder of a sweep.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be written.
    pub fn write(&self, sweep: &Path) -> Result<()> {
        fs::create_dir_all(sweep).map_err(|e| Error::io(sweep, e))?;
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::io(sweep.join(FILE), e.into()))?;
        Ok(write_atomic(&sweep.join(FILE), &text)?)
    }

    /// That of a folder; `None` for a folder that is no sweep's.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read.
    pub fn read(folder: &Path) -> Result<Option<Self>> {
        let file = folder.join(FILE);
        if !file.exists() {
            return Ok(None);
        }
        let text = fs::read(&file).map_err(|e| Error::io(&file, e))?;
        let bad = |e| Error::data(&file, format!("not what a sweep writes: {e}"), "run the sweep again");
        serde_json::from_slice(&text).map(Some).map_err(bad)
    }
}
