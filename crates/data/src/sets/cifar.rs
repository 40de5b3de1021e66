//! CIFAR-10 and CIFAR-100 in their binary form: color images of 32 × 32 in 10 or 100 classes.
//!
//! A record begins with one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100, of which the fine one is
//! taken). Then come 1,024 bytes each of red, green and blue, row-major (Krizhevsky 2009;
//! <https://www.cs.toronto.edu/~kriz/cifar.html>). There is no header: the name and the length tell what a file is.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::images::Images;
use crate::io::Bytes;
use crate::io::regular_file;
use crate::source::Source;

/// Pixels of an image: 3 channels of 32 × 32.
const PIXELS: usize = 3 * 32 * 32;

const AGAIN: &str = "download it again, and unpack the binary version";

/// The images of some files, read when they are wanted.
#[derive(Debug)]
pub struct CifarImages {
    name: String,
    files: Vec<Records>,
    /// Bytes before the pixels, of which the last is the label.
    labels: usize,
    classes: Vec<String>,
    count: usize,
}

/// Classes of CIFAR-10, in the order of their labels.
const NAMES_10: [&str; 10] = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// Fine classes of CIFAR-100, in the order of their labels.
const NAMES_100: [&str; 100] = [
    "apple",
    "aquarium_fish",
    "baby",
    "bear",
    "beaver",
    "bed",
    "bee",
    "beetle",
    "bicycle",
    "bottle",
    "bowl",
    "boy",
    "bridge",
    "bus",
    "butterfly",
    "camel",
    "can",
    "castle",
    "caterpillar",
    "cattle",
    "chair",
    "chimpanzee",
    "clock",
    "cloud",
    "cockroach",
    "couch",
    "crab",
    "crocodile",
    "cup",
    "dinosaur",
    "dolphin",
    "elephant",
    "flatfish",
    "forest",
    "fox",
    "girl",
    "hamster",
    "house",
    "kangaroo",
    "keyboard",
    "lamp",
    "lawn_mower",
    "leopard",
    "lion",
    "lizard",
    "lobster",
    "man",
    "maple_tree",
    "motorcycle",
    "mountain",
    "mouse",
    "mushroom",
    "oak_tree",
    "orange",
    "orchid",
    "otter",
    "palm_tree",
    "pear",
    "pickup_truck",
    "pine_tree",
    "plain",
    "plate",
    "poppy",
    "porcupine",
    "possum",
    "rabbit",
    "raccoon",
    "ray",
    "road",
    "rocket",
    "rose",
    "sea",
    "seal",
    "shark",
    "shrew",
    "skunk",
    "skyscraper",
    "snail",
    "snake",
    "spider",
    "squirrel",
    "streetcar",
    "sunflower",
    "sweet_pepper",
    "table",
    "tank",
    "telephone",
    "television",
    "tiger",
    "tractor",
    "train",
    "trout",
    "tulip",
    "turtle",
    "wardrobe",
    "whale",
    "willow_tree",
    "wolf",
    "woman",
    "worm",
];

/// Largest file of names, in bytes.
const LARGEST_NAMES: u64 = 1 << 16;

/// Names of the classes, a line each, from `file` in `folder`; without the file those that the set is known by.
fn names(folder: &Path, file: &str, known: &[&str]) -> Result<Vec<String>> {
    let path = folder.join(file);
    if !path.exists() {
        return Ok(known.iter().map(|name| name.to_string()).collect());
    }
    let text = String::from_utf8_lossy(&regular_file::read(&path, LARGEST_NAMES)?).into_owned();
    let names: Vec<String> = text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_string).collect();
    if names.len() != known.len() {
        let problem = format!("names {} classes, not {}", names.len(), known.len());
        return Err(Error::data(path, problem, "give each a line, or remove the file"));
    }
    Ok(names)
}

/// A file, and the number of its first image.
#[derive(Debug)]
struct Records {
    path: PathBuf,
    bytes: Bytes,
    first: usize,
}

/// Opens the training and the test images of the CIFAR set in `folder`: `data_batch_1.bin` to `data_batch_5.bin`, of which
/// some may be missing, and `test_batch.bin`; or `train.bin` and `test.bin` of CIFAR-100.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] with the name of a file that is cut short or empty; and if the folder holds neither set. A
/// label that is no class is an error when its image is read.
pub fn open(folder: &Path) -> Result<(CifarImages, CifarImages)> {
    let batches = (1..=5).map(|number| format!("data_batch_{number}.bin"));
    let (batches, missing): (Vec<String>, Vec<String>) = batches.partition(|name| folder.join(name).exists());
    if let (Some(last), Some(first)) = (batches.last(), missing.first())
        && first < last
    {
        let problem = format!("has {last} and not {first}");
        return Err(Error::data(folder, problem, "unpack all of them, or keep the first ones alone"));
    }
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name().to_string_lossy().into_owned();
        if name.starts_with("data_batch_") && name.ends_with(".bin") && !batches.contains(&name) {
            return Err(Error::data(folder, format!("has {name}, which is not of CIFAR-10"), "take it away"));
        }
    }
    if !batches.is_empty() && folder.join("train.bin").exists() {
        let problem = "has files of CIFAR-10 and CIFAR-100, data_batch_1.bin and train.bin";
        return Err(Error::data(folder, problem, "keep one data set to a folder"));
    }
    let (train, test, labels, classes): (&[String], _, _, _) = if !batches.is_empty() {
        (&batches, "test_batch.bin", 1, names(folder, "batches.meta.txt", &NAMES_10)?)
    } else if folder.join("train.bin").exists() {
        (&["train.bin".to_string()], "test.bin", 2, names(folder, "fine_label_names.txt", &NAMES_100)?)
    } else {
        let hint =
            "unpack the binary version there: data_batch_1.bin … of CIFAR-10, train.bin and test.bin of CIFAR-100";
        return Err(Error::data(folder, "holds no CIFAR set", hint));
    };
    let open = |names: &[String]| {
        let (mut files, mut count) = (Vec::new(), 0);
        for name in names {
            let path = folder.join(name);
            let bytes = Bytes::open(&path)?;
            let (length, record) = (bytes.len(), (labels + PIXELS) as u64);
            if length == 0 || !length.is_multiple_of(record) {
                let problem = format!("has {length} bytes, not a whole number of records of {record}");
                return Err(Error::data(path, problem, AGAIN));
            }
            files.push(Records { path, bytes, first: count });
            count += (length / record) as usize;
        }
        let name = format!("cifar{}", classes.len());
        Ok(CifarImages { name, files, labels, classes: classes.clone(), count })
    };
    Ok((open(train)?, open(&[test.to_string()])?))
}

/// Reads all images that [`open`] opens.
///
/// # Errors
/// As [`open`] and [`Images::read`].
pub fn load(folder: &Path) -> Result<(Images, Images)> {
    let (train, test) = open(folder)?;
    Ok((Images::read(&train)?, Images::read(&test)?))
}

impl Source for CifarImages {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> [usize; 3] {
        [3, 32, 32]
    }

    fn classes(&self) -> usize {
        self.classes.len()
    }

    fn class_name(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    fn count(&self) -> usize {
        self.count
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
        let Records { path, bytes, first } = &self.files[self.files.partition_point(|file| file.first <= index) - 1];
        let number = index - first;
        let mut record = vec![0; self.labels + PIXELS];
        bytes.read((number * record.len()) as u64, &mut record)?;
        let (labels, image) = record.split_at(self.labels);
        let label = u16::from(labels[self.labels - 1]);
        if usize::from(label) >= self.classes.len() {
            let problem = format!("image {number} has label {label}, but there are {} classes", self.classes.len());
            return Err(Error::data(path, problem, AGAIN));
        }
        pixels.copy_from_slice(image);
        Ok(label)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use trellis_rng::Rng;

    fn write(folder: &TempDir, name: &str, bytes: &[u8]) {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }

    /// Records with these labels; pixel `i` of image `n` is `n + i` of a byte.
    fn records(labels: &[&[u8]]) -> Vec<u8> {
        let pixels = |n: usize| (0..PIXELS).map(move |i| (n + i) as u8);
        labels
            .iter()
            .enumerate()
            .flat_map(|(n, label)| label.iter().copied().chain(pixels(n)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn batches_are_read_in_order_and_the_fine_label_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "data_batch_2.bin", &records(&[&[3], &[9]]));
        write(&folder, "data_batch_1.bin", &records(&[&[7]]));
        write(&folder, "test_batch.bin", &records(&[&[0]]));
        let (train, test) = load(folder.path()).unwrap();
        assert_eq!((&train.labels, &test.labels, train.classes), (&vec![7, 3, 9], &vec![0], 10));
        assert_eq!((train.image(2)[..2].to_vec(), train.features()), (vec![1, 2], PIXELS));

        let folder = tempfile::tempdir().unwrap();
        write(&folder, "train.bin", &records(&[&[19, 99], &[0, 1]]));
        write(&folder, "test.bin", &records(&[&[1, 50]]));
        let (train, test) = load(folder.path()).unwrap();
        assert_eq!((train.labels, test.labels, test.classes), (vec![99, 1], vec![50], 100));
        let (train, _) = open(folder.path()).unwrap();
        assert_eq!([0, 50, 99].map(|class| train.class_name(class)), ["apple", "mouse", "worm"]);
    }

    #[test]
    fn a_gap_and_files_of_others_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let message = || open(folder.path()).map(drop).unwrap_err().to_string();
        for name in ["data_batch_1.bin", "data_batch_3.bin", "test_batch.bin"] {
            write(&folder, name, &records(&[&[7]]));
        }
        assert!(message().contains("has data_batch_3.bin and not data_batch_2.bin"), "{}", message());
        write(&folder, "data_batch_2.bin", &records(&[&[7]]));
        open(folder.path()).unwrap();
        write(&folder, "train.bin", &records(&[&[7, 7]]));
        assert!(message().contains("CIFAR-100"), "{}", message());
        write(&folder, "data_batch_1 (1).bin", &records(&[&[7]]));
        assert!(message().contains("data_batch_1 (1).bin"), "{}", message());
    }

    #[test]
    fn classes_are_called_as_the_folder_says() {
        let folder = tempfile::tempdir().unwrap();
        write(&folder, "data_batch_1.bin", &records(&[&[7]]));
        write(&folder, "test_batch.bin", &records(&[&[0]]));
        let name = |class: usize| open(folder.path()).map(|(train, _)| train.class_name(class));
        assert_eq!([name(0).unwrap(), name(9).unwrap()], ["airplane", "truck"]);
        write(&folder, "batches.meta.txt", b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n");
        assert_eq!([name(0).unwrap(), name(9).unwrap()], ["a", "j"]);
        write(&folder, "batches.meta.txt", b"a\nb\n");
        assert!(name(0).unwrap_err().to_string().contains("batches.meta.txt: names 2 classes, not 10"));
    }

    #[test]
    fn what_is_no_cifar_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains("holds no CIFAR set"));
        write(&folder, "test_batch.bin", &records(&[&[0]]));
        let whole = records(&[&[1], &[2]]);
        let message = |bytes: &[u8]| {
            write(&folder, "data_batch_1.bin", bytes);
            load(folder.path()).unwrap_err().to_string()
        };
        let mut rng = Rng::new(1, 0);
        for _ in 0..20 {
            let cut = 1 + rng.below(whole.len() - 1);
            if cut != 1 + PIXELS {
                let message = message(&whole[..cut]);
                assert!(message.contains("data_batch_1.bin: has") && message.contains("3073"), "{message}");
            }
        }
        assert!(message(&[]).contains("has 0 bytes"));
        assert!(message(&records(&[&[1], &[10]])).contains("image 1 has label 10, but there are 10 classes"));
        write(&folder, "data_batch_1.bin", &whole);
        std::fs::remove_file(folder.path().join("test_batch.bin")).unwrap();
        assert!(load(folder.path()).unwrap_err().to_string().contains("test_batch.bin"));
        // Three tebibytes of holes: nothing is allocated for them.
        let huge = std::fs::File::create(folder.path().join("data_batch_1.bin")).unwrap();
        if huge.set_len(3073 << 30).is_ok() {
            write(&folder, "test_batch.bin", &whole);
            assert!(load(folder.path()).unwrap_err().to_string().contains("are too many"));
            let (train, _) = open(folder.path()).unwrap();
            assert_eq!((train.count(), train.read((1 << 30) - 1, &mut [9; PIXELS]).unwrap()), (1 << 30, 0));
            huge.set_len(3073).unwrap();
            let message = train.read(1, &mut [0; PIXELS]).unwrap_err().to_string();
            assert!(message.contains("data_batch_1.bin: ends before byte 6146"), "{message}");
        }
    }
}
