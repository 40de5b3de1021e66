//! The roofline of a profile (Williams, Waterman and Patterson 2009): each dispatch by its operations per byte and its rate,
//! under what the adapter can do at best.

use std::fmt::Write;

use super::page::{colour, describe};
use super::{Launch, Phase, Profile};
use crate::report::escape;

/// Size of the plot in CSS pixels, and its margins: left, right, top, bottom.
const SIZE: [f64; 2] = [860.0, 420.0];
const MARGIN: [f64; 4] = [64.0, 24.0, 20.0, 46.0];

pub(super) const STYLE: &str = "
svg text { font: 12px system-ui, sans-serif; fill: var(--quiet); }
svg .grid { stroke: var(--grid); } svg .roof { stroke: var(--text); stroke-width: 2; fill: none; }
:root { --quiet: #5b646e; --grid: #e3e6ea; --text: #1f2328; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9da7b3; --grid: #2d333b; --text: #e6edf3; } }
";

/// The plot as a picture of its own, with a key and a line that says what was measured where.
pub(super) fn picture(profile: &Profile) -> String {
    let plot = roofline(profile);
    let Some(plot) = plot.strip_prefix("<svg ").and_then(|plot| plot.strip_suffix("</svg>")) else { return plot };
    let shown =
        Phase::ALL.into_iter().filter(|&phase| profile.launches.iter().any(|l| l.phase == phase && l.flops > 0));
    let key = |(number, phase): (usize, Phase)| {
        let at = MARGIN[0] + 120.0 * number as f64;
        format!(
            "<circle cx=\"{at}\" cy=\"{y}\" r=\"5\" fill=\"{}\"/><text x=\"{}\" y=\"{}\">{}</text>",
            colour(phase),
            at + 9.0,
            SIZE[1] + 18.0,
            phase.name(),
            y = SIZE[1] + 14.0,
        )
    };
    let plot = plot.replace(&format!("height=\"{}\"", SIZE[1]), &format!("height=\"{}\"", SIZE[1] + 50.0));
    let plot = plot.replace(&format!(" {}\">", SIZE[1]), &format!(" {}\">\n<style>{STYLE}</style>", SIZE[1] + 50.0));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" {plot}{}<text x=\"{}\" y=\"{}\">{} on {}: {:.1} ms in {} dispatches</text>\n</svg>\n",
        shown.enumerate().map(key).collect::<String>(),
        MARGIN[0],
        SIZE[1] + 40.0,
        escape(&profile.name),
        escape(&profile.adapter),
        profile.gpu_ms(),
        profile.launches.len(),
    )
}

/// A log-log plot, part of a page that has [`STYLE`].
pub(super) fn roofline(profile: &Profile) -> String {
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
    let [left, right, top, bottom] = MARGIN;
    let x = |v: f64| left + (v.log10() - xs.0) / (xs.1 - xs.0) * (SIZE[0] - left - right);
    let y = |v: f64| SIZE[1] - bottom - (v.log10() - ys.0) / (ys.1 - ys.0) * (SIZE[1] - top - bottom);
    let mut svg = format!(
        "<svg role=\"img\" aria-label=\"Roofline\" width=\"{}\" height=\"{}\" viewBox=\"0 0 {0} {1}\">\n",
        SIZE[0], SIZE[1]
    );
    for decade in xs.0 as i32..=xs.1 as i32 {
        let (v, base) = (10f64.powi(decade), SIZE[1] - bottom);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{top}\" y2=\"{base}\"/>\
             <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{v}</text>",
            x(v),
            base + 16.0
        );
    }
    for decade in ys.0 as i32..=ys.1 as i32 {
        let v = 10f64.powi(decade);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{}\" y1=\"{1:.1}\" y2=\"{1:.1}\"/>\
             <text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{v}</text>",
            SIZE[0] - right,
            y(v),
            left - 8.0,
            y(v) + 4.0
        );
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
        let radius = 2.0 + 40.0 * (launch.ms / total).sqrt();
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\" fill=\"{}\" fill-opacity=\"0.55\"><title>{}, {rate:.2} \
             GFLOP/s</title></circle>",
            x(intensity),
            y(rate),
            colour(launch.phase),
            escape(describe(launch))
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">operations per byte</text>\
         <text x=\"14\" y=\"14\">GFLOP/s</text>\n</svg>",
        SIZE[0] / 2.0,
        SIZE[1] - 8.0
    );
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
