//! Names of the files of a set: those of MNIST, and as other sets vary them.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Names of the two files of a set, and of QMNIST's labels: eight numbers for each image, of which the first is the class.
pub(super) const PARTS: [(&str, &str); 3] =
    [("images", "idx3-ubyte"), ("labels", "idx1-ubyte"), ("labels", "idx2-int")];

/// Parts of the name of a file of images or labels that are the same for both: before the prefix, and between it and the format.
pub(super) fn halves(path: &Path, prefix: &str, part: &str) -> (String, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (before, after) = name.split_once(part).unwrap_or((&name, ""));
    let split = if prefix == "t10k-" { ["t10k-", "test-"].as_slice() } else { &[prefix] };
    let at = split.iter().filter_map(|prefix| before.rfind(prefix).map(|at| (at, at + prefix.len()))).max();
    let (set, within) = at.map_or((before, ""), |(start, end)| (&before[..start], &before[end..]));
    let after = after.trim_end_matches(".gz").rsplit_once("idx").map_or(after, |(after, _)| after);
    (set.to_string(), format!("{within}{}", after.trim_end_matches(['-', '.'])))
}

/// The file of `part`, images or labels, of the set `prefix` in `folder`. Files called exactly so come first, then
/// those with something before the name (`emnist-letters-train-images-idx3-ubyte`), then those with something within
/// it; the plain one if there is a `.gz` too. A folder of that name that holds a file of the same name, as some
/// archives unpack, is looked into; others are passed over.
pub(super) fn find(folder: &Path, prefix: &str, part: &str, suffix: &str) -> Result<Option<PathBuf>> {
    // The test set has two names.
    let prefixes: &[&str] = if prefix == "t10k-" { &["t10k-", "test-"] } else { &[prefix] };
    // Rank of a name's fit, and whether it is packed; of several of one stem the first counts.
    let mut found: Vec<(usize, String, bool, PathBuf)> = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let mut path = entry.map_err(|source| Error::io(folder, source))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(str::to_owned) else { continue };
        let stem = name.strip_suffix(".gz").unwrap_or(&name);
        let fit = |prefix: &str| {
            let whole = ["-", "."].map(|dot| format!("{prefix}{part}{dot}{suffix}"));
            let before =
                |whole: &String| stem.strip_suffix(whole.as_str()).is_some_and(|rest| rest.ends_with(['-', '_', '.']));
            match stem {
                _ if whole.iter().any(|whole| whole == stem) => Some(0),
                _ if whole.iter().any(before) => Some(1),
                _ if stem.starts_with(prefix) && stem.contains(part) && stem.ends_with(suffix) => Some(2),
                _ => None,
            }
        };
        let Some(fit) = prefixes.iter().filter_map(|prefix| fit(prefix)).min() else { continue };
        if path.is_dir() {
            path.push(&name);
            if !path.is_file() {
                continue;
            }
        }
        found.push((fit, stem.to_string(), stem.len() < name.len(), path));
    }
    found.sort();
    let Some(best) = found.first().map(|(fit, ..)| *fit) else { return Ok(None) };
    found.retain(|(fit, ..)| *fit == best);
    if let Some((_, other, ..)) = found.iter().find(|(_, stem, ..)| *stem != found[0].1) {
        let problem = format!("holds several files of {prefix}{part}: {} and {other}", found[0].1);
        return Err(Error::data(folder, problem, format!("keep one, or call it {prefix}{part}-{suffix}")));
    }
    Ok(found.into_iter().next().map(|(.., path)| path))
}

/// Names of the files in `folder` that look like IDX files and are not `used`, in order.
pub(super) fn others(folder: &Path, used: &[&PathBuf]) -> Result<Vec<String>> {
    let mut others = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| Error::io(folder, source))? {
        let path = entry.map_err(|source| Error::io(folder, source))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let stem = name.strip_suffix(".gz").unwrap_or(name);
        let is_idx = PARTS.iter().any(|(part, suffix)| stem.contains(part) && stem.ends_with(suffix));
        // One that is looked into lies in a folder of its name.
        if is_idx && !used.iter().any(|used| used.starts_with(&path)) {
            others.push(name.to_string());
        }
    }
    others.sort_unstable();
    Ok(others)
}
