//! Files that configurations name: the same file lies at different places on different machines.

use std::fs;
use std::path::Path;

use crate::checkpoints::file_name;
use crate::config::ArmGuide;
use crate::record::Experiment;
use crate::record::names::activations_of;

/// Puts the name and a checksum of each guide's file in the place of its path, which differs between machines. The checksum is that of the
/// contents that the run in `folder` began with, where the folder tells it.
pub(super) fn identify(values: &mut [(String, String)], folder: &Path, experiment: &Experiment) {
    for (key, value) in values {
        let Some((table, file @ ("weights" | "activations"))) = key.rsplit_once('.') else { continue };
        let guide = match table.split_once('.') {
            None if table == "guide" => ArmGuide::Trained,
            Some(("guides", name)) => ArmGuide::Named(name.to_string()),
            _ => continue,
        };
        let guide = guide.name();
        let checksum = match file {
            "activations" => fs::read_to_string(folder.join(activations_of(&guide))).ok(),
            // A guide that was trained further has other weights with each seed.
            _ if experiment.guides.iter().any(|run| run.arm == guide) => None,
            _ => experiment.runs.first().and_then(|run| contents(&folder.join(file_name(&guide, run.seed)))),
        };
        let name = Path::new(value.as_str()).file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_else(|| value.clone());
        *value = checksum.map_or(name.clone(), |checksum| format!("{name} ({})", checksum.trim()));
    }
}

/// Checksum of the numbers in a safetensors file, without its header, which names the experiment.
fn contents(file: &Path) -> Option<String> {
    let bytes = fs::read(file).ok()?;
    let header = u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
    let numbers = bytes.get(8 + usize::try_from(header).ok()?..)?;
    Some(format!("{:08x}", crc32fast::hash(numbers)))
}

#[cfg(test)]
mod tests {
    use trellis_guidance::trainer::RunRecord;

    use super::*;

    #[test]
    fn a_file_is_known_by_its_contents_and_not_by_its_path() {
        let place = tempfile::tempdir().expect("writable");
        let run = |name: &str, recorded: &str, header: &str, numbers: &[u8]| {
            let folder = place.path().join(name);
            fs::create_dir(&folder).expect("writable");
            fs::write(folder.join("guide.activations"), format!("{recorded}\n")).expect("writable");
            let weights = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), numbers].concat();
            fs::write(folder.join("guide-other-7.safetensors"), weights).expect("writable");
            let runs = vec![RunRecord { arm: "alone".to_string(), seed: 7, ..RunRecord::default() }];
            let experiment = Experiment { runs, ..Experiment::default() };
            let path = |key: &str| (key.to_string(), format!("/{name}/guide.safetensors"));
            let mut values = vec![path("guide.activations"), path("guides.other.weights"), path("data.tokenizer")];
            identify(&mut values, &folder, &experiment);
            values.into_iter().map(|(_, value)| value).collect::<Vec<_>>()
        };
        let a = run("a", "12ab", "{}", &[1, 2]);
        assert_eq!(a[0], "guide.safetensors (12ab)");
        assert_eq!(a[2], "/a/guide.safetensors");
        // The header names the experiment.
        assert_eq!(run("b", "12ab", "{\"name\":1}", &[1, 2])[..2], a[..2]);
        let c = run("c", "12ac", "{}", &[1, 3]);
        assert!(c[0] != a[0] && c[1] != a[1], "{c:?}");
    }
}
