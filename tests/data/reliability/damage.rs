//! Damage that is done to files: by transfers, disks and people who edit them.

use trellis_rng::Rng;

/// Kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Damage {
    /// Its end is missing.
    Cut,
    /// One to eight bits are others.
    Flipped,
    /// Some bytes are missing.
    Deleted,
    /// Some bytes are there besides, or some twice.
    Inserted,
    /// A block is all zeros, or noise.
    Overwritten,
    /// A length or number is an extreme one.
    Extreme,
    /// Opening brackets, or a piece of the file, a hundred thousand times.
    Repeated,
    /// Another kind of file under this name.
    Another,
}

impl Damage {
    pub(super) const ALL: [Self; 8] = [
        Self::Cut,
        Self::Flipped,
        Self::Deleted,
        Self::Inserted,
        Self::Overwritten,
        Self::Extreme,
        Self::Repeated,
        Self::Another,
    ];

    /// Does it to `bytes`; `text` says that they are text, `others` are files of other kinds.
    pub(super) fn apply(self, bytes: &mut Vec<u8>, text: bool, others: &[Vec<u8>], rng: &mut Rng) {
        let at = place(bytes.len(), rng);
        match self {
            Self::Cut => bytes.truncate(at),
            Self::Flipped => {
                for _ in 0..1 + rng.below(8) {
                    let at = place(bytes.len(), rng);
                    bytes[at] ^= 1 << rng.below(8);
                }
            }
            Self::Deleted => drop(bytes.drain(at..(at + 1 + rng.below(16)).min(bytes.len()))),
            Self::Inserted => {
                let twice = bytes[at..(at + 1 + rng.below(64)).min(bytes.len())].to_vec();
                let some: Vec<u8> = (0..1 + rng.below(8)).map(|_| rng.below(256) as u8).collect();
                drop(bytes.splice(at..at, if rng.below(2) == 0 { twice } else { some }));
            }
            Self::Overwritten => {
                let noise = rng.below(2) == 1;
                let end = (at + 1 + rng.below(256)).min(bytes.len());
                bytes[at..end].iter_mut().for_each(|byte| *byte = if noise { rng.below(256) as u8 } else { 0 });
            }
            Self::Extreme if text => extreme_number(bytes, rng),
            Self::Extreme => {
                let extremes: [&[u8]; 6] = [
                    &[0xff; 8],
                    &[0; 8],
                    &[0xff, 0xff, 0xff, 0x7f],
                    &[0x7f, 0xff, 0xff, 0xff],
                    &[0xff, 0xff],
                    &[0x80, 0, 0, 0],
                ];
                let extreme = extremes[rng.below(extremes.len())];
                let at = at.min(bytes.len().saturating_sub(extreme.len()));
                bytes.iter_mut().skip(at).zip(extreme).for_each(|(byte, extreme)| *byte = *extreme);
            }
            Self::Repeated => {
                let brackets: [&[u8]; 4] = [b"[", b"{\"a\":", b"{a=", b"[["];
                let piece =
                    if text { brackets[rng.below(4)].to_vec() } else { bytes[at..(at + 8).min(bytes.len())].to_vec() };
                // Offset at which a value begins.
                let begin =
                    bytes.iter().skip(at).position(|byte| b"=:[,".contains(byte)).map_or(at, |found| at + found + 1);
                let begin = if text { begin } else { at };
                drop(bytes.splice(begin..begin, piece.repeat(100_000)));
            }
            Self::Another => *bytes = others[rng.below(others.len())].clone(),
        }
    }
}

/// A place in a file, every second time in its first 64 bytes, where headers are.
fn place(length: usize, rng: &mut Rng) -> usize {
    let within = if rng.below(2) == 0 { length.min(64) } else { length };
    rng.below(within.max(1)).min(length.saturating_sub(1))
}

/// Puts an extreme in place of a number of a text.
fn extreme_number(bytes: &mut Vec<u8>, rng: &mut Rng) {
    let extremes = [
        "0",
        "-1",
        "18446744073709551615",
        "9223372036854775807",
        "4294967295",
        "1e308",
        "-0.0",
        "nan",
        "inf",
        "1e-320",
        "",
        "\"\"",
    ];
    let digit = |at: usize, bytes: &[u8]| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let starts: Vec<usize> =
        (0..bytes.len()).filter(|&at| digit(at, bytes) && (at == 0 || !digit(at - 1, bytes))).collect();
    if starts.is_empty() {
        return;
    }
    let start = starts[rng.below(starts.len())];
    let end = (start..bytes.len()).find(|&at| !digit(at, bytes)).unwrap_or(bytes.len());
    drop(bytes.splice(start..end, extremes[rng.below(extremes.len())].bytes()));
}
