//! One line chart as an SVG, drawn by plotters: curves with bands, their names, a level and vertical marks.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curves::{Point, thin};
use super::escape::escape;
use super::marks::{SCALE, dashes, sample, spread, swatch, text, text_width};
use super::palette::{GRID, GROUND, Paint, QUIET, TEXT};

/// Distance between names at the ends of lines, in CSS pixels.
const NAME_STEP: i32 = 15;
/// Height of a row of names below a chart, in CSS pixels.
const NAME_ROW: u32 = 20;
/// Greatest share of the width that names at the ends of lines may take.
const NAME_SHARE: f64 = 0.3;
/// Largest number of names in a list that a page shows unasked.
const MOST_NAMES: usize = 8;
/// Largest number of points of a line for every hundred pixels of width.
const POINTS: usize = 40;

type Drawn<T> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Axes<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A curve of a chart.
pub(super) struct Line {
    /// Written at its right end, or below.
    pub(super) label: String,
    pub(super) paint: Paint,
    pub(super) points: Vec<Point>,
    /// True if the range from lowest to highest seed is shaded.
    pub(super) band: bool,
}

/// A chart of values over optimizer steps.
pub(super) struct Chart {
    /// Text for a reader who cannot see it; also drawn on top of a picture that stands alone.
    pub(super) title: String,
    /// Range of values; fitted to the curves if `None`.
    pub(super) values: Option<Range<f64>>,
    /// Last step of the axis, if some curve may end before it.
    pub(super) last_step: f64,
    /// Limits of a fitted range.
    pub(super) limits: Range<f64>,
    /// Values are shares from 0 to 1, and the axis is in per cent.
    pub(super) per_cent: bool,
    pub(super) lines: Vec<Line>,
    /// Vertical marks: step and label.
    pub(super) marks: Vec<(f64, String)>,
    /// A horizontal dotted line: value and label.
    pub(super) level: Option<(f64, String)>,
}

/// A size at which a chart is drawn, in CSS pixels. The text has its size where the drawing is not scaled.
#[derive(Clone, Copy)]
struct Size {
    width: u32,
    height: u32,
    text: u32,
}

/// Names of the lines of a chart.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    /// Beside the right end of each line.
    AtEnds,
    /// In rows below the axis.
    Below,
    /// In the page, not in the drawing.
    Outside,
}

/// Classes of the page's style, which shows one of them at a time, and the sizes of their drawings.
const LARGE: [(&str, Size); 3] = [
    ("wide", Size { width: 1000, height: 400, text: 12 }),
    ("middle", Size { width: 600, height: 360, text: 12 }),
    ("narrow", Size { width: 350, height: 300, text: 13 }),
];
const SMALL: [(&str, Size); 2] =
    [("wide", Size { width: 500, height: 330, text: 12 }), ("narrow", Size { width: 350, height: 280, text: 13 })];
/// A picture that stands alone.
const ALONE: Size = Size { width: 860, height: 400, text: 12 };

impl Chart {
    /// A figure over the whole width of a page: the chart at three sizes, one of which the page's style shows.
    pub(super) fn large_figure(&self) -> String {
        format!("<figure class=\"chart large\">{}</figure>", self.versions(&LARGE))
    }

    /// A figure of half the width under its title: the chart at two sizes, one of which the page's style shows.
    pub(super) fn figure(&self) -> String {
        format!("<figure class=\"chart\"><h3>{}</h3>{}</figure>", escape(&self.title), self.versions(&SMALL))
    }

    fn versions(&self, versions: &[(&str, Size)]) -> String {
        let version = |(class, size): &(&str, Size)| {
            let (names, legend) = match *class != "narrow" && self.names_fit(*size) {
                true => (Names::AtEnds, String::new()),
                false => (Names::Outside, self.legend()),
            };
            format!("<div class=\"{class}\">{}{legend}</div>", self.svg(*size, false, names))
        };
        versions.iter().map(version).collect()
    }

    /// The chart as a picture of its own, under its title.
    pub(super) fn picture(&self) -> String {
        let names = if self.names_fit(ALONE) { Names::AtEnds } else { Names::Below };
        let rows = if names == Names::Below { self.rows(ALONE).len() as u32 } else { 0 };
        self.svg(Size { height: ALONE.height + rows * NAME_ROW, ..ALONE }, true, names)
    }

    /// Names of the lines as a list of the page.
    fn legend(&self) -> String {
        let name = |line: &Line| format!("<li>{}{}</li>", swatch(line.paint), escape(&line.label));
        let names: String = self.lines.iter().map(name).collect();
        let list = format!("<ul class=\"legend\">{names}</ul>");
        match self.lines.len() {
            0 => String::new(),
            1..=MOST_NAMES => list,
            count => format!("<details><summary>Names of the {count} lines</summary>{list}</details>"),
        }
    }

    /// True if all names have room at the ends of their lines, whole.
    fn names_fit(&self, size: Size) -> bool {
        let room = (size.height as usize - 90) / NAME_STEP as usize;
        self.lines.len() <= room && self.longest_name(size) <= NAME_SHARE * f64::from(size.width)
    }

    /// Width of the longest name, in CSS pixels.
    fn longest_name(&self, size: Size) -> f64 {
        self.lines.iter().map(|line| text_width(&line.label, size.text)).fold(0.0, f64::max)
    }

    /// Rows of names below a picture: the line that a row begins with, and the text; long names take several rows.
    fn rows(&self, size: Size) -> Vec<(Option<&Line>, String)> {
        let most = (f64::from(size.width - 60) / text_width("m", size.text)) as usize;
        let mut rows = Vec::new();
        for line in &self.lines {
            let letters: Vec<char> = line.label.chars().collect();
            for (part, letters) in letters.chunks(most.max(1)).enumerate() {
                rows.push(((part == 0).then_some(line), letters.iter().collect()));
            }
        }
        rows
    }

    /// The drawing, an `<svg>` element; a sentence in its place if there is nothing to draw.
    fn svg(&self, size: Size, titled: bool, names: Names) -> String {
        let mut text = String::new();
        let (width, height) = (size.width * SCALE, size.height * SCALE);
        let drawn = {
            let area = SVGBackend::with_string(&mut text, (width, height)).into_drawing_area();
            self.draw(&area, size, titled, names)
        };
        let over = match drawn {
            Ok(over) => over,
            Err(error) => {
                text = "<svg xmlns=\"http://www.w3.org/2000/svg\">\n</svg>".to_string();
                format!("<desc>{}</desc>\n", escape(&error))
            }
        };
        // Size in CSS pixels, and the words for readers who cannot see it.
        let drawn = format!("<svg width=\"{width}\" height=\"{height}\"");
        let wanted = format!(
            "<svg class=\"plot\" role=\"img\" aria-label=\"{}\" width=\"{}\" height=\"{}\"",
            escape(&self.title),
            size.width,
            size.height
        );
        text.replacen(&drawn, &wanted, 1).replace("</svg>", &format!("{over}</svg>"))
    }

    /// Ranges of steps and of values, with some air; `None` without a point.
    fn ranges(&self) -> Option<(Range<f64>, Range<f64>)> {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().map(move |p| (p, line.band)));
        let last = points().map(|(p, _)| p.step).reduce(f64::max)?.max(self.last_step);
        let level = self.level.as_ref().map(|(value, _)| *value);
        let low = points().map(|(p, band)| if band { p.low } else { p.mean }).reduce(f64::min)?;
        let high = points().map(|(p, band)| if band { p.high } else { p.mean }).chain(level).reduce(f64::max)?;
        let air = (0.06 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
        // A level has its label below it.
        let low = level.map_or(low - air, |level| (low - air).min(level - 0.08 * (high - level).max(high - low)));
        let fitted = low.max(self.limits.start)..(high + air).min(self.limits.end);
        Some((0.0..last.max(1.0), self.values.clone().unwrap_or(fitted)))
    }

    /// Draws axes and curves; the result is SVG that belongs on top of them.
    fn draw(&self, area: &Area, size: Size, titled: bool, names: Names) -> Drawn<String> {
        area.fill(&GROUND.rgb())?;
        let s = |pixels: u32| pixels * SCALE;
        let Some((steps, values)) = self.ranges() else {
            let place = ((s(size.width) / 2) as i32, (s(size.height) / 2) as i32);
            area.draw(&Text::new("nothing was recorded", place, font(size.text, QUIET, HPos::Center)))?;
            return Ok(String::new());
        };
        let decimals = if values.end - values.start < 0.6 { 2 } else { 1 };
        let value = |value: &f64| match self.per_cent {
            true => format!("{:.*} %", if values.end - values.start < 0.05 { 1 } else { 0 }, 100.0 * value),
            false => format!("{value:.decimals$}"),
        };
        let right = match names {
            Names::AtEnds => 26.0 + self.longest_name(size),
            // The last number of the axis may stand half outside.
            _ => 8.0 + text_width(&format!("{:.0}", steps.end), size.text) / 2.0,
        };
        let below = if names == Names::Below { self.rows(size) } else { Vec::new() };
        let ticks = if size.width < 400 { 4 } else { 6 };
        let mut axes = ChartBuilder::on(area)
            .margin_top(s(if titled { 40 } else { 14 }))
            .margin_right(s(right as u32))
            .margin_left(s(4))
            .margin_bottom(s(4 + below.len() as u32 * NAME_ROW))
            .x_label_area_size(s(40))
            .y_label_area_size(s(54))
            .build_cartesian_2d(steps, values.clone())?;
        axes.configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.rgb().stroke_width(s(1)))
            .axis_style(QUIET.rgb().stroke_width(s(1)))
            .label_style(font(size.text, QUIET, HPos::Center))
            .set_all_tick_mark_size(s(4))
            .x_labels(ticks)
            .y_labels(6)
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&value)
            .x_desc("optimizer steps")
            .axis_desc_style(font(size.text, QUIET, HPos::Center))
            .draw()?;
        if titled {
            area.draw(&Text::new(self.title.clone(), (s(12) as i32, s(20) as i32), font(15, TEXT, HPos::Left)))?;
        }
        let most = POINTS * size.width as usize / 100;
        for line in &self.lines {
            draw_line(&mut axes, line, &thin(line.points.clone(), most))?;
        }
        let mut over = self.level_and_marks(&axes, size, &values);
        match names {
            Names::AtEnds => over.push_str(&self.names_at_ends(&axes, size)),
            _ => over.push_str(&names_below(&below, size)),
        }
        Ok(over)
    }

    /// The level and the vertical marks, dashed so that they are no curves, with their labels.
    fn level_and_marks(&self, axes: &Axes, size: Size, values: &Range<f64>) -> String {
        let (s, mut over) = (SCALE as i32, String::new());
        let (columns, rows) = axes.plotting_area().get_pixel_range();
        let height = size.text as i32 * s;
        if let Some((value, label)) = self.level.as_ref().filter(|(value, _)| values.contains(value)) {
            let (_, y) = axes.backend_coord(&(0.0, *value));
            over.push_str(&dashes([(columns.start, y), (columns.end, y)], TEXT, 2));
            let below = rows.end - y > 3 * height / 2;
            let middle = if below { y + 7 * height / 8 } else { y - 7 * height / 8 };
            over.push_str(&text(label, (columns.end - 3 * s, middle), size.text, TEXT, "end"));
        }
        for (step, label) in &self.marks {
            let (x, _) = axes.backend_coord(&(*step, values.start));
            over.push_str(&dashes([(x, rows.start), (x, rows.end)], QUIET, 4));
            // On the side with more room.
            let (x, side) = match x - columns.start > columns.end - x {
                true => (x - 5 * s, "end"),
                false => (x + 5 * s, "start"),
            };
            over.push_str(&text(label, (x, rows.end - height), size.text, QUIET, side));
        }
        over
    }

    /// Names at the right ends, pushed apart where they would touch, each after a piece of its line.
    fn names_at_ends(&self, axes: &Axes, size: Size) -> String {
        let s = SCALE as i32;
        let (columns, rows) = axes.plotting_area().get_pixel_range();
        let ended = self.lines.iter().filter_map(|line| Some((line, line.points.last()?)));
        let mut places: Vec<(i32, &Line)> =
            ended.map(|(line, p)| (axes.backend_coord(&(p.step, p.mean)).1, line)).collect();
        places.sort_by_key(|(y, _)| *y);
        spread(&mut places, NAME_STEP * s, &rows);
        let name = |(y, line): (i32, &Line)| {
            let x = columns.end + 20 * s;
            sample((columns.end + 11 * s, y), line.paint) + &text(&line.label, (x, y), size.text, TEXT, "start")
        };
        places.into_iter().map(name).collect()
    }
}

/// Names in rows at the bottom.
fn names_below(rows: &[(Option<&Line>, String)], size: Size) -> String {
    let first = size.height - rows.len() as u32 * NAME_ROW;
    let row = |(number, (line, part)): (u32, &(Option<&Line>, String))| {
        let y = ((first + number * NAME_ROW + NAME_ROW / 2 - 2) * SCALE) as i32;
        let sample = line.map_or(String::new(), |line| sample((20 * SCALE as i32, y), line.paint));
        sample + &text(part, (30 * SCALE as i32, y), size.text, TEXT, "start")
    };
    (0..).zip(rows).map(row).collect()
}

fn draw_line(axes: &mut Axes, line: &Line, points: &[Point]) -> Drawn<()> {
    let color = line.paint.rgb();
    if line.band && points.len() > 1 {
        let back = points.iter().rev().map(|p| (p.step, p.high));
        let outline: Vec<(f64, f64)> = points.iter().map(|p| (p.step, p.low)).chain(back).collect();
        axes.draw_series([Polygon::new(outline, color.mix(0.18))])?;
    }
    let middle: Vec<(f64, f64)> = points.iter().map(|p| (p.step, p.mean)).collect();
    if let [only] = middle[..] {
        axes.draw_series([Circle::new(only, 4 * SCALE as i32, color.filled())])?;
    } else if !middle.is_empty() {
        axes.draw_series([PathElement::new(middle, color.stroke_width(2 * SCALE))])?;
    }
    Ok(())
}

/// Text of `size` CSS pixels; plotters' unit is 1.24 times that of SVG.
fn font(size: u32, paint: Paint, side: HPos) -> TextStyle<'static> {
    let size = f64::from(size * SCALE) * 1.24;
    ("sans-serif", size).into_font().color(&paint.rgb()).pos(Pos::new(side, VPos::Center))
}
