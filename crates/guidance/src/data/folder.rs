//! A folder of JPEG and PNG files, as ImageNet has it: `train/<class>/…` and `val/<class>/…`.
//!
//! Classes are the sorted names of the folders under `train`. An image's centre square is brought to one size, in colour. Files
//! are decoded on all CPU threads; what a file says of its size is checked before anything is allocated for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use image::imageops::FilterType;
use image::{DynamicImage, ImageReader, Limits};
use trellis_tensor::rng::Rng;

use super::{Images, SPLIT_STREAM};
use crate::error::{Error, Result};

/// Files of a split, each with its class.
type Files = Vec<(PathBuf, u16)>;

/// What lies in such a folder; nothing is decoded yet.
#[derive(Clone, Debug)]
pub struct ImageFolder {
    path: PathBuf,
    classes: usize,
    train: Files,
    held_out: Files,
}

/// What was read: training, validation and test images, and files that were left out because they are no images.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The three splits.
    pub splits: [Images; 3],
    /// Files that could not be decoded, where these are skipped.
    pub skipped: Vec<PathBuf>,
}

/// Largest sides of a file's image, and most memory that decoding one may take.
const LARGEST_SIDE: u32 = 32_768;
const LARGEST_ALLOCATION: u64 = 1 << 30;

/// Most bytes of all decoded images together.
const LARGEST_SET: usize = 16 << 30;

/// Most files that are listed: ten times ImageNet.
const MOST_FILES: usize = 20_000_000;

impl ImageFolder {
    /// Lists `path`.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Data`] where there are no classes, no images, or classes under `val` that are not under
    /// `train`.
    pub fn list(path: &Path) -> Result<Self> {
        let hint = "lay images out as train/<class>/… and val/<class>/…";
        let names = names(&path.join("train"))?;
        if names.is_empty() || names.len() > usize::from(u16::MAX) {
            return Err(Error::data(path.join("train"), format!("holds {} classes", names.len()), hint));
        }
        let train = files(&path.join("train"), &names)?;
        let held_out = if path.join("val").is_dir() { files(&path.join("val"), &names)? } else { Vec::new() };
        if train.is_empty() {
            return Err(Error::data(path.join("train"), "holds no files", hint));
        }
        Ok(Self { path: path.to_owned(), classes: names.len(), train, held_out })
    }

    /// Reads so many training, validation and test images of `size` × `size` pixels, drawn by `seed`: training and validation
    /// images from `train`, test images from `val`, or from `train` too where there is no `val`. With `skip_broken` a file that
    /// cannot be decoded is left out; its split is then smaller.
    ///
    /// # Errors
    /// [`Error::Split`] if there are fewer files; [`Error::Data`] with the name of a file that is no image, is damaged, or says
    /// that it is huge; and if the images together take more than 16 GiB.
    pub fn read(&self, size: usize, counts: [usize; 3], seed: u64, skip_broken: bool) -> Result<Decoded> {
        let [train, validation, test] = counts;
        let bytes = counts.iter().try_fold(0_usize, |sum, &count| sum.checked_add(count));
        let bytes = bytes.and_then(|count| count.checked_mul(3 * size * size)).filter(|&bytes| bytes <= LARGEST_SET);
        if size == 0 || bytes.is_none() {
            let problem = format!("{train} + {validation} + {test} images of {size} x {size} pixels are too many");
            return Err(Error::data(&self.path, problem, "they may take 16 GiB: make the splits or the size smaller"));
        }
        let own_test = self.held_out.is_empty();
        let first: &[usize] = if own_test { &[train, validation, test] } else { &[train, validation] };
        let mut parts = self.draw(&self.train, first, seed)?;
        if !own_test {
            parts.extend(self.draw(&self.held_out, &[test], seed)?);
        }
        let mut skipped = Vec::new();
        let mut splits = Vec::new();
        for part in parts {
            splits.push(self.decode(&part, size, skip_broken, &mut skipped)?);
        }
        Ok(Decoded { splits: splits.try_into().expect("three parts"), skipped })
    }

    /// Disjoint parts of `files`, drawn without replacement.
    fn draw(&self, files: &Files, sizes: &[usize], seed: u64) -> Result<Vec<Files>> {
        if sizes.iter().sum::<usize>() > files.len() {
            let name = self.path.display().to_string();
            return Err(Error::Split { name, available: files.len(), wanted: sizes.to_vec() });
        }
        let mut order: Vec<usize> = (0..files.len()).collect();
        Rng::new(seed, SPLIT_STREAM).shuffle(&mut order);
        let mut order = order.into_iter();
        Ok(sizes.iter().map(|&size| order.by_ref().take(size).map(|at| files[at].clone()).collect()).collect())
    }

    fn decode(&self, files: &Files, size: usize, skip: bool, skipped: &mut Vec<PathBuf>) -> Result<Images> {
        let features = 3 * size * size;
        let mut pixels = vec![0; files.len() * features];
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let share = files.len().div_ceil(threads).max(1);
        // Each thread has neighbouring files and their pixels; what goes wrong is told in the order of the files.
        let failures: Vec<Option<Error>> = thread::scope(|scope| {
            let work = |(files, pixels): (&[(PathBuf, u16)], &mut [u8])| {
                let one = |((path, _), pixels): (&(PathBuf, u16), &mut [u8])| square(path, size, pixels).err();
                files.iter().zip(pixels.chunks_mut(features)).map(one).collect::<Vec<_>>()
            };
            let parts = files.chunks(share).zip(pixels.chunks_mut(share * features));
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
            threads.into_iter().flat_map(|thread| thread.join().expect("decoding does not panic")).collect()
        });
        let mut labels = Vec::new();
        for (at, ((path, class), failure)) in files.iter().zip(failures).enumerate() {
            match failure {
                None => {
                    pixels.copy_within(at * features..(at + 1) * features, labels.len() * features);
                    labels.push(*class);
                }
                Some(_) if skip => skipped.push(path.clone()),
                Some(error) => return Err(error),
            }
        }
        pixels.truncate(labels.len() * features);
        let name = self.path.file_name().map_or("images".to_string(), |name| name.to_string_lossy().into_owned());
        Ok(Images { channels: 3, height: size, width: size, pixels, labels, classes: self.classes, name })
    }
}

/// Names of what lies in a folder, sorted; hidden ones left out.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let name = entry.map_err(|e| Error::io(folder, e))?.file_name();
        let Some(name) = name.to_str() else {
            return Err(Error::data(folder.join(&name), "has a name that is no UTF-8", "rename it"));
        };
        if !name.starts_with('.') {
            names.push(name.to_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn files(folder: &Path, classes: &[String]) -> Result<Files> {
    let mut found = Vec::new();
    for class in names(folder)? {
        let path = folder.join(&class);
        let Ok(number) = classes.binary_search(&class) else {
            return Err(Error::data(path, "is no class of the training images", "remove it, or add it to train"));
        };
        found.extend(names(&path)?.into_iter().map(|name| (path.join(name), number as u16)));
        if found.len() > MOST_FILES {
            return Err(Error::data(folder, format!("holds more than {MOST_FILES} files"), "make it smaller"));
        }
    }
    Ok(found)
}

/// The centre square of an image as planes of red, green and blue, `[3, size, size]`.
fn square(path: &Path, size: usize, planes: &mut [u8]) -> Result<()> {
    let hint = "repair or remove it, or set data.skip_broken = true";
    let open = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    let mut reader = open.map_err(|e| Error::io(path, e))?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(LARGEST_ALLOCATION);
    reader.limits(limits);
    let image = reader.decode().map_err(|error| Error::data(path, format!("is no image ({error})"), hint))?;
    let side = image.width().min(image.height());
    let (left, top) = ((image.width() - side) / 2, (image.height() - side) / 2);
    let small = image.crop_imm(left, top, side, side).resize_exact(size as u32, size as u32, FilterType::Triangle);
    let colours = DynamicImage::into_rgb8(small);
    for (at, pixel) in colours.pixels().enumerate() {
        (0..3).for_each(|channel| planes[channel * size * size + at] = pixel[channel]);
    }
    Ok(())
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
