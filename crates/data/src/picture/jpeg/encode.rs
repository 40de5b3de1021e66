//! JPEG files for tests.

use image::RgbImage;
use mozjpeg::{ColorSpace, Compress};

/// A baseline file, 4:2:0.
pub(crate) fn encode(image: &RgbImage) -> Vec<u8> {
    let mut encoder = Compress::new(ColorSpace::JCS_RGB);
    encoder.set_fastest_defaults();
    encoder.set_size(image.width() as usize, image.height() as usize);
    let mut encoder = encoder.start_compress(Vec::new()).expect("memory");
    encoder.write_scanlines(image.as_raw()).expect("memory");
    encoder.finish().expect("memory")
}
