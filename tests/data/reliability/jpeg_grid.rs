//! JPEG files of every kind that libjpeg-turbo writes, against the pixels that it reads. `tests/reliability.sh` makes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use trellis_data::{Source, folder};

/// Greatest difference of a channel that is no fault, in levels of 256. Two decoders round a cosine transform, an
/// upsampled color and a conversion of colors each in their way.
const TOLERANCE: u8 = 4;

/// The same of the last column, where the decoder interpolates colors with what lies beyond the image and libjpeg does not.
const TOLERANCE_AT_EDGE: u8 = 8;

/// Outcomes of one kind of file.
#[derive(Default)]
struct Row {
    files: usize,
    refused: usize,
    /// Files by their greatest difference, without the last column.
    by_difference: BTreeMap<u8, usize>,
    /// Greatest mean difference of a file.
    mean: f64,
    /// Greatest difference of brightness.
    brightness: f64,
    /// Greatest difference in the last column.
    at_edge: u8,
    reasons: BTreeMap<String, usize>,
}

impl Row {
    /// Notes the difference of the pixels that were read and those of libjpeg; gives the greatest, without and in the last column.
    fn note(&mut self, side: usize, read: &[u8], wanted: &[u8]) -> [u8; 2] {
        let plane = side * side;
        let (mut greatest, mut sum) = ([0; 2], 0.0);
        for (at, wanted) in wanted.chunks_exact(3).enumerate() {
            let read: [u8; 3] = std::array::from_fn(|channel| read[channel * plane + at]);
            let differences: [f64; 3] = std::array::from_fn(|i| f64::from(read[i]) - f64::from(wanted[i]));
            let most = &mut greatest[usize::from(side > 1 && at % side == side - 1)];
            *most = differences.iter().fold(*most, |most, d| most.max(d.abs() as u8));
            sum += differences.iter().map(|d| d.abs()).sum::<f64>();
            let brightness = 0.299 * differences[0] + 0.587 * differences[1] + 0.114 * differences[2];
            self.brightness = self.brightness.max(brightness.abs());
        }
        self.mean = self.mean.max(sum / read.len() as f64);
        self.at_edge = self.at_edge.max(greatest[1]);
        *self.by_difference.entry(greatest[0]).or_default() += 1;
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
                    let [difference, at_edge] = row.note(side, &pixels, &wanted);
                    if difference > TOLERANCE || at_edge > TOLERANCE_AT_EDGE {
                        wrong.push(format!("{name}: {difference} levels, {at_edge} in the last column"));
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
    println!(
        "| color | scans | files | refused | same | within 1 | 2 | 3 | 4 | more | last column | mean | brightness |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for (kind, row) in &rows {
        let of =
            |range: std::ops::RangeInclusive<u8>| row.by_difference.range(range).map(|(_, files)| files).sum::<usize>();
        let counts: Vec<String> =
            [0..=0, 1..=1, 2..=2, 3..=3, 4..=4, 5..=255].map(|range| of(range).to_string()).into_iter().collect();
        let counts = counts.join(" | ");
        println!(
            "| {kind} | {} | {} | {counts} | {} | {:.2} | {:.2} |",
            row.files, row.refused, row.at_edge, row.mean, row.brightness
        );
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
