//! What a JPEG file says of itself before it is decoded.

/// Whether a JPEG file has its last marker. Segments say how long they are; in the compressed data between them 0xff is followed
/// by what is no marker. (ITU-T T.81, annex B.)
pub(crate) fn jpeg_ends(bytes: &[u8]) -> bool {
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

/// What is about a JPEG file that the decoder (zune-jpeg 0.5.15) makes another picture of, without a word. Found by comparing it
/// with libjpeg-turbo over 22 samplings × { baseline, optimized, with restarts, progressive, two kinds of several scans, arithmetic } ×
/// { gray, YCbCr, RGB }, 418 files: all others are within 4 levels, 1 where no color is converted, or an error.
pub(crate) fn jpeg_misread(bytes: &[u8]) -> Option<&'static str> {
    const START_OF_SCAN: u8 = 0xda;
    let mut at = 2;
    // Sampling factors of the components, and whether the frame is sequential.
    let mut frame: Option<(Vec<[u8; 2]>, bool)> = None;
    loop {
        let [0xff, marker, high, low, ..] = bytes.get(at..)? else {
            at += 1; // padding
            continue;
        };
        if matches!(marker, 0 | 1 | 0xd0..=0xd8 | 0xff) {
            at += 1;
            continue;
        }
        let segment = bytes.get(at + 4..)?;
        match *marker {
            // A frame, but for the markers of tables among them.
            0xc0..=0xcf if !matches!(*marker, 0xc4 | 0xc8 | 0xcc) => {
                let components = segment.get(6..)?.chunks_exact(3).take(usize::from(*segment.get(5)?));
                let sampling = components.map(|component| [component[1] >> 4, component[1] & 15]).collect();
                frame = Some((sampling, *marker <= 0xc1));
            }
            START_OF_SCAN => {
                let (sampling, sequential) = frame?;
                let most = |axis: usize| sampling.iter().map(|own| own[axis]).max().unwrap_or(1);
                let first = *sampling.first()?;
                if first[0] < most(0) || first[1] < most(1) {
                    return Some("samples a color more finely than brightness");
                }
                let several = usize::from(*segment.first()?) < sampling.len();
                return (sequential && several && most(1) > 1)
                    .then_some("has a scan for each component, of which some are sampled more coarsely");
            }
            _ => {}
        }
        at += 2 + usize::from(u16::from_be_bytes([*high, *low]));
    }
}
