//! `trellis affinity`

use std::path::PathBuf;

use clap::Args;
use trellis_data::io::write_atomic;
use trellis_guidance::{Error, Result};
use trellis_lab::affinity::{Affinity, Worth, affinity_svg, experiments};
use trellis_lab::config::Config;
use trellis_lab::record::Difference;
use trellis_lab::sweep::{Cell, Shard, State};
use trellis_tensor::Gpu;

use super::{Work, shard, some_failed};
use crate::{print, report};

#[derive(Args)]
#[command(after_help = "\
Each network of the file is a target: it is trained alone, and by each network as guide, itself among them. The matrix of
gains lies in OUT/NAME-affinity/, as affinity.csv and affinity.svg. The same command again goes on where it was.

Examples:
  trellis affinity examples/configs/affinity.toml
  trellis affinity my.toml --data ~/mnist --replicates 10
  trellis affinity my.toml --shard 0/6              one of six machines that share a disk")]
pub(crate) struct AffinityCommand {
    /// The networks, data and training: see examples/configs/affinity.toml
    config: PathBuf,
    /// As for `trellis train`
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder for the affinity's folder
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    out: PathBuf,
    /// Repeat each experiment N times with another split, initial weights and batches, as `trellis sweep` does
    #[arg(long, value_name = "N")]
    replicates: Option<u32>,
    /// Targets to train at once, each on a device and a copy of the data of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// As for `trellis sweep`
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
}

impl AffinityCommand {
    pub(crate) fn run(&self, gpus: impl FnOnce(usize) -> Result<Vec<Gpu>>, json: bool) -> Result<()> {
        let text = std::fs::read_to_string(&self.config).map_err(|e| Error::io(&self.config, e))?;
        let name = Config::read(&self.config)?.name;
        let all = experiments(&text, &self.config, self.replicates.unwrap_or(0))?;
        let folder = self.out.join(format!("{name}-affinity"));
        let shard = shard(self.shard)?;
        let (cells, configs): (Vec<Cell>, Vec<Config>) = all.iter().cloned().unzip();
        let place = self.data.as_deref();
        let work = Work { file: &self.config, place, sweep: &folder, cells: &cells, configs: &configs, json };
        let affinity = Some((text, self.replicates.unwrap_or(0)));
        let failed = work.run(affinity, || gpus(usize::from(self.jobs)), shard)?;
        let affinity = Affinity::read(&name, &folder, &all)?;
        let (table, picture) = (folder.join("affinity.csv"), folder.join("affinity.svg"));
        write_atomic(&table, affinity.csv().as_bytes())?;
        write_atomic(&picture, affinity_svg(&affinity).as_bytes())?;
        match json {
            true => affinity.csv().lines().try_for_each(print::line)?,
            false => print_matrix(&affinity)?,
        }
        if !json {
            for (target, state) in &affinity.missing {
                print::line(format_args!("{target}: {state}; {}", remedy(state)))?;
            }
            if affinity.seeds > 0 {
                let files = report::of_sweep(&folder)?;
                let page = files.first().map_or(picture.as_path(), PathBuf::as_path);
                print::line(format_args!(
                    "open: {} {}; table: {}",
                    page.display(),
                    picture.display(),
                    table.display()
                ))?;
            }
        }
        if failed == 0 { Ok(()) } else { Err(some_failed("affinity", failed, "experiments")) }
    }
}

/// Way to fill in what a target in this state lacks.
fn remedy(state: &State) -> &'static str {
    match state {
        State::Diverged(_) => {
            "what they were to give is left out: a lower `learning_rate` in `training` of the network, and another --out"
        }
        State::Other(_) => "give the file that it was made with, or another --out",
        _ => "the same command again goes on with it",
    }
}

/// Gains in points: a row for each target, a column for each guide.
fn print_matrix(affinity: &Affinity) -> Result<()> {
    let names = affinity.targets.iter().map(|(name, _)| name.len()).chain([6]).max().unwrap_or(6);
    let column = affinity.guides.iter().map(String::len).max().unwrap_or(0).max(6);
    let guides: String = affinity.guides.iter().map(|guide| format!(" {guide:>column$}")).collect();
    print::line(format_args!(
        "points of top-1 by which a guide (column) raises a target (row); *: the 95 % interval leaves 0 out"
    ))?;
    print::line(format_args!("{:<names$} {:>7}{guides}", "", "alone"))?;
    for ((target, alone), row) in affinity.targets.iter().zip(&affinity.worth) {
        let shown = |worth: &Worth| {
            let gain = worth.gain.as_ref().and_then(Difference::estimate);
            let text = gain.map_or("-".to_string(), |gain| {
                let sure = if gain.excludes_zero() { "*" } else { "" };
                format!("{:+.1}{sure}", 100.0 * gain.mean)
            });
            format!(" {text:>column$}")
        };
        let alone = alone.map_or("-".to_string(), |top1| format!("{:.1} %", 100.0 * top1));
        print::line(format_args!("{target:<names$} {alone:>7}{}", row.iter().map(shown).collect::<String>()))?;
    }
    Ok(())
}
