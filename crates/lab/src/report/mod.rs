//! `report.html`: an experiment on one page, for a reader who was not there.
//!
//! The page is one file: nothing comes from elsewhere; plots are SVG inside it, and its one script sorts tables. It follows the
//! reader's light or dark mode. Whatever comes from files (names, configuration) is escaped.
//!
//! Read next: `page.rs` for its words, `facts.rs` for those on what was run, `curves.rs` for what is averaged, `chart.rs` and
//! `marks.rs` for how a plot is drawn.

mod chart;
mod comparison;
mod confusion;
mod curves;
pub(crate) mod escape;
mod facts;
pub(crate) mod grid;
mod heat_map;
mod marks;
pub(crate) mod page;
pub(crate) mod palette;
mod table;
mod take_home;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

use crate::record::Experiment;
use crate::record::names::ARMS;
use chart::{Chart, Line};
pub use comparison::{comparison_html, tables};
use curves::Curve;
pub use heat_map::heat_map_svg;
pub use take_home::predict_py;
use trellis_data::io::write_atomic;
use trellis_guidance::Result;
use trellis_guidance::trainer::RunRecord;

/// Writes the report of `experiment` to `path`, whole or not at all.
///
/// An experiment without runs gives a page that says so.
///
/// # Errors
/// [`Error::Data`](trellis_guidance::Error::Data) if the file cannot be written.
pub(crate) fn write_report(experiment: &Experiment, path: &Path) -> Result<()> {
    Ok(write_atomic(path, report_html(experiment).as_bytes())?)
}

/// The report of `experiment` as one self-contained HTML page.
pub fn report_html(experiment: &Experiment) -> String {
    page::page(experiment)
}

/// The plot of test top-1 over optimizer steps as an SVG file of its own, 860 × 400 CSS pixels: the picture for a
/// README. It follows light and dark mode by itself. It is higher where names have no room beside the curves and stand
/// below.
///
/// Without an evaluation it is a picture that says so.
pub(crate) fn curve_svg(experiment: &Experiment) -> String {
    let style = format!("xmlns=\"http://www.w3.org/2000/svg\">\n<style>\n{}</style>", palette::rules());
    let level = facts::config(experiment).and_then(|config| facts::level(&config, experiment));
    top1_chart(experiment, level).picture().replacen("xmlns=\"http://www.w3.org/2000/svg\">", &style, 1)
}

/// Top-1 of every arm over steps, with its range over the seeds, and a level that it should leave.
fn top1_chart(experiment: &Experiment, level: Option<(f64, String)>) -> Chart {
    let split = curves::shown_split(experiment).unwrap_or("test");
    let seeds = experiment.arms().iter().map(|arm| experiment.runs_of(arm).count()).max().unwrap_or(0);
    let over = if seeds == 1 { "one seed".into() } else { format!("mean and range of {seeds} seeds") };
    Chart {
        title: format!("{} top-1, {over}", capitalized(split)),
        values: None,
        last_step: 0.0,
        limits: 0.0..1.0,
        per_cent: true,
        lines: arm_lines(experiment, |arm| curves::evals(experiment, arm, split, |e| e.top1)),
        marks: Vec::new(),
        level,
    }
}

/// Loss on the training and on the test split, over the same range of values, so that the two can be compared.
fn loss_charts(experiment: &Experiment) -> [Chart; 2] {
    let evaluated = |split: &str| experiment.runs.iter().any(|run| run.evals.iter().any(|e| e.split == split));
    let held_out = curves::shown_split(experiment).filter(|split| *split != "train").unwrap_or("test");
    let train = arm_lines(experiment, |arm| match evaluated("train") {
        true => curves::evals(experiment, arm, "train", |e| e.loss),
        false => curves::batch_losses(experiment, arm),
    });
    let test = arm_lines(experiment, |arm| curves::evals(experiment, arm, held_out, |e| e.loss));
    let highs = train.iter().chain(&test).flat_map(|line| line.points.iter().map(|p| p.high));
    let range = highs.reduce(f64::max).map(|high| 0.0..1.05 * high.max(1e-6));
    let chart = |title: String, lines| Chart {
        title,
        values: range.clone(),
        last_step: 0.0,
        limits: 0.0..f64::INFINITY,
        per_cent: false,
        lines,
        marks: Vec::new(),
        level: None,
    };
    [chart("Training loss".into(), train), chart(format!("{} loss", capitalized(held_out)), test)]
}

/// One chart for each arm whose alignment was measured, with a line per pair of layers and a mark where the guide left.
fn similarity_charts(experiment: &Experiment) -> Vec<Chart> {
    let measured = |arm: &&str| experiment.runs_of(arm).any(|run| !curves::similarity_by_step(run).is_empty());
    let all = experiment.runs.iter().flat_map(|run| curves::similarity_by_step(run).into_iter().flat_map(|(_, s)| s));
    let lowest = if all.copied().any(|s| s < -0.02) { -1.0 } else { 0.0 }; // biased CKA has no negative values
    let chart = |arm: &str| {
        let pairs = experiment.runs_of(arm).map(|run| run.pairs.as_slice()).max_by_key(|p| p.len()).unwrap_or_default();
        let widths =
            experiment.runs_of(arm).flat_map(|run| curves::similarity_by_step(run).into_iter().map(|(_, c)| c.len()));
        let count = widths.max().unwrap_or(0);
        let line = |index: usize| Line {
            label: pairs
                .get(index)
                .map_or(format!("pair {}", index + 1), |[guide, target]| format!("{guide} → {target}")),
            paint: palette::layer(index, count),
            points: curves::similarity(experiment, arm, index).points,
            band: false,
        };
        let last = experiment.runs_of(arm).filter_map(|run| Some(run.steps.last()?.step)).max();
        let left = marks(experiment.runs_of(arm));
        Chart {
            title: arm.to_owned(),
            values: Some(lowest..1.0),
            last_step: last.unwrap_or(0) as f64,
            limits: lowest..1.0,
            per_cent: false,
            lines: (0..count).map(line).collect(),
            marks: left,
            level: None,
        }
    };
    experiment.arms().into_iter().filter(measured).map(chart).collect()
}

/// Steps after which guides were taken away, the last of each over seeds; of several guides the others come first.
fn marks<'r>(runs: impl Iterator<Item = &'r RunRecord>) -> Vec<(f64, String)> {
    let runs: Vec<_> = runs.collect();
    let last = runs.iter().filter_map(|run| run.guided_until()).max();
    let of_pair = |pair: usize| runs.iter().filter_map(|run| *run.pulled_until().get(pair)?).max();
    let pairs = runs.iter().map(|run| run.pairs.len()).max().unwrap_or(0);
    let earlier: BTreeSet<u64> =
        (0..pairs).filter_map(of_pair).filter(|&step| last.is_none_or(|last| step < last)).collect();
    let earlier = earlier.into_iter().map(|step| (step as f64, "a guide taken away".to_owned()));
    earlier.chain(last.map(|step| (step as f64, "guide taken away".to_owned()))).collect()
}

/// A line per arm, in the fixed order and colors; arms without a point have none.
fn arm_lines(experiment: &Experiment, curve: impl Fn(&str) -> Curve) -> Vec<Line> {
    let arms = experiment.arms();
    let line = |&arm: &&str| Line {
        label: arm.to_owned(),
        paint: arm_paint(&arms, arm),
        points: curve(arm).points,
        band: true,
    };
    arms.iter().map(line).filter(|line| !line.points.is_empty()).collect()
}

/// The known arms keep their color whichever others ran; unknown ones take the colors that are left.
fn arm_paint(arms: &[&str], arm: &str) -> palette::Paint {
    if let Some(known) = ARMS.iter().position(|name| *name == arm) {
        return palette::arm(known);
    }
    let taken = |slot: usize| ARMS.get(slot).is_some_and(|name| arms.contains(name));
    let left: Vec<usize> = (ARMS.len()..palette::ARM_COUNT).chain(0..ARMS.len()).filter(|slot| !taken(*slot)).collect();
    let rank = arms.iter().filter(|name| !ARMS.contains(name)).position(|name| *name == arm).unwrap_or(0);
    palette::arm(left[rank % left.len()])
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
