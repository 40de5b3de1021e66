//! Runs that left the finite numbers.

use serde::{Deserialize, Serialize};

/// A run that was stopped because a number in it was not finite. The other runs of its experiment went on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diverged {
    /// The arm.
    pub arm: String,
    /// Seed of the run.
    pub seed: u64,
    /// The error, with step and layer.
    pub error: String,
}
