//! One image file: decoded, and its center square brought to one size.

use std::fmt;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use super::jpeg;
use crate::error::{Error, Result};
use crate::regular_file;

/// Largest file, largest sides of its image, and most memory that decoding one may take.
const LARGEST_FILE: u64 = 1 << 28;
const LARGEST_SIDE: u32 = 32_768;
const LARGEST_ALLOCATION: u64 = 1 << 30;

/// Decodes a JPEG or PNG file; `hint` says what to do about one that is none.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] for what is no image or cut short.
pub(crate) fn decode(path: &Path, hint: &str) -> Result<DynamicImage> {
    let bytes = regular_file::read(path, LARGEST_FILE)?;
    let mut reader = ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(|e| Error::io(path, e))?;
    if reader.format() == Some(ImageFormat::Jpeg) {
        jpeg::check(&bytes).map_err(|problem| Error::data(path, problem, hint))?;
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LARGEST_SIDE);
    limits.max_image_height = Some(LARGEST_SIDE);
    limits.max_alloc = Some(LARGEST_ALLOCATION);
    reader.limits(limits);
    // A fault of a decoder costs one file, not what else is being read.
    match catch_unwind(AssertUnwindSafe(|| reader.decode())) {
        Ok(decoded) => decoded.map_err(|error| no_image(path, hint, &error)),
        Err(_) => Err(Error::data(path, "cannot be read: its decoder panicked", hint)),
    }
}

fn no_image(path: &Path, hint: &str, error: &dyn fmt::Display) -> Error {
    Error::data(path, format!("is no image ({error})"), hint)
}

/// The center square of an image as planes of red, green and blue, `[3, size, size]`, as Pillow's `resize` with a `box` makes it: a
/// bilinear filter as wide as the pixels that become one, which at the edge sees what lies beyond it.
pub(crate) fn color_square(path: &Path, size: usize, planes: &mut [u8], hint: &str) -> Result<()> {
    let image = decode(path, hint)?.into_rgb8();
    let small = square(image.as_raw(), image.dimensions(), PixelType::U8x3, size);
    let small = small.map_err(|error| no_image(path, hint, &error))?;
    for (at, pixel) in small.chunks_exact(3).enumerate() {
        (0..3).for_each(|channel| planes[channel * size * size + at] = pixel[channel]);
    }
    Ok(())
}

/// The center square of a decoded image in gray, `[1, size, size]`, resized like a colored one. Colors become gray as by Pillow's
/// `convert("L")`: 0.299 red + 0.587 green + 0.114 blue (ITU-R 601-2), rounded.
pub(crate) fn gray_square(image: DynamicImage, size: usize) -> Result<Vec<u8>, String> {
    let image = match image {
        DynamicImage::ImageLuma8(gray) => gray,
        other => {
            let gray = |[red, green, blue]: [u8; 3]| {
                let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
                ((sum + 0x8000) >> 16) as u8
            };
            let colored = other.into_rgb8();
            image::GrayImage::from_fn(colored.width(), colored.height(), |x, y| {
                image::Luma([gray(colored.get_pixel(x, y).0)])
            })
        }
    };
    square(image.as_raw(), image.dimensions(), PixelType::U8, size)
}

/// The center square of pixels, brought to `size` × `size`.
fn square(pixels: &[u8], (width, height): (u32, u32), kind: PixelType, size: usize) -> Result<Vec<u8>, String> {
    let side = width.min(height);
    let middle = |length: u32| f64::from((length - side) / 2);
    let options = ResizeOptions::new()
        .crop(middle(width), middle(height), side.into(), side.into())
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let whole = ImageRef::new(width, height, pixels, kind).map_err(|error| error.to_string())?;
    let mut small = Image::new(size as u32, size as u32, kind);
    Resizer::new().resize(&whole, &mut small, &options).map_err(|error| error.to_string())?;
    Ok(small.into_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Valid files of which the decoder makes other pictures than libjpeg, or panics; and one that it reads as libjpeg does.
    #[test]
    fn what_the_decoder_gets_wrong_is_refused_with_its_name() {
        let golden = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name);
        for name in ["lumasub.jpg", "ni-420.jpg", "ycb_cr-420.jpg", "panic-ni.jpg"] {
            let message = decode(&golden(name), "hint").expect_err(name).to_string();
            assert!(message.contains(name) && message.contains("JPEG file that"), "{message}");
        }
        let image = decode(&golden("ycck-sub1.jpg"), "hint").expect("readable").into_rgb8();
        let mean = image.as_raw().iter().map(|&v| f64::from(v)).sum::<f64>() / (255.0 * image.as_raw().len() as f64);
        // Pillow, by libjpeg.
        assert!((mean - 0.491_690).abs() < 0.002, "{mean}");
    }
}
