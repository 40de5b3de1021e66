//! Pixels of a JPEG file, decoded by libjpeg-turbo's code (the crate `mozjpeg`).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mozjpeg::{ColorSpace, Decompress};

use crate::picture::Picture;

/// Pixels as libjpeg's default settings make them: gray of a gray file, red, green and blue of any other.
///
/// CMYK becomes RGB as in Pillow's `convert("RGB")`, and torchvision's: every such file is taken for an inverted one, as Adobe writes
/// them. libjpeg's warnings are not looked at; what they are about, [`super::check`] refuses before.
///
/// # Errors
/// Description of why libjpeg cannot read the file, to stand behind its name.
pub(crate) fn decode(bytes: &[u8]) -> Result<Picture, String> {
    // An error of libjpeg unwinds with its message. So does a fault of the decoder: it costs one file.
    match catch_unwind(AssertUnwindSafe(|| pixels(bytes))) {
        Ok(image) => image.map_err(|error| format!("is a JPEG file that libjpeg cannot read ({error})")),
        Err(payload) => Err(match payload.downcast_ref::<String>().and_then(|text| text.strip_prefix(PREFIX)) {
            Some(message) => format!("is a JPEG file that libjpeg cannot read ({message})"),
            None => "cannot be read: its decoder panicked".to_string(),
        }),
    }
}

/// Beginning of the message of each error that libjpeg reports.
const PREFIX: &str = "libjpeg fatal error: ";

fn pixels(bytes: &[u8]) -> io::Result<Picture> {
    let decoder = Decompress::new_mem(bytes)?;
    let [width, height] = [decoder.width() as u32, decoder.height() as u32];
    let picture = |channels, pixels| Picture { width, height, channels, pixels };
    let (picture, decoder) = match decoder.components().len() {
        1 => {
            let mut decoder = decoder.grayscale()?;
            (picture(1, decoder.read_scanlines()?), decoder)
        }
        3 => {
            let mut decoder = decoder.rgb()?;
            (picture(3, decoder.read_scanlines()?), decoder)
        }
        4 => {
            let mut decoder = decoder.to_colorspace(ColorSpace::JCS_CMYK)?;
            let (mut pixels, mut row) = (Vec::new(), vec![0; 4 * width as usize]);
            for _ in 0..height {
                decoder.read_scanlines_into(&mut row)?;
                for from in row.as_chunks::<4>().0 {
                    let mixed = |channel: u8| ((u32::from(channel) * u32::from(from[3]) + 127) / 255) as u8;
                    pixels.extend([from[0], from[1], from[2]].map(mixed));
                }
            }
            (picture(3, pixels), decoder)
        }
        count => return Err(io::Error::other(format!("it has {count} colors"))),
    };
    decoder.finish()?;
    match picture.pixels.len() == width as usize * height as usize * picture.channels {
        true => Ok(picture),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
