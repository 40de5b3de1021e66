//! Checkpoints by the names of their runs.

use std::fs;
use std::path::{Path, PathBuf};

use trellis_guidance::{Error, Result};

use crate::checkpoints::file_name;
use crate::record::names::is_guide;

/// A network of a run folder: arm or guide, and seed.
type Named = (String, u64);

/// The checkpoint that `run` names: a file, or `FOLDER`, `FOLDER:ARM` or `FOLDER:ARM:SEED` of a run. A guide is an arm here, `guide`.
/// Without an arm the folder must have only one; without a seed it is the arm's smallest.
///
/// # Errors
/// [`Error::Data`] with the networks that the folder has, if it is not one of them.
pub fn find_checkpoint(run: &str) -> Result<PathBuf> {
    let whole = Path::new(run);
    if whole.is_file() {
        return Ok(whole.to_owned());
    }
    let (folder, arm, seed) = split(run);
    let networks = networks(folder)?;
    let refuse = |problem: String, hint: String| Err(Error::data(folder, problem, hint));
    let arms = listed(networks.iter().map(|(arm, _)| arm.clone()));
    if networks.is_empty() {
        return refuse(
            "holds no networks of a run".to_string(),
            "give a folder below runs/, or a checkpoint".to_string(),
        );
    }
    let arm = match arm {
        Some(arm) => arm,
        None => {
            let mut own: Vec<&str> = networks.iter().map(|(arm, _)| &arm[..]).filter(|arm| !is_guide(arm)).collect();
            own.dedup();
            match own[..] {
                [only] => only,
                _ => {
                    let hint = format!("say which: {run}:ARM or {run}:ARM:SEED");
                    return refuse(format!("holds networks of several arms, {arms}"), hint);
                }
            }
        }
    };
    let seeds: Vec<u64> = networks.iter().filter(|(of, _)| of == arm).map(|(_, seed)| *seed).collect();
    match (seed, seeds.first()) {
        (_, None) => refuse(format!("holds no network of `{arm}`"), format!("it has {arms}")),
        (Some(seed), _) if !seeds.contains(&seed) => {
            let have = listed(seeds.iter().map(u64::to_string));
            refuse(format!("holds no network of `{arm}` with seed {seed}"), format!("it has seed {have}"))
        }
        (Some(seed), _) | (None, Some(&seed)) => Ok(folder.join(file_name(arm, seed))),
    }
}

/// Folder, arm and seed. Folders may have colons too, as on Windows: those of a folder that exists are its own.
fn split(run: &str) -> (&Path, Option<&str>, Option<u64>) {
    if Path::new(run).is_dir() {
        return (Path::new(run), None, None);
    }
    if let Some((rest, seed)) = run.rsplit_once(':')
        && let (Some((folder, arm)), Ok(seed)) = (rest.rsplit_once(':'), seed.parse())
        && !Path::new(rest).is_dir()
    {
        return (Path::new(folder), Some(arm), Some(seed));
    }
    match run.rsplit_once(':') {
        Some((folder, arm)) => (Path::new(folder), Some(arm), None),
        None => (Path::new(run), None, None),
    }
}

/// Networks of a folder after their last step, in order of arm and seed.
fn networks(folder: &Path) -> Result<Vec<Named>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name();
        // `.best` and `.state` are no seeds.
        let named = name.to_str().and_then(|name| name.strip_suffix(".safetensors")?.rsplit_once('-'));
        found.extend(named.and_then(|(arm, seed)| Some((arm.to_string(), seed.parse().ok()?))));
    }
    found.sort();
    Ok(found)
}

/// Names in a list, each once.
fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.dedup();
    names.join(", ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn networks_are_found_by_arm_and_seed() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path();
        for (folder, names) in [
            ("runs", &["alone-2", "alone-11", "trained-1", "trained-1.best", "guide-1", "untrained-guide-1", "x"][..]),
            ("one:two", &["mine-3", "mine-3.state", "guide-3"][..]),
            ("empty", &[][..]),
        ] {
            fs::create_dir(root.join(folder)).unwrap();
            names.iter().for_each(|name| fs::write(root.join(folder).join(format!("{name}.safetensors")), "").unwrap());
        }
        let run = |name: &str| root.join(name).to_string_lossy().into_owned();
        let found =
            |name: &str, file: &str| assert_eq!(find_checkpoint(&run(name)).unwrap(), root.join(file), "{name}");
        found("runs:alone", "runs/alone-2.safetensors");
        found("runs:alone:11", "runs/alone-11.safetensors");
        found("runs:untrained-guide", "runs/untrained-guide-1.safetensors");
        found("runs/trained-1.best.safetensors", "runs/trained-1.best.safetensors");
        found("one:two", "one:two/mine-3.safetensors");
        found("one:two:guide:3", "one:two/guide-3.safetensors");
        for (name, wanted) in [
            ("runs", "several arms, alone, guide, trained, untrained-guide; say which: "),
            ("runs:lone", "holds no network of `lone`; it has alone, guide, trained, untrained-guide"),
            ("runs:alone:1", "holds no network of `alone` with seed 1; it has seed 2, 11"),
            ("empty", "holds no networks of a run"),
            ("none:alone", "none"),
        ] {
            let error = find_checkpoint(&run(name)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
