//! Pixels of a PNG file, decoded by the crate `png`.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::{LARGEST_ALLOCATION, Picture, check_size};

/// Gray of a gray file, else red, green and blue: palettes are looked up, transparency is dropped, and 16 bits are rounded to 8.
///
/// # Errors
/// Description of why it cannot be read, to stand behind the file's name.
pub(super) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    // A fault of the decoder costs one file, not what else is being read.
    catch_unwind(AssertUnwindSafe(|| pixels(bytes)))
        .unwrap_or_else(|_| Err("cannot be read: its decoder panicked".to_string()))
}

fn pixels(bytes: &[u8]) -> Result<Picture, String> {
    let no_image = |error: png::DecodingError| format!("is no image ({error})");
    let limits = Limits { bytes: usize::try_from(LARGEST_ALLOCATION).unwrap_or(usize::MAX) };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(Transformations::EXPAND);
    let mut reader = decoder.read_info().map_err(no_image)?;
    let (width, height) = (reader.info().width, reader.info().height);
    let size = reader.output_buffer_size();
    check_size([width, height], size.map_or(u64::MAX, |size| size as u64))?;
    let mut buffer = vec![0; size.unwrap_or(0)];
    let frame = reader.next_frame(&mut buffer).map_err(no_image)?;
    buffer.truncate(frame.buffer_size());
    if frame.bit_depth == BitDepth::Sixteen {
        buffer = buffer.as_chunks::<2>().0.iter().map(|&pair| rounded(u16::from_be_bytes(pair))).collect();
    }
    let (stored, channels) = match frame.color_type {
        ColorType::Grayscale => (1, 1),
        ColorType::GrayscaleAlpha => (2, 1),
        ColorType::Rgb | ColorType::Indexed => (3, 3),
        ColorType::Rgba => (4, 3),
    };
    if stored > channels {
        buffer = buffer.chunks_exact(stored).flat_map(|pixel| &pixel[..channels]).copied().collect();
    }
    Ok(Picture { width, height, channels, pixels: buffer })
}

/// The nearest of 256 levels to one of 65,536.
fn rounded(level: u16) -> u8 {
    ((u32::from(level) + 128) / 257) as u8
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use png::Encoder;

    use super::*;

    /// A PNG file of pixels as they are stored.
    fn encode(size: [u32; 2], color: ColorType, depth: BitDepth, pixels: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, size[0], size[1]);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == ColorType::Indexed {
            encoder.set_palette(vec![1, 2, 3, 250, 251, 252]);
        }
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        file
    }

    #[test]
    fn every_kind_becomes_gray_or_color_of_eight_bits() {
        use BitDepth::{Eight, One, Sixteen};
        use ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
        for (color, depth, stored, channels, wanted) in [
            (Grayscale, Eight, &[7, 9][..], 1, &[7, 9][..]),
            (Grayscale, One, &[0b0100_0000], 1, &[0, 255]),
            (Grayscale, Sixteen, &[0, 128, 0, 129], 1, &[0, 1]),
            (GrayscaleAlpha, Eight, &[7, 0, 9, 255], 1, &[7, 9]),
            (Rgb, Eight, &[1, 2, 3, 4, 5, 6], 3, &[1, 2, 3, 4, 5, 6]),
            (Rgba, Eight, &[1, 2, 3, 0, 4, 5, 6, 255], 3, &[1, 2, 3, 4, 5, 6]),
            (Rgb, Sixteen, &[255, 255, 0, 0, 127, 255, 1, 1, 1, 1, 1, 1], 3, &[255, 0, 127, 1, 1, 1]),
            (Indexed, One, &[0b0100_0000], 3, &[1, 2, 3, 250, 251, 252]),
        ] {
            let picture = decode(&encode([2, 1], color, depth, stored)).unwrap();
            assert_eq!((picture.width, picture.height, picture.channels), (2, 1, channels), "{color:?} {depth:?}");
            assert_eq!(picture.pixels, wanted, "{color:?} {depth:?}");
        }
    }
}
