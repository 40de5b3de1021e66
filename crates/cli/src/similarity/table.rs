//! The tables that `trellis similarity` prints.

use trellis_guidance::Result;
use trellis_lab::similarity::measures::{Agreement, MostSimilar};
use trellis_lab::similarity::{Comparison, NetworkPair, Trained, shortened};

use crate::print;

/// Letters of a line.
const WIDTH: usize = 110;

/// Letters of a layer's name that a column has room for.
const LETTERS: usize = 20;

pub(super) fn print(pair: &NetworkPair, comparison: &Comparison) -> Result<()> {
    let Comparison { measure, permutations, data, split, examples, matrix, agreement, left_out, .. } = comparison;
    let Agreement { labels, top1, agreement, kappa } = *agreement;
    for (name, side, top1, left_out) in [("a", &pair.a, top1[0], &left_out[0]), ("b", &pair.b, top1[1], &left_out[1])] {
        let Trained { checkpoint, recipe } = side;
        let (network, run) = (recipe.network.architecture().describe(), &recipe.run);
        print::line(format_args!(
            "{name}: {}, {network}, arm {}, seed {}, step {}, top-1 {:.2} %",
            checkpoint.display(),
            run.arm,
            run.seed,
            run.step,
            100.0 * top1
        ))?;
        if !left_out.is_empty() {
            print::line(format_args!("   left out, the same for every example: {}", left_out.join(", ")))?;
        }
    }
    let split = if *split == "all" { "all".to_string() } else { format!("{split} split") };
    print::line(format_args!("data: {data}, {split}, {examples} examples"))?;
    print::line(format_args!("\n{measure}, calibrated: 0 as chance gives, 1 for equal layers, - where p > 0.05"))?;
    table(comparison)?;
    print::line(format_args!(
        "\nmost alike, with p of the greatest of so many layers, by {permutations} permutations"
    ))?;
    let layers = matrix.rows.iter().chain(&matrix.columns);
    let width = layers.map(|name| name.chars().count()).max().unwrap_or(0).max(5);
    best("a", "b", width, (&matrix.rows, &matrix.columns), &matrix.best_of_rows)?;
    best("b", "a", width, (&matrix.columns, &matrix.rows), &matrix.best_of_columns)?;
    let (row, greatest) = &matrix.best;
    print::line(format_args!(
        "of all {} with {}: {:.3}, p {:.3}",
        matrix.rows[*row], matrix.columns[greatest.layer], greatest.calibrated, greatest.p
    ))?;
    let kappa = kappa.map_or("no κ, since none is wrong or none is right".to_string(), |kappa| {
        format!("right on the same ones with Cohen's κ {kappa:.3} (1: always, 0: as by chance)")
    });
    print::line(format_args!("\npredictions: the same for {:.2} % of {labels} labels, {kappa}", 100.0 * agreement))
}

/// Calibrated values, as many columns beside each other as a line holds.
fn table(comparison: &Comparison) -> Result<()> {
    let matrix = &comparison.matrix;
    let short = |name: &String| shortened(name, LETTERS);
    let (rows, columns) =
        (matrix.rows.iter().map(short).collect::<Vec<_>>(), matrix.columns.iter().map(short).collect::<Vec<_>>());
    let longest = |names: &[String]| names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let (first, width) = (longest(&rows), longest(&columns).max(5) + 1);
    let beside = ((WIDTH - first.min(WIDTH)) / width).max(1);
    for start in (0..columns.len()).step_by(beside) {
        let shown = start..columns.len().min(start + beside);
        let cells = |cell: &dyn Fn(usize) -> String| {
            shown.clone().map(|at| format!("{:>width$}", cell(at))).collect::<String>()
        };
        if start > 0 {
            print::line("")?;
        }
        print::line(format_args!("{:<first$}{}", "", cells(&|at| columns[at].clone())))?;
        for (row, name) in rows.iter().enumerate() {
            let cell = |at: usize| {
                let pair = matrix.at(row, at);
                if pair.is_significant() { format!("{:.3}", pair.calibrated) } else { "-".to_string() }
            };
            print::line(format_args!("{name:<first$}{}", cells(&cell)))?;
        }
    }
    Ok(())
}

/// The most similar layer of the other network, for each layer.
fn best(
    of: &str,
    to: &str,
    width: usize,
    (layers, others): (&[String], &[String]),
    best: &[MostSimilar],
) -> Result<()> {
    print::line(format_args!(
        "{of:<width$} {to:<width$} {:>10} {:>8} {:>8} {:>8}",
        "calibrated", "value", "chance", "p"
    ))?;
    for (layer, best) in layers.iter().zip(best) {
        print::line(format_args!(
            "{layer:<width$} {:<width$} {:>10.3} {:>8.3} {:>8.3} {:>8.3}",
            others[best.layer], best.calibrated, best.pair.value, best.pair.chance, best.p
        ))?;
    }
    Ok(())
}
