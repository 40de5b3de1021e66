//! Which classes each arm takes for which, as squares: the confusion matrix.

use std::fmt::Write;

use super::{arm_paint, escape, palette};
use crate::record::Experiment;

/// Most classes whose squares have room for a number.
const NUMBERED: usize = 14;

/// A figure for each arm whose last evaluation has counts, summed over its seeds.
pub(super) fn figures(experiment: &Experiment) -> String {
    let arms = experiment.arms();
    let figure = |arm: &&str| {
        let counts = counts(experiment, arm)?;
        let names = names(experiment, counts.len());
        let squares = squares(&counts, &names, arm_paint(&arms, arm));
        Some(format!("<figure><h3>{}</h3>{squares}{}</figure>", escape(arm), most_confused(&counts, &names)))
    };
    arms.iter().filter_map(figure).collect()
}

/// The counts of an arm's runs, each at its last evaluation, summed.
fn counts(experiment: &Experiment, arm: &str) -> Option<Vec<Vec<u64>>> {
    let mut sum: Vec<Vec<u64>> = Vec::new();
    for run in experiment.runs_of(arm) {
        let Some(eval) = run.evals.iter().rfind(|eval| !eval.confusion.is_empty()) else { continue };
        let classes = eval.confusion.len();
        sum.resize(classes.max(sum.len()), Vec::new());
        for (row, counted) in sum.iter_mut().zip(&eval.confusion) {
            row.resize(classes.max(row.len()), 0);
            row.iter_mut().zip(counted).for_each(|(sum, &count)| *sum += u64::from(count));
        }
    }
    (!sum.is_empty()).then_some(sum)
}

/// What classes are called, as a page shows it: `3 “cat”`.
fn names(experiment: &Experiment, classes: usize) -> Vec<String> {
    let name = |class: usize| match experiment.class_names.get(class) {
        Some(name) if *name != class.to_string() => format!("{class} “{}”", escape(name)),
        _ => class.to_string(),
    };
    (0..classes).map(name).collect()
}

fn share(row: &[u64], count: u64) -> f64 {
    count as f64 / row.iter().sum::<u64>().max(1) as f64
}

/// A square for each pair of label (downwards) and class (to the right), the fuller the larger its share of the row.
fn squares(counts: &[Vec<u64>], names: &[String], paint: palette::Paint) -> String {
    let classes = counts.len();
    let side = (400 / classes.max(1)).max(4);
    let edge = 30;
    let width = edge + side * classes;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {width}\" role=\"img\" aria-label=\"Confusion matrix\" class=\"squares\" \
         xmlns=\"http://www.w3.org/2000/svg\">\n"
    );
    let quiet = palette::QUIET.hex();
    let ticks = classes.div_ceil(NUMBERED);
    for (label, row) in counts.iter().enumerate() {
        let y = edge + side * label;
        if label % ticks == 0 {
            // The same numbers along both sides.
            for (x, y) in [(edge - 6, y + side / 2 + 4), (edge + side * label + side / 2 + 4, edge - 8)] {
                let _ = writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{y}\" font-size=\"12\" text-anchor=\"end\" fill=\"{quiet}\">{label}</text>"
                );
            }
        }
        for (class, &count) in row.iter().enumerate() {
            let (x, part) = (edge + side * class, share(row, count));
            let _ = write!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{}\" fill-opacity=\"{part:.3}\">\
                 <title>{} taken for {}: {count} times, {:.1} %</title></rect>",
                paint.hex(),
                names[label],
                names[class],
                100.0 * part,
            );
            if classes <= NUMBERED && part >= 0.005 {
                let text = if part > 0.6 { palette::GROUND.hex() } else { palette::TEXT.hex() };
                let _ = write!(
                    svg,
                    "<text x=\"{}\" y=\"{}\" font-size=\"11\" text-anchor=\"middle\" fill=\"{text}\">{:.0}</text>",
                    x + side / 2,
                    y + side / 2 + 4,
                    100.0 * part,
                );
            }
            svg.push('\n');
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// The mistake that was made most often.
fn most_confused(counts: &[Vec<u64>], names: &[String]) -> String {
    let wrong = counts.iter().enumerate().flat_map(|(label, row)| {
        let of_row = row.iter().enumerate().filter(move |(class, count)| *class != label && **count > 0);
        of_row.map(move |(class, &count)| (count, share(row, count), label, class))
    });
    match wrong.max_by_key(|(count, ..)| *count) {
        Some((count, part, label, class)) => {
            format!(
                "<p class=\"quiet\">Most often: {} taken for {}, {count} times, {:.1} % of its labels.</p>",
                names[label],
                names[class],
                100.0 * part
            )
        }
        None => String::new(),
    }
}
