//! The checkpoint that a target begins with: an arm of a run.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Arm whose checkpoint, that of the same seed, a target begins with: `"ARM"` of the same experiment, or `"RUN:ARM"` of the run folder
/// RUN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct InitFrom {
    /// Run folder; `None` for that of the experiment itself.
    pub run: Option<PathBuf>,
    /// Name of the arm.
    pub arm: String,
}

impl From<String> for InitFrom {
    fn from(text: String) -> Self {
        match text.rsplit_once(':') {
            Some((run, arm)) => Self { run: Some(PathBuf::from(run)), arm: arm.to_string() },
            None => Self { run: None, arm: text },
        }
    }
}

impl From<InitFrom> for String {
    fn from(from: InitFrom) -> Self {
        from.to_string()
    }
}

impl fmt::Display for InitFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.run {
            Some(run) => write!(f, "{}:{}", run.display(), self.arm),
            None => f.write_str(&self.arm),
        }
    }
}
