//! A file as a list of dotted keys.

use toml::{Table, Value};

/// Keys of a file with their values, each with its tables in front: `training.optimizer`. None of text that is no TOML.
pub(crate) fn dotted(text: &str) -> Vec<(String, Value)> {
    let mut values = Vec::new();
    collect("", text.parse().unwrap_or_default(), &mut values);
    values
}

fn collect(tables: &str, table: Table, values: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if tables.is_empty() { name } else { format!("{tables}.{name}") };
        match value {
            Value::Table(below) => collect(&key, below, values),
            value => values.push((key, value)),
        }
    }
}
