//! A folder of JPEG and PNG files: `<class>/…`, or `train/<class>/…` with `val/<class>/…` and `test/<class>/…` beside it.
//!
//! Classes are the sorted names of their folders. An image's centre square is brought to one size, in colour. What
//! a file says of its size is checked before anything is allocated for it.

mod layout;

use std::fmt;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{ImageFormat, ImageReader, Limits};

use super::Source;
use crate::error::{Error, Result};
use crate::regular_file;
use layout::Layout;

/// Files, each with its class.
type Files = Vec<(PathBuf, u16)>;

/// Image files with their classes, decoded when they are read.
#[derive(Clone, Debug)]
pub struct ImageFiles {
    name: String,
    files: Files,
    classes: Arc<[String]>,
    size: usize,
}

/// Images of a folder.
#[derive(Clone, Debug)]
pub struct Folder {
    /// Images under `train`, or of the whole folder where classes lie in it directly.
    pub train: ImageFiles,
    /// Images under `val`, `valid` or `validation`, if there is one.
    pub validation: Option<ImageFiles>,
    /// Images under `test`, if it is there.
    pub test: Option<ImageFiles>,
    /// Sentences that name what in the folder is not used.
    pub warnings: Vec<String>,
}

/// Largest file, largest sides of its image, and most memory that decoding one may take.
const LARGEST_FILE: u64 = 1 << 28;
const LARGEST_SIDE: u32 = 32_768;
const LARGEST_ALLOCATION: u64 = 1 << 30;

/// Lists the images of `folder`, to be read at `size` × `size` pixels. Nothing is decoded yet.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] where there are fewer than two classes, a class without images of its own, a held-out class
/// that is not among the training images, or two folders for one split.
pub fn open(folder: &Path, size: usize) -> Result<Folder> {
    let Layout { classes, train, validation, test, warnings } = layout::of(folder)?;
    let whole = folder.canonicalize().map_err(|e| Error::io(folder, e))?;
    let name = whole.file_name().map_or("images".to_string(), |name| name.to_string_lossy().into_owned());
    let classes: Arc<[String]> = classes.into();
    let files = |files: Files| ImageFiles { name: name.clone(), files, classes: classes.clone(), size };
    Ok(Folder { train: files(train), validation: validation.map(files), test: test.map(files), warnings })
}

impl ImageFiles {
    /// Class of each image. Shape (count).
    pub fn labels(&self) -> Vec<u16> {
        self.files.iter().map(|(_, class)| *class).collect()
    }
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
