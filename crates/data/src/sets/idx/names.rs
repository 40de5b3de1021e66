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
    for mut path in entries(folder)? {
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

/// Names of the files in `folder` that look like IDX files and are not `used`, and of folders that hold such files, in order.
pub(super) fn others(folder: &Path, used: &[&PathBuf]) -> Result<Vec<String>> {
    let mut others = Vec::new();
    for path in entries(folder)? {
        // A file that is used may lie in a folder of its name, which some archives make.
        if used.iter().any(|used| used.starts_with(&path)) {
            continue;
        }
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        // A folder that cannot be read holds nothing that could be used.
        let is_folder = path.is_dir();
        let within = if is_folder { entries(&path).unwrap_or_default() } else { Vec::new() };
        if looks_like_idx(name)
            || within.iter().any(|path| path.file_name().is_some_and(|n| looks_like_idx(&n.to_string_lossy())))
        {
            others.push(if is_folder { format!("{name}/") } else { name.to_string() });
        }
    }
    others.sort_unstable();
    Ok(others)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    read.map_err(|source| Error::io(folder, source))
}

/// True for names of the parts of a set, in whatever case and with whatever a browser or a copy put around them.
fn looks_like_idx(name: &str) -> bool {
    let name = name.to_lowercase();
    // `idx3` and so on.
    PARTS.into_iter().any(|(part, suffix)| name.contains(part) && name.contains(&suffix[..4]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_that_are_not_used_are_named() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        for name in ["docs", "test", "train-labels-idx1-ubyte"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        let used =
            [folder.join("train-images-idx3-ubyte"), folder.join("train-labels-idx1-ubyte/train-labels-idx1-ubyte")];
        let others = |names: &[&str]| {
            names
                .iter()
                .map(|name| folder.join(name))
                .chain(used.clone())
                .for_each(|path| fs::write(path, "").unwrap());
            super::others(folder, &used.each_ref()).unwrap()
        };
        assert_eq!(others(&["README.md", "docs/images.txt", "images.png"]), [""; 0]);
        let names = ["valid-labels-idx1-ubyte", "VALID-IMAGES-IDX3-UBYTE", "train-images-idx3-ubyte.gz.part"];
        let more = [&names[..], &["test/t10k-images.idx3-ubyte"]].concat();
        let told = ["VALID-IMAGES-IDX3-UBYTE", "test/", "train-images-idx3-ubyte.gz.part", "valid-labels-idx1-ubyte"];
        assert_eq!(others(&more), told);
    }
}
