//! Folders of images: what is read, and what is refused.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::sync::Arc;

use tempfile::TempDir;
use trellis_rng::Rng;

use super::*;
use crate::images::Images;
use crate::picture::{Picture, encode, jpeg};
use crate::source::{Skipped, Subset};

fn write(folder: &TempDir, name: &str, bytes: &[u8]) {
    let path = folder.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// An image of one color, but for a black frame outside of its center square.
fn picture(width: u32, height: u32, color: [u8; 3], file: fn(&Picture) -> Vec<u8>) -> Vec<u8> {
    let side = width.min(height);
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    file(&encode::picture(width, height, |x, y| {
        let inside = (left..left + side).contains(&x) && (top..top + side).contains(&y);
        if inside { color } else { [0; 3] }
    }))
}

const RED: [u8; 3] = [200, 10, 30];
const BLUE: [u8; 3] = [20, 40, 220];

/// Three reds, three blues and two of each held out, of odd sizes; a hidden file that nobody meant.
fn small() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..3 {
        write(&folder, &format!("train/red/{i}.png"), &picture(20 + i, 30, RED, encode::png));
        write(&folder, &format!("train/blue/{i}.jpg"), &picture(40, 17 + i, BLUE, encode::jpeg));
    }
    for i in 0..2 {
        write(&folder, &format!("val/red/{i}.png"), &picture(9, 9, RED, encode::png));
        write(&folder, &format!("val/blue/{i}.JPEG"), &picture(50, 16, BLUE, encode::jpeg));
    }
    write(&folder, "train/.DS_Store", b"x");
    write(&folder, "train/red/.hidden", b"x");
    folder
}

/// Reads parts of all images under `train`, and all under `val`.
fn read(folder: &TempDir, size: usize, sizes: &[usize], seed: u64) -> Result<(Vec<Images>, Option<Images>)> {
    let Folder { train, validation: held_out, .. } = open(folder.path(), size)?;
    let train: Arc<dyn Source> = Arc::new(train);
    let parts = Subset::split(&train, sizes, seed)?;
    let parts = parts.iter().map(|part| Images::read(part)).collect::<Result<_>>()?;
    Ok((parts, held_out.map(|images| Images::read(&images)).transpose()?))
}

#[test]
fn classes_are_sorted_folders_and_images_their_center_squares() {
    let folder = small();
    let (parts, held_out) = read(&folder, 8, &[4, 2], 1).unwrap();
    let test = held_out.unwrap();
    assert_eq!([parts[0].count(), parts[1].count(), test.count()], [4, 2, 4]);
    let mut seen = [0; 2];
    for split in parts.iter().chain([&test]) {
        assert_eq!((split.classes, split.channels, split.height, split.width), (2, 3, 8, 8));
        for at in 0..split.count() {
            let class = usize::from(split.labels[at]);
            let color = [BLUE, RED][class];
            seen[class] += 1;
            for (channel, plane) in split.image(at).chunks(64).enumerate() {
                // JPEG rounds; the black frame would be far off, and pixels at the edge see some of it.
                let inner = (9..55).filter(|at| (1..7).contains(&(at % 8)));
                assert!(inner.clone().all(|at| plane[at].abs_diff(color[channel]) < 8), "{class}: {plane:?}");
                assert!(plane.iter().all(|v| v.abs_diff(color[channel]) < 60), "{class}: {plane:?}");
            }
        }
    }
    assert_eq!(seen, [5, 5]);
    assert_eq!(read(&folder, 8, &[4, 2], 1).unwrap().0, parts);
    assert_ne!(read(&folder, 8, &[4, 2], 2).unwrap().0, parts);
    // All at once, split in memory: the same.
    let all = Images::read(&open(folder.path(), 8).unwrap().train).unwrap();
    assert_eq!(all.split(&[4, 2], 1).unwrap(), parts);
    fs::remove_dir_all(folder.path().join("val")).unwrap();
    assert!(open(folder.path(), 8).unwrap().validation.is_none());
    assert!(matches!(read(&folder, 8, &[4, 2, 1], 1), Err(Error::Split { available: 6, .. })));
}

#[test]
fn files_that_are_no_images_are_named_or_skipped() {
    let whole = picture(64, 64, RED, encode::png);
    // A header that promises 4 billion pixels: the size stands in bytes 16 to 23, their checksum after 29.
    let mut huge = whole.clone();
    huge[16..24].copy_from_slice(&[0, 0, 255, 255, 0, 0, 255, 255]);
    let jpeg = picture(64, 64, BLUE, encode::jpeg);
    for (name, bytes) in [
        ("empty.png", &b""[..]),
        ("text.jpg", b"not an image at all"),
        ("short.png", &whole[..whole.len() / 2]),
        ("header.png", &whole[..20]),
        ("short.jpg", &jpeg[..10]),
        ("half.jpg", &jpeg[..jpeg.len() / 2]),
        ("shorter.jpg", &jpeg[..jpeg.len() - 2]),
        ("huge.png", &huge),
        ("notes.txt", b"what the red ones are"),
    ] {
        let folder = small();
        write(&folder, &format!("train/red/{name}"), bytes);
        let Folder { train, .. } = open(folder.path(), 8).unwrap();
        let message = Images::read(&train).unwrap_err().to_string();
        assert!(message.contains(name) && message.contains("skip_broken"), "{name}: {message}");
        let skipped = Skipped::default();
        let images = (&train as &dyn Source).read_all("train", Some(&skipped)).unwrap();
        assert!(skipped.list().len() == 1 && skipped.list()[0].contains(name), "{:?}", skipped.list());
        assert_eq!(images.count(), 6);
        let mut labels = images.labels.clone();
        labels.sort_unstable();
        assert_eq!(labels, [0, 0, 0, 1, 1, 1]);
        // An image that follows a file that is left out keeps its own pixels.
        for at in 0..6 {
            let color = [BLUE, RED][usize::from(images.labels[at])];
            assert!(images.image(at)[9].abs_diff(color[0]) < 8);
        }
    }
    // Bytes that a camera adds after the end do not matter, nor does a small image within the header.
    let (end, small_one) = ([&jpeg[..], b"after \xff\xda the end"].concat(), picture(8, 8, RED, encode::jpeg));
    let comment = [&[0xff, 0xfe], &(small_one.len() as u16 + 2).to_be_bytes()[..], &small_one].concat();
    let within = [&jpeg[..2], &comment, &jpeg[2..]].concat();
    for (whole, cut) in [(&end, jpeg.len() - 2), (&within, within.len() - 2)] {
        assert!(jpeg::check(whole).is_ok() && jpeg::check(&whole[..cut]).is_err());
    }
    // Mislabeled, but an image: what it is counts, not what it is called.
    let folder = small();
    write(&folder, "train/red/really.jpg", &picture(12, 12, RED, encode::png));
    assert!(read(&folder, 8, &[7], 1).is_ok());
}

/// Whatever stands in a file: an image of the right size, or an error that names it.
#[test]
fn damaged_files_never_panic() {
    let (folder, mut rng) = (small(), Rng::new(1, 0));
    let whole = [picture(40, 30, RED, encode::png), picture(40, 30, BLUE, encode::jpeg)];
    let mut refused = 0;
    for case in 0..400 {
        let mut bytes = whole[case % 2].clone();
        for _ in 0..1 + rng.below(8) {
            let at = rng.below(bytes.len());
            match rng.below(4) {
                0 => bytes.truncate(at.max(1)),
                1 => drop(bytes.splice(at..at, [0xff; 3])),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes[at] = rng.below(256) as u8,
            }
        }
        write(&folder, "train/red/damaged.img", &bytes);
        let path = folder.path().join("train/red/damaged.img");
        let mut planes = vec![0; 3 * 8 * 8];
        if let Err(error) = color_square(&path, 8, &mut planes, BROKEN) {
            refused += 1;
            assert!(error.to_string().contains("damaged.img"), "case {case}: {error}");
        }
    }
    assert!((100..400).contains(&refused), "{refused} of 400 refused");
}

#[test]
fn what_cannot_be_a_set_is_refused_before_anything_is_decoded() {
    let folder = small();
    for size in [0, 100_000, usize::MAX / 2] {
        assert!(read(&folder, size, &[4], 1).unwrap_err().to_string().contains("too many"), "{size}");
    }
    for sizes in [[usize::MAX, 2], [usize::MAX / 4, 0], [0, 7]] {
        assert!(matches!(read(&folder, 8, &sizes, 1), Err(Error::Split { .. })), "{sizes:?}");
    }
}

/// One of each class in the first part, whatever the seed; and the same parts as ever where chance has seen to it.
#[test]
fn each_class_is_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    (0..9).for_each(|at| write(&folder, &format!("often/{at}.png"), &picture(4, 4, RED, encode::png)));
    write(&folder, "rare/0.png", &picture(4, 4, BLUE, encode::png));
    write(&folder, "seldom/0.png", &picture(4, 4, BLUE, encode::png));
    let train = open(folder.path(), 4).unwrap().train;
    let labels = train.labels();
    let source: Arc<dyn Source> = Arc::new(train);
    let of = |part: &Subset| Images::read(part).unwrap().labels;
    let (mut mended, sizes) = (0, [6, 3, 2]);
    for seed in 0..20 {
        let plain = Subset::split(&source, &sizes, seed).unwrap();
        let parts = Subset::split_with_each_class(&source, &labels, &sizes, seed).unwrap();
        let holds_all = |part: &Subset| (0..3).all(|class| of(part).contains(&class));
        assert!(holds_all(&parts[0]), "seed {seed}");
        let mut all: Vec<u16> = parts.iter().flat_map(of).collect();
        all.sort_unstable();
        assert_eq!(all, labels, "seed {seed}");
        mended += usize::from(!holds_all(&plain[0]));
        assert!(!holds_all(&plain[0]) || of(&plain[0]) == of(&parts[0]), "seed {seed}");
    }
    assert!((1..20).contains(&mended), "{mended}");
    let message = Subset::split_with_each_class(&source, &labels, &[2, 1], 0).err().unwrap().to_string();
    assert!(message.contains("2 training images are fewer than its classes"), "{message}");
}
