//! Errors in a file, told so that they can be mended.

use std::path::Path;

use crate::error::Error;

/// serde's message, with the line and, for an unknown key, the nearest known one.
pub(super) fn explain(text: &str, path: &Path, error: &toml::de::Error) -> Error {
    let line = error.span().map_or(String::new(), |span| {
        let at = span.start.min(text.len());
        format!("line {}: ", 1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count())
    });
    let message = error.message();
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    match quoted.split_first() {
        Some((unknown, known)) if message.starts_with("unknown") => {
            // The sections that are read by themselves.
            let apart: &[&str] = if known.contains(&"training") { &["target", "guide"] } else { &[] };
            let known = &[known, apart].concat();
            let what = if message.starts_with("unknown field") { "unknown key" } else { "unknown value" };
            Error::config(path, *unknown, format!("{line}{what}"), suggestion(unknown, known))
        }
        _ => Error::config(path, "", format!("{line}{message}"), "see examples/configs/ for files that work"),
    }
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
