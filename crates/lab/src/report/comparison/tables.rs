//! Tables of a comparison: results, differences between experiments, settings.

use super::super::marks::swatch;
use super::super::page::{p_value, section as titled};
use super::super::palette;
use super::super::table::results::{
    OF_PRICES, OF_RESULTS, price, price_columns, price_of_guides, result, result_columns,
};
use super::super::table::{Entry, Table};
use crate::comparison::{Between, Comparison, Member};
use crate::record::ArmSummary;
use crate::stats::{Estimate, smallest_p};

/// Largest number of experiments whose settings stand beside each other.
const BESIDE: usize = 12;

/// All tables as CSV, each with the name of its file.
pub fn tables(comparison: &Comparison) -> Vec<(String, String)> {
    let all = [results(comparison), prices(comparison), differences(comparison), configuration(comparison)];
    all.into_iter()
        .filter(|table| !table.rows.is_empty())
        .map(|table| (format!("{}.csv", table.name), table.csv()))
        .collect()
}

fn named(number: usize, label: &str) -> Entry {
    Entry::words(label).after(swatch(palette::arm(number)))
}

/// Rows of all arms of all experiments, each after the name of its experiment.
fn of_each(comparison: &Comparison, name: &str, columns: Vec<String>, row: fn(&ArmSummary) -> Vec<Entry>) -> Table {
    let of = |(number, member): (usize, &Member)| {
        let experiment = named(number, &member.label);
        member.arms.iter().map(|arm| [vec![experiment.clone()], row(arm)].concat()).collect::<Vec<_>>()
    };
    let rows = comparison.members.iter().enumerate().flat_map(of).collect();
    Table { name: name.to_string(), columns: [vec!["Experiment".to_string()], columns].concat(), rows }
}

/// A row for each experiment and arm: final test results, and differences to the first arm of the same experiment.
fn results(comparison: &Comparison) -> Table {
    of_each(comparison, "results", result_columns("first arm"), result)
}

/// A row for each experiment and arm: learning speed, over-fitting gap, time and memory.
fn prices(comparison: &Comparison) -> Table {
    let mut table = of_each(comparison, "price", price_columns("the first arm"), price);
    for (number, member) in comparison.members.iter().enumerate() {
        let rows = price_of_guides(&member.experiment).into_iter();
        table.rows.extend(rows.map(|row| [vec![named(number, &member.label)], row].concat()));
    }
    table
}

/// A row for each arm of each experiment but the first: differences to the same arm of the first.
fn differences(comparison: &Comparison) -> Table {
    let row = |between: &Between| {
        let top1 = &between.top1;
        vec![
            named(between.member, &comparison.members[between.member].label),
            Entry::words(&between.arm).of_class("name"),
            Entry::number(Some(top1.seeds as f64), |seeds| format!("{seeds}")),
            Entry::difference(top1.estimate().map(Estimate::percent), 1.0, 1),
            Entry::number(top1.p, p_value),
            Entry::number(top1.p_holm, p_value),
            Entry::difference(between.loss.estimate(), -1.0, 3),
        ]
    };
    Table {
        name: "differences".to_string(),
        columns: ["Experiment", "Arm", "Seeds", "Top-1, points", "p", "p, Holm", "Test loss"]
            .map(String::from)
            .to_vec(),
        rows: comparison.between.iter().map(row).collect(),
    }
}

/// A row for each key in which experiments differ.
fn configuration(comparison: &Comparison) -> Table {
    let shown = comparison.members.iter().take(BESIDE);
    let row = |key: &String| {
        [Entry::words(key)].into_iter().chain(shown.clone().map(|member| Entry::words(member.value(key)))).collect()
    };
    Table {
        name: "settings".to_string(),
        columns: [String::from("Key")].into_iter().chain(shown.clone().map(|member| member.label.clone())).collect(),
        rows: comparison.keys.iter().map(row).collect(),
    }
}

/// The sections of results.
pub(super) fn section(comparison: &Comparison) -> String {
    let arms = comparison.members.iter().flat_map(|member| &member.arms);
    let seeds = arms.filter_map(|arm| Some(arm.top1_difference.as_ref()?.seeds)).max();
    let least = seeds.map_or(String::new(), |seeds| {
        format!(" With {seeds} seeds p cannot be below {} before that correction.", p_value(smallest_p(seeds)))
    });
    let mut html =
        titled("Results", &format!("{}<p class=\"quiet\">{OF_RESULTS}{least}</p>\n", results(comparison).html()));
    html.push_str(&titled(
        "Speed, over-fitting, price",
        &format!("{}<p class=\"quiet\">{OF_PRICES}</p>\n", prices(comparison).html()),
    ));
    let between = differences(comparison);
    if !between.rows.is_empty() {
        let seeds = comparison.between.iter().map(|between| between.top1.seeds).max().unwrap_or(0);
        html.push_str(&titled(
            &format!("Against {}", super::escape(&comparison.members[0].label)),
            &format!(
                "{}<p class=\"quiet\">The same arm in both, seed by seed. p is corrected by Holm for all rows; with {seeds} seeds it cannot be \
                 below {} before that.</p>\n",
                between.html(),
                p_value(smallest_p(seeds))
            ),
        ));
    }
    html
}

/// The section of the settings that differ.
pub(super) fn settings(comparison: &Comparison) -> String {
    let table = configuration(comparison);
    if table.rows.is_empty() {
        return String::new();
    }
    let more = match comparison.members.len() {
        count if count > BESIDE => format!("<p class=\"quiet\">The first {BESIDE} of {count} experiments.</p>"),
        _ => String::new(),
    };
    titled("Settings that differ", &format!("{}{more}", table.html()))
}
