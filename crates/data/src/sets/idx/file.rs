//! One IDX file.
//!
//! A file is a magic number (two zero bytes, the type 8 = unsigned byte, the number of dimensions), one big-endian u32
//! per dimension, then the bytes in row-major order. Source: Y. LeCun, C. Cortes, C. Burges, *The MNIST database*.
//!
//! Files come from the network, so nothing in a header is believed before the bytes are there. A plain file is as long
//! as its header says, and its images stay in it until they are wanted. A packed one is unpacked into memory. That
//! grows with the bytes that arrive and ends one byte after the length that the header promises, which also bounds a
//! gzip bomb.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use crate::error::{Error, Result};
use crate::io::Bytes;

/// Largest size in bytes of one file that is held in memory, of packed images or of labels: a header can claim
/// anything.
pub(super) const MAX_BYTES: u64 = 1 << 30;

const AGAIN: &str = "download it again, or ask the place it came from for its checksum";

/// Type of the numbers of a file: its code in the header, and its bytes.
#[derive(Clone, Copy)]
pub(super) struct Element {
    code: u8,
    size: u64,
}

pub(super) const BYTES: Element = Element { code: 8, size: 1 };
pub(super) const INTEGERS: Element = Element { code: 12, size: 4 };

/// Sizes and data of an IDX file of bytes with `N` dimensions, and where in the latter they begin.
pub(super) fn read<const N: usize>(path: &Path, element: Element) -> Result<([usize; N], Bytes, u64)> {
    let plain = Bytes::open(path)?;
    let mut file = BufReader::new(File::open(path).map_err(|source| Error::io(path, source))?);
    // The first bytes tell gzip, not the name: browsers unpack without renaming.
    let gzip = file.fill_buf().map_err(|source| Error::io(path, source))?.starts_with(&[0x1f, 0x8b]);
    let mut input: Box<dyn Read> = if gzip { Box::new(Unpacked(Some(GzDecoder::new(file)))) } else { Box::new(file) };

    let start = 4 + 4 * N as u64;
    let header = take(&mut input, start, path, gzip)?;
    if header.is_empty() {
        return Err(Error::data(path, "is empty", AGAIN));
    }
    check_magic::<N>(path, &header, element)?;
    if (header.len() as u64) < start {
        return Err(Error::data(path, format!("is cut short: {} bytes of a header of {start}", header.len()), AGAIN));
    }
    let size = |i: usize| u32::from_be_bytes(std::array::from_fn(|byte| header[4 + 4 * i + byte]));
    let sizes: [u32; N] = std::array::from_fn(size);
    let text = sizes.map(|size| size.to_string()).join(" x ");
    // A product beyond 64 bits is more than any file holds.
    let bytes = sizes.iter().fold(element.size, |product, &size| product.saturating_mul(size.into()));
    if bytes == 0 {
        return Err(Error::data(path, format!("its header claims {text} bytes: there is nothing in it"), AGAIN));
    }
    if gzip && bytes > MAX_BYTES {
        let problem = format!("its header claims {text} bytes, more than {} MiB", MAX_BYTES >> 20);
        return Err(Error::data(path, problem, "unpack it: what is not packed need not fit into memory"));
    }
    let (there, data, start) = match gzip {
        true => {
            let mut data = take(&mut input, bytes, path, gzip)?;
            // The end of the stream is checked, and what follows it.
            data.extend(take(&mut input, 1, path, gzip)?);
            (data.len() as u64, Bytes::Memory(data), 0)
        }
        false => (plain.len().saturating_sub(start), plain, start),
    };
    match there.cmp(&bytes) {
        std::cmp::Ordering::Equal => Ok((sizes.map(|size| size as usize), data, start)),
        std::cmp::Ordering::Less => {
            let problem = format!("is cut short: its header claims {text} bytes, but {there} follow it");
            Err(Error::data(path, problem, AGAIN))
        }
        std::cmp::Ordering::Greater => {
            Err(Error::data(path, format!("is longer than the {text} bytes that its header claims"), AGAIN))
        }
    }
}

/// At most `limit` bytes; memory grows with what is there, not with `limit`.
pub(super) fn take(input: &mut dyn Read, limit: u64, path: &Path, gzip: bool) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match input.take(limit).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if gzip && is_damage(&error) => Err(Error::data(path, format!("is damaged gzip ({error})"), AGAIN)),
        Err(source) => Err(Error::io(path, source)),
    }
}

/// The contents of a gzip file: of one stream, or of several one after the other. Zeros may follow each, as gzip allows: tapes and some
/// servers fill up blocks. `None` at the end.
struct Unpacked(Option<GzDecoder<BufReader<File>>>);

impl Read for Unpacked {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some(stream) = &mut self.0 {
            let read = stream.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            // The stream ended, and its checksum was right.
            let mut file = self.0.take().expect("read just now").into_inner();
            self.0 = (!is_zeros(&mut file)?).then(|| GzDecoder::new(file));
        }
        Ok(0)
    }
}

/// True if nothing but zeros is left in a file, which then stands behind them.
fn is_zeros(file: &mut BufReader<File>) -> io::Result<bool> {
    loop {
        let some = file.fill_buf()?;
        if some.is_empty() {
            return Ok(true);
        }
        let zeros = some.iter().take_while(|byte| **byte == 0).count();
        let all = zeros == some.len();
        file.consume(zeros);
        if !all {
            return Ok(false);
        }
    }
}

/// True if the decoder complains of its input, rather than the system of the disk.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
}

/// Checks that the first bytes are those of an IDX file of bytes with `N` dimensions.
fn check_magic<const N: usize>(path: &Path, header: &[u8], element: Element) -> Result<()> {
    let wanted = [0, 0, element.code, N as u8];
    let start = &header[..header.len().min(4)];
    if wanted.starts_with(start) {
        return Ok(());
    }
    let hint = match start {
        [0, 0, 8, 1] => "this is a file of labels: swap it with the images",
        [0, 0, 8, 3] => "this is a file of images: swap it with the labels",
        [b'<', ..] => "this looks like a web page: the download went wrong",
        [0, 0, 9..=14, _] => "only IDX files of unsigned bytes are read",
        _ => AGAIN,
    };
    Err(Error::data(path, format!("is not IDX: it starts with {start:02x?}, not {wanted:02x?}"), hint))
}
