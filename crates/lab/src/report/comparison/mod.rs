//! The page of several experiments: what differs, and what difference it makes.

mod squares;
mod tables;

use std::fmt::Write;

use super::chart::{Chart, Line};
use super::escape::escape;
use super::page::{duration, head, section};
use super::{curves, palette, table};
use crate::comparison::{Comparison, Member};
pub use tables::tables;

/// Largest number of members of which a chart shows a curve.
const DRAWN: usize = 8;
/// Largest number of arms that have a chart.
const CHARTS: usize = 12;

/// The page of a comparison, one self-contained HTML file. `figures` stand above all, each a section's title and SVG elements.
pub fn comparison_html(comparison: &Comparison, figures: &[(String, Vec<String>)]) -> String {
    let mut html = head(&comparison.title, "");
    html.push_str(&header(comparison));
    if !comparison.missing.is_empty() {
        let lines: String = comparison.missing.iter().map(|line| format!("<li>{}</li>", escape(line))).collect();
        html.push_str(&section("Missing, and in no table or only in part", &format!("<ul>{lines}</ul>")));
    }
    for (title, pictures) in figures {
        let pictures: String = pictures.iter().map(|svg| format!("<figure class=\"matrix\">{svg}</figure>")).collect();
        html.push_str(&section(&escape(title), &pictures));
    }
    html.push_str(&squares::section(comparison));
    html.push_str(&tables::section(comparison));
    html.push_str(&charts(comparison));
    html.push_str(&tables::settings(comparison));
    html.push_str(&folders(comparison));
    let _ = write!(
        html,
        "<footer><p>Written by Trellis {}. Every number is in <code>metrics.jsonl</code> of the folders above.</p></footer>\n</main>\n\
         <script>\n{}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        table::SORTING
    );
    html
}

fn header(comparison: &Comparison) -> String {
    let experiments = || comparison.members.iter().map(|member| &member.experiment);
    let runs: usize = experiments().map(|experiment| experiment.runs.len()).sum();
    let mut seeds: Vec<u64> = experiments().flat_map(|e| e.runs.iter().map(|run| run.seed)).collect();
    seeds.sort_unstable();
    seeds.dedup();
    let mut data: Vec<&str> = experiments().map(|e| e.data.split(" classes").next().unwrap_or(&e.data)).collect();
    data.dedup();
    let seconds = experiments().map(|experiment| experiment.seconds).sum();
    let mut facts = vec![
        ("Experiments", vec![format!("{}, {runs} runs", comparison.members.len())]),
        ("Arms", vec![comparison.arms().join(", ")]),
        ("Seeds", vec![seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")]),
        ("Data", data.into_iter().take(4).map(|data| format!("{data} classes")).collect()),
        ("Device", comparison.made_by()),
        ("Time", vec![duration(seconds)]),
    ];
    facts.extend(comparison.command.iter().map(|command| ("Made by", vec![command.clone()])));
    let mut html = format!("<header>\n<h1>{}</h1>\n<dl>\n", escape(&comparison.title));
    for (name, values) in facts {
        let told: String = values.iter().filter(|v| !v.is_empty()).map(|v| format!("<dd>{}</dd>", escape(v))).collect();
        let _ = writeln!(html, "<dt>{name}</dt>{told}");
    }
    html + "</dl>\n</header>\n"
}

/// A chart for each arm that several members have: test top-1 of each over the steps.
fn charts(comparison: &Comparison) -> String {
    let several =
        |arm: &&str| comparison.members.iter().filter(|m| m.experiment.runs_of(arm).next().is_some()).count() > 1;
    let arms: Vec<&str> = comparison.arms().into_iter().filter(several).collect();
    if arms.is_empty() {
        return String::new();
    }
    let figures: String = arms.iter().take(CHARTS).map(|arm| chart(comparison, arm).figure()).collect();
    let mut words = String::from(
        "<p>Test top-1 of each arm over training, a line for each experiment: the mean over the seeds, its shade from the lowest to the \
         highest.",
    );
    if comparison.members.len() > DRAWN {
        let _ =
            write!(words, " Of {} experiments the {DRAWN} with the highest end are drawn.", comparison.members.len());
    }
    if arms.len() > CHARTS {
        let _ = write!(words, " The first {CHARTS} of {} arms are drawn.", arms.len());
    }
    section("Curves over each other", &format!("{words}</p>\n<div class=\"pair\">{figures}</div>"))
}

fn chart(comparison: &Comparison, arm: &str) -> Chart {
    let line = |(number, member): (usize, &Member)| Line {
        label: member.label.clone(),
        paint: palette::arm(number),
        points: curves::evals(&member.experiment, arm, "test", |e| e.top1).points,
        band: true,
    };
    let mut lines: Vec<Line> =
        comparison.members.iter().enumerate().map(line).filter(|line| !line.points.is_empty()).collect();
    if lines.len() > DRAWN {
        let end = |line: &Line| line.points.last().map_or(0.0, |point| point.mean);
        lines.sort_by(|a, b| end(b).total_cmp(&end(a)));
        lines.truncate(DRAWN);
        lines.iter_mut().enumerate().for_each(|(number, line)| line.paint = palette::arm(number));
    }
    Chart {
        title: arm.to_string(),
        values: None,
        last_step: 0.0,
        limits: 0.0..1.0,
        per_cent: true,
        lines,
        marks: Vec::new(),
        level: None,
    }
}

/// The folders, and how to look at one of them.
fn folders(comparison: &Comparison) -> String {
    let line = |member: &Member| {
        let folders: Vec<String> = member.folders.iter().map(|folder| escape(folder.display())).collect();
        format!("<li><b>{}</b>: <code>{}</code></li>", escape(&member.label), folders.join("</code> <code>"))
    };
    let lines: String = comparison.members.iter().map(line).collect();
    section(
        "Folders",
        &format!(
            "<p>Each has a report of its own, and <code>config.toml</code>, with which <code>trellis train</code> makes the same runs again.</p>\n\
             <details><summary>{} experiments</summary><ul>{lines}</ul></details>",
            comparison.members.len()
        ),
    )
}
