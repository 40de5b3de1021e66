//! Reads JPEG files: each is checked before libjpeg decodes it, which fills up with gray where data are missing.
//!
//! Markers and segments are walked as ITU-T T.81, annex B, has them; what they say of the data between them is checked by
//! [`entropy`]. A file that passes holds data for each of its pixels, and no others. What follows its end marker is not looked at.

mod bits;
mod decode;
mod entropy;
mod frame;

use bits::{Bits, Table};
pub(crate) use decode::decode;
use entropy::{Scan, Tables};
use frame::{Frame, u16_at};

const START_OF_SCAN: u8 = 0xda;
const END: u8 = 0xd9;

/// State of a walk through the segments of a file.
#[derive(Default)]
struct Walk {
    frame: Option<Frame>,
    dc: [Option<Table>; 4],
    ac: [Option<Table>; 4],
    /// Steps of the coefficients.
    steps: [Option<[i32; 64]>; 4],
    restart_interval: usize,
    /// True if a scan lacks something that others have.
    several_scans: bool,
}

/// Size of an image whose codes have been read.
#[derive(Debug, PartialEq)]
pub(crate) struct Size {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Bytes that its decoder holds beside the pixels.
    pub(crate) coefficients: u64,
}

/// Size of a JPEG file that is whole, and undamaged as far as its codes tell. Cost: its codes are read once, without the pixels.
///
/// # Errors
/// Description of what is wrong, to stand behind the name of the file.
pub(crate) fn check(bytes: &[u8]) -> Result<Size, String> {
    let mut walk = Walk::default();
    let mut at = 2;
    loop {
        let marker = marker(bytes, &mut at)?;
        if marker == END {
            let frame = walk.frame.ok_or("is a JPEG file without an image")?;
            frame.check_complete()?;
            let coefficients = if walk.several_scans { frame.coefficients() } else { 0 };
            return Ok(Size { width: frame.width as u32, height: frame.height as u32, coefficients });
        }
        let length = bytes.get(at..at + 2).map(|length| usize::from(u16::from_be_bytes([length[0], length[1]])));
        let segment = length.filter(|length| *length >= 2).and_then(|length| bytes.get(at + 2..at + length));
        let segment = segment.ok_or("is cut short")?;
        at += 2 + segment.len();
        match marker {
            0x02..=0xbf => return Err("is damaged: it has a marker that is none".to_string()),
            0xdb => walk.steps(segment).ok_or("is damaged: a table of its steps is none")?,
            0xc4 => walk.tables(segment).ok_or("is damaged: a table of its codes is none")?,
            0xdd => walk.restart_interval = usize::from(u16_at(segment, 0).ok_or("is cut short")?),
            // Baseline, extended, progressive.
            0xc0..=0xc2 if walk.frame.is_some() => return Err("is damaged: it has two sizes".to_string()),
            0xc0..=0xc2 => walk.frame = Some(Frame::read(segment, marker == 0xc2)?),
            0xc9..=0xcc => {
                return Err("is a JPEG file with arithmetic codes, which are not supported".to_string());
            }
            0xc3..=0xcf => return Err("is a lossless or hierarchical JPEG file, which is not supported".to_string()),
            START_OF_SCAN => at = walk.scan(segment, bytes, at)?,
            _ => {}
        }
    }
}

/// The next marker, and `at` behind it. Fill bytes before it are skipped.
fn marker(bytes: &[u8], at: &mut usize) -> Result<u8, String> {
    let rest = bytes.get(*at..).unwrap_or_default();
    let fill = rest.iter().take_while(|byte| **byte == 0xff).count();
    match rest.get(fill) {
        None => Err("is cut short".to_string()),
        // Standing alone, they are no marker here.
        Some(0 | 1 | 0xd0..=0xd8) => Err("is damaged: a marker is where none belongs".to_string()),
        Some(marker) if fill > 0 => {
            *at += fill + 1;
            Ok(*marker)
        }
        Some(_) => Err("is damaged: bytes stand where a marker belongs".to_string()),
    }
}

impl Walk {
    /// Huffman tables of a segment.
    fn tables(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let symbols = rest.get(..counts.iter().map(|&count| usize::from(count)).sum())?;
            let tables = if kind >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(kind & 15)).filter(|_| kind >> 4 < 2)? = Some(Table::new(counts, symbols)?);
            segment = &rest[symbols.len()..];
        }
        Some(())
    }

    /// Quantization tables of a segment.
    fn steps(&mut self, mut segment: &[u8]) -> Option<()> {
        while let [kind, rest @ ..] = segment {
            let wide = usize::from(kind >> 4);
            let values = rest.get(..64 << wide).filter(|_| wide < 2)?;
            let step = |at: usize| match wide {
                0 => values[at].into(),
                _ => i32::from(values[2 * at]) << 8 | i32::from(values[2 * at + 1]),
            };
            *self.steps.get_mut(usize::from(kind & 15))? = Some(std::array::from_fn(step));
            segment = &rest[values.len()..];
        }
        Some(())
    }

    /// Reads the codes of a scan that begin at `at`, and gives where they end.
    fn scan(&mut self, header: &[u8], bytes: &[u8], at: usize) -> Result<usize, String> {
        let damaged = || "is damaged: the header of a scan is none".to_string();
        let frame = self.frame.as_mut().ok_or_else(damaged)?;
        let count = usize::from(*header.first().ok_or_else(damaged)?);
        let &[start, end, bits] =
            header.get(1 + 2 * count..).and_then(|rest| rest.first_chunk()).ok_or_else(damaged)?;
        let mut components: Vec<(usize, usize, usize)> = Vec::new();
        for own in header[1..1 + 2 * count].chunks_exact(2) {
            let index = frame.components.iter().position(|component| component.id == own[0]).ok_or_else(damaged)?;
            if components.iter().any(|(other, ..)| *other == index) {
                return Err(damaged());
            }
            components.push((index, usize::from(own[1] >> 4), usize::from(own[1] & 15)));
        }
        if components.is_empty() || components.len() > 4 {
            return Err(damaged());
        }
        let (high, low) = (bits >> 4, bits & 15);
        // Sequential files are read whole whatever stands there.
        let (spectrum, high, low) = if frame.progressive { (start..=end, high, low) } else { (0..=63, 0, 0) };
        let indices: Vec<usize> = components.iter().map(|(index, ..)| *index).collect();
        frame.begin_scan(&indices, spectrum.clone(), high, low).ok_or_else(damaged)?;
        self.several_scans |= frame.progressive || indices.len() < frame.components.len();
        let mut tables = Vec::new();
        for (index, dc, ac) in components {
            let steps = self.steps.get(frame.components[index].steps).and_then(Option::as_ref);
            let steps = steps.ok_or("is damaged: a table of its steps is missing")?;
            let [dc, ac] = [(&self.dc, dc), (&self.ac, ac)].map(|(all, at)| all.get(at).and_then(Option::as_ref));
            tables.push(Tables { index, dc, ac, steps });
        }
        let mut bits = Bits::new(bytes, at);
        Scan { components: tables, spectrum, high, low, restart_interval: self.restart_interval }
            .walk(frame, &mut bits)?;
        Ok(bits.end_of_image()?)
    }
}
