//! JPEG and PNG files for tests.

use mozjpeg::{ColorSpace, Compress};

use super::Picture;

/// A picture in color whose pixels are those of a function of column and row.
pub(crate) fn picture(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> Picture {
    let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
    Picture { width, height, channels: 3, pixels: places.flat_map(|(x, y)| pixel(x, y)).collect() }
}

/// A baseline JPEG file, 4:2:0.
pub(crate) fn jpeg(picture: &Picture) -> Vec<u8> {
    let mut encoder = Compress::new(ColorSpace::JCS_RGB);
    encoder.set_fastest_defaults();
    encoder.set_size(picture.width as usize, picture.height as usize);
    let mut encoder = encoder.start_compress(Vec::new()).expect("memory");
    encoder.write_scanlines(&picture.pixels).expect("memory");
    encoder.finish().expect("memory")
}

/// A PNG file.
pub(crate) fn png(picture: &Picture) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, picture.width, picture.height);
    encoder.set_color(png::ColorType::Rgb);
    let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(&picture.pixels));
    written.expect("written to memory");
    file
}
