//! Good and hostile IDX files. Every message must name the file, what is wrong and what to do.

use std::io::Write;

use flate2::{Compression, bufread::GzDecoder, write::GzEncoder};
use tempfile::TempDir;
use trellis_rng::Rng;

use super::file::take;
use super::*;

/// A temporary folder of IDX files.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn put(&self, name: &str, bytes: &[u8]) -> &Self {
        fs::write(self.0.path().join(name), bytes).unwrap();
        self
    }

    /// A good pair of `count` images of 2 x 2.
    fn pair(&self, prefix: &str, count: u8) -> &Self {
        self.put(&format!("{prefix}images-idx3-ubyte"), &images(count));
        self.put(&format!("{prefix}labels-idx1-ubyte"), &idx(&[count.into()], &labels(count)))
    }

    /// The message of the error, which names `file` (none: the folder) and says both `words`.
    fn fails(&self, file: &str, words: [&str; 2]) {
        let message = load(self.0.path(), 10).unwrap_err().to_string();
        let place = self.0.path();
        let file = if file.is_empty() { place.to_path_buf() } else { place.join(file) }.display().to_string();
        assert!(message.starts_with(&file), "{message}");
        assert!(message.contains("; "), "no advice: {message}");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    }
}

fn idx(sizes: &[u32], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(data);
    bytes
}

fn images(count: u8) -> Vec<u8> {
    idx(&[count.into(), 2, 2], &(0..count * 4).collect::<Vec<_>>())
}

fn labels(count: u8) -> Vec<u8> {
    (0..count).map(|i| i % 10).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

const IMAGES: &str = "train-images-idx3-ubyte";
const LABELS: &str = "train-labels-idx1-ubyte";

#[test]
fn both_pairs_or_one() {
    let folder = Folder::new();
    folder.pair("t10k-", 3);
    let (alone, none) = load(folder.0.path(), 10).unwrap();
    assert_eq!((alone.count(), alone.height, alone.width, alone.channels, none), (3, 2, 2, 1, None));
    assert_eq!((alone.image(1), alone.labels.as_slice()), (&[4, 5, 6, 7][..], &[0, 1, 2][..]));
    assert!(folder.0.path().join("t10k").ends_with(&alone.name), "{}", alone.name);
    folder.pair("train-", 12);
    let (train, test) = load(folder.0.path(), 10).unwrap();
    assert_eq!((train.count(), test), (12, Some(alone)));
}

#[test]
fn gzip_and_dotted_names() {
    let folder = Folder::new();
    folder.put("t10k-images.idx3-ubyte.gz", &gzip(&images(3)));
    folder.put("t10k-labels.idx1-ubyte.gz", &gzip(&idx(&[3], &labels(3))));
    let (packed, _) = load(folder.0.path(), 10).unwrap();
    // Unpacked by a browser that kept the name.
    folder.put("t10k-images.idx3-ubyte.gz", &images(3));
    assert_eq!(load(folder.0.path(), 10).unwrap().0, packed);
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = Folder::new();
    let glyphs = super::super::glyphs::glyphs(20, 16, 3);
    save(folder.0.path(), "train-", &glyphs).unwrap();
    let (loaded, _) = load(folder.0.path(), 10).unwrap();
    assert_eq!((loaded.pixels, loaded.labels), (glyphs.pixels.clone(), glyphs.labels.clone()));
    let message = save(folder.0.path().join("no"), "train-", &glyphs).unwrap_err().to_string();
    assert!(message.contains("train-images-idx3-ubyte") && message.contains("check the path"), "{message}");
}

#[test]
fn wrong_magic() {
    let folder = Folder::new();
    folder.pair("train-", 3).put(IMAGES, b"PNG and then some bytes").fails(IMAGES, ["not IDX", "50, 4e"]);
    folder.put(IMAGES, b"<!DOCTYPE html><html>").fails(IMAGES, ["not IDX", "web page"]);
    folder.put(IMAGES, &idx(&[3], &labels(3))).fails(IMAGES, ["not IDX", "file of labels"]);
    folder.put(IMAGES, &[0, 0, 0x0d, 3, 0, 0, 0, 1]).fails(IMAGES, ["not IDX", "unsigned bytes"]);
    folder.pair("train-", 3).put(LABELS, &images(3)).fails(LABELS, ["not IDX", "file of images"]);
}

#[test]
fn truncated_or_empty() {
    let folder = Folder::new();
    folder.pair("train-", 3);
    let good = images(3);
    for length in 0..good.len() {
        let word = if length == 0 { "is empty" } else { "cut short" };
        folder.put(IMAGES, &good[..length]).fails(IMAGES, [word, "download it again"]);
    }
    folder.put(IMAGES, &idx(&[0, 2, 2], &[])).fails(IMAGES, ["nothing in it", "0 x 2 x 2"]);
}

#[test]
fn header_claims_more_than_there_is() {
    let folder = Folder::new();
    folder.pair("train-", 3);
    // Four billion images in a file of 20 bytes; then a product beyond 64 bits.
    let (many, more) = (idx(&[u32::MAX, 28, 28], &[0; 4]), idx(&[u32::MAX; 3], &[0; 4]));
    folder.put(IMAGES, &many).fails(IMAGES, ["4294967295 x 28 x 28", "4 follow"]);
    folder.put(IMAGES, &more).fails(IMAGES, ["claims", "cut short"]);
    folder.put(IMAGES, &gzip(&many)).fails(IMAGES, ["4294967295 x 28 x 28", "more than"]);
    folder.put(IMAGES, &gzip(&more)).fails(IMAGES, ["claims", "more than"]);
    // Just below the limit: what is read is what is there.
    folder.put(IMAGES, &gzip(&idx(&[1 << 28, 2, 2], &[0; 4]))).fails(IMAGES, ["cut short", "4 follow"]);
    let mut input: &[u8] = &[0; 20];
    assert!(take(&mut input, MAX_BYTES, Path::new(IMAGES), false).unwrap().capacity() < 1000);
}

/// Two gibibytes of holes, and labels for them.
#[test]
fn what_would_not_fit_into_memory_stays_in_its_file() {
    let folder = Folder::new();
    folder.put(IMAGES, &idx(&[1 << 15, 256, 256], &[])).put(LABELS, &idx(&[1 << 15], &vec![3; 1 << 15]));
    let file = fs::OpenOptions::new().write(true).open(folder.0.path().join(IMAGES)).unwrap();
    if file.set_len(16 + (1 << 31)).is_err() {
        return; // a file system without holes
    }
    let (images, _) = open(folder.0.path(), 10).unwrap();
    assert_eq!(images.count(), 1 << 15);
    let mut pixels = vec![9; 1 << 16];
    assert_eq!((images.read((1 << 15) - 1, &mut pixels).unwrap(), pixels), (3, vec![0; 1 << 16]));
    file.set_len(1 << 20).unwrap();
    let message = images.read(100, &mut [0; 1 << 16]).unwrap_err().to_string();
    assert!(message.contains(IMAGES) && message.contains("ends before byte"), "{message}");
}

#[test]
fn longer_than_the_header_says() {
    let folder = Folder::new();
    let mut bytes = images(3);
    bytes.push(0);
    folder.pair("train-", 3).put(IMAGES, &bytes).fails(IMAGES, ["longer", "3 x 2 x 2"]);
    let mut packed = gzip(&images(3));
    packed.extend(gzip(b"more"));
    folder.put(IMAGES, &packed).fails(IMAGES, ["longer", "3 x 2 x 2"]);
}

#[test]
fn damaged_gzip() {
    let folder = Folder::new();
    let packed = gzip(&images(3));
    folder.pair("train-", 3).put(IMAGES, &packed[..packed.len() - 9]).fails(IMAGES, ["damaged gzip", "download"]);
    let mut flipped = packed.clone();
    flipped[14] ^= 0xff;
    folder.put(IMAGES, &flipped).fails(IMAGES, [IMAGES, "download it again"]);
    folder.put(IMAGES, &packed[..5]).fails(IMAGES, ["damaged gzip", "download"]);
}

#[test]
fn gzip_bomb() {
    let folder = Folder::new();
    let mut bytes = images(3);
    bytes.resize(64 << 20, 0);
    let packed = gzip(&bytes);
    assert!(packed.len() < 100_000);
    folder.pair("train-", 3).put(IMAGES, &packed).fails(IMAGES, ["longer", "3 x 2 x 2"]);
    // The decoder hands out no more than was asked for.
    let mut input = GzDecoder::new(packed.as_slice());
    assert_eq!(take(&mut input, 29, Path::new(IMAGES), true).unwrap().len(), 29);
}

#[test]
fn files_are_found_by_the_names_that_sets_have() {
    let folder = Folder::new();
    let (pictures, numbers) = (images(3), idx(&[3], &labels(3)));
    let count =
        |folder: &Folder| load(folder.0.path(), 10).map(|(train, test)| (train.count(), test.map(|test| test.count())));
    // EMNIST's, with its test set; then exact names go before them.
    for name in ["emnist-letters-train-", "emnist-letters-test-"] {
        folder.put(&format!("{name}images-idx3-ubyte"), &pictures).put(&format!("{name}labels-idx1-ubyte"), &numbers);
    }
    assert_eq!(count(&folder).unwrap(), (3, Some(3)));
    // Two that fit as well as each other.
    let both = Folder::new();
    both.pair("emnist-letters-train-", 3).pair("emnist-letters-test-", 3);
    both.put("emnist-digits-test-images-idx3-ubyte", &pictures);
    let message = count(&both).unwrap_err().to_string();
    assert!(
        message.contains("emnist-digits-test-images") && message.contains("emnist-letters-test-images"),
        "{message}"
    );
    folder.put("train-augmented-images-idx3-ubyte", &images(2)).pair("train-", 4).pair("t10k-", 2);
    assert_eq!(count(&folder).unwrap(), (4, Some(2)));
    // Kaggle's archive: each file in a folder of its own name; other folders are passed over.
    let kaggle = Folder::new();
    for (name, bytes) in [("train-images-idx3-ubyte", &pictures), ("train-labels-idx1-ubyte", &numbers)] {
        fs::create_dir(kaggle.0.path().join(name)).unwrap();
        kaggle.put(&format!("{name}/{name}"), bytes);
    }
    fs::create_dir(kaggle.0.path().join("t10k-images-idx3-ubyte")).unwrap();
    assert_eq!(count(&kaggle).unwrap(), (3, None));
}

#[test]
fn zeros_after_the_end_of_a_gzip_stream_are_fine() {
    let folder = Folder::new();
    for zeros in [0, 1, 7, 8, 9, 10, 500, 20_000] {
        let padded = [gzip(&images(3)), vec![0; zeros]].concat();
        folder.pair("train-", 3).put(IMAGES, &padded);
        assert_eq!(load(folder.0.path(), 10).unwrap().0.count(), 3, "{zeros} zeros");
    }
    // Nor do they hide a second stream, which goes on where the first one ended.
    let whole = images(3);
    let (start, rest) = whole.split_at(20);
    for zeros in [0, 3, 600] {
        folder.put(IMAGES, &[gzip(start), vec![0; zeros], gzip(rest)].concat());
        assert_eq!(load(folder.0.path(), 10).unwrap().0.pixels, whole[16..], "{zeros} zeros");
    }
    // But not in place of its checksum, nor other bytes after it.
    let packed = gzip(&images(3));
    folder.put(IMAGES, &[&packed[..packed.len() - 8], &[0; 8]].concat()).fails(IMAGES, ["damaged gzip", "checksum"]);
    folder.put(IMAGES, &[packed, b"more of it".to_vec()].concat()).fails(IMAGES, ["damaged gzip", "header"]);
}

#[test]
fn labels_that_do_not_fit() {
    let folder = Folder::new();
    folder.pair("train-", 3).put(LABELS, &idx(&[3], &[0, 10, 2])).fails(LABELS, ["label 1 is 10", "10 classes"]);
    folder.put(LABELS, &idx(&[2], &[0, 1])).fails(LABELS, ["2 labels", "3 images"]);
}

/// Whatever stands in a file, packed or not: images that can all be read, or an error that names a file.
#[test]
fn damaged_files_never_panic() {
    let (folder, mut rng) = (Folder::new(), Rng::new(1, 0));
    let mut refused = 0;
    for case in 0..400 {
        folder.pair("train-", 3);
        let name = [IMAGES, LABELS][case % 2];
        let mut bytes = fs::read(folder.0.path().join(name)).unwrap();
        if rng.below(2) == 0 {
            bytes = gzip(&bytes);
        }
        for _ in 0..1 + rng.below(3) {
            let at = rng.below(bytes.len());
            match rng.below(3) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes.insert(at, 0xff),
                _ => bytes[at] = rng.below(256) as u8,
            }
        }
        folder.put(name, &bytes);
        match load(folder.0.path(), 10) {
            Ok((images, _)) => assert_eq!(images.pixels.len(), images.count() * images.features()),
            Err(error) => {
                refused += 1;
                assert!(error.to_string().contains("-ubyte"), "case {case}: {error}");
            }
        }
    }
    assert!((200..400).contains(&refused), "{refused} of 400 refused");
}

#[test]
fn missing_files() {
    let folder = Folder::new();
    folder.fails("", ["no IDX files", "train-images-idx3-ubyte"]);
    folder.put(IMAGES, &images(3)).fails("", ["train-labels-idx1-ubyte", "is missing"]);
    let nowhere = load(folder.0.path().join("nowhere"), 10).unwrap_err().to_string();
    assert!(nowhere.contains("nowhere") && nowhere.contains("check the path"), "{nowhere}");
    let file = load(folder.0.path().join(IMAGES), 10).unwrap_err().to_string();
    assert!(file.contains(IMAGES) && file.contains("give a folder"), "{file}");
}

#[test]
fn a_folder_in_place_of_a_file() {
    let folder = Folder::new();
    folder.put(LABELS, &idx(&[3], &labels(3)));
    fs::create_dir(folder.0.path().join(IMAGES)).unwrap();
    folder.fails("", ["images-idx3-ubyte", "is missing"]);
}

#[cfg(unix)]
#[test]
fn no_permission() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.pair("train-", 3).0.path().join(IMAGES);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything: then only the message can be tested, in error.rs.
    if fs::File::open(&path).is_err() {
        folder.fails(IMAGES, ["ermission denied", "ls -l"]);
    }
}

#[test]
fn pairs_of_two_data_sets() {
    let folder = Folder::new();
    folder.pair("train-", 3).pair("t10k-", 1).put("t10k-images-idx3-ubyte", &idx(&[1, 1, 1], &[0]));
    folder.fails("", ["2 x 2", "1 x 1"]);
}

#[test]
fn files_of_two_sets_are_no_pair() {
    for (images_name, labels_name) in [
        ("emnist-letters-train-images-idx3-ubyte", "emnist-digits-train-labels-idx1-ubyte"),
        ("old-train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte.gz"),
        ("train-a-images-idx3-ubyte", "train-b-labels-idx1-ubyte"),
    ] {
        let folder = Folder::new();
        folder.put(images_name, &images(3)).put(labels_name, &idx(&[3], &labels(3)));
        folder.fails("", [images_name, "two sets"]);
    }
    let folder = Folder::new();
    folder.pair("emnist-letters-train-", 4).pair("t10k-", 3);
    folder.fails("", ["emnist-letters-", "plain names"]);
    // Dots, packing and the two names of the test set are no other set.
    let folder = Folder::new();
    folder.put("my-train-images.idx3-ubyte", &images(3)).put("my-train-labels-idx1-ubyte", &idx(&[3], &labels(3)));
    folder.pair("my-test-", 2);
    let (train, test) = load(folder.0.path(), 10).unwrap();
    assert_eq!((train.count(), test.unwrap().count()), (3, 2));
}

/// QMNIST's labels: eight integers for each image.
#[test]
fn labels_of_qmnist_are_the_first_of_eight_numbers() {
    let folder = Folder::new();
    let file = |first: u32| {
        let mut bytes = vec![0, 0, 12, 2, 0, 0, 0, 3, 0, 0, 0, 8];
        for row in 0..3_u32 {
            (0..8).for_each(|column| bytes.extend((if column == 0 { first + row } else { 1000 }).to_be_bytes()));
        }
        bytes
    };
    folder.put("qmnist-train-images-idx3-ubyte", &images(3));
    folder.put("qmnist-train-labels-idx2-int.gz", &gzip(&file(4)));
    assert_eq!(load(folder.0.path(), 10).unwrap().0.labels, [4, 5, 6]);
    folder.put("qmnist-train-labels-idx2-int.gz", &gzip(&file(8)));
    folder.fails("qmnist-train-labels-idx2-int.gz", ["label 2 is 10", "data.classes"]);
    folder.put("qmnist-train-labels-idx2-int.gz", &gzip(&file(4)[..60]));
    folder.fails("qmnist-train-labels-idx2-int.gz", ["cut short", "3 x 8"]);
}

/// Names are those of the files: the path before them may hold anything.
#[test]
fn a_folder_may_be_called_like_a_part() {
    let folder = Folder::new();
    let path = folder.0.path().join("train-labels-idx2-int");
    fs::create_dir_all(&path).unwrap();
    for name in [IMAGES, LABELS] {
        folder.pair("train-", 3);
        fs::rename(folder.0.path().join(name), path.join(name)).unwrap();
    }
    assert_eq!(load(&path, 10).unwrap().0.count(), 3);
}
