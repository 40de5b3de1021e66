//! Confusion matrix of each arm, drawn as squares.

use std::fmt::Write;

use super::escape::escape;
use super::{arm_paint, palette};
use crate::record::Experiment;

/// Largest number of classes whose squares have room for a number, and whose names have room along the sides.
const ROOMY: usize = 14;

/// Widest name along a side, and assumed width of a letter, in units of the picture.
const WIDEST: usize = 92;
const LETTER: usize = 7;
/// Letters beyond the Latin ones may be as wide as they are high.
const WIDE_LETTER: usize = 12;

/// A figure for each arm whose last evaluation has counts, summed over its seeds.
pub(super) fn figures(experiment: &Experiment) -> String {
    let arms = experiment.arms();
    let figure = |arm: &&str| {
        let counts = counts(experiment, arm)?;
        let classes = Classes::of(experiment, counts.len());
        let squares = squares(&counts, &classes, arm_paint(&arms, arm));
        let (arm, words) = (escape(arm), most_confused(&counts, &classes));
        Some(format!("<figure><h3>{arm}</h3>{squares}{words}{}</figure>", classes.legend()))
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

/// Classes as the picture shows them.
struct Classes {
    /// Their names as a sentence has them, escaped: `“cat”`, `17 “cat”` where the sides have numbers, or a number.
    names: Vec<String>,
    /// Labels along the sides, not escaped.
    labels: Vec<String>,
    /// True if they have names but the sides have no room for them.
    numbered: bool,
}

impl Classes {
    fn of(experiment: &Experiment, classes: usize) -> Self {
        let name = |class: usize| experiment.class_names.get(class).filter(|name| **name != class.to_string());
        let numbered = classes > ROOMY && (0..classes).any(|class| name(class).is_some());
        let full = |class: usize| match name(class) {
            Some(name) if numbered => format!("{class} “{}”", escape(name)),
            Some(name) => format!("“{}”", escape(name)),
            None => class.to_string(),
        };
        let label = |class: usize| match name(class) {
            Some(name) if !numbered => shortened(name),
            _ => class.to_string(),
        };
        Self { names: (0..classes).map(full).collect(), labels: (0..classes).map(label).collect(), numbered }
    }

    /// The longest label, in units of the picture.
    fn width(&self) -> usize {
        self.labels.iter().map(|label| width(label)).max().unwrap_or(0)
    }

    fn legend(&self) -> &'static str {
        match self.numbered {
            true => "<p class=\"quiet\">So many classes have numbers along the sides; each square tells its names.</p>",
            false => "",
        }
    }
}

fn width(label: &str) -> usize {
    label.chars().map(|letter| if letter.is_ascii() { LETTER } else { WIDE_LETTER }).sum()
}

/// A name of up to [`WIDEST`]: of longer ones the beginning, and the last letters, which tell numbered ones apart.
fn shortened(name: &str) -> String {
    if width(name) <= WIDEST {
        return name.to_string();
    }
    let letters: Vec<char> = name.chars().collect();
    let cut = |first: usize| -> String {
        let last = letters.len() - first.div_ceil(2);
        letters[..first].iter().chain(['…'].iter()).chain(&letters[last..]).collect()
    };
    (1..letters.len() / 2).rev().map(cut).find(|name| width(name) <= WIDEST).unwrap_or_else(|| "…".to_string())
}

fn share(row: &[u64], count: u64) -> f64 {
    count as f64 / row.iter().sum::<u64>().max(1) as f64
}

/// A square for each pair of label (downwards) and class (to the right), the fuller the larger its share of the row.
fn squares(counts: &[Vec<u64>], classes: &Classes, paint: palette::Paint) -> String {
    let (number, names) = (counts.len(), &classes.names);
    let side = (400 / number.max(1)).max(4);
    let longest = classes.width();
    // Names that are wider than a column are turned upwards, by 45 degrees.
    let turned = classes.labels.iter().enumerate().any(|(at, label)| *label != at.to_string()) && longest + 8 > side;
    let slanted = longest * 5 / 7 + 12;
    let (left, top) = (longest.max(24) + 8, if turned { slanted + 10 } else { 30 });
    let right = if turned { slanted.saturating_sub(side / 2) } else { 2 };
    let (across, down) = (left + side * number + right, top + side * number + 2);
    // The page's style keeps the text readable; numbers alone have room to be larger.
    let class = if longest <= 24 { "squares numbers" } else { "squares" };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {across} {down}\" role=\"img\" aria-label=\"Confusion matrix\" class=\"{class}\" \
         style=\"--across: {across}\" xmlns=\"http://www.w3.org/2000/svg\">\n"
    );
    let quiet = palette::QUIET.hex();
    let ticks = number.div_ceil(ROOMY);
    for (label, row) in counts.iter().enumerate() {
        let y = top + side * label;
        if label % ticks == 0 {
            // The same along both sides.
            let (middle, above) = (left + side * label + side / 2, top - 8);
            let turn = format!(" transform=\"rotate(-45 {middle} {above})\" text-anchor=\"start\"");
            let along = if turned { turn.as_str() } else { " text-anchor=\"middle\"" };
            for (x, y, place) in [(left - 6, y + side / 2 + 4, " text-anchor=\"end\""), (middle, above, along)] {
                let (name, text) = (&names[label], escape(&classes.labels[label]));
                let _ = writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{y}\" font-size=\"12\"{place} fill=\"{quiet}\"><title>{name}</title>{text}</text>"
                );
            }
        }
        for (class, &count) in row.iter().enumerate() {
            let (x, part) = (left + side * class, share(row, count));
            let _ = write!(
                svg,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\" fill=\"{}\" fill-opacity=\"{part:.3}\">\
                 <title>{} taken for {}: {count} times, {:.1} %</title></rect>",
                paint.hex(),
                names[label],
                names[class],
                100.0 * part,
            );
            if number <= ROOMY && part >= 0.005 {
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
fn most_confused(counts: &[Vec<u64>], Classes { names, .. }: &Classes) -> String {
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
