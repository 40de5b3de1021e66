//! The IDX format: MNIST, Fashion-MNIST, KMNIST, EMNIST; plain or gzip.

mod file;
mod names;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Place, Result};
use crate::images::Images;
use crate::io::Bytes;
use crate::sets::name_list::quoted;
use crate::source::Source;
use file::{BYTES, INTEGERS, MAX_BYTES, read};
use names::{PARTS, find, halves};

/// The images of a pair of files, read when they are wanted: gray, `[1, height, width]`.
#[derive(Debug)]
pub struct IdxImages {
    name: String,
    /// Part of the names of its files before `train-` or `t10k-`: the set that they belong to.
    set: String,
    height: usize,
    width: usize,
    classes: usize,
    /// Files of its images and its labels.
    files: [PathBuf; 2],
    labels: Vec<u8>,
    pixels: Bytes,
    /// Offset in `pixels` at which they begin.
    start: u64,
}

/// The training set and, where there is one, the test set of the IDX files in `folder`.
///
/// Looks for `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same with `t10k-` or `test-`, with a dot or a
/// hyphen before `idx`, with or without `.gz`. Then it looks for such names with something before them, as EMNIST has,
/// or within. With both pairs there the result is (train, Some(t10k)). With one pair alone it is (that pair, None), to
/// be cut with [`Subset::split`](crate::Subset::split). The sets are named after the folder and the prefix, as in
/// `mnist/train`.
///
/// `classes` is the number of classes, which the format does not tell: 10 for MNIST.
///
/// # Errors
/// [`Error::Io`] if something cannot be read. [`Error::Data`] if a file is missing, no regular file, damaged, cut
/// short, longer than its header says or, packed, over 1 GiB unpacked. Also if a label is not below `classes`, if the
/// labels are not as many as the images, or if the two pairs differ in image size. Each names the file and what to do.
pub fn open(folder: impl AsRef<Path>, classes: usize) -> Result<(IdxImages, Option<IdxImages>)> {
    let folder = folder.as_ref();
    let train = open_pair(folder, "train-", classes)?;
    let test = open_pair(folder, "t10k-", classes)?;
    match (train, test) {
        (Some(train), Some(test)) if (train.height, train.width) != (test.height, test.width) => Err(Error::data(
            folder,
            format!(
                "the training images are {} x {} and the test images {} x {}",
                train.height, train.width, test.height, test.width
            ),
            "keep one data set to a folder",
        )),
        (Some(train), Some(test)) if train.set != test.set => {
            let [ours, theirs] = [&train.set, &test.set].map(|set| if set.is_empty() { "plain names" } else { set });
            let problem = format!("has training images of {ours} and test images of {theirs}");
            Err(Error::data(folder, problem, "keep one data set to a folder"))
        }
        (Some(train), test) => Ok((train, test)),
        (None, Some(test)) => Ok((test, None)),
        (None, None) => Err(Error::data(
            folder,
            "holds no IDX files",
            "put train-images-idx3-ubyte and train-labels-idx1-ubyte there, or the two with t10k-, with .gz or without",
        )),
    }
}

/// A sentence that names the IDX files of `folder` that are not of `sets`, if there are such: those of other splits, say, packed
/// ones beside the same unpacked, or folders of them.
///
/// # Errors
/// [`Error::Io`] if the folder cannot be read.
pub fn unused_files(folder: &Path, sets: &[&IdxImages]) -> Result<Option<String>> {
    let used: Vec<&PathBuf> = sets.iter().flat_map(|set| &set.files).collect();
    let unused = names::others(folder, &used)?;
    let told = quoted(&unused);
    Ok((!unused.is_empty()).then(|| format!("{}: IDX files that are not used: {told}", folder.display())))
}

/// True if `folder` holds a file by whose name [`open`] takes it for images or labels.
///
/// # Errors
/// As [`open`] where the folder cannot be read, or several files have equal claims.
pub fn is_there(folder: &Path) -> Result<bool> {
    let names = ["train-", "t10k-"].into_iter().flat_map(|prefix| PARTS.map(|(part, suffix)| (prefix, part, suffix)));
    for (prefix, part, suffix) in names {
        if find(folder, prefix, part, suffix)?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads all images that [`open`] opens.
///
/// # Errors
/// As [`open`] and [`Images::read`].
pub fn load(folder: impl AsRef<Path>, classes: usize) -> Result<(Images, Option<Images>)> {
    let (first, second) = open(folder, classes)?;
    Ok((Images::read(&first)?, second.map(|second| Images::read(&second)).transpose()?))
}

impl Source for IdxImages {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> [usize; 3] {
        [1, self.height, self.width]
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn count(&self) -> usize {
        self.labels.len()
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
        self.pixels.read(self.start + (index * self.height * self.width) as u64, pixels)?;
        Ok(u16::from(self.labels[index]))
    }
}

/// Writes `images` as `<prefix>images-idx3-ubyte` and `<prefix>labels-idx1-ubyte` into `folder`, for other programs;
/// `prefix` is `train-` or `t10k-` if [`load`] shall find them. The format knows gray images only, so a color image
/// becomes `channels` · `height` rows.
///
/// # Errors
/// [`Error::Io`] if a file cannot be written; [`Error::Data`] if the set does not fit the format's 32-bit sizes or
/// its one byte a label.
pub fn save(folder: impl AsRef<Path>, prefix: &str, images: &Images) -> Result<()> {
    let write = |name: &str, sizes: &[usize], bytes: &[u8]| {
        let path = folder.as_ref().join(format!("{prefix}{name}-idx{}-ubyte", sizes.len()));
        let mut out = vec![0, 0, 8, sizes.len() as u8];
        for &size in sizes {
            let size = u32::try_from(size)
                .map_err(|_| Error::data(&path, format!("{size} does not fit 32 bits"), "write fewer images"))?;
            out.extend(size.to_be_bytes());
        }
        out.extend(bytes);
        // Renamed when complete, so that no reader finds half a file.
        let part = path.with_extension("part");
        fs::write(&part, out).and_then(|()| fs::rename(&part, &path)).map_err(|source| Error::io(&path, source))
    };
    write("images", &[images.count(), images.channels * images.height, images.width], &images.pixels)?;
    let byte = |&label: &u16| u8::try_from(label);
    let labels = images.labels.iter().map(byte).collect::<Result<Vec<u8>, _>>();
    let problem = "has labels above 255, which the format has no room for";
    let labels = labels.map_err(|_| Error::data(Place::dataset(&images.name), problem, "keep fewer classes"))?;
    write("labels", &[images.count()], &labels)
}

/// Images and labels of one prefix; `None` if there is neither file.
fn open_pair(folder: &Path, prefix: &str, classes: usize) -> Result<Option<IdxImages>> {
    let [images, labels, wide_labels] = PARTS.map(|(part, suffix)| find(folder, prefix, part, suffix));
    let (images, labels) = (images?, labels?.map_or(wide_labels, |labels| Ok(Some(labels)))?);
    let (images_path, labels_path) = match (images, labels) {
        (None, None) => return Ok(None),
        (Some(images), Some(labels)) => (images, labels),
        (images, _) => {
            let missing = if images.is_some() { "labels-idx1-ubyte" } else { "images-idx3-ubyte" };
            let problem = format!("{prefix}{missing} (or .gz) is missing, and its other half is there");
            return Err(Error::data(folder, problem, "put both files of the pair there"));
        }
    };
    let [(set, ours), (other, theirs)] =
        [(&images_path, "images"), (&labels_path, "labels")].map(|(path, part)| halves(path, prefix, part));
    if (&set, &ours) != (&other, &theirs) {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let problem = format!("pairs {} with {}, whose names are of two sets", name(&images_path), name(&labels_path));
        return Err(Error::data(folder, problem, "keep the files of one set, or name both after it"));
    }
    let ([count, height, width], pixels, start) = read::<3>(&images_path, BYTES)?;
    let wide = labels_path.file_name().is_some_and(|name| name.to_string_lossy().contains("idx2-int"));
    let ([label_count, columns], label_bytes, first_label) = match wide {
        true => read::<2>(&labels_path, INTEGERS)?,
        false => read::<1>(&labels_path, BYTES).map(|([count], bytes, first)| ([count, 1], bytes, first))?,
    };
    if label_count != count {
        let problem = format!("{label_count} labels, but {} has {count} images", images_path.display());
        return Err(Error::data(labels_path, problem, "take both files from one download"));
    }
    if (label_count * columns) as u64 > MAX_BYTES / 4 {
        return Err(Error::data(labels_path, format!("{label_count} labels are too many"), "use a smaller data set"));
    }
    let size = if wide { 4 } else { 1 };
    let mut numbers = vec![0; label_count * columns * size];
    label_bytes.read(first_label, &mut numbers)?;
    let first = |row: &[u8]| row[..size].iter().fold(0_u32, |number, &byte| number << 8 | u32::from(byte));
    let numbers: Vec<u32> = numbers.chunks(columns * size).map(first).collect();
    if let Some(at) = numbers.iter().position(|&label| label as usize >= classes || label > 255) {
        let problem = format!("label {at} is {}, but there are {classes} classes (0 to {classes} - 1)", numbers[at]);
        return Err(Error::data(
            labels_path,
            problem,
            "set `data.classes` to its number of classes, or repair the file",
        ));
    }
    let labels: Vec<u8> = numbers.into_iter().map(|label| label as u8).collect();
    let folder_name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let name = format!("{}/{}", folder_name.as_deref().unwrap_or("idx"), prefix.trim_end_matches('-'));
    let files = [images_path, labels_path];
    Ok(Some(IdxImages { name, set, height, width, classes, files, labels, pixels, start }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
#[path = "idx_tests.rs"]
mod tests;
