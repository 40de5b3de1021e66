//! A folder of JPEG and PNG files: `<class>/…`, or `train/<class>/…` with `val/<class>/…` and `test/<class>/…` beside it.
//!
//! Classes are the sorted names of their folders. An image's center square is brought to one size, in color. What
//! a file says of its size is checked before anything is allocated for it.

mod layout;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::picture::color_square;
use crate::source::Source;
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
    /// Sentences that name unused parts of the folder.
    pub warnings: Vec<String>,
}

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

    /// File of each image. Shape (count).
    pub fn paths(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
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

    fn class_of(&self, index: usize) -> Option<u16> {
        self.files.get(index).map(|(_, class)| *class)
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u16> {
        let (path, class) = &self.files[index];
        color_square(path, self.size, pixels, BROKEN)?;
        Ok(*class)
    }
}

/// Advice about an image that cannot be read.
const BROKEN: &str = "repair or remove it, or set data.skip_broken = true";

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
