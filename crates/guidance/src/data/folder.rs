//! A folder of JPEG and PNG files, as ImageNet has it: `train/<class>/…` and `val/<class>/…`.
//!
//! Classes are the sorted names of the folders under `train`. An image's centre square is brought to one size, in colour. What
//! a file says of its size is checked before anything is allocated for it.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{ImageFormat, ImageReader, Limits};

use super::Source;
use crate::error::{Error, Result};
use crate::regular_file;

/// Files, each with its class.
type Files = Vec<(PathBuf, u16)>;

/// Image files with their classes, decoded when they are read.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    name: String,
    files: Files,
    classes: Vec<String>,
    size: usize,
}

/// Largest file, largest sides of its image, and most memory that decoding one may take.
const LARGEST_FILE: u64 = 1 << 28;
const LARGEST_SIDE: u32 = 32_768;
const LARGEST_ALLOCATION: u64 = 1 << 30;

/// Most files that are listed: ten times ImageNet.
const MOST_FILES: usize = 20_000_000;

/// Lists `folder`: the images under `train`, and those under `val` if it is there, to be read at `size` × `size` pixels.
/// Nothing is decoded yet.
///
/// # Errors
/// [`Error::Io`], or [`Error::Data`] where there are no classes, no images, or classes under `val` that are not under
/// `train`.
pub fn open(folder: &Path, size: usize) -> Result<(ImageFiles, Option<ImageFiles>)> {
    let hint = "lay images out as train/<class>/… and val/<class>/…";
    let (train, held_out) = (folder.join("train"), folder.join("val"));
    if !train.is_dir() {
        return Err(Error::data(folder, "holds no folder `train`", hint));
    }
    let classes = names(&train)?;
    if classes.is_empty() || classes.len() > usize::from(u16::MAX) {
        return Err(Error::data(train, format!("holds {} classes", classes.len()), hint));
    }
    let name = folder.file_name().map_or("images".to_string(), |name| name.to_string_lossy().into_owned());
    let open = |folder: &Path| {
        let files = files(folder, &classes)?;
        if files.is_empty() {
            return Err(Error::data(folder, "holds no classes", hint));
        }
        Ok(ImageFiles { name: name.clone(), files, classes: classes.clone(), size })
    };
    Ok((open(&train)?, held_out.is_dir().then(|| open(&held_out)).transpose()?))
}

impl Source for ImageFiles {
    fn name(&self) -> &str {
        &self.name
    }

    fn shape(&self) -> [usize; 3] {
        [3, self.size, self.size]
    }

    fn classes(&self) -> usize {
        self.classes.len()
    }

    fn count(&self) -> usize {
        self.files.len()
    }

    fn class_name(&self, class: usize) -> String {
        self.classes.get(class).cloned().unwrap_or_else(|| class.to_string())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
        let (path, class) = &self.files[index];
        square(path, self.size, pixels)?;
        Ok(*class)
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
        if !path.is_dir() {
            return Err(Error::data(path, "lies among the folders of the classes", "remove it"));
        }
        let names = names(&path)?;
        if names.is_empty() {
            return Err(Error::data(path, "is a class without images", "remove it, or lay images there"));
        }
        found.extend(names.into_iter().map(|name| (path.join(name), number as u16)));
        if found.len() > MOST_FILES {
            return Err(Error::data(folder, format!("holds more than {MOST_FILES} files"), "make it smaller"));
        }
    }
    Ok(found)
}

/// The centre square of an image as planes of red, green and blue, `[3, size, size]`, as Pillow's `resize` with a `box` makes it: a
/// bilinear filter as wide as the pixels that become one, which at the edge sees what lies beyond it.
fn square(path: &Path, size: usize, planes: &mut [u8]) -> Result<()> {
    let hint = "repair or remove it, or set data.skip_broken = true";
    let bytes = regular_file::read(path, LARGEST_FILE)?;
    let mut reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(|e| Error::io(path, e))?;
    // Its decoder fills up with grey.
    if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_ends(&bytes) {
        return Err(Error::data(path, "is cut short", hint));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(LARGEST_ALLOCATION);
    reader.limits(limits);
    let no_image = |error: &dyn fmt::Display| Error::data(path, format!("is no image ({error})"), hint);
    let image = reader.decode().map_err(|error| no_image(&error))?.into_rgb8();
    let (width, height) = image.dimensions();
    let side = width.min(height);
    let middle = |length: u32| f64::from((length - side) / 2);
    let options = ResizeOptions::new()
        .crop(middle(width), middle(height), side.into(), side.into())
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let whole = ImageRef::new(width, height, image.as_raw(), PixelType::U8x3).map_err(|error| no_image(&error))?;
    let mut small = Image::new(size as u32, size as u32, PixelType::U8x3);
    Resizer::new().resize(&whole, &mut small, &options).map_err(|error| no_image(&error))?;
    for (at, pixel) in small.buffer().chunks_exact(3).enumerate() {
        (0..3).for_each(|channel| planes[channel * size * size + at] = pixel[channel]);
    }
    Ok(())
}

/// Whether a JPEG file has its last marker. Segments say how long they are; in the compressed data between them 0xff is followed
/// by what is no marker. (ITU-T T.81, annex B.)
fn jpeg_ends(bytes: &[u8]) -> bool {
    const END: u8 = 0xd9;
    let mut at = 2;
    loop {
        // What stands alone: escaped data, restarts, padding.
        let alone = |next: u8| matches!(next, 0 | 1 | 0xd0..=0xd7 | 0xff);
        let rest = bytes.get(at..).unwrap_or_default();
        let mut markers = memchr::memchr_iter(0xff, rest).map(|found| at + found);
        let Some(marker) = markers.find(|&found| bytes.get(found + 1).is_some_and(|&next| !alone(next))) else {
            return false;
        };
        match bytes[marker + 1..] {
            [END, ..] => return true,
            [_, high, low, ..] => at = marker + 2 + usize::from(u16::from_be_bytes([high, low])),
            _ => return false,
        }
    }
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
