//! Pictures of a sweep over two keys: each arm's result for every pair of values.

use super::super::escape::escape;
use super::super::grid::{Grid, Square};
use super::super::page::section as titled;
use crate::comparison::{Comparison, Member};
use crate::record::Difference;
use crate::stats::Estimate;

/// Largest number of arms that have a picture.
const ARMS: usize = 12;

/// A section with pictures: of one key that differs, arms by its values; of two with several values each, the values of both for each arm.
/// Else empty.
pub(super) fn section(comparison: &Comparison) -> String {
    match comparison.keys.as_slice() {
        [key] if comparison.members.len() > 2 => over_one(comparison, key),
        [down, across] => over_two(comparison, down, across),
        _ => String::new(),
    }
}

/// Test top-1 of each arm for each value of a key.
fn over_one(comparison: &Comparison, key: &str) -> String {
    let arms: Vec<String> = comparison.arms().iter().map(|arm| arm.to_string()).collect();
    let squares = |arm: &String| {
        let top1 = |member: &Member| member.arms.iter().find(|own| own.name == *arm)?.top1().map(Estimate::percent);
        let all: Vec<Option<Estimate>> = comparison.members.iter().map(top1).collect();
        let best = all.iter().flatten().map(|top1| top1.mean).fold(f64::NEG_INFINITY, f64::max);
        let square = |(top1, member): (&Option<Estimate>, &Member)| {
            top1.map(|top1| Square {
                value: top1.mean,
                text: format!("{:.1}", top1.mean),
                note: format!("{arm}, {key} = {}: top-1 {top1:.1} %", member.value(key)),
                sure: top1.mean == best,
            })
        };
        all.iter().zip(&comparison.members).map(square).collect()
    };
    let grid = Grid {
        words: vec![format!("Test top-1 in % by {key}")],
        sides: ["arms".to_string(), key.to_string()],
        squares: arms.iter().map(squares).collect(),
        rows: arms,
        columns: comparison.members.iter().map(|member| member.value(key).to_string()).collect(),
    };
    let words = "<p>Outlined: the highest of each row. Choose by validation (<code>trellis sweep --choose</code>), not by this.</p>";
    titled(&format!("Over {}", escape(key)), &format!("{words}<figure class=\"matrix\">{}</figure>", grid.svg(false)))
}

fn over_two(comparison: &Comparison, down: &String, across: &String) -> String {
    let values = |key: &str| {
        let mut values: Vec<String> = Vec::new();
        for member in &comparison.members {
            if !values.iter().any(|value| value == member.value(key)) {
                values.push(member.value(key).to_string());
            }
        }
        values
    };
    let (rows, columns) = (values(down), values(across));
    if rows.len() < 2 || columns.len() < 2 || comparison.members.len() < rows.len() * columns.len() / 2 {
        return String::new();
    }
    let picture = |(number, arm): (usize, &&str)| {
        let square = |row: &String, column: &String| {
            let is_there = |member: &Member| member.value(down) == row && member.value(across) == column;
            let found = comparison.members.iter().find(|member| is_there(member))?;
            let summary = found.arms.iter().find(|summary| summary.name == **arm)?;
            // The first arm by itself, the others by what they gain on it.
            let place = format!("{arm}, {down} = {row}, {across} = {column}");
            let gain = summary.top1_difference.as_ref().and_then(Difference::estimate).map(Estimate::percent);
            match gain.filter(|_| number > 0) {
                Some(gain) => Some(Square::of_gain(gain, &place)),
                None => summary.top1().map(Estimate::percent).map(|top1| Square {
                    value: top1.mean,
                    text: format!("{:.1}", top1.mean),
                    note: format!("{place}: top-1 {top1:.1} %"),
                    sure: false,
                }),
            }
        };
        let words = match number {
            0 => vec![format!("{arm}: test top-1, %")],
            _ => vec![format!("{arm}: points of top-1 above {}", comparison.arms()[0])],
        };
        let grid = Grid {
            words,
            sides: [down.clone(), across.clone()],
            squares: rows.iter().map(|row| columns.iter().map(|column| square(row, column)).collect()).collect(),
            rows: rows.clone(),
            columns: columns.clone(),
        };
        format!("<figure class=\"matrix\">{}</figure>", grid.svg(false))
    };
    let arms = comparison.arms();
    let pictures: String = arms.iter().take(ARMS).enumerate().map(picture).collect();
    let more = if arms.len() > ARMS {
        format!("<p class=\"quiet\">The first {ARMS} of {} arms.</p>", arms.len())
    } else {
        String::new()
    };
    let words = "<p>Outlined: the 95 % interval of the difference leaves 0 out.</p>";
    titled("Over both keys", &format!("{words}<div class=\"pair\">{pictures}</div>{more}"))
}
