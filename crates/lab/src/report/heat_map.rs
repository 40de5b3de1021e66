//! Similarity of all layers of two networks as a picture: a square for each pair, fuller the more alike they are beyond chance.

use std::fmt::Write;

use super::escape::escape;
use super::marks::text_width;
use super::palette::{self, GRID, GROUND, Paint, QUIET, TEXT};
use crate::similarity::{Comparison, shortened};

/// Longest side of the squares together, in CSS pixels.
const SIDE: usize = 560;
/// Smallest and largest square.
const SQUARES: [usize; 2] = [6, 44];
/// Smallest square with room for a number.
const NUMBERED: usize = 32;
/// Letters of a layer's name that have room along a side.
const LETTERS: usize = 24;
/// Sizes of text: title, names, numbers.
const TITLE: u32 = 15;
const NAMES: u32 = 12;
const NUMBERS: u32 = 11;
/// Margin around everything, height of a line of text.
const MARGIN: usize = 14;
const LINE: usize = 18;
/// Least distance between names along a side: those at the top are turned by 45 degrees.
const NAME_STEP: usize = 19;

/// A picture of its own that follows light and dark mode. Squares are empty where chance gives as much in more than one case of twenty;
/// the greatest of each row has an outline. No text overlaps: where names have no room, every second or third stands.
pub fn heat_map_svg(comparison: &Comparison) -> String {
    let matrix = &comparison.matrix;
    let (rows, columns) = (matrix.rows.len(), matrix.columns.len());
    let side = (SIDE / rows.max(columns).max(1)).clamp(SQUARES[0], SQUARES[1]);
    let [row_names, column_names] =
        [&matrix.rows, &matrix.columns].map(|names| names.iter().map(|n| shortened(n, LETTERS)).collect::<Vec<_>>());
    let widest =
        |names: &[String]| names.iter().map(|name| text_width(name, NAMES)).fold(0.0, f64::max).ceil() as usize;
    let words = words(comparison);
    // Half of a turned text's width is its height, about.
    let turned = widest(&column_names) * 5 / 7 + 12;
    let (left, top) = (MARGIN + widest(&row_names) + 10, MARGIN + LINE * (words.len() + 1) + turned);
    let below = [
        "1: equal layers; 0: no more alike than by chance",
        "empty, or a dot: chance gives as much in one case of twenty (p > 0.05)",
        "outlined: the most similar layer of the row",
    ];
    let lines = words.iter().map(String::as_str).zip([TITLE].into_iter().chain(std::iter::repeat(NAMES)));
    let longest =
        lines.clone().chain(below.iter().map(|line| (*line, NAMES))).map(|(line, size)| text_width(line, size));
    let longest = longest.fold(0.0, f64::max).ceil() as usize;
    let across = (left + side * columns + turned).max(longest + MARGIN) + MARGIN;
    let under = top + side * rows + LINE;
    let down = under + LINE * (below.len() + 1) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{across}\" height=\"{down}\" viewBox=\"0 0 {across} {down}\" role=\"img\" \
         aria-label=\"{}\">\n<style>\n{}</style>\n<rect width=\"{across}\" height=\"{down}\" fill=\"{}\"/>\n",
        escape(&words[0]),
        palette::rules(),
        GROUND.hex()
    );
    for (number, (line, size)) in lines.enumerate() {
        let paint = if number == 0 { TEXT } else { QUIET };
        svg.push_str(&text(line, (MARGIN, MARGIN + LINE * number + LINE / 2), size, paint, "start"));
    }
    let ticks = NAME_STEP.div_ceil(side);
    for (row, name) in row_names.iter().enumerate().step_by(ticks) {
        svg.push_str(&text(name, (left - 6, top + side * row + side / 2), NAMES, QUIET, "end"));
    }
    for (column, name) in column_names.iter().enumerate().step_by(ticks) {
        let (x, y) = (left + side * column + side / 2, top - 8);
        let turn = format!("<g transform=\"rotate(-45 {x} {y})\">");
        let _ = writeln!(svg, "{turn}{}</g>", text(name, (x, y), NAMES, QUIET, "start").trim_end());
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{}\"/>",
        side * columns,
        side * rows,
        GRID.hex()
    );
    squares(&mut svg, comparison, (left, top), side);
    scale(&mut svg, (MARGIN, under));
    for (number, line) in (1..).zip(&below) {
        svg.push_str(&text(line, (MARGIN, under + LINE * number + LINE / 2), NAMES, QUIET, "start"));
    }
    svg.push_str("</svg>\n");
    svg
}

/// Lines above the squares: a title, and the facts.
fn words(comparison: &Comparison) -> Vec<String> {
    let Comparison { measure, names: [a, b], data, split, examples, permutations, .. } = comparison;
    let of = if *split == "all" { format!("of {data}") } else { format!("of the {split} split of {data}") };
    vec![
        format!("Layers alike beyond chance: {measure}"),
        format!("rows: {a}"),
        format!("columns: {b}"),
        format!("{examples} examples {of}, {permutations} permutations"),
    ]
}

fn squares(svg: &mut String, comparison: &Comparison, (left, top): (usize, usize), side: usize) {
    let (matrix, paint) = (&comparison.matrix, palette::arm(2));
    for (row, name) in matrix.rows.iter().enumerate() {
        for (column, other) in matrix.columns.iter().enumerate() {
            let pair = matrix.at(row, column);
            let (x, y) = (left + side * column, top + side * row);
            let _ = write!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{}\" fill-opacity=\"{:.3}\"><title>{} and {}: \
                 {:.3} calibrated, {:.3} where chance gives {:.3}, p = {:.3}</title></rect>",
                paint.hex(),
                pair.calibrated,
                escape(name),
                escape(other),
                pair.calibrated,
                pair.value,
                pair.chance,
                pair.p
            );
            let middle = (x + side / 2, y + side / 2);
            match pair.is_significant() {
                true if side >= NUMBERED => {
                    let ink = if pair.calibrated > 0.6 { GROUND } else { TEXT };
                    svg.push_str(&text(&format!("{:.2}", pair.calibrated), middle, NUMBERS, ink, "middle"));
                }
                false if side >= 2 * SQUARES[0] => {
                    let _ = write!(
                        svg,
                        "<circle cx=\"{}\" cy=\"{}\" r=\"1.5\" fill=\"{}\"/>",
                        middle.0,
                        middle.1,
                        QUIET.hex()
                    );
                }
                _ => {}
            }
            svg.push('\n');
        }
    }
    for (row, best) in matrix.best_of_rows.iter().enumerate().filter(|(_, best)| best.is_significant()) {
        let _ = writeln!(
            svg,
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"><title>{:.3} as the \
             greatest of the row, p = {:.3}</title></rect>",
            left + side * best.layer + 1,
            top + side * row + 1,
            side - 2,
            side - 2,
            TEXT.hex(),
            best.calibrated,
            best.p
        );
    }
}

/// The colors from 0 to 1.
fn scale(svg: &mut String, (x, y): (usize, usize)) {
    let (steps, width, first) = (10, 14, x + 14);
    svg.push_str(&text("0", (x, y + LINE / 2), NAMES, QUIET, "start"));
    for step in 0..=steps {
        let (x, opacity) = (first + width * step, step as f64 / steps as f64);
        let paint = palette::arm(2).hex();
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{}\" fill=\"{paint}\" fill-opacity=\"{opacity}\"/>",
            y + 3,
            LINE - 6
        );
    }
    svg.push_str(&text("1", (first + width * (steps + 1) + 6, y + LINE / 2), NAMES, QUIET, "start"));
}

/// Text whose middle is at `y`.
pub(super) fn text(words: &str, (x, y): (usize, usize), size: u32, paint: Paint, anchor: &str) -> String {
    format!(
        "<text x=\"{x}\" y=\"{y}\" dy=\"0.36em\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{}\">{}</text>\n",
        paint.hex(),
        escape(words)
    )
}
