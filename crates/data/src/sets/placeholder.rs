//! Placeholder data of the right size, for dry runs.

use crate::error::Result;
use crate::source::Source;

/// Images of one color.
pub struct Placeholder {
    /// Channels, height, width.
    pub shape: [usize; 3],
    /// Number of classes.
    pub classes: usize,
    /// Number of images.
    pub count: usize,
}

impl Source for Placeholder {
    fn name(&self) -> &str {
        "not read"
    }

    fn shape(&self) -> [usize; 3] {
        self.shape
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn count(&self) -> usize {
        self.count
    }

    fn is_placeholder(&self) -> bool {
        true
    }

    fn read(&self, _: usize, _: &mut [u8]) -> Result<u16> {
        Ok(0)
    }
}
