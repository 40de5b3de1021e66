//! One image file: decoded, and its center square brought to one size.

#[cfg(test)]
pub(crate) mod encode;
pub(crate) mod jpeg;
pub(crate) mod png;

use std::fmt;
use std::path::Path;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};

use crate::error::{Error, Result};
use crate::io::regular_file;

/// Largest file, largest sides of its image, and most memory that decoding one may take.
const LARGEST_FILE: u64 = 1 << 28;
const LARGEST_SIDE: u32 = 32_768;
const LARGEST_ALLOCATION: u64 = 1 << 30;

/// Largest number of pixels of an image, the same as Pillow's. A small file may hold as many, and each becomes three
/// bytes.
const MOST_PIXELS: u64 = 178_956_970;

/// A decoded image, row by row from the top, 8 bits a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels of a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 1 for gray, 3 for red, green and blue.
    pub channels: usize,
    /// Values `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// The values of one color, `[height, width]`.
    fn plane(&self, channel: usize) -> Vec<u8> {
        self.pixels.chunks_exact(self.channels).map(|pixel| pixel[channel]).collect()
    }

    /// The pixels in color: `[height, width, 3]`.
    pub fn into_rgb(self) -> Vec<u8> {
        match self.channels {
            1 => self.pixels.into_iter().flat_map(|gray| [gray; 3]).collect(),
            _ => self.pixels,
        }
    }
}

/// Decodes a JPEG or PNG file; `hint` says what to do about one that is none.
///
/// # Errors
/// [`Error::Io`]; [`Error::Data`] for what is no image, cut short or too large.
pub fn decode(path: &Path, hint: &str) -> Result<Picture> {
    let bytes = regular_file::read(path, LARGEST_FILE)?;
    let decoded = match bytes {
        _ if bytes.starts_with(&[0xff, 0xd8]) => jpeg::check(&bytes).and_then(|size| {
            let pixels = 3 * u64::from(size.width) * u64::from(size.height);
            check_size([size.width, size.height], pixels + size.coefficients)?;
            jpeg::decode(&bytes)
        }),
        _ if bytes.starts_with(b"\x89PNG\r\n\x1a\n") => png::decode(&bytes),
        _ => Err("is no image (neither a JPEG nor a PNG file)".to_string()),
    };
    decoded.map_err(|problem| Error::data(path, problem, hint))
}

/// Error if an image is too large, or takes too many bytes to decode.
fn check_size([width, height]: [u32; 2], bytes: u64) -> Result<(), String> {
    if width.max(height) > LARGEST_SIDE {
        return Err(format!("has {width} x {height} pixels, more than {LARGEST_SIDE} a side"));
    }
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!("has {width} x {height} pixels, more than {MOST_PIXELS}"));
    }
    match bytes > LARGEST_ALLOCATION {
        true => Err(format!("has {width} x {height} pixels, which take more than 1 GiB to decode")),
        false => Ok(()),
    }
}

fn no_image(path: &Path, hint: &str, error: &dyn fmt::Display) -> Error {
    Error::data(path, format!("is no image ({error})"), hint)
}

/// The center square of an image as planes of red, green and blue, `[3, size, size]`, as Pillow's `resize` with a `box`
/// makes it. The bilinear filter is as wide as the pixels that become one; at the edge it sees what lies beyond.
pub fn color_square(path: &Path, size: usize, planes: &mut [u8], hint: &str) -> Result<()> {
    let image = decode(path, hint)?;
    let small =
        |plane: &[u8]| square(plane, (image.width, image.height), size).map_err(|error| no_image(path, hint, &error));
    // A gray image is the same in each color.
    let colors = match image.channels {
        1 => vec![small(&image.pixels)?; 3],
        _ => (0..3).map(|channel| small(&image.plane(channel))).collect::<Result<Vec<_>>>()?,
    };
    colors.iter().zip(planes.chunks_exact_mut(size * size)).for_each(|(color, plane)| plane.copy_from_slice(color));
    Ok(())
}

/// The center square of a decoded image in gray, `[1, size, size]`, resized like a colored one. Colors become gray as by Pillow's
/// `convert("L")`: 0.299 red + 0.587 green + 0.114 blue (ITU-R 601-2), rounded.
pub fn gray_square(image: Picture, size: usize) -> Result<Vec<u8>, String> {
    let sides = (image.width, image.height);
    let gray = match image.channels {
        1 => image.pixels,
        _ => {
            let gray = |&[red, green, blue]: &[u8; 3]| {
                let sum = u32::from(red) * 19_595 + u32::from(green) * 38_470 + u32::from(blue) * 7_471;
                ((sum + 0x8000) >> 16) as u8
            };
            image.pixels.as_chunks::<3>().0.iter().map(gray).collect()
        }
    };
    square(&gray, sides, size)
}

/// The center square of a plane `[height, width]`, brought to `size` × `size`. All colors go this way, since each type of pixel takes
/// ten seconds to compile.
fn square(plane: &[u8], (width, height): (u32, u32), size: usize) -> Result<Vec<u8>, String> {
    let side = width.min(height);
    let middle = |length: u32| f64::from((length - side) / 2);
    let options = ResizeOptions::new()
        .crop(middle(width), middle(height), side.into(), side.into())
        .resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    let whole = TypedImageRef::<U8>::from_buffer(width, height, plane).map_err(|error| error.to_string())?;
    let mut bytes = vec![0; size * size];
    let mut small =
        TypedImage::<U8>::from_buffer(size as u32, size as u32, &mut bytes).map_err(|error| error.to_string())?;
    Resizer::new().resize_typed(&whole, &mut small, &options).map_err(|error| error.to_string())?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
    }

    /// Width, height and CRC-32 of the pixels in RGB that Pillow 13 reads, by libjpeg-turbo 3.2.
    const AS_LIBJPEG: [(&str, u32, u32, u32); 13] = [
        ("lumasub.jpg", 64, 64, 0xbbaf_29c2),
        ("ni-420.jpg", 64, 64, 0x0e05_297f),
        ("ycb_cr-420.jpg", 64, 64, 0x0e05_297f),
        ("panic-ni.jpg", 37, 61, 0x83a2_4077),
        ("two-scans-422.jpg", 17, 17, 0xcbea_47ff),
        ("ycck-two-scans.jpg", 17, 17, 0x6edd_964a),
        ("scans-restarts.jpg", 17, 17, 0xdfb9_80e5),
        ("narrow-420.jpg", 3, 3, 0x8f99_99bf),
        ("ycck-sub1.jpg", 64, 64, 0x0736_d865),
        ("baseline-420.jpg", 17, 17, 0x36c6_2331),
        ("progressive-420.jpg", 33, 33, 0xee10_720c),
        ("gray-restarts.jpg", 17, 17, 0xd847_4f93),
        ("cmyk-420.jpg", 17, 17, 0xf0c4_9217),
    ];

    #[test]
    fn every_pixel_is_that_of_libjpeg() {
        for (name, width, height, checksum) in AS_LIBJPEG {
            let image = decode(&golden(name), "hint").expect("readable");
            assert_eq!((image.width, image.height), (width, height), "{name}");
            assert_eq!(crc32fast::hash(&image.into_rgb()), checksum, "{name}");
        }
    }

    /// libjpeg reports the sampling of this one after the check: factors of 3, 2 and 1.
    #[test]
    fn what_libjpeg_cannot_read_is_refused_with_its_name() {
        assert!(jpeg::check(&std::fs::read(golden("fractional.jpg")).expect("checked in")).is_ok());
        let message = decode(&golden("fractional.jpg"), "hint").expect_err("fractional").to_string();
        assert!(message.contains("fractional.jpg: is a JPEG file that libjpeg cannot read (Fractional"), "{message}");
        for (name, frame, reason) in [
            ("lossless.jpg", 0xc3, "lossless"),
            ("arithmetic.jpg", 0xc9, "arithmetic codes"),
            ("depth.jpg", 0xc1, "12 bits a sample"),
        ] {
            let mut bytes = std::fs::read(golden("baseline-420.jpg")).expect("checked in");
            let at = bytes.windows(2).position(|pair| pair == [0xff, 0xc0]).expect("has a size");
            bytes[at + 1] = frame;
            bytes[at + 4] = 12;
            let folder = tempfile::tempdir().expect("writable");
            std::fs::write(folder.path().join(name), bytes).expect("writable");
            let message = decode(&folder.path().join(name), "hint").expect_err(name).to_string();
            assert!(message.contains(name) && message.contains(reason), "{message}");
        }
    }

    /// A picture that lacks data, or has some besides, whatever its header and its end say.
    #[test]
    fn data_that_do_not_fit_the_size_are_refused() {
        let frames: [(&str, u8); 4] = [
            ("baseline-420.jpg", 0xc0),
            ("progressive-420.jpg", 0xc2),
            ("gray-restarts.jpg", 0xc0),
            ("cmyk-420.jpg", 0xc2),
        ];
        for (name, frame) in frames {
            let whole = std::fs::read(golden(name)).expect("checked in");
            assert!(jpeg::check(&whole).is_ok(), "{name}");
            for cut in 2..whole.len() {
                assert!(jpeg::check(&whole[..cut]).is_err(), "{name} cut at {cut}");
                let ended = [&whole[..cut], &[0xff, 0xd9]].concat();
                assert!(jpeg::check(&ended).is_err() || cut + 2 >= whole.len(), "{name} ended at {cut}");
            }
            let at = whole.windows(2).position(|pair| pair == [0xff, frame]).expect("has a size");
            for (byte, length) in
                [(at + 5, 0), (at + 5, 1), (at + 5, 255), (at + 6, 1), (at + 6, 49), (at + 7, 70), (at + 8, 8)]
            {
                let mut resized = whole.clone();
                resized[byte] = length;
                // A zero is the high byte as it was.
                assert!(jpeg::check(&resized).is_err() || length == 0, "{name} with {length} at {byte}");
            }
        }
    }

    /// Bytes that programs add to a file: any behind its end marker, and before it those that cannot be codes.
    #[test]
    fn bytes_that_belong_to_no_pixel_are_passed_over() {
        let path = std::env::temp_dir().join(format!("trellis-added-{}.jpg", std::process::id()));
        let read = |parts: &[&[u8]]| {
            std::fs::write(&path, parts.concat()).expect("writable");
            decode(&path, "hint").map(Picture::into_rgb)
        };
        let thumbnail = std::fs::read(golden("gray-restarts.jpg")).expect("checked in");
        let text = b"<!-- served in 12 ms -->\n";
        let noise: Vec<u8> = (0..40_u32).map(|at| (at * 97 % 251) as u8).collect();
        for name in ["baseline-420.jpg", "progressive-420.jpg", "gray-restarts.jpg", "cmyk-420.jpg"] {
            let wanted = decode(&golden(name), "hint").expect("whole").into_rgb();
            let whole = std::fs::read(golden(name)).expect("checked in");
            let (data, end) = whole.split_at(whole.len() - 2);
            for added in [&[0; 5000][..], &thumbnail, text, &noise, &[0xff], end, &[0xff, 0xd8, 0xff]] {
                assert!(read(&[&whole, added]).expect(name) == wanted, "{name}, {added:?}");
            }
            for added in [&[0; 5000][..], &[0], &[0x7f], &[0xff, 0, 0xff, 0], text] {
                assert!(read(&[data, added, end]).expect(name) == wanted, "{name}, {added:?} before its end");
            }
            // These may be codes that damaged ones left behind; those end within a picture.
            for added in [&noise[..], &[1, 2, 3], &data[data.len() - 9..], &[0, 0, 0xff, 0xd0], &thumbnail] {
                assert!(read(&[data, added, end]).is_err(), "{name}, {added:?} before its end");
            }
            assert!(read(&[data, &[0; 100]]).is_err() && read(&[&data[..data.len() - 9], &[0; 100], end]).is_err());
        }
        let png = std::env::temp_dir().join(format!("trellis-added-{}.png", std::process::id()));
        std::fs::write(&png, encode::png(&encode::picture(4, 4, |x, y| [x as u8, y as u8, 7]))).expect("writable");
        let wanted = decode(&png, "hint").expect("whole").into_rgb();
        let whole = std::fs::read(&png).expect("written");
        for added in [&[0; 5000][..], &thumbnail, &whole] {
            assert!(read(&[&whole, added]).expect("a PNG file") == wanted);
        }
        [path, png].iter().for_each(|path| std::fs::remove_file(path).expect("ours"));
    }

    /// Numbers that no picture has: steps between them that are another file's.
    #[test]
    fn brightness_out_of_range_is_refused() {
        let mut bytes = std::fs::read(golden("baseline-420.jpg")).expect("checked in");
        let table = bytes.windows(2).position(|pair| pair == [0xff, 0xdb]).expect("has steps") + 5;
        bytes[table..table + 3].copy_from_slice(&[3, 2, 2]);
        assert!(jpeg::check(&bytes).is_ok());
        bytes[table..table + 3].copy_from_slice(&[255, 127, 255]);
        assert!(jpeg::check(&bytes).expect_err("damaged").contains("beyond all brightness"));
    }

    #[test]
    fn long_sides_are_refused_with_their_length() {
        for (kind, length, fits) in
            [("png", 32_768, true), ("jpg", 32_768, true), ("png", 32_769, false), ("jpg", 32_769, false)]
        {
            let path = std::env::temp_dir().join(format!("trellis-long-{}.{kind}", std::process::id()));
            let image = encode::picture(2, length, |_, _| [0; 3]);
            let file = if kind == "jpg" { encode::jpeg(&image) } else { encode::png(&image) };
            std::fs::write(&path, file).expect("writable");
            let decoded = decode(&path, "hint").map(|image| image.height).map_err(|error| error.to_string());
            std::fs::remove_file(&path).expect("ours");
            match decoded {
                Ok(height) => assert!(fits && height == length, "{kind} {length}"),
                Err(message) => assert!(!fits && message.contains("2 x 32769 pixels, more than 32768"), "{message}"),
            }
        }
    }

    /// Files in several scans take their coefficients besides: two bytes for each number of a block.
    #[test]
    fn memory_is_that_of_pixels_and_coefficients() {
        for (name, blocks) in
            [("baseline-420.jpg", 0), ("progressive-420.jpg", 54), ("fractional.jpg", 6), ("ni-420.jpg", 96)]
        {
            let bytes = std::fs::read(golden(name)).expect("checked in");
            assert_eq!(jpeg::check(&bytes).map(|size| size.coefficients), Ok(blocks * 128), "{name}");
        }
        assert_eq!(check_size([16_384, 8_192], 1 << 30), Ok(()));
        let message = check_size([16_384, 8_192], (1 << 30) + 1).expect_err("too much");
        assert!(message.contains("has 16384 x 8192 pixels, which take more than 1 GiB"), "{message}");
    }

    /// 400 million pixels in some bytes.
    #[test]
    fn a_small_file_with_more_pixels_than_memory_is_refused() {
        let header = [&20_000_u32.to_be_bytes()[..], &20_000_u32.to_be_bytes(), &[8, 0, 0, 0, 0]].concat();
        let chunk = |kind: &[u8], data: &[u8]| {
            let checksum = crc32fast::hash(&[kind, data].concat()).to_be_bytes();
            [&(data.len() as u32).to_be_bytes()[..], kind, data, &checksum].concat()
        };
        let file = [b"\x89PNG\r\n\x1a\n".to_vec(), chunk(b"IHDR", &header), chunk(b"IDAT", &[0]), chunk(b"IEND", &[])]
            .concat();
        let folder = tempfile::tempdir().expect("writable");
        let path = folder.path().join("large.png");
        std::fs::write(&path, file).expect("writable");
        let message = decode(&path, "hint").expect_err("too large").to_string();
        assert!(message.contains("has 20000 x 20000 pixels") && message.contains("large.png"), "{message}");
    }
}
