//! JPEG files of every kind that libjpeg-turbo writes, against the pixels that it reads. `tests/reliability.sh` makes them.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use trellis_data::{Source, folder};

/// Greatest difference of a channel that is no fault, in levels of 256: versions of libjpeg may round otherwise.
const TOLERANCE: u8 = 1;

/// Outcomes of one kind of file.
#[derive(Default)]
struct Row {
    files: usize,
    refused: usize,
    /// Files by their greatest difference.
    by_difference: BTreeMap<u8, usize>,
    reasons: BTreeMap<String, usize>,
}

impl Row {
    /// Notes the greatest difference of the pixels that were read, plane by plane, and those of libjpeg; and gives it.
    fn note(&mut self, read: &[u8], wanted: &[u8]) -> u8 {
        let plane = read.len() / 3;
        assert_eq!(read.len(), wanted.len());
        let differences = wanted.iter().enumerate().map(|(at, wanted)| read[at % 3 * plane + at / 3].abs_diff(*wanted));
        let greatest = differences.max().unwrap_or(0);
        *self.by_difference.entry(greatest).or_default() += 1;
        greatest
    }
}

/// Needs files of `tests/reliability.sh`, which sets TRELLIS_JPEG_GRID to their folder.
#[test]
#[ignore = "needs libjpeg-turbo: tests/reliability.sh"]
fn every_jpeg_is_read_as_libjpeg_does_or_refused() {
    let grid =
        PathBuf::from(std::env::var("TRELLIS_JPEG_GRID").expect("TRELLIS_JPEG_GRID, as tests/reliability.sh sets it"));
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in fs::read_dir(grid.join("files")).expect("a folder").map(|entry| entry.expect("readable").path()) {
        let side: usize = entry.file_name().and_then(|name| name.to_str()?.parse().ok()).expect("a number");
        let images = folder::open(&entry, side).expect("two classes").train;
        let files = files(&entry);
        assert_eq!(files.len(), images.count());
        let mut pixels = vec![0; 3 * side * side];
        for (index, file) in files.iter().enumerate() {
            let name = file.file_stem().and_then(|name| name.to_str()).expect("ours");
            let parts: Vec<&str> = name.rsplit_once('_').expect("ours").0.split('_').collect();
            let sampling = parts.iter().position(|part| part.as_bytes()[0].is_ascii_digit()).expect("ours");
            let kind = format!("{} | {}", parts[..sampling].join(" "), parts[sampling + 1..].join(" "));
            let row = rows.entry(kind).or_default();
            row.files += 1;
            match images.read(index, &mut pixels) {
                Ok(_) => {
                    let Ok(wanted) = fs::read(grid.join("pixels").join(format!("{name}.rgb"))) else {
                        wrong.push(format!("{name}: read, but libjpeg does not"));
                        continue;
                    };
                    let difference = row.note(&pixels, &wanted);
                    if difference > TOLERANCE {
                        wrong.push(format!("{name}: {difference} levels"));
                    }
                }
                Err(error) => {
                    let message = error.to_string();
                    assert!(message.contains(&format!("{name}.jpg: ")), "{message}");
                    row.refused += 1;
                    let reason = message.split(".jpg: ").nth(1).unwrap_or_default().to_string();
                    *row.reasons.entry(reason).or_default() += 1;
                }
            }
        }
    }
    println!("| color | scans | files | refused | same | within 1 | more |");
    println!("|---|---|---|---|---|---|---|");
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, row) in &rows {
        let of = |range: RangeInclusive<u8>| row.by_difference.range(range).map(|(_, files)| files).sum::<usize>();
        let [same, within, more] = [0..=0, 1..=1, 2..=255].map(of);
        println!("| {kind} | {} | {} | {same} | {within} | {more} |", row.files, row.refused);
        row.reasons.iter().for_each(|(reason, files)| *reasons.entry(reason).or_default() += files);
    }
    reasons.iter().for_each(|(reason, files)| println!("refused {files}: {reason}"));
    wrong.iter().take(100).for_each(|wrong| println!("wrong: {wrong}"));
    assert!(wrong.is_empty(), "{} files are read otherwise than by libjpeg", wrong.len());
}

/// JPEG files of the classes `a` and `b`, in the order in which a folder lists them.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for class in ["a", "b"] {
        let listed = fs::read_dir(folder.join(class)).expect("a class").map(|entry| entry.expect("readable").path());
        let mut files: Vec<PathBuf> = listed.filter(|path| path.extension().is_some_and(|end| end == "jpg")).collect();
        files.sort_unstable();
        all.extend(files);
    }
    all
}
