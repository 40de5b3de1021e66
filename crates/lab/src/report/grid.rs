//! A number for each pair of a row and a column, as a picture: squares in two colors about 0, with the numbers in them.

use std::fmt::Write;

use super::escape::escape;
use super::heat_map::text;
use super::marks::text_width;
use super::palette::{self, GRID, GROUND, QUIET, TEXT};
use crate::stats::Estimate;

/// Sizes in CSS pixels: a square, a line of text, the margin.
const SQUARE: [usize; 2] = [74, 34];
const LINE: usize = 20;
const MARGIN: usize = 14;
/// Greatest opacity of a square: text on it has a contrast of 3.6 at least, on light and dark pages.
const FULLEST: f64 = 0.65;
/// Sizes of text: title, names and numbers.
const TITLE: u32 = 15;
const NAMES: u32 = 13;

/// A picture of a matrix.
pub(crate) struct Grid {
    /// Lines above it: a title, then what to know.
    pub(crate) words: Vec<String>,
    /// Names of what rows and columns are.
    pub(crate) sides: [String; 2],
    /// Names of the rows.
    pub(crate) rows: Vec<String>,
    /// Names of the columns.
    pub(crate) columns: Vec<String>,
    /// Squares, row by row; `None` where there is nothing to show.
    pub(crate) squares: Vec<Vec<Option<Square>>>,
}

/// One number of a matrix.
pub(crate) struct Square {
    /// The number, whose sign and size give the color.
    pub(crate) value: f64,
    /// Text in the square.
    pub(crate) text: String,
    /// Sentence for who points at it, or hears the picture.
    pub(crate) note: String,
    /// True if the sign is certain; the square then has an outline.
    pub(crate) sure: bool,
}

impl Square {
    /// A gain in points; `place` says of what it is one.
    pub(crate) fn of_gain(gain: Estimate, place: &str) -> Self {
        Self {
            value: gain.mean,
            text: format!("{:+.1}", gain.mean).replace('-', "−"),
            note: format!("{place}: {gain:+.1} points, {} seeds", gain.n),
            sure: gain.excludes_zero(),
        }
    }
}

impl Grid {
    /// An SVG element that follows light and dark mode where the page has the rules of `palette`, or `alone`, with rules of its own.
    pub(crate) fn svg(&self, alone: bool) -> String {
        let widest =
            |names: &[String]| names.iter().map(|name| text_width(name, NAMES)).fold(0.0, f64::max).ceil() as usize;
        let [width, height] = SQUARE;
        // Turned by 45 degrees where they are wider than a square.
        let turned = widest(&self.columns) > width;
        let above = if turned { widest(&self.columns) * 5 / 7 + 12 } else { LINE };
        let left = MARGIN + widest(&self.rows) + 12;
        let top = MARGIN + LINE * (self.words.len() + 1) + above;
        let longest = self.words.iter().map(|line| text_width(line, TITLE)).fold(0.0, f64::max).ceil() as usize;
        let over = if turned { above } else { 0 };
        let across = (left + width * self.columns.len() + over).max(longest + MARGIN) + MARGIN;
        let down = top + height * self.rows.len() + MARGIN;
        let mut svg = format!(
            "<svg class=\"grid\" width=\"{across}\" height=\"{down}\" viewBox=\"0 0 {across} {down}\" role=\"img\" aria-label=\"{}\"",
            escape(self.words.join(". "))
        );
        if alone {
            let _ = write!(svg, " xmlns=\"http://www.w3.org/2000/svg\">\n<style>\n{}</style>", palette::rules());
        } else {
            svg.push('>');
        }
        let _ = writeln!(svg, "\n<rect width=\"{across}\" height=\"{down}\" fill=\"{}\"/>", GROUND.hex());
        for (number, line) in self.words.iter().enumerate() {
            let (size, paint) = if number == 0 { (TITLE, TEXT) } else { (NAMES, QUIET) };
            svg.push_str(&text(line, (MARGIN, MARGIN + LINE * number + LINE / 2), size, paint, "start"));
        }
        let [rows, columns] = &self.sides;
        let corner = MARGIN + LINE * self.words.len() + LINE / 2;
        svg.push_str(&text(&format!("rows: {rows}; columns: {columns}"), (MARGIN, corner), NAMES, QUIET, "start"));
        for (row, name) in self.rows.iter().enumerate() {
            svg.push_str(&text(name, (left - 8, top + height * row + height / 2), NAMES, TEXT, "end"));
        }
        for (column, name) in self.columns.iter().enumerate() {
            let (x, y) = (left + width * column + width / 2, top - 10);
            if turned {
                let _ = write!(
                    svg,
                    "<g transform=\"rotate(-45 {x} {y})\">{}</g>",
                    text(name, (x, y), NAMES, TEXT, "start")
                );
            } else {
                svg.push_str(&text(name, (x, y), NAMES, TEXT, "middle"));
            }
        }
        self.draw_squares(&mut svg, (left, top));
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_squares(&self, svg: &mut String, (left, top): (usize, usize)) {
        let [width, height] = SQUARE;
        let values = self.squares.iter().flatten().flatten().map(|square| square.value.abs());
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max).max(1e-12);
        for (row, squares) in self.squares.iter().enumerate() {
            for (column, square) in squares.iter().enumerate() {
                let (x, y) = (left + width * column, top + height * row);
                let Some(Square { value, text: words, note, sure }) = square else {
                    svg.push_str(&text("–", (x + width / 2, y + height / 2), NAMES, QUIET, "middle"));
                    continue;
                };
                let paint = palette::arm(if *value < 0.0 { 1 } else { 2 });
                let share = if value.is_finite() { value.abs() / most } else { 0.0 };
                let _ = write!(
                    svg,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{}\" fill-opacity=\"{:.3}\" stroke=\"{}\"><title>{}\
                     </title></rect>",
                    paint.hex(),
                    FULLEST * share,
                    GRID.hex(),
                    escape(note)
                );
                svg.push_str(&text(words, (x + width / 2, y + height / 2), NAMES, TEXT, "middle"));
                if *sure {
                    let _ = writeln!(
                        svg,
                        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"/>",
                        x + 2,
                        y + 2,
                        width - 4,
                        height - 4,
                        TEXT.hex()
                    );
                }
            }
        }
    }
}
