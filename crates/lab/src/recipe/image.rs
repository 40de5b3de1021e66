//! Image files as a network takes them: as its training saw images.

use std::path::{Path, PathBuf};

use super::{Preparation, Recipe, RecipeInput};
use trellis_data::Normalization;
use trellis_data::picture::{color_square, decode, gray_square};
use trellis_guidance::{Error, Result};

/// Advice about an image that cannot be read.
const HINT: &str = "give JPEG or PNG files";

/// An image as bytes, and notes for a person on how it became so.
pub(super) struct Prepared {
    /// `[channels, height, width]`, not cropped yet.
    pub(super) pixels: Vec<u8>,
    pub(super) notes: Vec<String>,
}

/// Form of a recipe's images as bytes: channels, height and width before any crop, and whether other sizes are usual.
#[derive(Clone, Copy)]
pub(super) struct Stored {
    pub(super) channels: usize,
    pub(super) size: usize,
    usual: bool,
    normalization: Normalization,
}

impl Recipe {
    /// Size and channels to which image files are decoded, for the network's input.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where it takes no images, or none that files can become.
    pub(super) fn stored(&self, checkpoint: &Path) -> Result<Stored> {
        let RecipeInput::Images { shape: [channels, height, width], normalization, preparation, .. } = &self.input
        else {
            let problem = format!("takes {}, no images", self.input_shape());
            return Err(Error::checkpoint(checkpoint, problem, "give a network of images"));
        };
        if height != width || ![1, 3].contains(channels) {
            let problem = format!("takes images [{channels}, {height}, {width}]");
            return Err(Error::checkpoint(checkpoint, problem, "give one of square images in gray or color"));
        }
        let (size, usual) = match preparation {
            Some(Preparation { resize, .. }) => (*resize, true),
            None => (*height, false),
        };
        Ok(Stored { channels: *channels, size, usual, normalization: *normalization })
    }
}

impl Stored {
    /// Reads an image file.
    ///
    /// # Errors
    /// [`Error::Data`] if it cannot be read, is no image, or is damaged.
    pub(super) fn read(self, path: &Path) -> Result<Prepared> {
        let Self { channels, size, usual, normalization } = self;
        let mut pixels = vec![0; channels * size * size];
        if usual && channels == 3 {
            color_square(path, size, &mut pixels, HINT)?;
            return Ok(Prepared { pixels, notes: Vec::new() });
        }
        let image = decode(path, HINT)?;
        let mut notes = Vec::new();
        let (width, height) = (image.width, image.height);
        if (width, height) != (size as u32, size as u32) {
            notes.push(format!("its center square of {width} x {height} pixels was resized to {size} x {size}"));
        }
        if channels == 3 {
            drop(image);
            color_square(path, size, &mut pixels, HINT)?;
            return Ok(Prepared { pixels, notes });
        }
        if image.channels > 1 {
            notes.push("its colors were made gray".to_string());
        }
        pixels = gray_square(image, size).map_err(|error| Error::data(path, format!("is no image ({error})"), HINT))?;
        let brightness = pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / 255.0 / pixels.len() as f64;
        let Normalization { mean, deviation } = normalization;
        // Ink on paper, for a network of light strokes on black.
        if (brightness - f64::from(mean)).abs() > f64::from(2.0 * deviation) {
            notes.push(format!(
                "its mean brightness is {brightness:.2}, that of the training images {mean:.2}: is it inverted?"
            ));
        }
        Ok(Prepared { pixels, notes })
    }
}

/// Endings of files that a folder is searched for.
const ENDINGS: [&str; 3] = ["jpg", "jpeg", "png"];

/// Files as they are given; a folder becomes the JPEG and PNG files in it and its folders, sorted. Hidden ones are left out.
///
/// # Errors
/// [`Error::Data`] for a folder that cannot be read or is without images.
pub fn expand(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in given {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let before = files.len();
        collect(path, &mut files)?;
        if files.len() == before {
            return Err(Error::data(
                path,
                "holds no JPEG or PNG files",
                "give another folder, or the files themselves",
            ));
        }
    }
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = std::fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut paths: Vec<PathBuf> =
        entries.map_err(|e| Error::io(folder, e))?.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
        // A link to a folder may lead back.
        if !hidden && path.is_dir() && !path.is_symlink() {
            collect(&path, files)?;
        } else if !hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str())) {
            files.push(path);
        }
    }
    Ok(())
}
