//! Huffman codes of a scan, read without making pixels of them.

use std::ops::RangeInclusive;

use super::frame::Frame;

/// Codes of up to so many bits are looked up, longer ones searched.
const LOOKUP: u32 = 9;

/// Description of what is wrong with codes. Short, since millions of results hold one.
pub(super) type Fault = &'static str;

const SHORT: &str = "is cut short: its image data end early";
const NO_TABLE: &str = "is damaged: a table of its codes is missing";
const RANGE: &str = "is damaged: its image data are beyond all brightness";
const CODE: &str = "is damaged: its image data hold a code that is none";

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
    fn take(&mut self, count: u32) -> Result<u32, Fault> {
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
    fn number(&mut self, table: &Table) -> Result<(u32, u32, i32), Fault> {
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
    fn symbol(&mut self, table: &Table) -> Result<u8, Fault> {
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

    /// Goes on behind restart marker `number`.
    fn restart(&mut self, number: usize) -> Result<(), Fault> {
        let marker = self.end()?;
        let fill = self.bytes[marker..].iter().take_while(|byte| **byte == 0xff).count();
        if self.bytes.get(marker + fill) != Some(&(0xd0 + (number % 8) as u8)) {
            return Err("is damaged: a restart is missing in its image data");
        }
        *self = Self::new(self.bytes, marker + fill + 1);
        Ok(())
    }
}

/// Tables that a component is read with.
pub(super) struct Tables<'a> {
    /// Its place among the components.
    pub(super) index: usize,
    /// Codes of the first coefficients, and of the others.
    pub(super) dc: Option<&'a Table>,
    pub(super) ac: Option<&'a Table>,
    /// Quantization steps: each coefficient is a multiple of its own.
    pub(super) steps: &'a [i32; 64],
}

/// Header of a scan.
pub(super) struct Scan<'a> {
    pub(super) components: Vec<Tables<'a>>,
    /// Coefficients that are there.
    pub(super) spectrum: RangeInclusive<u8>,
    /// Lowest bit of the coefficients that was there before, 0 for none, and that is now.
    pub(super) high: u8,
    pub(super) low: u8,
    /// Units between restarts; 0 for none.
    pub(super) restart_interval: usize,
}

impl Scan<'_> {
    /// Reads all codes of the scan.
    ///
    /// # Errors
    /// Description of what is wrong with them.
    pub(super) fn walk(&self, frame: &mut Frame, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let first = &self.components[0];
        let [across, down] = match self.components.len() {
            // One component lies row by row.
            1 => frame.blocks(first.index, false),
            _ => [frame.width.div_ceil(8 * frame.most(0)), frame.height.div_ceil(8 * frame.most(1))],
        };
        let progressive = frame.progressive;
        if *self.spectrum.start() > 0 {
            let [stride, rows] = frame.blocks(first.index, true);
            let table = first.ac.ok_or(NO_TABLE)?;
            let nonzero = &mut frame.components[first.index].nonzero;
            // Scans of the first coefficients were read before: the file is not much shorter than this.
            nonzero.resize(stride * rows, 0);
            let mut run = 0;
            return self.units(across * down, bits, |unit, _, bits| {
                let nonzero = &mut nonzero[unit / across * stride + unit % across];
                match self.high {
                    0 => self.first(table, first.steps, nonzero, &mut run, bits)?,
                    _ => self.refine(table, nonzero, &mut run, bits)?,
                }
                Ok(run == 0)
            });
        }
        // Several components alternate, each with as many blocks as it has samples.
        let blocks = |own: &Tables<'_>| {
            let [wide, high] = frame.components[own.index].sampling;
            if self.components.len() == 1 { 1 } else { wide * high }
        };
        let blocks: Vec<usize> = self.components.iter().map(blocks).collect();
        self.units(across * down, bits, |_, means, bits| {
            for (own, (&blocks, mean)) in self.components.iter().zip(blocks.iter().zip(means)) {
                for _ in 0..blocks {
                    if self.high > 0 {
                        bits.take(1)?;
                        continue;
                    }
                    let (zeros, size, difference) = bits.number(own.dc.ok_or(NO_TABLE)?)?;
                    if zeros > 0 || size > 11 {
                        return Err(CODE);
                    }
                    *mean += difference;
                    in_range(*mean << self.low, own.steps[0])?;
                    if !progressive {
                        coefficients(own.ac.ok_or(NO_TABLE)?, own.steps, bits)?;
                    }
                }
            }
            Ok(true)
        })
    }

    /// Reads so many units by `one`, and the restarts between them. `one` gets the first coefficients of the blocks before, by
    /// component, and tells whether a restart or an end may follow.
    fn units(
        &self,
        count: usize,
        bits: &mut Bits<'_>,
        mut one: impl FnMut(usize, &mut [i32; 4], &mut Bits<'_>) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let (mut may_end, mut means) = (true, [0; 4]);
        for unit in 0..count {
            if self.restart_interval > 0 && unit > 0 && unit % self.restart_interval == 0 {
                if !may_end {
                    return Err(CODE);
                }
                bits.restart(unit / self.restart_interval - 1)?;
                means = [0; 4];
            }
            may_end = one(unit, &mut means, bits)?;
        }
        if may_end { Ok(()) } else { Err(CODE) }
    }

    /// Coefficients of a block that is read for the first time; `run` counts blocks behind it that have none.
    fn first(
        &self,
        table: &Table,
        steps: &[i32; 64],
        nonzero: &mut u64,
        run: &mut u32,
        bits: &mut Bits<'_>,
    ) -> Result<(), Fault> {
        if *run > 0 {
            *run -= 1;
            return Ok(());
        }
        let (mut at, end) = (u32::from(*self.spectrum.start()), u32::from(*self.spectrum.end()));
        while at <= end {
            let (zeros, size, value) = bits.number(table)?;
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) - 1 + bits.take(zeros)?;
                return Ok(());
            }
            at += zeros;
            if at > end || size > 10 {
                return Err(CODE);
            }
            if size > 0 {
                in_range(value << self.low, steps[at as usize])?;
                *nonzero |= 1 << at;
            }
            at += 1;
        }
        Ok(())
    }

    /// One more bit of each coefficient of a block.
    fn refine(&self, table: &Table, nonzero: &mut u64, run: &mut u32, bits: &mut Bits<'_>) -> Result<(), Fault> {
        let (mut at, end) = (u32::from(*self.spectrum.start()), u32::from(*self.spectrum.end()));
        while at <= end && *run == 0 {
            let (mut zeros, size) = parts(bits.symbol(table)?);
            if size == 0 && zeros < 15 {
                *run = (1 << zeros) + bits.take(zeros)?;
                break;
            }
            if size > 1 {
                return Err(CODE);
            }
            // The sign of the new one, before the bits of those that it passes.
            bits.take(size)?;
            while at <= end && (*nonzero >> at & 1 == 1 || zeros > 0) {
                match *nonzero >> at & 1 {
                    0 => zeros -= 1,
                    _ => drop(bits.take(1)?),
                }
                at += 1;
            }
            if at > end {
                return Err(CODE);
            }
            *nonzero |= u64::from(size) << at;
            at += 1;
        }
        if *run > 0 {
            for at in at..=end {
                bits.take((*nonzero >> at & 1) as u32)?;
            }
            *run -= 1;
        }
        Ok(())
    }
}

/// Error if so many steps are more than twice what any eight by eight pixels have; a sharpened picture may have somewhat more.
#[inline]
fn in_range(count: i32, step: i32) -> Result<(), Fault> {
    match count.checked_mul(step.max(1)) {
        Some(value) if value.unsigned_abs() <= 2048 + step.unsigned_abs() => Ok(()),
        _ => Err(RANGE),
    }
}

/// All coefficients of a block but the first.
fn coefficients(table: &Table, steps: &[i32; 64], bits: &mut Bits<'_>) -> Result<(), Fault> {
    let mut at = 1;
    while at < 64 {
        let (zeros, size, value) = bits.number(table)?;
        if zeros == 0 && size == 0 {
            return Ok(());
        }
        at += zeros;
        if at > 63 || size > 10 || (size == 0 && zeros < 15) {
            return Err(CODE);
        }
        in_range(value, steps[at as usize])?;
        at += 1;
    }
    Ok(())
}

/// Zeros before a coefficient, and its bits.
fn parts(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}
