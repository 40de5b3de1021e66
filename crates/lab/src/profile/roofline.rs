//! The roofline of a profile (Williams, Waterman and Patterson 2009): each dispatch by its operations per byte and its rate,
//! under what the adapter can do at best.

use std::fmt::Write;

use super::page::{describe, paint};
use super::{Launch, Phase, Profile};
use crate::report::escape::escape;
use crate::report::palette::{self, GROUND, QUIET};

/// Size of a plot in CSS pixels, and the margins left of it, right, above and below.
#[derive(Clone, Copy)]
struct Size {
    width: f64,
    height: f64,
    margin: [f64; 4],
    /// Radius of a circle that is all of the step.
    radius: f64,
}

const WIDE: Size = Size { width: 860.0, height: 420.0, margin: [64.0, 24.0, 26.0, 46.0], radius: 40.0 };
const MIDDLE: Size = Size { width: 600.0, height: 380.0, margin: [58.0, 20.0, 26.0, 46.0], radius: 32.0 };
const NARROW: Size = Size { width: 350.0, height: 320.0, margin: [52.0, 14.0, 26.0, 46.0], radius: 24.0 };
/// Height of a line of text below the picture that stands alone.
const ROW: f64 = 20.0;

pub(super) const STYLE: &str = "
svg.roofline text { font: 12px system-ui, -apple-system, \"Segoe UI\", Roboto, sans-serif; }
svg.roofline .grid { stroke: #e3e6ea; } svg.roofline .roof { stroke: #1f2328; stroke-width: 2; fill: none; }
@media (prefers-color-scheme: dark) { svg.roofline .grid { stroke: #2d333b; } svg.roofline .roof { stroke: #e6edf3; } }
";

/// The plot for a page that has [`STYLE`], at three sizes, one of which the page's style shows.
pub(super) fn figure(profile: &Profile) -> String {
    let versions = [("wide", WIDE), ("middle", MIDDLE), ("narrow", NARROW)];
    let plots = versions.map(|(class, size)| format!("<div class=\"{class}\">{}</div>", roofline(profile, size)));
    format!("<figure class=\"chart large\">{}</figure>", plots.concat())
}

/// The plot as a picture of its own, with a key and a line that says what was measured where.
pub(super) fn picture(profile: &Profile) -> String {
    let plot = roofline(profile, WIDE);
    let Some(plot) = plot.strip_prefix("<svg ").and_then(|plot| plot.strip_suffix("</svg>")) else { return plot };
    let (left, bottom) = (WIDE.margin[0], WIDE.height);
    let shown =
        Phase::ALL.into_iter().filter(|&phase| profile.launches.iter().any(|l| l.phase == phase && l.flops > 0));
    let key = |(number, phase): (usize, Phase)| {
        let (at, y) = (left + 120.0 * number as f64, bottom + 14.0);
        let dot = format!("<circle cx=\"{at}\" cy=\"{y}\" r=\"5\" fill=\"{}\"/>", paint(phase).hex());
        dot + &text(phase.name(), [at + 9.0, y + 4.0], "start")
    };
    let said = format!(
        "{} on {}: {:.1} ms in {} dispatches",
        profile.name,
        profile.adapter,
        profile.gpu_ms(),
        profile.launches.len()
    );
    // A long line takes several rows.
    let letters: Vec<char> = said.chars().collect();
    let rows: Vec<String> = letters.chunks(110).map(|row| row.iter().collect()).collect();
    let row = |(number, row): (usize, &String)| text(row, [left, bottom + (number as f64 + 2.0) * ROW], "start");
    let height = bottom + (rows.len() as f64 + 1.0) * ROW + 10.0;
    let plot = plot.replace(&format!("height=\"{bottom}\""), &format!("height=\"{height}\""));
    let (width, rules) = (WIDE.width, palette::rules());
    let ground = format!("<rect width=\"{width}\" height=\"{height}\" fill=\"{}\"/>", GROUND.hex());
    let plot = plot.replace(&format!(" {bottom}\">"), &format!(" {height}\">\n<style>{rules}{STYLE}</style>{ground}"));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {plot}{}{}\n</svg>\n",
        shown.enumerate().map(key).collect::<String>(),
        rows.iter().enumerate().map(row).collect::<String>(),
    )
}

fn text(words: &str, [x, y]: [f64; 2], anchor: &str) -> String {
    let (color, words) = (QUIET.hex(), escape(words));
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{color}\">{words}</text>\n")
}

/// A power of ten on an axis: short, however large.
fn decade(power: i32) -> String {
    match power {
        -3..=3 => format!("{}", 10f64.powi(power)),
        4..=5 => format!("{}k", 10f64.powi(power - 3)),
        _ => format!("1e{power}"),
    }
}

/// A log-log plot.
fn roofline(profile: &Profile, size: Size) -> String {
    let ceilings = profile.ceilings;
    let shown: Vec<(f64, f64, &Launch)> = profile
        .launches
        .iter()
        .filter(|launch| launch.flops > 0 && launch.bytes > 0 && launch.ms > 0.0)
        .map(|launch| (launch.flops as f64 / launch.bytes as f64, launch.flops as f64 / launch.ms / 1e6, launch))
        .collect();
    if shown.is_empty() {
        return "<p>No dispatch has both operations and bytes.</p>".to_string();
    }
    let (peak, ridge) = (ceilings.fma_flop_per_s / 1e9, ceilings.ridge());
    let decades = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), v| (low.min(v), high.max(v)));
        (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0))
    };
    let xs = decades(&mut shown.iter().map(|p| p.0).chain([ridge]));
    let ys = decades(&mut shown.iter().map(|p| p.1).chain([peak]));
    let Size { width, height, margin: [left, right, top, bottom], radius } = size;
    let x = |v: f64| left + (v.log10() - xs.0) / (xs.1 - xs.0) * (width - left - right);
    let y = |v: f64| height - bottom - (v.log10() - ys.0) / (ys.1 - ys.0) * (height - top - bottom);
    let mut svg = format!(
        "<svg class=\"roofline\" role=\"img\" aria-label=\"Roofline\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n"
    );
    let base = height - bottom;
    // Labels of neighbors do not touch.
    let every = |decades: f64, room: f64, label: f64| (decades * label / room).ceil().max(1.0) as usize;
    let step = every(xs.1 - xs.0, width - left - right, 44.0);
    for power in (xs.0 as i32..=xs.1 as i32).step_by(step) {
        let at = x(10f64.powi(power));
        let _ = writeln!(svg, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top}\" y2=\"{base}\"/>");
        svg.push_str(&text(&decade(power), [at.min(width - 22.0), base + 20.0], "middle"));
    }
    let step = every(ys.1 - ys.0, height - top - bottom, 20.0);
    for power in (ys.0 as i32..=ys.1 as i32).step_by(step) {
        let at = y(10f64.powi(power));
        let end = width - right;
        let _ = writeln!(svg, "<line class=\"grid\" x1=\"{left}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
        svg.push_str(&text(&decade(power), [left - 8.0, at + 4.0], "end"));
    }
    let (first, last) = (10f64.powf(xs.0), 10f64.powf(xs.1));
    let slope_start = (first * peak / ridge).max(10f64.powf(ys.0));
    let _ = writeln!(
        svg,
        "<polyline class=\"roof\" points=\"{:.1},{:.1} {:.1},{:.1} {:.1},{:.1}\"/>",
        x(slope_start * ridge / peak),
        y(slope_start),
        x(ridge),
        y(peak),
        x(last),
        y(peak)
    );
    let total = profile.gpu_ms().max(1e-12);
    for (intensity, rate, launch) in shown {
        let radius = 2.0 + radius * (launch.ms / total).sqrt();
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\" fill-opacity=\"0.55\"><title>{}, {rate:.2} \
             GFLOP/s</title></circle>",
            x(intensity),
            y(rate),
            paint(launch.phase).hex(),
            escape(describe(launch))
        );
    }
    svg.push_str(&text("operations per byte", [(left + width - right) / 2.0, height - 8.0], "middle"));
    svg.push_str(&text("GFLOP/s", [8.0, 14.0], "start"));
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::picture;
    use crate::profile::tests::profile;

    #[test]
    fn a_picture_stands_alone() {
        let picture = picture(&profile());
        assert!(picture.starts_with("<svg xmlns=") && picture.ends_with("</svg>\n"));
        assert_eq!(picture.matches("<svg").count(), 1);
        assert_eq!(picture.matches("<style>").count(), 1);
        assert!(picture.contains("&lt;demo&gt;") && !picture.contains("NaN"));
        assert!(picture.matches("<circle").count() > 2, "a key beside the dispatches");
    }
}
