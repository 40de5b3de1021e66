//! The file: data and program in one HTML page.

use std::path::Path;

use serde_json::{Value, json};
use trellis_data::io::write_atomic;
use trellis_guidance::{Dataset, Error, Result};

use super::arms::{Guides, arms, record};
use super::numbers::numbers;
use crate::config::Config;

/// Largest number of bytes of a page.
pub const LARGEST: usize = 5 << 20;

/// Writes the page of an experiment. `data` lie on a GPU that was opened as [portable](trellis_tensor::GpuOptions::portable), and `fast`
/// are the same on one that was not, to train the guides on. The page begins with the first seed of the file. `tell` hears what takes
/// long.
///
/// # Errors
/// [`Error::Config`] with the key of what a page cannot do; [`trellis_tensor::Error::NotPortable`] with the kernel and the limit;
/// [`Error::Data`] for a page of more than 5 MiB, or one that cannot be written.
pub fn write_page(
    config: &Config,
    [data, fast]: [&Dataset; 2],
    path: &Path,
    tell: &mut dyn FnMut(&str),
) -> Result<usize> {
    let config = &config.resolved_for(path, data)?;
    let seed = config.seeds.first().copied().unwrap_or(1);
    let arms = arms(config, seed)?;
    let guides = Guides::make(config, [data, fast], seed, tell)?;
    tell("recording the plans of each arm");
    let plans = record(config, data, &guides, &arms, seed)?.to_json();
    tell("training the first steps, for the page to compare its own with");
    let numbers = numbers(config, data, &guides, &arms, seed)?;
    let page = html(&plans, &numbers);
    if page.len() > LARGEST {
        let problem = format!("a page has 5 MiB at most, and this one would have {} KiB", page.len() >> 10);
        return Err(Error::data(path, problem, "use fewer or smaller images, fewer arms, or smaller networks"));
    }
    write_atomic(path, page.as_bytes())?;
    Ok(page.len())
}

const TEMPLATE: &str = include_str!("page/page.html");

/// Files that are pasted into the page, by their marks.
const PARTS: [(&str, &str); 10] = [
    ("/*page.css*/", include_str!("page/page.css")),
    ("/*replay.js*/", include_str!("page/replay.js")),
    ("/*weights.js*/", include_str!("page/weights.js")),
    ("/*experiment.js*/", include_str!("page/experiment.js")),
    ("/*pictures.js*/", include_str!("page/pictures.js")),
    ("/*own.js*/", include_str!("page/own.js")),
    ("/*kernels.js*/", include_str!("page/kernels.js")),
    ("/*arms.js*/", include_str!("page/arms.js")),
    ("/*address.js*/", include_str!("page/address.js")),
    ("/*main.js*/", include_str!("page/main.js")),
];

fn html(plans: &Value, numbers: &Value) -> String {
    let mut page = TEMPLATE.to_string();
    for (mark, text) in PARTS {
        page = page.replace(mark, text);
    }
    // Within a script element only `</` and `<!` have a meaning.
    let data = json!({ "plans": plans, "experiment": numbers }).to_string().replace('<', "\\u003c");
    page.replace("/*data*/", &data)
}
