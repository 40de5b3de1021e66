//! `trellis report` and `trellis compare`

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use trellis_data::io::write_atomic;
use trellis_guidance::Result;
use trellis_lab::affinity::{Affinity, affinity_figures, experiments};
use trellis_lab::comparison::{Comparison, Manifest};
use trellis_lab::record::{Difference, Experiment};
use trellis_lab::report::{comparison_html, report_html, tables};
use trellis_lab::stats::Estimate;

use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
A run folder gives the page of that run. Several, or the folder of a sweep or an affinity, give one page of all: results, differences,
curves over each other, settings that differ, and what is missing. Shards and repetitions of the same settings are put together.
Tables lie beside the page as CSV.

Examples:
  trellis report runs/glyphs                      the page of a run, written anew
  trellis report runs/my-sweep                    a sweep, also one that is not finished
  trellis report /mnt/a/runs /mnt/b/runs --out all.html    what two machines have run")]
pub(crate) struct Report {
    /// Run folders, or folders that hold some
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// The page. Without it `report.html` in the folder; of several folders, here
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Args)]
#[command(after_help = "\
Prints the settings that differ, and the difference that they make: each arm against the same arm of the first run, seed by seed.

Examples:
  trellis compare runs/glyphs runs/glyphs-1
  trellis compare runs/a runs/b runs/c --html compared.html")]
pub(crate) struct Compare {
    /// Run folders; the others are compared with the first
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write the page of the comparison too, with curves over each other
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

impl Report {
    pub(crate) fn run(&self, json: bool) -> Result<()> {
        let page = match (&self.out, self.folders.as_slice()) {
            (Some(file), _) => file.clone(),
            (None, [folder]) => folder.join("report.html"),
            (None, _) => PathBuf::from("report.html"),
        };
        let files = match self.folders.as_slice() {
            [run] if run.join("metrics.jsonl").exists() => {
                write_atomic(&page, report_html(&Experiment::read(run)?).as_bytes())?;
                vec![page]
            }
            folders => write(&Comparison::read(folders)?, folders, &page)?,
        };
        if json {
            return print::line(json!({"files": files}));
        }
        tell(&files)
    }
}

impl Compare {
    pub(crate) fn run(&self, json: bool) -> Result<()> {
        let comparison = Comparison::read(&self.runs)?;
        let files = match &self.html {
            Some(page) => write(&comparison, &self.runs, page)?,
            None => Vec::new(),
        };
        if json {
            let between = comparison.between.iter().map(
                |b| json!({"run": comparison.members[b.member].label, "arm": b.arm, "top1": b.top1, "loss": b.loss}),
            );
            let keys = comparison.keys.iter().map(|key| {
                json!({"key": key, "values": comparison.members.iter().map(|member| member.value(key)).collect::<Vec<_>>()})
            });
            let runs = comparison.members.iter().map(|member| json!({"run": member.label, "arms": member.arms}));
            return print::line(json!({"runs": runs.collect::<Vec<_>>(), "keys": keys.collect::<Vec<_>>(),
                "differences": between.collect::<Vec<_>>(), "missing": comparison.missing, "files": files}));
        }
        print_comparison(&comparison)?;
        if files.is_empty() {
            let runs: Vec<String> = self.runs.iter().map(|run| next::shell(run)).collect();
            return print::line(format_args!(
                "next: trellis compare {} --html compared.html (curves over each other)",
                runs.join(" ")
            ));
        }
        tell(&files)
    }
}

/// Writes the page of a sweep or an affinity into its folder; gives the files.
pub(crate) fn of_sweep(folder: &Path) -> Result<Vec<PathBuf>> {
    let folders = [folder.to_owned()];
    write(&Comparison::read(&folders)?, &folders, &folder.join("report.html"))
}

/// Writes a page, and its tables beside it.
fn write(comparison: &Comparison, folders: &[PathBuf], page: &Path) -> Result<Vec<PathBuf>> {
    let mut figures = Vec::new();
    for folder in folders {
        let Some(Manifest { file, affinity: Some((text, replicates)), .. }) = Manifest::read(folder)? else { continue };
        let all = experiments(&text, &file, replicates)?;
        let affinity = Affinity::read(&comparison.title, folder, &all)?;
        figures.push(("Which guides which".to_string(), affinity_figures(&affinity)));
    }
    write_atomic(page, comparison_html(comparison, &figures).as_bytes())?;
    let mut files = vec![page.to_owned()];
    let stem = page.file_stem().unwrap_or_default().to_string_lossy();
    for (name, csv) in tables(comparison) {
        let file = page.with_file_name(format!("{stem}-{name}"));
        write_atomic(&file, csv.as_bytes())?;
        files.push(file);
    }
    Ok(files)
}

/// Says what to open.
fn tell(files: &[PathBuf]) -> Result<()> {
    let Some((page, tables)) = files.split_first() else { return Ok(()) };
    print::line(format_args!("open: {}", next::shell(page)))?;
    let tables: Vec<String> = tables.iter().map(|file| next::shell(file)).collect();
    if tables.is_empty() { Ok(()) } else { print::line(format_args!("tables: {}", tables.join(" "))) }
}

fn print_comparison(comparison: &Comparison) -> Result<()> {
    for line in &comparison.missing {
        print::warn(line);
    }
    for (number, member) in comparison.members.iter().enumerate() {
        let runs = member.experiment.runs.len();
        print::line(format_args!("[{}] {}: {} runs, {}", number + 1, member.label, runs, member.experiment.adapter))?;
    }
    if comparison.keys.is_empty() {
        print::line("no setting differs but names, seeds and those of the data")?;
    }
    let width = comparison.keys.iter().map(String::len).max().unwrap_or(0);
    for key in &comparison.keys {
        let values: Vec<&str> = comparison.members.iter().map(|member| member.value(key)).collect();
        print::line(format_args!("{key:<width$}  {}", values.join(" | ")))?;
    }
    let signed = |e: Option<Estimate>, digits: usize| e.map_or("-".to_string(), |e| format!("{e:+.digits$}"));
    let p = |p: Option<f64>| p.map_or("-".to_string(), |p| format!("{p:.3}"));
    if comparison.between.is_empty() {
        return print::line("no arm with a seed that two of them share: nothing to subtract");
    }
    print::line(format_args!(
        "{:<8} {:<14} {:>5} {:>16} {:>7} {:>7} {:>17}",
        "minus", "arm", "seeds", "top-1, points", "p", "Holm", "test loss"
    ))?;
    for difference in &comparison.between {
        print::line(format_args!(
            "{:<8} {:<14} {:>5} {:>16} {:>7} {:>7} {:>17}",
            format!("[{}] - [1]", difference.member + 1),
            difference.arm,
            difference.top1.seeds,
            signed(Difference::estimate(&difference.top1).map(Estimate::percent), 1),
            p(difference.top1.p),
            p(difference.top1.p_holm),
            signed(difference.loss.estimate(), 3),
        ))?;
    }
    print::line("mean ± 95 % interval of differences paired by seed; p of exact sign flips, and corrected for all rows")
}
