//! The page of a profile: one file, no script, nothing from elsewhere.

use std::fmt::Write;

use super::{Group, Launch, Phase, Profile, roofline};
use crate::report::escape::escape;
use crate::report::page::head;
use crate::report::palette::{self, Paint};

const STYLE: &str = "
.bar { display: flex; height: 40px; margin: .6rem 0; }
.bar span { min-width: 0; overflow: hidden; text-align: center; font: 600 12px/40px system-ui, sans-serif; color: var(--ground); }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: 0 0 .8rem; padding: 0; list-style: none; }
.dot { display: inline-block; width: .8em; height: .8em; margin-right: .4em; border-radius: 50%; vertical-align: -.05em; }
";

/// Dispatches of the list of the longest.
const LONGEST: usize = 10;
/// Least share of the step whose part of the timeline has room for a number.
const NUMBERED: f64 = 0.06;

/// Color of a phase: one of those of the report's arms, which stand out on light and dark pages.
pub(super) fn paint(phase: Phase) -> Paint {
    palette::arm(match phase {
        Phase::Data => 0,
        Phase::TargetForward => 2,
        Phase::GuideForward => 3,
        Phase::Alignment => 1,
        Phase::Backward => 6,
        Phase::Optimizer => 4,
        Phase::Other => 5,
    })
}

/// Class of elements that have the color of a phase as their background.
fn class(phase: Phase) -> String {
    format!("phase-{}", phase.name().replace(' ', "-"))
}

/// Rules that give the classes of the phases their colors.
fn phase_rules() -> String {
    let rule = |phase: Phase, color: String| format!(".{} {{ background: {color}; }}\n", class(phase));
    let light = Phase::ALL.map(|phase| rule(phase, paint(phase).hex())).concat();
    let dark = Phase::ALL.map(|phase| rule(phase, paint(phase).dark_hex())).concat();
    format!("{light}@media (prefers-color-scheme: dark) {{\n{dark}}}\n")
}

pub(super) fn page(profile: &Profile) -> String {
    let title = escape(&profile.name);
    let style = format!("{}{STYLE}{}", roofline::STYLE, phase_rules());
    let mut html = head(&format!("{} · profile", profile.name), &style);
    let ceilings = profile.ceilings;
    let _ = write!(
        html,
        "<header>\n<h1>{title}</h1>\n<p class=\"quiet\">One training step, dispatch by dispatch.</p>\n<dl>\n\
         <dt>Device</dt><dd>{}</dd>\n\
         <dt>Step</dt><dd>{:.3} ms of wall clock; {:.3} ms on the device in {} dispatches, {} of them behind a \
         barrier; CPU: {:.3} ms to encode, {:.3} ms to submit</dd>\n\
         <dt>Ceilings, measured</dt><dd>{:.1} GFLOP/s of multiply-adds, {:.1} GB/s of copying</dd>\n\
         <dt>Memory</dt><dd>{:.1} MiB at most</dd>\n<dt>Trellis</dt><dd>{}</dd>\n</dl>\n</header>\n",
        escape(&profile.adapter),
        profile.step_ms,
        profile.gpu_ms(),
        profile.launches.len(),
        profile.barriers(),
        profile.encode_ms,
        profile.submit_ms,
        ceilings.fma_flop_per_s / 1e9,
        ceilings.copy_bytes_per_s / 1e9,
        profile.memory_peak as f64 / f64::from(1 << 20),
        escape(&profile.version),
    );
    let _ = write!(
        html,
        "<section>\n<h2>Where the time goes</h2>\n<p>From left to right as the step runs; widths are times. The numbers are \
         those of the longest dispatches, below.</p>\n{}\n{}\n{}{}</section>\n",
        timeline(profile),
        key(profile),
        table("phase", &profile.by_phase(), profile.gpu_ms()),
        longest(profile),
    );
    let _ = write!(
        html,
        "<section>\n<h2>Roofline</h2>\n<p>Each circle is a dispatch; its area is its time. Right: more operations for \
         each byte it must move. Up: faster. The line is what this adapter can do, measured: under its slope memory is \
         the limit, under its flat part arithmetic. A circle above the slope had its bytes in cache. What lies far \
         below the line and is large is worth work.</p>\n{}\n{}</section>\n",
        roofline::figure(profile),
        key(profile),
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
    let kernels = profile.by_time(|launch| launch.kernel.clone());
    let layers = profile.by_time(|launch| launch.layer.clone());
    for (title, head, groups) in [("Ops", "op", &ops), ("Kernels", "kernel", &kernels), ("Layers", "layer", &layers)] {
        let rows = table(head, groups, profile.gpu_ms());
        let _ = write!(html, "<section>\n<h2>{title}</h2>\n{rows}</section>\n");
    }
    let _ =
        write!(html, "<section>\n<h2>Memory</h2>\n<div class=\"scroll\"><table>\n<tr><th>what</th><th>MiB</th></tr>\n");
    for (name, bytes) in &profile.memory {
        let mebibytes = *bytes as f64 / f64::from(1 << 20);
        let _ = writeln!(html, "<tr><td>{}</td><td>{mebibytes:.2}</td></tr>", escape(name));
    }
    html.push_str("</table></div>\n</section>\n</main>\n</body>\n</html>\n");
    html
}

pub(super) fn describe(launch: &Launch) -> String {
    format!("{} in {}: {:.4} ms", launch.op, launch.layer, launch.ms)
}

/// Names of the phases that occur, each after a dot in its color.
fn key(profile: &Profile) -> String {
    let occurs = |phase: &Phase| profile.launches.iter().any(|launch| launch.phase == *phase);
    let name = |phase: Phase| format!("<li>{}{}</li>", dot(phase), phase.name());
    format!("<ul class=\"key\">{}</ul>", Phase::ALL.into_iter().filter(occurs).map(name).collect::<String>())
}

fn dot(phase: Phase) -> String {
    format!("<span class=\"dot {}\"></span>", class(phase))
}

/// Indices of the dispatches, the longest first.
fn by_length(profile: &Profile) -> Vec<usize> {
    let mut order: Vec<usize> = (0..profile.launches.len()).collect();
    order.sort_by(|&a, &b| profile.launches[b].ms.total_cmp(&profile.launches[a].ms));
    order.truncate(LONGEST);
    order
}

fn timeline(profile: &Profile) -> String {
    let (total, longest) = (profile.gpu_ms().max(1e-12), by_length(profile));
    let part = |(index, launch): (usize, &Launch)| {
        let (share, title) = (launch.ms / total, escape(describe(launch)));
        let rank = longest.iter().position(|&long| long == index).filter(|_| share >= NUMBERED);
        let rank = rank.map_or(String::new(), |rank| (rank + 1).to_string());
        let class = class(launch.phase);
        format!("<span class=\"{class}\" style=\"width:{:.3}%\" title=\"{title}\">{rank}</span>", 100.0 * share)
    };
    format!("<div class=\"bar\">{}</div>", profile.launches.iter().enumerate().map(part).collect::<String>())
}

/// The longest dispatches, for readers who cannot point at the timeline.
fn longest(profile: &Profile) -> String {
    let (total, order) = (profile.gpu_ms().max(1e-12), by_length(profile));
    let item = |&index: &usize| {
        let launch = &profile.launches[index];
        format!(
            "<li>{}<b>{}</b> in {}: {:.3} ms, {:.1} %{} <span class=\"quiet\">{}</span></li>\n",
            dot(launch.phase),
            escape(&launch.op),
            escape(&launch.layer),
            launch.ms,
            100.0 * launch.ms / total,
            launch.bound.map_or(String::new(), |bound| format!(", bound by {bound}")),
            escape(&launch.kernel),
        )
    };
    let items: String = order.iter().map(item).collect();
    format!("<h3>The longest dispatches</h3>\n<ol>\n{items}</ol>\n")
}

fn table(head: &str, groups: &[Group], total: f64) -> String {
    let mut html = format!(
        "<div class=\"scroll\"><table>\n<tr><th>{head}</th><th>dispatches</th><th>barriers</th><th>ms</th><th>share %</th><th>GFLOP/s</th>\
         <th>GB/s</th><th>× floor</th><th>bound</th></tr>\n"
    );
    for group in groups {
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.1}</td>\
             <td>{:.1}</td><td>{:.1}</td><td>{}</td><td>{}</td></tr>",
            escape(&group.name),
            group.launches,
            group.barriers,
            group.ms,
            100.0 * group.ms / total.max(1e-12),
            group.gflop_per_s(),
            group.gb_per_s(),
            group.times_floor().map_or("-".to_string(), |ratio| format!("{ratio:.1}")),
            group.bound().map_or("-".to_string(), |bound| bound.to_string()),
        );
    }
    html.push_str("</table></div>\n");
    html
}

#[cfg(test)]
mod tests {
    use crate::profile::tests::profile;

    #[test]
    fn the_page_is_whole_escaped_and_self_contained() {
        let page = profile().page();
        assert!(page.contains("&lt;demo&gt;") && !page.contains("<demo>"));
        assert_eq!(page.matches("<circle").count(), 6, "in three sizes; only matmuls have operations here");
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
        assert!(!page.contains("NaN") && !page.contains("inf\""), "every coordinate is a number");
        assert!(page.contains("<h2>Data</h2>") && page.contains("waits 0.250 ms"));
        assert!(page.contains("5 dispatches, 2 of them behind a barrier"));
        assert!(page.contains("alignment") && page.contains("Roofline") && page.ends_with("</html>\n"));
    }

    #[test]
    fn a_profile_without_operations_has_a_page_too() {
        let mut profile = profile();
        profile.launches.retain(|launch| launch.flops == 0);
        assert!(profile.page().contains("No dispatch has both"));
    }
}
