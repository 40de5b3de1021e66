//! The IDX format: MNIST, Fashion-MNIST, KMNIST, EMNIST; plain or gzip.
//!
//! A file is a magic number (two zero bytes, the type 8 = unsigned byte, the number of dimensions), one big-endian u32
//! per dimension, then the bytes in row-major order. Source: Y. LeCun, C. Cortes, C. Burges, *The MNIST database*.
//!
//! Files come from the network, so nothing in a header is believed before the bytes are there. A plain file is as long
//! as its header says, and its images stay in it until they are wanted. A packed one is unpacked into memory. That
//! grows with the bytes that arrive and ends one byte after the length that the header promises, which also bounds a
//! gzip bomb.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use crate::error::{Error, Place, Result};
use crate::images::Images;
use crate::io::Bytes;
use crate::source::Source;

/// Largest size in bytes of one file that is held in memory, of packed images or of labels: a header can claim
/// anything.
const MAX_BYTES: u64 = 1 << 30;

const AGAIN: &str = "download it again, or ask the place it came from for its checksum";

/// The images of a pair of files, read when they are wanted: gray, `[1, height, width]`.
#[derive(Debug)]
pub struct IdxImages {
    name: String,
    /// Part of the names of its files before `train-` or `t10k-`: the set that they belong to.
    set: String,
    height: usize,
    width: usize,
    classes: usize,
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

/// Type of the numbers of a file: its code in the header, and its bytes.
#[derive(Clone, Copy)]
struct Element {
    code: u8,
    size: u64,
}

const BYTES: Element = Element { code: 8, size: 1 };
const INTEGERS: Element = Element { code: 12, size: 4 };

/// Names of the two files of a set, and of QMNIST's labels: eight numbers for each image, of which the first is the class.
const PARTS: [(&str, &str); 3] = [("images", "idx3-ubyte"), ("labels", "idx1-ubyte"), ("labels", "idx2-int")];

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
    let wide = labels_path.to_string_lossy().contains("idx2-int");
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
    Ok(Some(IdxImages { name, set, height, width, classes, labels, pixels, start }))
}

/// Parts of the name of a file of images or labels that are the same for both: before the prefix, and between it and the format.
fn halves(path: &Path, prefix: &str, part: &str) -> (String, String) {
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
fn find(folder: &Path, prefix: &str, part: &str, suffix: &str) -> Result<Option<PathBuf>> {
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

/// Sizes and data of an IDX file of bytes with `N` dimensions, and where in the latter they begin.
fn read<const N: usize>(path: &Path, element: Element) -> Result<([usize; N], Bytes, u64)> {
    let plain = Bytes::open(path)?;
    let mut file = BufReader::new(File::open(path).map_err(|source| Error::io(path, source))?);
    // The first bytes tell gzip, not the name: browsers unpack without renaming.
    let gzip = file.fill_buf().map_err(|source| Error::io(path, source))?.starts_with(&[0x1f, 0x8b]);
    let mut input: Box<dyn Read> = if gzip { Box::new(Unpacked(Some(GzDecoder::new(file)))) } else { Box::new(file) };

    let start = 4 + 4 * N as u64;
    let header = take(&mut input, start, path, gzip)?;
    if header.is_empty() {
        return Err(Error::data(path, "is empty", AGAIN));
    }
    check_magic::<N>(path, &header, element)?;
    if (header.len() as u64) < start {
        return Err(Error::data(path, format!("is cut short: {} bytes of a header of {start}", header.len()), AGAIN));
    }
    let size = |i: usize| u32::from_be_bytes(std::array::from_fn(|byte| header[4 + 4 * i + byte]));
    let sizes: [u32; N] = std::array::from_fn(size);
    let text = sizes.map(|size| size.to_string()).join(" x ");
    // A product beyond 64 bits is more than any file holds.
    let bytes = sizes.iter().fold(element.size, |product, &size| product.saturating_mul(size.into()));
    if bytes == 0 {
        return Err(Error::data(path, format!("its header claims {text} bytes: there is nothing in it"), AGAIN));
    }
    if gzip && bytes > MAX_BYTES {
        let problem = format!("its header claims {text} bytes, more than {} MiB", MAX_BYTES >> 20);
        return Err(Error::data(path, problem, "unpack it: what is not packed need not fit into memory"));
    }
    let (there, data, start) = match gzip {
        true => {
            let mut data = take(&mut input, bytes, path, gzip)?;
            // The end of the stream is checked, and what follows it.
            data.extend(take(&mut input, 1, path, gzip)?);
            (data.len() as u64, Bytes::Memory(data), 0)
        }
        false => (plain.len().saturating_sub(start), plain, start),
    };
    match there.cmp(&bytes) {
        std::cmp::Ordering::Equal => Ok((sizes.map(|size| size as usize), data, start)),
        std::cmp::Ordering::Less => {
            let problem = format!("is cut short: its header claims {text} bytes, but {there} follow it");
            Err(Error::data(path, problem, AGAIN))
        }
        std::cmp::Ordering::Greater => {
            Err(Error::data(path, format!("is longer than the {text} bytes that its header claims"), AGAIN))
        }
    }
}

/// At most `limit` bytes; memory grows with what is there, not with `limit`.
fn take(input: &mut dyn Read, limit: u64, path: &Path, gzip: bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match input.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if gzip && is_damage(&error) => Err(Error::data(path, format!("is damaged gzip ({error})"), AGAIN)),
        Err(source) => Err(Error::io(path, source)),
    }
}

/// The contents of a gzip file: of one stream, or of several one after the other. Zeros may follow each, as gzip allows: tapes and some
/// servers fill up blocks. `None` at the end.
struct Unpacked(Option<GzDecoder<BufReader<File>>>);

impl Read for Unpacked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(stream) = &mut self.0 {
            let read = stream.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            // The stream ended, and its checksum was right.
            let mut file = self.0.take().expect("read just now").into_inner();
            self.0 = (!is_zeros(&mut file)?).then(|| GzDecoder::new(file));
        }
        Ok(0)
    }
}

/// True if nothing but zeros is left in a file, which then stands behind them.
fn is_zeros(file: &mut BufReader<File>) -> io::Result<bool> {
    loop {
        let some = file.fill_buf()?;
        if some.is_empty() {
            return Ok(true);
        }
        let zeros = some.iter().take_while(|byte| **byte == 0).count();
        let all = zeros == some.len();
        file.consume(zeros);
        if !all {
            return Ok(false);
        }
    }
}

/// True if the decoder complains of its input, rather than the system of the disk.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

/// Checks that the first bytes are those of an IDX file of bytes with `N` dimensions.
fn check_magic<const N: usize>(path: &Path, header: &[u8], element: Element) -> Result<()> {
    let wanted = [0, 0, element.code, N as u8];
    let start = &header[..header.len().min(4)];
    if wanted.starts_with(start) {
        return Ok(());
    }
    let hint = match start {
        [0, 0, 8, 1] => "this is a file of labels: swap it with the images",
        [0, 0, 8, 3] => "this is a file of images: swap it with the labels",
        [b'<', ..] => "this looks like a web page: the download went wrong",
        [0, 0, 9..=14, _] => "only IDX files of unsigned bytes are read",
        _ => AGAIN,
    };
    Err(Error::data(path, format!("is not IDX: it starts with {start:02x?}, not {wanted:02x?}"), hint))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
#[path = "idx_tests.rs"]
mod tests;
