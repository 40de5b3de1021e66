//! CIFAR-10 and CIFAR-100 in their binary form: colour images of 32 × 32 in 10 or 100 classes.
//!
//! A record is one label byte (CIFAR-10) or a coarse and a fine one (CIFAR-100, of which the fine one is taken), then 1,024
//! bytes each of red, green and blue, row-major (Krizhevsky 2009; <https://www.cs.toronto.edu/~kriz/cifar.html>). There is no
//! header, so what a file is shows in its name and in its length.

use std::path::Path;

use super::Images;
use crate::error::{Error, Result};

/// Pixels of an image: 3 channels of 32 × 32.
const PIXELS: usize = 3 * 32 * 32;

/// Most bytes of a file that is read: several times the largest of these sets.
const LARGEST: u64 = 1 << 30;

/// Reads the training and the test images of the CIFAR set in `folder`: `data_batch_1.bin` to `data_batch_5.bin`, of which
/// some may be missing, and `test_batch.bin`; or `train.bin` and `test.bin` of CIFAR-100.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] with the name of a file that is cut short, empty, far too long, or holds a label that is no
/// class; and if the folder holds neither set.
pub fn load(folder: &Path) -> Result<(Images, Images)> {
    let batches = (1..=5).map(|number| format!("data_batch_{number}.bin"));
    let batches: Vec<String> = batches.filter(|name| folder.join(name).exists()).collect();
    let (train, test, labels, classes): (&[String], _, _, _) = if !batches.is_empty() {
        (&batches, "test_batch.bin", 1, 10)
    } else if folder.join("train.bin").exists() {
        (&["train.bin".to_string()], "test.bin", 2, 100)
    } else {
        let hint =
            "unpack the binary version there: data_batch_1.bin … of CIFAR-10, train.bin and test.bin of CIFAR-100";
        return Err(Error::data(folder, "holds no CIFAR set", hint));
    };
    let set = || Images {
        channels: 3,
        height: 32,
        width: 32,
        pixels: Vec::new(),
        labels: Vec::new(),
        classes,
        name: format!("cifar{classes}"),
    };
    let (mut first, mut second) = (set(), set());
    for name in train {
        read(&folder.join(name), labels, &mut first)?;
    }
    read(&folder.join(test), labels, &mut second)?;
    Ok((first, second))
}

/// Appends the records of a file, each with `label_bytes` bytes in front, of which the last is the label.
fn read(path: &Path, label_bytes: usize, images: &mut Images) -> Result<()> {
    let record = label_bytes + PIXELS;
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if length == 0 || length > LARGEST || !length.is_multiple_of(record as u64) {
        let problem = format!("has {length} bytes, not a whole number of records of {record} (up to 1 GiB)");
        return Err(Error::data(path, problem, "download it again, and unpack the binary version"));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    for (number, record) in bytes.chunks_exact(record).enumerate() {
        let (labels, pixels) = record.split_at(label_bytes);
        let label = labels[label_bytes - 1];
        if usize::from(label) >= images.classes {
            let problem = format!("image {number} has label {label}, but there are {} classes", images.classes);
            return Err(Error::data(path, problem, "download it again, and unpack the binary version"));
        }
        images.labels.push(u16::from(label));
        images.pixels.extend_from_slice(pixels);
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use std::path::PathBuf;

    use trellis_tensor::rng::Rng;

    /// A folder that goes when the test ends.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("trellis-cifar-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, bytes: &[u8]) {
            std::fs::write(self.0.join(name), bytes).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            drop(std::fs::remove_dir_all(&self.0));
        }
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
        let folder = Folder::new("ten");
        folder.write("data_batch_2.bin", &records(&[&[3], &[9]]));
        folder.write("data_batch_1.bin", &records(&[&[7]]));
        folder.write("test_batch.bin", &records(&[&[0]]));
        let (train, test) = load(&folder.0).unwrap();
        assert_eq!((&train.labels, &test.labels, train.classes), (&vec![7, 3, 9], &vec![0], 10));
        assert_eq!((train.image(2)[..2].to_vec(), train.features()), (vec![1, 2], PIXELS));

        let folder = Folder::new("hundred");
        folder.write("train.bin", &records(&[&[19, 99], &[0, 1]]));
        folder.write("test.bin", &records(&[&[1, 50]]));
        let (train, test) = load(&folder.0).unwrap();
        assert_eq!((train.labels, test.labels, test.classes), (vec![99, 1], vec![50], 100));
    }

    #[test]
    fn what_is_no_cifar_file_is_refused_by_name() {
        let folder = Folder::new("bad");
        assert!(load(&folder.0).unwrap_err().to_string().contains("holds no CIFAR set"));
        folder.write("test_batch.bin", &records(&[&[0]]));
        let whole = records(&[&[1], &[2]]);
        let message = |bytes: &[u8]| {
            folder.write("data_batch_1.bin", bytes);
            load(&folder.0).unwrap_err().to_string()
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
        folder.write("data_batch_1.bin", &whole);
        std::fs::remove_file(folder.0.join("test_batch.bin")).unwrap();
        assert!(load(&folder.0).unwrap_err().to_string().contains("test_batch.bin"));
        // Three tebibytes of holes: refused before anything is allocated.
        let huge = std::fs::File::create(folder.0.join("data_batch_1.bin")).unwrap();
        if huge.set_len(3073 << 30).is_ok() {
            assert!(load(&folder.0).unwrap_err().to_string().contains("up to 1 GiB"));
        }
    }
}
