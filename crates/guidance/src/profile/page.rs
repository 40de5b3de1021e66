//! The page of a profile: one file, no script, nothing from elsewhere.

use std::fmt::Write;

use super::{Group, Launch, Phase, Profile};
use crate::report::escape;

/// Size of the roofline plot in CSS pixels, and its margins: left, right, top, bottom.
const SIZE: [f64; 2] = [860.0, 420.0];
const MARGIN: [f64; 4] = [64.0, 24.0, 20.0, 46.0];

const STYLE: &str = "
svg text { font: 12px system-ui, sans-serif; fill: var(--quiet); }
svg .grid { stroke: var(--grid); } svg .roof { stroke: var(--text); stroke-width: 2; fill: none; }
:root { --quiet: #5b646e; --grid: #e3e6ea; --text: #1f2328; }
@media (prefers-color-scheme: dark) { :root { --quiet: #9da7b3; --grid: #2d333b; --text: #e6edf3; } }
.bar { display: flex; height: 34px; } .bar span { min-width: 0; }
.key { display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.35em 0 1em; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
";

/// Colours of the phases, those of Okabe and Ito, readable on light and dark.
fn colour(phase: Phase) -> &'static str {
    match phase {
        Phase::Data => "#999999",
        Phase::TargetForward => "#56b4e9",
        Phase::GuideForward => "#009e73",
        Phase::Alignment => "#d55e00",
        Phase::Backward => "#0072b2",
        Phase::Optimizer => "#cc79a7",
        Phase::Other => "#e69f00",
    }
}

pub(super) fn page(profile: &Profile) -> String {
    let title = escape(&profile.name);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title} · profile · Trellis</title>\n<style>\n{}{STYLE}</style>\n</head>\n<body>\n<main>\n",
        include_str!("../report/page.css")
    );
    let ceilings = profile.ceilings;
    let _ = write!(
        html,
        "<header>\n<h1>{title}</h1>\n<p class=\"quiet\">One training step, dispatch by dispatch.</p>\n<dl>\n\
         <dt>Device</dt><dd>{}</dd>\n\
         <dt>Step</dt><dd>{:.3} ms of wall clock; {:.3} ms on the device in {} dispatches; CPU: {:.3} ms to encode, \
         {:.3} ms to submit</dd>\n\
         <dt>Ceilings, measured</dt><dd>{:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copying</dd>\n\
         <dt>Memory</dt><dd>{:.1} MiB at most</dd>\n<dt>Trellis</dt><dd>{}</dd>\n</dl>\n</header>\n",
        escape(&profile.adapter),
        profile.step_ms,
        profile.gpu_ms(),
        profile.launches.len(),
        profile.encode_ms,
        profile.submit_ms,
        ceilings.fma_flop_per_s / 1e9,
        ceilings.copy_bytes_per_s / 1e9,
        profile.memory_peak as f64 / f64::from(1 << 20),
        escape(&profile.version),
    );
    let _ = write!(
        html,
        "<section>\n<h2>Where the time goes</h2>\n<p>From left to right as the step runs; widths are times. Point at a \
         part for its name.</p>\n{}\n<p>{}</p>\n{}</section>\n",
        timeline(profile),
        Phase::ALL
            .map(|p| format!("<span class=\"key\" style=\"background:{}\"></span>{}", colour(p), p.name()))
            .concat(),
        table("phase", &profile.by_phase(), profile.gpu_ms()),
    );
    let _ = write!(
        html,
        "<section>\n<h2>Roofline</h2>\n<p>Each circle is a dispatch; its area is its time. Right: more operations for \
         each byte it must move. Up: faster. The line is what this adapter can do, measured: under its slope memory is \
         the limit, under its flat part arithmetic. A circle above the slope had its bytes in cache. What lies far \
         below the line and is large is worth work.</p>\n{}\n</section>\n",
        roofline(profile)
    );
    let ops = profile.by_time(|launch| launch.op.clone());
    let layers = profile.by_time(|launch| launch.layer.clone());
    for (title, head, groups) in [("Ops", "op", &ops), ("Layers", "layer", &layers)] {
        let rows = table(head, groups, profile.gpu_ms());
        let _ = write!(html, "<section>\n<h2>{title}</h2>\n{rows}</section>\n");
    }
    let _ = write!(html, "<section>\n<h2>Memory</h2>\n<table>\n<tr><th>what</th><th>MiB</th></tr>\n");
    for (name, bytes) in &profile.memory {
        let mebibytes = *bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(html, "<tr><td>{}</td><td class=\"n\">{mebibytes:.2}</td></tr>", escape(name));
    }
    html.push_str("</table>\n</section>\n</main>\n</body>\n</html>\n");
    html
}

fn describe(launch: &Launch) -> String {
    format!("{} in {}: {:.4} ms", launch.op, launch.layer, launch.ms)
}

fn timeline(profile: &Profile) -> String {
    let total = profile.gpu_ms().max(1e-12);
    let part = |launch: &Launch| {
        let (share, title) = (100.0 * launch.ms / total, escape(describe(launch)));
        format!("<span style=\"width:{share:.3}%;background:{}\" title=\"{title}\"></span>", colour(launch.phase))
    };
    format!("<div class=\"bar\">{}</div>", profile.launches.iter().map(part).collect::<String>())
}

fn table(head: &str, groups: &[Group], total: f64) -> String {
    let mut html = format!(
        "<table>\n<tr><th>{head}</th><th>dispatches</th><th>ms</th><th>share %</th><th>GFLOP/s</th><th>GB/s</th>\
         <th>× floor</th></tr>\n"
    );
    for group in groups {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.3}</td><td class=\"n\">{:.1}</td>\
             <td class=\"n\">{:.1}</td><td class=\"n\">{:.1}</td><td class=\"n\">{}</td></tr>",
            escape(&group.name),
            group.launches,
            group.ms,
            100.0 * group.ms / total.max(1e-12),
            group.gflop_per_s(),
            group.gb_per_s(),
            group.times_floor().map_or("-".to_string(), |ratio| format!("{ratio:.1}")),
        );
    }
    html.push_str("</table>\n");
    html
}

/// A log-log plot.
fn roofline(profile: &Profile) -> String {
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
    use crate::profile::tests::profile;

    #[test]
    fn the_page_is_whole_escaped_and_self_contained() {
        let page = profile().page();
        assert!(page.contains("&lt;demo&gt;") && !page.contains("<demo>"));
        assert_eq!(page.matches("<circle").count(), 2, "only matmuls have operations here");
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
        assert!(!page.contains("NaN") && !page.contains("inf\""), "every coordinate is a number");
        assert!(page.contains("alignment") && page.contains("Roofline") && page.ends_with("</html>\n"));
    }

    #[test]
    fn a_profile_without_operations_has_a_page_too() {
        let mut profile = profile();
        profile.launches.retain(|launch| launch.flops == 0);
        assert!(profile.page().contains("No dispatch has both"));
    }
}
