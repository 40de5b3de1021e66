//! Huffman codes of a scan, read without making pixels of them.

use std::ops::RangeInclusive;

use super::bits::{Bits, CODE, Fault, Table, parts};
use super::frame::Frame;

const NO_TABLE: &str = "is damaged: a table of its codes is missing";
const RANGE: &str = "is damaged: its image data are beyond all brightness";

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
