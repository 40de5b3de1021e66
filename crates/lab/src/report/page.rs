//! The words and tables of the page.

use std::fmt::Write;

use trellis_data::LeftOut;
use trellis_guidance::trainer::StepRecord;

use super::chart::Chart;
use super::escape::escape;
use super::marks::swatch;
use super::table::results::{OF_PRICES, OF_RESULTS, price, price_columns, result, result_columns};
use super::table::{self, Entry, Table};
use super::{arm_paint, confusion, facts, loss_charts, palette, similarity_charts, take_home, top1_chart};
use crate::config::Config;
use crate::record::{ArmSummary, Experiment, Missing};
use crate::stats::{Estimate, smallest_p};

/// Beginning of a page, up to its first section: its style, and `more` rules of its own.
pub(crate) fn head(title: &str, more: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{} · Trellis</title>\n<style>\n{}{}{more}</style>\n</head>\n<body>\n<main>\n",
        escape(title),
        include_str!("page.css"),
        palette::rules()
    )
}

/// The whole page.
pub(super) fn page(experiment: &Experiment) -> String {
    let mut html = head(&experiment.name, "");
    let config = facts::config(experiment);
    html.push_str(&header(experiment, config.as_ref()));
    if let Some(failure) = &experiment.failure {
        let others = experiment.diverged.iter().filter(|run| run.error != *failure);
        let text = format!(
            "<p>The experiment failed; runs that were not finished are shown as far as they came. {}</p>{}",
            escape(failure),
            others.map(|run| format!("<p>{}</p>", escape(&run.error))).collect::<String>()
        );
        html.push_str(&section("Not complete", &text));
    }
    if experiment.runs.is_empty() {
        html.push_str(&section("Nothing to show", "<p>No run was finished.</p>"));
    } else {
        let summary = experiment.summary();
        html.push_str(&results(&summary));
        html.push_str(&further_scores(experiment));
        html.push_str(&plots(experiment, config.as_ref()));
    }
    html.push_str(&missing_lines(&experiment.missing));
    html.push_str(&broken_files(&experiment.left_out));
    html.push_str(&take_home::section(experiment));
    let _ = write!(
        html,
        "<section><details><summary>Configuration, defaults filled in</summary><pre>{}</pre></details></section>\n\
         <footer><p>Written by Trellis {}. Every number behind the plots is in <code>metrics.jsonl</code>, next to \
         this file.</p></footer>\n</main>\n<script>\n{}</script>\n</body>\n</html>\n",
        escape(&experiment.config_toml),
        escape(&experiment.version),
        table::SORTING,
    );
    html
}

pub(super) fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{body}\n</section>\n")
}

/// Header of the page: what was run, on what, for how long.
fn header(experiment: &Experiment, config: Option<&Config>) -> String {
    let mut seeds: Vec<u64> = experiment.runs.iter().map(|run| run.seed).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let steps = experiment
        .runs
        .iter()
        .flat_map(|run| run.steps.iter().map(|s| s.step + 1).chain(run.evals.iter().map(|e| e.step)));
    let unfinished = experiment.runs.iter().filter(|run| !experiment.is_complete(run)).count();
    let steps = steps.max().unwrap_or(0);
    let mut facts: Vec<(&str, Vec<String>)> = match config {
        Some(config) => facts::facts(config, experiment),
        None => vec![("Arms", vec![experiment.arms().join(", ")])],
    };
    let one = |name, value| (name, vec![value]);
    facts.push(one("Seeds", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")));
    // A run that came to its end has taken as many as the configuration says.
    let most = |config: &Config| config.arms.iter().map(|arm| u64::from(config.training_of(arm).steps)).max();
    if config.and_then(most) != Some(steps) {
        facts.push(one("Steps taken", steps.to_string()));
    }
    facts.push(one("Device", experiment.adapter.clone()));
    facts.push(one("Time", duration(experiment.seconds)));
    facts.push(one("Trellis", experiment.version.clone()));
    if unfinished > 0 {
        let all = experiment.runs.len();
        facts.push(one("Not finished", format!("{unfinished} of {all} runs: they are in the plots, and in no table")));
    }
    let mut html = format!("<header>\n<h1>{}</h1>\n", escape(&experiment.name));
    html.push_str(
        "<p class=\"quiet\">A target network trained alone, and the same network with its layers pulled towards those \
         of a guide.</p>\n<dl>\n",
    );
    for (name, values) in facts {
        let told: String = values.iter().filter(|v| !v.is_empty()).map(|v| format!("<dd>{}</dd>", escape(v))).collect();
        if !told.is_empty() {
            let _ = writeln!(html, "<dt>{name}</dt>{told}");
        }
    }
    html.push_str("</dl>\n</header>\n");
    html
}

pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        s if s.is_nan() || s <= 0.0 => String::new(),
        s if s < 60.0 => format!("{s:.1} s"),
        s if s < 3600.0 => format!("{:.0} min {:.0} s", (s / 60.0).floor(), (s % 60.0).floor()),
        s => format!("{:.0} h {:.0} min", (s / 3600.0).floor(), (s % 3600.0 / 60.0).floor()),
    }
}

/// The tables and what they say in words.
fn results(summary: &[ArmSummary]) -> String {
    let first = summary.first().map_or("", |arm| &arm.name);
    let arms: Vec<&str> = summary.iter().map(|arm| arm.name.as_str()).collect();
    let marked = |arm: &ArmSummary, mut row: Vec<Entry>| {
        row[0] = Entry::words(&arm.name).after(swatch(arm_paint(&arms, &arm.name)));
        row
    };
    let table = |name: &str, columns: Vec<String>, row: fn(&ArmSummary) -> Vec<Entry>| Table {
        name: name.to_string(),
        columns,
        rows: summary.iter().map(|arm| marked(arm, row(arm))).collect(),
    };
    let mut html = table("results", result_columns(first), result).html();
    let _ = writeln!(html, "<p class=\"quiet\">{OF_RESULTS}</p>");
    html.push_str(&certainty(summary));
    let words: Vec<String> = summary.iter().filter_map(verdict).map(|words| format!("<li>{words}</li>")).collect();
    if !words.is_empty() {
        let _ = write!(html, "<ul>\n{}\n</ul>", words.join("\n"));
    }
    let price = table("price", price_columns(first), price).html();
    section("Results", &html)
        + &section("Speed, over-fitting, price", &format!("{price}<p class=\"quiet\">{OF_PRICES}</p>"))
}

/// Two tests that assume less than Student's interval, for top-1.
fn certainty(summary: &[ArmSummary]) -> String {
    let row = |arm: &ArmSummary| {
        let difference = arm.top1_difference.as_ref()?;
        let points = |share: f64| format!("{:+.1}", 100.0 * share).replace('-', "−");
        let interval =
            difference.bca95.map_or("–".to_owned(), |[low, high]| format!("{} to {}", points(low), points(high)));
        let p = |p: f64| Entry::number(Some(p), p_value);
        Some(vec![Entry::words(&arm.name), Entry::words(interval), p(difference.p?), p(difference.p_holm?)])
    };
    let rows: Vec<Vec<Entry>> = summary.iter().filter_map(row).collect();
    let Some(seeds) = summary.iter().filter_map(|arm| Some(arm.top1_difference.as_ref()?.seeds)).max() else {
        return String::new();
    };
    if rows.is_empty() {
        return String::new();
    }
    let (least, arms) = (smallest_p(seeds), rows.len());
    let reach = match least * arms as f64 {
        corrected if corrected > 0.05 => format!(
            " With {seeds} seeds p cannot be below {}, and for {arms} arms Holm’s p not below {}: so few seeds cannot show any              difference at 0.05 by this test.",
            p_value(least),
            p_value(corrected.min(1.0))
        ),
        _ => format!(" With {seeds} seeds p cannot be below {}.", p_value(least)),
    };
    let columns = ["Arm", "BCa interval", "p", "p, Holm"].map(String::from).to_vec();
    let table = Table { name: "certainty".to_string(), columns, rows };
    format!(
        "{}<p class=\"quiet\">The same differences in top-1 by methods that do not assume a normal distribution: a 95 % bootstrap interval \
         in points, the two-sided p of exact sign flips, and that p corrected for the number of arms.{reach}</p>\n",
        table.html()
    )
}

/// Three digits behind the point, or two that count.
pub(super) fn p_value(p: f64) -> String {
    if p < 0.001 { format!("{p:.1e}") } else { format!("{p:.3}") }
}

/// Scores that the table leaves out.
fn further_scores(experiment: &Experiment) -> String {
    let lines: Vec<String> =
        experiment.further_scores().iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
    if lines.is_empty() {
        String::new()
    } else {
        section("Further scores", &format!("<ul>\n{}\n</ul>", lines.join("\n")))
    }
}

/// `+2.1 ± 0.8`, with a minus sign as wide as the plus.
fn signed(estimate: Estimate, decimals: usize) -> String {
    format!("{estimate:+.decimals$}").replace('-', "−")
}

/// One sentence on the test top-1 of an arm.
fn verdict(arm: &ArmSummary) -> Option<String> {
    let difference = arm.top1_difference.as_ref()?;
    let estimate = difference.estimate()?;
    let (name, versus) = (escape(&arm.name), escape(&difference.versus));
    let value = format!("{} points", signed(estimate.percent(), 1));
    Some(match estimate.ci95 {
        None => {
            format!("<b>{name}</b>: {value} in top-1 against {versus}, from one seed; that says nothing of chance.")
        }
        Some(0.0) => format!(
            "<b>{name}</b>: {value} in top-1 against {versus} with every seed; an interval of no width says nothing."
        ),
        Some(_) if !estimate.excludes_zero() => format!(
            "<b>{name}</b>: no clear difference in top-1 from {versus} ({value}): the interval holds 0, so more seeds are \
             needed to tell them apart."
        ),
        Some(_) => {
            let word = if estimate.mean > 0.0 { "better" } else { "worse" };
            format!("<b>{name}</b>: {word} than {versus} in top-1 ({value}); the interval leaves 0 out.")
        }
    })
}

/// The plots, each under a few words on what to look at.
fn plots(experiment: &Experiment, config: Option<&Config>) -> String {
    let top1 = top1_chart(experiment, config.and_then(|config| facts::level(config, experiment)));
    let mut html = section(
        &top1.title.replace(", ", " over training: "),
        &format!(
            "<p>What share of the labels the network tells rightly, while it trains. A line is the mean over the seeds, its shade \
             reaches from the lowest to the highest seed. Look at where the lines end, and at the shades: where \
             two of them overlap, luck with the seeds may explain the difference; the table above has the test.</p>\n{}{}",
            top1.large_figure(),
            left_out(experiment),
        ),
    );
    html.push_str(&section(
        "Loss",
        &format!(
            "<p>Cross-entropy in nats, lower is better: on the examples that a network learns from, and on others that it \
             never sees. One that learns by heart falls in training and rises in the test: look at how far an arm is \
             lower in the first, and whether guidance closes that gap.</p>\n\
             <div class=\"pair\">{}</div>",
            loss_charts(experiment).iter().map(Chart::figure).collect::<String>(),
        ),
    ));
    let similarity = similarity_charts(experiment);
    if !similarity.is_empty() {
        html.push_str(&section(
            "Alignment of the layers",
            &format!(
                "<p>The measure, CKA unless the configuration names another, compares how two layers arrange the same examples: 1 is the same arrangement, 0 has nothing in \
                 common. CKA as the paper has it stays above 0 even then, the more so the wider the layers and the fewer \
                 the examples; the debiased measures are near 0. One line for each pair of guide layer → target layer, \
                 violet for the first layers to yellow for the last, mean over the seeds. Look at which layers give way to the pull, and, after a dashed mark, at \
                 how much of it they keep without the guide.</p>\n<div class=\"pair\">{}</div>",
                similarity.iter().map(Chart::figure).collect::<String>(),
            ),
        ));
    }
    let confused = confusion::figures(experiment);
    if !confused.is_empty() {
        html.push_str(&section(
            "What is taken for what",
            &format!(
                "<p>After the last step, on what it never sees: each row is a label, each column what the network says in its \
                 place, in per cent of the row, over all seeds. A full diagonal is a network without mistakes; look at \
                 which squares off it a guide empties.</p>\n<div class=\"pair\">{confused}</div>"
            ),
        ));
    }
    html
}

/// Table of the gaps in the metrics; empty where there are none.
fn missing_lines(missing: &[Missing]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    let mut html = String::from(
        "<p>Lines of these steps were written to <code>metrics.jsonl</code> and are not there, as after a full disk. The \
         weights lack nothing; curves and tables do without them.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th>Run</th><th>Missing</th></tr></thead>\n<tbody>\n",
    );
    for gap in missing {
        let _ =
            writeln!(html, "<tr><td>{}, seed {}</td><td>{}</td></tr>", escape(&gap.arm), gap.seed, escape(gap.gaps()));
    }
    html.push_str("</tbody></table></div>");
    section("Measurements that are missing", &html)
}

/// Table of the files that could not be read; empty where there are none.
fn broken_files(left_out: &[LeftOut]) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let mut sum = LeftOut { class: Some("All".to_string()), ..LeftOut::default() };
    for row in left_out {
        sum.train += row.train;
        sum.validation += row.validation;
        sum.test += row.test;
    }
    let mut html = String::from(
        "<p>These files could not be read, and no network saw them (<code>data.skip_broken</code>).</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th>Class</th><th>Train</th><th>Validation</th><th>Test</th>\
         <th>Total</th></tr></thead>\n<tbody>\n",
    );
    for row in left_out.iter().chain((left_out.len() > 1).then_some(&sum)) {
        let LeftOut { class, train, validation, test } = row;
        let class = class.as_deref().unwrap_or("not known");
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td>{train}</td><td>{validation}</td><td>{test}</td><td>{}</td></tr>",
            escape(class),
            row.total()
        );
    }
    html.push_str("</tbody></table></div>");
    section("Files left out", &html)
}

/// A note if numbers are missing from the plots; empty if none is.
fn left_out(experiment: &Experiment) -> String {
    let steps = experiment.runs.iter().flat_map(|run| &run.steps);
    // Of several guides, the pairs of one that does not pull are not measured: the alignment of the others is a number.
    let measured = |s: &StepRecord| if s.alignment.is_some_and(f32::is_finite) { 0 } else { s.similarity.len() };
    let numbers =
        |s: &StepRecord| s.similarity[..measured(s)].iter().chain([&s.loss]).filter(|v| !v.is_finite()).count();
    let in_steps: usize = steps.map(numbers).sum();
    let evals = experiment.runs.iter().flat_map(|run| &run.evals);
    let count = in_steps + evals.map(|e| [e.loss, e.top1].iter().filter(|v| !v.is_finite()).count()).sum::<usize>();
    match count {
        0 => String::new(),
        1 => "<p class=\"bad\">One number was not finite (NaN or infinite) and is missing from the plots.</p>".into(),
        n => format!(
            "<p class=\"bad\">{n} numbers were not finite (NaN or infinite) and are missing from the plots.</p>"
        ),
    }
}
