//! Text in UTF-16 or UTF-32. Much of it passes for UTF-8 that is full of NULs.

/// Name of the encoding that `bytes`, the beginning of a text, seem to have; `None` for what may be UTF-8.
///
/// A byte order mark tells. Without one, the upper half of every unit of UTF-32 is small. In UTF-16 the upper byte of spaces,
/// digits and Latin letters is 0, and that of most alphabets a control character.
pub(super) fn wide(bytes: &[u8]) -> Option<&'static str> {
    let marks: [(&[u8], _); 4] = [
        (&[0xff, 0xfe, 0, 0], "UTF-32LE"),
        (&[0, 0, 0xfe, 0xff], "UTF-32BE"),
        (&[0xff, 0xfe], "UTF-16LE"),
        (&[0xfe, 0xff], "UTF-16BE"),
    ];
    if let Some((_, name)) = marks.into_iter().find(|(mark, _)| bytes.starts_with(mark)) {
        return Some(name);
    }
    let fours = bytes.as_chunks::<4>().0;
    // The highest character is U+10FFFF.
    let little = |unit: &[u8; 4]| unit[3] == 0 && unit[2] <= 0x10;
    let big = |unit: &[u8; 4]| unit[0] == 0 && unit[1] <= 0x10;
    match fours.len() {
        2.. if fours.iter().all(little) => return Some("UTF-32LE"),
        2.. if fours.iter().all(big) => return Some("UTF-32BE"),
        _ => {}
    }
    let twos = bytes.as_chunks::<2>().0;
    let count = |side: usize, below: u8| twos.iter().filter(|unit| unit[side] < below).count();
    // Control characters stand on one side of the units of UTF-16, and hardly any on the other.
    let upper = |side: usize| {
        let (nuls, others) = (count(side, 1), count(1 - side, 1));
        nuls > 1 && 10 * nuls >= twos.len() && nuls >= 10 * others && 10 * count(side, b' ') >= 9 * twos.len()
    };
    match (upper(0), upper(1)) {
        (true, _) => Some("UTF-16BE"),
        (_, true) => Some("UTF-16LE"),
        _ => None,
    }
}
