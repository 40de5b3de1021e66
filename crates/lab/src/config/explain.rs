//! Errors in a file, told so that they can be mended.

use std::path::Path;

use super::sections::guide::GuideKeys;
use super::sections::keys::Declared;
use super::synonyms;
use trellis_guidance::Error;

/// serde's message, with the line and, for an unknown key, the nearest known one.
pub(super) fn explain(text: &str, path: &Path, error: &toml::de::Error) -> Error {
    let number = error.span().map(|span| 1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count());
    let line = number.map_or(String::new(), |number| format!("line {number}: "));
    let key = number.map_or(String::new(), |number| key(text, number));
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown") => {
            let what = if message.starts_with("unknown field") { "unknown key" } else { "unknown value" };
            // A value stands behind its key; without one, as in a list over several lines, it is named itself.
            let named = if what == "unknown key" { key.ends_with(unknown) } else { !key.is_empty() };
            let key = if named { key.as_str() } else { unknown };
            let table = key.rsplit_once('.').map_or("", |(table, _)| table);
            // Sections and keys that are read by themselves.
            let apart = match table {
                "" if known.contains(&"training") => vec!["target", "guide", "guides"],
                "target" if what == "unknown key" => vec!["network", "bias"],
                table if what == "unknown key" && table.starts_with("guide") && table != "guidance" => {
                    GuideKeys::keys().iter().map(|key| key.name).chain(["network"]).collect()
                }
                _ => Vec::new(),
            };
            let known = &[known, &apart].concat();
            let synonym = Some(unknown).filter(|_| what == "unknown key");
            let synonym = synonym.and_then(|unknown| synonyms::suggestion(table, unknown, known));
            let value = if what == "unknown value" { format!(" `{unknown}`") } else { String::new() };
            Error::config(
                path,
                key,
                format!("{line}{what}{value}"),
                synonym.unwrap_or_else(|| suggestion(unknown, known)),
            )
        }
        _ => {
            let (found, wanted) = message.split_once(", expected ").unwrap_or((message, ""));
            let wanted = match wanted {
                "usize" | "u64" => "a whole number of 0 or more",
                "u32" => "a whole number from 0 to 4294967295",
                "f32" => "a number",
                "a sequence" => "a list",
                other => other,
            };
            let comma = if wanted.is_empty() { "" } else { ", expected " };
            let problem = format!("{line}{found}{comma}{wanted}");
            Error::config(path, key, problem, "see examples/configs/ for files that work")
        }
    }
}

/// The key that line `number` gives a value, with its table; empty if it gives none.
fn key(text: &str, number: usize) -> String {
    let lines: Vec<&str> = text.lines().take(number).map(str::trim).collect();
    let Some((name, _)) = lines.last().and_then(|line| line.split_once('=')) else { return String::new() };
    // Not a line of a list.
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    let mut tables = lines.iter().rev().filter_map(|line| Some(line.strip_prefix('[')?.split_once(']')?.0));
    let table = tables.find(|table| table.starts_with(char::is_alphabetic) && table.chars().all(word));
    table.map_or(name.trim().to_string(), |table| format!("{}.{}", table.trim(), name.trim()))
}

/// "did you mean …?", or all that there is.
pub(super) fn suggestion(unknown: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|name| (distance(unknown, name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= 1 + unknown.len() / 3 => format!("did you mean `{name}`?"),
        _ => format!("known are {}", known.join(", ")),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
