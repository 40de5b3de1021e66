//! Bits of a scan between two markers, and the Huffman codes that they begin with.

/// Codes of up to so many bits are looked up, longer ones searched.
const LOOKUP: u32 = 9;

/// Description of what is wrong with codes. Short, since millions of results hold one.
pub(super) type Fault = &'static str;

const SHORT: &str = "is cut short: its image data end early";
pub(super) const CODE: &str = "is damaged: its image data hold a code that is none";

/// A Huffman table.
pub(super) struct Table {
    /// Length and symbol of the code that a number of [`LOOKUP`] bits begins with; length 0 if it is longer.
    short: Box<[(u8, u8); 1 << LOOKUP]>,
    /// First code of each length, number of codes before it, and number of codes of the length.
    lengths: [(u32, usize, u32); 17],
    symbols: Vec<u8>,
}

impl Table {
    /// Table of so many codes of 1 to 16 bits; `None` if there are more than fit.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let (mut code, mut before) = (0_u32, 0);
        let mut lengths = [(0, 0, 0); 17];
        let mut short = Box::new([(0, 0); 1 << LOOKUP]);
        for (length, &count) in (1_u32..).zip(counts) {
            code <<= 1;
            lengths[length as usize] = (code, before, u32::from(count));
            if code + u32::from(count) > 1 << length {
                return None;
            }
            for &symbol in &symbols[before..before + usize::from(count)] {
                if length <= LOOKUP {
                    let first = (code << (LOOKUP - length)) as usize;
                    short[first..first + (1 << (LOOKUP - length))].fill((length as u8, symbol));
                }
                code += 1;
            }
            before += usize::from(count);
        }
        Some(Self { short, lengths, symbols: symbols.to_vec() })
    }
}

/// Bits between two markers.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The next bits, the first of them on top.
    buffer: u64,
    held: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, buffer: 0, held: 0 }
    }

    /// Fills the buffer up to the next marker.
    fn fill(&mut self) {
        // Eight bytes at once where none of them is escaped; bits below `held` are of bytes that come again.
        if let Some(word) = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk()) {
            let word = u64::from_be_bytes(*word);
            let escaped = (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080;
            if escaped == 0 && self.held < 64 {
                self.buffer |= word >> self.held;
                self.at += (63 - self.held as usize) / 8;
                self.held |= 56;
                return;
            }
        }
        while self.held <= 56 {
            let Some(&byte) = self.bytes.get(self.at) else { return };
            if byte == 0xff {
                if self.bytes.get(self.at + 1) != Some(&0) {
                    return;
                }
                self.at += 1;
            }
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.held);
            self.held += 8;
        }
    }

    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<u32, Fault> {
        if self.held < count {
            self.fill();
            if self.held < count {
                return Err(SHORT);
            }
        }
        // In two steps, since none may be taken.
        let value = (self.buffer >> 1 >> (63 - count)) as u32;
        self.buffer <<= count;
        self.held -= count;
        Ok(value)
    }

    /// A symbol, of which the upper half are zeros before a number, the lower half its bits; and the number.
    #[inline]
    pub(super) fn number(&mut self, table: &Table) -> Result<(u32, u32, i32), Fault> {
        if self.held < 32 {
            self.fill();
        }
        let (length, symbol) = table.short[(self.buffer >> (64 - LOOKUP)) as usize];
        let (length, symbol) = if length > 0 { (length.into(), symbol) } else { self.long(table)? };
        let (zeros, size) = parts(symbol);
        if self.held < length + size {
            return Err(SHORT);
        }
        let bits = self.buffer << length;
        let value = (bits >> 1 >> (63 - size)) as i32;
        self.buffer = bits << size;
        self.held -= length + size;
        // Those that begin with 0 are negative ones.
        Ok((zeros, size, if bits >> 63 == 0 { value + 1 - (1 << size) } else { value }))
    }

    #[inline]
    pub(super) fn symbol(&mut self, table: &Table) -> Result<u8, Fault> {
        if self.held < 16 {
            self.fill();
        }
        let (length, symbol) = table.short[(self.buffer >> (64 - LOOKUP)) as usize];
        let (length, symbol) = if length > 0 { (length.into(), symbol) } else { self.long(table)? };
        self.take(length)?;
        Ok(symbol)
    }

    /// Length and symbol of a code that is too long to be looked up.
    #[cold]
    fn long(&self, table: &Table) -> Result<(u32, u8), Fault> {
        for length in LOOKUP + 1..=16 {
            let (first, before, count) = table.lengths[length as usize];
            let code = (self.buffer >> (64 - length)) as u32;
            if code >= first && code - first < count {
                return Ok((length, table.symbols[before + (code - first) as usize]));
            }
        }
        Err(if self.held < 16 { SHORT } else { CODE })
    }

    /// Position of the marker that ends the bits, of which less than a byte is left.
    pub(super) fn end(&mut self) -> Result<usize, Fault> {
        self.fill();
        match (self.held < 8, self.bytes.get(self.at)) {
            (true, Some(0xff)) => Ok(self.at),
            (true, _) => Err(SHORT),
            _ => Err("is damaged: it has more image data than its size tells"),
        }
    }

    /// [`Bits::end`] of the last scan, where bytes that belong to no pixel may stand before the end marker: cameras and
    /// servers fill files up. Bytes that may be codes are refused, since damaged codes leave such behind.
    pub(super) fn end_of_image(&mut self) -> Result<usize, Fault> {
        let fault = match self.end() {
            Err(fault) if self.held >= 8 => fault,
            ended => return ended,
        };
        // Codes are filled up with ones to a whole byte.
        let left = self.held % 8;
        if self.take(left)? + 1 != 1 << left {
            return Err(fault);
        }
        let first = self.take(8)?;
        let (mut same, mut text, mut count) = (true, true, 0);
        let mut next = Ok(first);
        while let Ok(byte) = next {
            same &= byte == first;
            text &= matches!(byte, 0x20..=0x7e | 0x09..=0x0d);
            count += if byte == 0xff { 2 } else { 1 };
            next = self.take(8);
        }
        // A file that was cut and filled up goes on as its last codes do.
        let before = match &self.bytes[..self.at - count] {
            [.., 0xff, 0] => 0xff,
            [.., last] => u32::from(*last),
            [] => first,
        };
        let fill = self.bytes[self.at..].iter().take_while(|byte| **byte == 0xff).count();
        let ends = fill > 0 && self.bytes.get(self.at + fill) == Some(&super::END);
        let fills = if same { before != first } else { text };
        if ends && fills { Ok(self.at) } else { Err(fault) }
    }

    /// Goes on behind restart marker `number`.
    pub(super) fn restart(&mut self, number: usize) -> Result<(), Fault> {
        let marker = self.end()?;
        let fill = self.bytes[marker..].iter().take_while(|byte| **byte == 0xff).count();
        if self.bytes.get(marker + fill) != Some(&(0xd0 + (number % 8) as u8)) {
            return Err("is damaged: a restart is missing in its image data");
        }
        *self = Self::new(self.bytes, marker + fill + 1);
        Ok(())
    }
}

/// Zeros before a coefficient, and its bits.
pub(super) fn parts(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}
