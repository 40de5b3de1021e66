//! Size and components of a JPEG file, and which of their coefficients have been read.

use std::ops::RangeInclusive;

/// A frame: the image that all scans belong to.
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) progressive: bool,
    pub(super) components: Vec<Component>,
}

/// A color, or brightness.
pub(super) struct Component {
    pub(super) id: u8,
    /// Samples across and down for those of the coarsest component.
    pub(super) sampling: [usize; 2],
    /// Number of its table of steps.
    pub(super) steps: usize,
    /// Lowest bit of each coefficient that has been read; `None` before any.
    precision: [Option<u8>; 64],
    /// Coefficients of each block that are not zero, a bit each; of progressive files, once they have any.
    pub(super) nonzero: Vec<u64>,
}

impl Frame {
    pub(super) fn read(segment: &[u8], progressive: bool) -> Result<Self, String> {
        let damaged = || "is damaged: its size is none".to_string();
        let (&precision, &count) = segment.first().zip(segment.get(5)).ok_or_else(damaged)?;
        let [height, width] = [1, 3].map(|at| usize::from(u16_at(segment, at).unwrap_or(0)));
        let components = segment.get(6..).filter(|rest| rest.len() == 3 * usize::from(count)).ok_or_else(damaged)?;
        if precision != 8 {
            return Err(format!("is a JPEG file of {precision} bits a sample, of which 8 are supported"));
        }
        let component = |own: &[u8]| Component {
            id: own[0],
            sampling: [own[1] >> 4, own[1] & 15].map(usize::from),
            steps: own[2].into(),
            precision: [None; 64],
            nonzero: Vec::new(),
        };
        let components: Vec<Component> = components.chunks_exact(3).map(component).collect();
        let factors = || components.iter().flat_map(|component| component.sampling);
        if width == 0 || height == 0 || !(1..=4).contains(&count) || factors().any(|factor| !(1..=4).contains(&factor))
        {
            return Err(damaged());
        }
        Ok(Self { width, height, progressive, components })
    }

    /// Greatest sampling across or down.
    pub(super) fn most(&self, axis: usize) -> usize {
        self.components.iter().map(|own| own.sampling[axis]).max().unwrap_or(1)
    }

    /// Blocks of a component across and down: those with pixels, or all that are there when scans hold several components.
    pub(super) fn blocks(&self, component: usize, padded: bool) -> [usize; 2] {
        [(0, self.width), (1, self.height)].map(|(axis, length)| {
            let (own, most) = (self.components[component].sampling[axis], self.most(axis));
            if padded { length.div_ceil(8 * most) * own } else { (length * own).div_ceil(most).div_ceil(8) }
        })
    }

    /// Notes the coefficients that a scan holds; `None` if it cannot hold them after those before it.
    pub(super) fn begin_scan(
        &mut self,
        indices: &[usize],
        spectrum: RangeInclusive<u8>,
        high: u8,
        low: u8,
    ) -> Option<()> {
        let (start, end) = (*spectrum.start(), *spectrum.end());
        let of_progressive = if start == 0 { end == 0 } else { indices.len() == 1 && start <= end };
        if end > 63 || low > 13 || (self.progressive && !of_progressive) {
            return None;
        }
        for &index in indices {
            let component = &mut self.components[index];
            if start > 0 && component.precision[0].is_none() {
                return None;
            }
            for coefficient in &mut component.precision[usize::from(start)..=usize::from(end)] {
                match *coefficient {
                    None if high == 0 => {}
                    Some(before) if high > 0 && before == high && low + 1 == high => {}
                    _ => return None,
                }
                *coefficient = Some(low);
            }
        }
        Some(())
    }

    /// Error unless each component has been read to the last bit of what was begun.
    pub(super) fn check_complete(&self) -> Result<(), String> {
        let complete =
            |own: &Component| own.precision[0].is_some() && own.precision.iter().all(|bit| bit.unwrap_or(0) == 0);
        match self.components.iter().all(complete) {
            true => Ok(()),
            false => Err("is cut short: scans are missing".to_string()),
        }
    }

    /// Bytes of all coefficients, each of two. They are held at once if the image comes in several scans.
    pub(super) fn coefficients(&self) -> u64 {
        let blocks = |component| self.blocks(component, true).iter().map(|&count| count as u64).product::<u64>();
        (0..self.components.len()).map(|component| 2 * 64 * blocks(component)).sum()
    }
}

/// Two bytes of a segment as a number.
pub(super) fn u16_at(segment: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*segment.get(at)?, *segment.get(at + 1)?]))
}
