//! The page of a profile: one file, no script, nothing from elsewhere.

use std::fmt::Write;

use super::roofline::{self, roofline};
use super::{Group, Launch, Phase, Profile};
use crate::report::escape;

const STYLE: &str = "
.bar { display: flex; height: 34px; } .bar span { min-width: 0; }
.key { display: inline-block; width: 0.8em; height: 0.8em; margin: 0 0.35em 0 1em; }
td.n { text-align: right; font-variant-numeric: tabular-nums; }
";

/// Colours of the phases, those of Okabe and Ito, readable on light and dark.
pub(super) fn colour(phase: Phase) -> &'static str {
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
         <title>{title} · profile · Trellis</title>\n<style>\n{}{}{STYLE}</style>\n</head>\n<body>\n<main>\n",
        include_str!("../report/page.css"),
        roofline::STYLE,
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
    if let Some(loading) = profile.loading {
        let _ = write!(
            html,
            "<section>\n<h2>Data</h2>\n<p>Threads read {:.0} examples a second by themselves; steps that wait for none \
             take {:.0}. Together a step takes {:.3} ms, of which it waits {:.3} ms for data.</p>\n</section>\n",
            loading.reads_per_s,
            loading.takes_per_s(profile.step_ms),
            loading.step_ms,
            loading.waited_ms
        );
    }
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

pub(super) fn describe(launch: &Launch) -> String {
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
        assert!(page.contains("<h2>Data</h2>") && page.contains("waits 0.250 ms"));
        assert!(page.contains("alignment") && page.contains("Roofline") && page.ends_with("</html>\n"));
    }

    #[test]
    fn a_profile_without_operations_has_a_page_too() {
        let mut profile = profile();
        profile.launches.retain(|launch| launch.flops == 0);
        assert!(profile.page().contains("No dispatch has both"));
    }
}
