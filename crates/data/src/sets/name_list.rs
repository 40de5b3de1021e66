//! Names of unused files and folders, in a sentence.

/// Number of names that are listed.
const TOLD: usize = 5;

/// The first names, and how many more there are.
pub(super) fn quoted(names: &[String]) -> String {
    let mut told: Vec<String> = names.iter().take(TOLD).map(|name| format!("`{name}`")).collect();
    if names.len() > TOLD {
        told.push(format!("and {} more", names.len() - TOLD));
    }
    told.join(", ")
}
