//! One line chart as an SVG, drawn by plotters: curves with bands, labels at their right ends, vertical marks.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::curves::Point;
use super::palette::{GRID, GROUND, Paint, QUIET, TEXT};

/// Plotters rounds to whole units; drawn this many times larger and scaled down, curves stay smooth.
const SCALE: u32 = 4;
/// Distance between end labels, in CSS pixels.
const LABEL_STEP: i32 = 14;
/// Longest end label, in characters.
const LONGEST_LABEL: usize = 26;

type Drawn<T> = Result<T, Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Axes<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A curve of a chart.
pub(super) struct Line {
    /// Written at its right end.
    pub(super) label: String,
    pub(super) paint: Paint,
    pub(super) points: Vec<Point>,
    /// Whether the range from lowest to highest seed is shaded.
    pub(super) band: bool,
}

/// A chart of values over optimiser steps.
pub(super) struct Chart {
    /// What a reader who cannot see it is told; also drawn on top if `titled`.
    pub(super) title: String,
    pub(super) titled: bool,
    /// Size in CSS pixels.
    pub(super) size: (u32, u32),
    /// The range of values; fitted to the curves if `None`.
    pub(super) values: Option<Range<f64>>,
    /// The last step of the axis, if some curve may end before it.
    pub(super) last_step: f64,
    /// What a fitted range is kept within.
    pub(super) limits: Range<f64>,
    pub(super) lines: Vec<Line>,
    /// Vertical marks: step and label.
    pub(super) marks: Vec<(f64, String)>,
}

impl Chart {
    /// The drawing, an `<svg>` element; a sentence in its place if there is nothing to draw.
    pub(super) fn svg(&self) -> String {
        let mut text = String::new();
        let drawn = {
            let (width, height) = self.size;
            let area = SVGBackend::with_string(&mut text, (width * SCALE, height * SCALE)).into_drawing_area();
            self.draw(&area)
        };
        if let Err(error) = drawn {
            text = format!("<svg xmlns=\"http://www.w3.org/2000/svg\"><desc>{}</desc></svg>", super::escape(&error));
        }
        self.finish(&text)
    }

    /// The range of steps and of values, with some air; `None` without a point.
    fn ranges(&self) -> Option<(Range<f64>, Range<f64>)> {
        let points = || self.lines.iter().flat_map(|line| line.points.iter().map(move |p| (p, line.band)));
        let last = points().map(|(p, _)| p.step).reduce(f64::max)?.max(self.last_step);
        let low = points().map(|(p, band)| if band { p.low } else { p.mean }).reduce(f64::min)?;
        let high = points().map(|(p, band)| if band { p.high } else { p.mean }).reduce(f64::max)?;
        let air = (0.06 * (high - low)).max(1e-3 * high.abs()).max(1e-6);
        let fitted = (low - air).max(self.limits.start)..(high + air).min(self.limits.end);
        Some((0.0..last.max(1.0), self.values.clone().unwrap_or(fitted)))
    }

    fn draw(&self, area: &Area) -> Drawn<()> {
        area.fill(&GROUND.rgb())?;
        let s = |pixels: u32| pixels * SCALE;
        let Some((steps, values)) = self.ranges() else {
            let (x, y) = ((self.size.0 * SCALE / 2) as i32, (self.size.1 * SCALE / 2) as i32);
            let message = format!("{}: nothing was recorded", self.title);
            area.draw(&Text::new(message, (x, y), font(13, QUIET, HPos::Center)))?;
            return Ok(());
        };
        let longest = self.lines.iter().map(|line| shorten(&line.label).chars().count() as u32).max().unwrap_or(0);
        let top = if self.titled { 40 } else { 14 };
        let mut axes = ChartBuilder::on(area)
            .margin_top(s(top))
            .margin_right(s(16 + longest * 13 / 2))
            .margin_left(s(6))
            .margin_bottom(s(4))
            .x_label_area_size(s(38))
            .y_label_area_size(s(44))
            .build_cartesian_2d(steps, values.clone())?;
        let decimals = if values.end - values.start < 0.6 { 2 } else { 1 };
        axes.configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID.rgb().stroke_width(s(1)))
            .axis_style(QUIET.rgb().stroke_width(s(1)))
            .label_style(font(12, QUIET, HPos::Center))
            .set_all_tick_mark_size(s(4))
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|step| format!("{step:.0}"))
            .y_label_formatter(&|value| format!("{value:.decimals$}"))
            .x_desc("optimiser steps")
            .axis_desc_style(font(12, QUIET, HPos::Center))
            .draw()?;
        if self.titled {
            area.draw(&Text::new(self.title.clone(), (s(12) as i32, s(20) as i32), font(15, TEXT, HPos::Left)))?;
        }
        self.draw_marks(area, &axes, &values)?;
        for line in &self.lines {
            draw_line(&mut axes, line)?;
        }
        self.draw_labels(area, &axes)
    }

    fn draw_marks(&self, area: &Area, axes: &Axes, values: &Range<f64>) -> Drawn<()> {
        let s = SCALE as i32;
        for (step, label) in &self.marks {
            let (x, bottom) = axes.backend_coord(&(*step, values.start));
            let (_, top) = axes.backend_coord(&(*step, values.end));
            // Dashes, so that it is no curve.
            for y in (top..bottom).step_by(8 * s as usize) {
                let dash = vec![(x, y), (x, (y + 4 * s).min(bottom))];
                area.draw(&PathElement::new(dash, QUIET.rgb().stroke_width(SCALE)))?;
            }
            let late = x - axes.plotting_area().get_pixel_range().0.start > (self.size.0 * SCALE) as i32 / 3;
            let (x, side) = if late { (x - 5 * s, HPos::Right) } else { (x + 5 * s, HPos::Left) };
            area.draw(&Text::new(label.clone(), (x, bottom - 9 * s), font(12, QUIET, side)))?;
        }
        Ok(())
    }

    /// Names at the right ends, pushed apart where they would touch; some are left out if there is no room for all.
    fn draw_labels(&self, area: &Area, axes: &Axes) -> Drawn<()> {
        let s = SCALE as i32;
        let (columns, rows) = axes.plotting_area().get_pixel_range();
        let room = (rows.end - rows.start) / (LABEL_STEP * s) + 1;
        let ended: Vec<(&Line, &Point)> = self.lines.iter().filter_map(|l| Some((l, l.points.last()?))).collect();
        let every = ended.len().div_ceil(room.max(1) as usize).max(1);
        let mut places: Vec<(i32, &Line)> =
            ended.iter().step_by(every).map(|(line, p)| (axes.backend_coord(&(p.step, p.mean)).1, *line)).collect();
        places.sort_by_key(|(y, _)| *y);
        spread(&mut places, LABEL_STEP * s, &rows);
        for (y, line) in places {
            area.draw(&Text::new(shorten(&line.label), (columns.end + 7 * s, y), font(12, line.paint, HPos::Left)))?;
        }
        Ok(())
    }

    /// Size in CSS pixels and the words for readers who cannot see it.
    fn finish(&self, svg: &str) -> String {
        let (width, height) = self.size;
        let drawn = format!("<svg width=\"{}\" height=\"{}\"", width * SCALE, height * SCALE);
        let title = super::escape(&self.title);
        let wanted = format!("<svg role=\"img\" aria-label=\"{title}\" width=\"{width}\" height=\"{height}\"");
        svg.replacen(&drawn, &wanted, 1)
    }
}

/// Moves heights, sorted by size, as little as brings them `step` apart, and then into `rows`.
fn spread<T>(places: &mut [(i32, T)], step: i32, rows: &Range<i32>) {
    // Neighbours that are too near form a group, which is centred where its members would be.
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

fn draw_line(axes: &mut Axes, line: &Line) -> Drawn<()> {
    let colour = line.paint.rgb();
    if line.band && line.points.len() > 1 {
        let back = line.points.iter().rev().map(|p| (p.step, p.high));
        let outline: Vec<(f64, f64)> = line.points.iter().map(|p| (p.step, p.low)).chain(back).collect();
        axes.draw_series([Polygon::new(outline, colour.mix(0.18))])?;
    }
    let middle: Vec<(f64, f64)> = line.points.iter().map(|p| (p.step, p.mean)).collect();
    if let [only] = middle[..] {
        axes.draw_series([Circle::new(only, 4 * SCALE as i32, colour.filled())])?;
    } else if !middle.is_empty() {
        axes.draw_series([PathElement::new(middle, colour.stroke_width(2 * SCALE))])?;
    }
    Ok(())
}

/// Text of `size` CSS pixels; plotters' unit is 1.24 times that of SVG.
fn font(size: u32, paint: Paint, side: HPos) -> TextStyle<'static> {
    let size = f64::from(size * SCALE) * 1.24;
    ("sans-serif", size).into_font().color(&paint.rgb()).pos(Pos::new(side, VPos::Center))
}

fn shorten(label: &str) -> String {
    if label.chars().count() <= LONGEST_LABEL {
        return label.to_owned();
    }
    label.chars().take(LONGEST_LABEL - 1).chain(['…']).collect()
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
