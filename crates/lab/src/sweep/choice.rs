//! The best values of each arm by validation, written into the file of the experiment.

use std::path::Path;

use toml_edit::{DocumentMut, Item, Table, Value};
use trellis_data::Place;
use trellis_guidance::{Error, Result};

use super::axes::REPLICATES;
use super::rows::{Row, State};
use crate::config::{ArmGuide, Config};
use crate::recipe::is_better;

/// Keys of `[arm.<name>]` by the key of the file that they take the place of for one arm, beside those of `training` and `guidance`.
const OF_ARM: [(&str, &str); 3] = [("target.dropout", "dropout"), ("target.init", "init"), ("target.bias", "bias")];

fn refused<T>(key: &str, problem: impl Into<String>, hint: &str) -> Result<T> {
    Err(Error::config(Place::setting("sweep --choose"), key, problem, hint))
}

/// Refuses a key that an arm cannot have for itself.
///
/// # Errors
/// [`Error::Config`] with the keys that can be chosen.
pub fn check_choosable(key: &str) -> Result<()> {
    let section = key.split_once('.').map_or("", |(section, _)| section);
    if ["training", "guidance"].contains(&section) || OF_ARM.iter().any(|(of_file, _)| *of_file == key) {
        return Ok(());
    }
    refused(
        key,
        "cannot differ between arms",
        "choose among keys of [training] and [guidance], target.dropout, target.init and target.bias",
    )
}

/// The file `text` in which every arm has the values of the combination that is best for it: the highest mean top-1 on the validation
/// split, of equal ones the lowest loss. A trial that diverged is the worst. Of the table `[sweep]` only `replicates` stays. Every
/// arm had as many trials. Comments say what each trial gave.
///
/// # Errors
/// [`Error::Config`] if a combination is not finished, there is no validation split, a key cannot differ between arms, or an arm diverged
/// with all values.
pub fn choose(text: &str, path: &Path, rows: &[Row]) -> Result<String> {
    if let Some(open) = rows.iter().find(|row| !row.state.is_ended()) {
        return refused(
            &open.name,
            format!("is {}", open.state),
            "run the sweep to its end first: every arm has the same trials",
        );
    }
    let mut file: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        Error::config(path, "", error.to_string(), "see examples/configs/ for files that work")
    })?;
    // The values are chosen: of the sweep, repetitions are left.
    if let Some(sweep) = file.get_mut("sweep").and_then(Item::as_table_like_mut) {
        let keys: Vec<String> = sweep.iter().map(|(key, _)| key.to_string()).filter(|key| key != REPLICATES).collect();
        keys.iter().for_each(|key| drop(sweep.remove(key)));
        if sweep.is_empty() {
            file.remove("sweep");
        }
    }
    let config = Config::parse(text, path)?;
    let arms: Vec<&str> = rows.first().map_or(Vec::new(), |row| row.arms.iter().map(|arm| arm.name.as_str()).collect());
    for name in &arms {
        // Rows may list their arms in another order.
        let score =
            |row: &Row| row.arms.iter().zip(&row.validation).find(|(arm, _)| arm.name == *name).map(|(_, s)| *s);
        let trials: Vec<(&Row, [f64; 2])> = rows.iter().filter_map(|row| Some((row, score(row)?))).collect();
        let is_none = |score: &[f64; 2]| score.iter().all(|number| number.is_nan());
        if trials.len() < rows.len() || trials.iter().any(|(row, score)| is_none(score) && row.state == State::Finished)
        {
            return refused(name, "has no evaluations of a validation split", "set data.validation");
        }
        if trials.iter().all(|(_, score)| is_none(score)) {
            return refused(name, "diverged with all values", "try lower rates");
        }
        let Some((best, _)) =
            trials.iter().copied().reduce(|best, next| if is_better(next.1, best.1) { next } else { best })
        else {
            continue;
        };
        // To an arm without a guide all values of guidance are the same.
        let unguided = config.guide_of(name) == ArmGuide::None;
        let pairs = best.set.iter().filter_map(|pair| pair.split_once('='));
        let pairs: Vec<_> = pairs.filter(|(key, _)| !(unguided && key.starts_with("guidance."))).collect();
        if pairs.is_empty() {
            continue;
        }
        for (key, _) in &pairs {
            if let Some(key) = key.strip_prefix("training.")
                && config.training_key(name, key) != format!("training.{key}")
            {
                let own = config.training_key(name, key);
                return refused(
                    &own,
                    "is set in the file, so that the sweep tried nothing on this arm",
                    "remove it, and sweep anew",
                );
            }
        }
        let arm = table(&mut file, name, path)?;
        pairs.into_iter().try_for_each(|(key, value)| set(arm, key, value, name))?;
        let told: Vec<String> = trials.iter().map(|(row, score)| tried(row, *score)).collect();
        let told = format!("# Best of {} by validation: {}.\n", trials.len(), told.join("; "));
        let before = arm.decor().prefix().and_then(|prefix| prefix.as_str()).unwrap_or("\n").to_string();
        arm.decor_mut().set_prefix(format!("{before}{told}"));
    }
    let chosen = file.to_string();
    Config::parse(&chosen, path)?;
    Ok(chosen)
}

/// `0.003 gives 24.1 %`, `0.1 diverges`.
fn tried(row: &Row, [top1, _]: [f64; 2]) -> String {
    let values: Vec<&str> = row.set.iter().filter_map(|pair| Some(pair.split_once('=')?.1)).collect();
    let values = values.join(", ");
    if top1.is_nan() { format!("{values} diverges") } else { format!("{values} gives {:.1} %", 100.0 * top1) }
}

/// The table of an arm, made if the file has none.
fn table<'f>(file: &'f mut DocumentMut, arm: &str, path: &Path) -> Result<&'f mut Table> {
    let no_table = || Error::config(path, format!("arm.{arm}"), "is no table of its own", "write it as [arm.NAME]");
    let arms = file.entry("arm").or_insert_with(|| {
        let mut arms = Table::new();
        arms.set_implicit(true);
        Item::Table(arms)
    });
    let arms = arms.as_table_mut().ok_or_else(no_table)?;
    arms.entry(arm).or_insert_with(|| Item::Table(Table::new())).as_table_mut().ok_or_else(no_table)
}

/// Sets a key of the file for one arm.
fn set(arm: &mut Table, key: &str, value: &str, name: &str) -> Result<()> {
    let value: Value = value.parse().unwrap_or_else(|_| value.into());
    if let Some((_, short)) = OF_ARM.iter().find(|(of_file, _)| *of_file == key) {
        arm.insert(short, Item::Value(value));
        return Ok(());
    }
    match key.split_once('.') {
        Some((section @ ("training" | "guidance"), key)) => {
            // The short form would set it twice.
            arm.remove(key);
            let own = arm.entry(section).or_insert_with(|| Item::Value(Value::InlineTable(Default::default())));
            let Some(own) = own.as_table_like_mut() else {
                return refused(&format!("arm.{name}.{section}"), "is no table", "write it as { key = value }");
            };
            own.insert(key, Item::Value(value));
            own.fmt();
            Ok(())
        }
        _ => check_choosable(key),
    }
}
