//! The matrices of an affinity as pictures.

use super::{Affinity, Worth};
use crate::record::Difference;
use crate::report::grid::{Grid, Square};

/// Picture of the gains in top-1, a file of its own: targets in rows, guides in columns, in points. An outline marks a gain whose interval
/// leaves 0 out.
pub fn affinity_svg(affinity: &Affinity) -> String {
    grids(affinity)[0].svg(true)
}

/// The matrices for a page: gain in top-1, steps saved, similarity reached, each an SVG element.
pub fn affinity_figures(affinity: &Affinity) -> Vec<String> {
    grids(affinity).iter().map(|grid| grid.svg(false)).collect()
}

/// The matrices: gain, steps saved, alignment reached.
fn grids(affinity: &Affinity) -> [Grid; 3] {
    let grid = |words: Vec<String>, square: &dyn Fn(&str, &str, &Worth) -> Option<Square>| {
        let row = |((target, _), row): (&(String, Option<f64>), &Vec<Worth>)| {
            affinity.guides.iter().zip(row).map(|(guide, worth)| square(target, guide, worth)).collect()
        };
        let name = |(target, alone): &(String, Option<f64>)| {
            alone.map_or(target.clone(), |top1| format!("{target} ({:.0} % alone)", 100.0 * top1))
        };
        Grid {
            words,
            sides: ["targets".to_string(), "guides".to_string()],
            rows: affinity.targets.iter().map(name).collect(),
            columns: affinity.guides.clone(),
            squares: affinity.targets.iter().zip(&affinity.worth).map(row).collect(),
        }
    };
    let seeds = affinity.seeds;
    [
        grid(
            vec![
                format!("{}: points of top-1 by which a guide raises a target", affinity.name),
                format!("{seeds} seeds; outlined: the 95 % interval leaves 0 out"),
            ],
            &gain,
        ),
        grid(
            vec![
                format!("{}: steps saved on the way to the least loss of the target alone", affinity.name),
                "mean over the seeds that come to that loss, and their number where it is not all".to_string(),
            ],
            &saved,
        ),
        grid(vec![format!("{}: similarity of the layers at the end, mean over pairs", affinity.name)], &alignment),
    ]
}

fn gain(target: &str, guide: &str, worth: &Worth) -> Option<Square> {
    let gain = worth.gain.as_ref().and_then(Difference::estimate)?.percent();
    Some(Square::of_gain(gain, &format!("{target} guided by {guide}")))
}

fn saved(target: &str, guide: &str, worth: &Worth) -> Option<Square> {
    let speed = worth.speed.as_ref()?;
    let saved = speed.saved?;
    let all =
        if speed.reached == speed.seeds { String::new() } else { format!(" ({}/{})", speed.reached, speed.seeds) };
    Some(Square {
        value: saved,
        text: format!("{saved:+.0}{all}").replace('-', "−"),
        note: format!(
            "{target} guided by {guide}: {saved:+.0} steps saved, {} of {} seeds come to that loss",
            speed.reached, speed.seeds
        ),
        sure: false,
    })
}

fn alignment(target: &str, guide: &str, worth: &Worth) -> Option<Square> {
    let value = worth.alignment?;
    let note = format!("{target} guided by {guide}: similarity {value:.3}");
    Some(Square { value, text: format!("{value:.2}"), note, sure: false })
}
