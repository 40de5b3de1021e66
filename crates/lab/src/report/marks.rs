//! Parts of a chart besides its curves, as SVG: text, dashes, samples of lines.

use std::ops::Range;

use super::escape::escape;
use super::palette::Paint;

/// Plotters rounds to whole units; drawn this many times larger and scaled down, curves stay smooth.
pub(super) const SCALE: u32 = 4;

/// A dot in the color of a curve, for tables and lists of the page.
pub(super) fn swatch(paint: Paint) -> String {
    format!(
        "<svg width=\"11\" height=\"11\" aria-hidden=\"true\"><circle cx=\"5.5\" cy=\"5.5\" r=\"5.5\" fill=\"{}\"/></svg>",
        paint.hex()
    )
}

/// A short piece of a line, before its name.
pub(super) fn sample((x, y): (i32, i32), paint: Paint) -> String {
    let (width, height) = (10 * SCALE, 4 * SCALE);
    let (x, y) = (x - width as i32 / 2, y - height as i32 / 2);
    format!(
        "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{}\" fill=\"{}\"/>\n",
        height / 2,
        paint.hex()
    )
}

/// Text of `size` CSS pixels whose middle is at `y`, anchored at its `start` or its `end`.
pub(super) fn text(words: &str, (x, y): (i32, i32), size: u32, paint: Paint, anchor: &str) -> String {
    format!(
        "<text x=\"{x}\" y=\"{y}\" dy=\"0.36em\" text-anchor=\"{anchor}\" font-size=\"{}\" fill=\"{}\">{}</text>\n",
        size * SCALE,
        paint.hex(),
        escape(words)
    )
}

/// A line of dashes of `length` CSS pixels, which are dots where they are as long as they are wide.
pub(super) fn dashes([(x, y), (to_x, to_y)]: [(i32, i32); 2], paint: Paint, length: u32) -> String {
    let (dash, width) = (length * SCALE, if length > 2 { SCALE } else { 3 * SCALE / 2 });
    format!(
        "<line x1=\"{x}\" y1=\"{y}\" x2=\"{to_x}\" y2=\"{to_y}\" stroke=\"{}\" stroke-width=\"{width}\" \
         stroke-dasharray=\"{dash} {}\"/>\n",
        paint.hex(),
        dash.max(3 * SCALE),
    )
}

/// Width of a text in CSS pixels, as wide as it is in common fonts without serifs.
pub(super) fn text_width(text: &str, size: u32) -> f64 {
    0.62 * f64::from(size) * text.chars().count() as f64
}

/// Moves heights, sorted by size, as little as brings them `step` apart, and then into `rows`.
pub(super) fn spread<T>(places: &mut [(i32, T)], step: i32, rows: &Range<i32>) {
    // Neighbors that are too near form a group, which is centered where its members would be.
    let mut groups: Vec<(i32, i32)> = Vec::new(); // members, sum of (height - rank · step)
    for (rank, (y, _)) in (0..).zip(places.iter()) {
        let mut group = (1, y - rank * step);
        while let Some(above) = groups.pop_if(|above| above.1 * group.0 > group.1 * above.0) {
            group = (group.0 + above.0, group.1 + above.1);
        }
        groups.push(group);
    }
    let heights = groups.iter().flat_map(|(members, sum)| (0..*members).map(move |_| sum / members));
    let total = places.len() as i32;
    for (rank, ((y, _), height)) in (0..).zip(places.iter_mut().zip(heights)) {
        let (top, bottom) = (rows.start + rank * step, rows.end - (total - 1 - rank) * step);
        *y = (height + rank * step).min(bottom).max(top);
    }
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn labels_move_apart_around_their_middle() {
        let spread = |heights: &[i32]| {
            let mut places: Vec<(i32, ())> = heights.iter().map(|y| (*y, ())).collect();
            spread(&mut places, 10, &(0..100));
            places.into_iter().map(|(y, ())| y).collect::<Vec<_>>()
        };
        assert_eq!(spread(&[20, 50, 50, 50, 80]), [20, 40, 50, 60, 80]);
        assert_eq!(spread(&[0, 1, 99, 100]), [0, 10, 90, 100]);
        assert_eq!((spread(&[]), spread(&[7])), (vec![], vec![7]));
    }
}
