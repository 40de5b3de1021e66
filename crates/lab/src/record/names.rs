//! Names of arms, guides and files of a run.

use std::path::Path;

use trellis_guidance::{Error, Result};

/// Names of the four arms of the standard experiment, in the order in which they are shown.
pub const ARMS: [&str; 4] = ["alone", "untrained", "trained", "trained_first"];

pub(crate) const CONFIG: &str = "config.toml";
pub(crate) const ADAPTER: &str = "adapter.json";
pub(crate) const METRICS: &str = "metrics.jsonl";
pub(crate) const SUMMARY: &str = "summary.json";
pub(crate) const LOCK: &str = ".lock";
/// Error of a combination of a sweep, where it ended before there was a record.
pub(crate) const ERROR: &str = "error.txt";
/// Program that predicts with the networks of a folder, in PyTorch.
pub(crate) const PREDICT: &str = "predict.py";

/// Name of the guides' own training where arms are named.
pub(crate) const GUIDE: &str = "guide";

/// Name of an untrained guide's file, in place of an arm.
pub(crate) const UNTRAINED_GUIDE: &str = "untrained-guide";

/// File of a run folder that holds the checksum of the activations which a guide is made of.
pub(crate) fn activations_of(guide: &str) -> String {
    format!("{guide}.activations")
}

/// True for the name of a guide: no arm has such a name.
pub(crate) fn is_guide(name: &str) -> bool {
    name == UNTRAINED_GUIDE || name.strip_prefix(GUIDE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Letters, digits, `.`, `_` and `-`, not beginning with a dot: one folder below the root on every system.
/// `path` is where the name comes from or goes to.
pub(crate) fn checked_name<'a>(path: &Path, name: &'a str) -> Result<&'a str> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(name);
    }
    let problem = format!("{name:?} cannot be the name of a folder");
    Err(Error::config(path, "name", problem, "use up to 100 letters, digits, `.`, `_` and `-`, no dot first"))
}

/// Names in the key `arms` of a configuration; none where it has no such key.
pub(super) fn arms_of(config: &str) -> Vec<String> {
    let file: toml::Table = config.parse().unwrap_or_default();
    let arms = file.get("arms").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    arms.iter().filter_map(|arm| arm.as_str().map(str::to_string)).collect()
}
