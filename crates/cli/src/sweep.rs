//! `trellis sweep`

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use serde_json::json;
use trellis_data::Place;
use trellis_data::io::write_atomic;
use trellis_guidance::{Error, Result};
use trellis_lab::config::Config;
use trellis_lab::experiment::{self, Progress};
use trellis_lab::record::Existing;
use trellis_lab::stats::Estimate;
use trellis_lab::sweep::{Axis, Cell, Row, Shard, State, cells, csv, rows};
use trellis_tensor::Gpu;

use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Each combination of values is an experiment with a folder of its own, OUT/NAME/optimizer-sgd__weight_decay-0.1. Run the same
command again and it goes on where it was: finished runs are kept, killed ones resumed, failed ones tried again.

Examples:
  trellis sweep my.toml -m training.optimizer=sgd,adam -m training.weight_decay=0,0.1
  trellis sweep my.toml -m training.learning_rate=1e-3,3e-3 --seeds 1,2,3,4,5 --data ~/mnist
  trellis sweep my.toml -m target.depth='range(2,10,2)' --dry-run      see the combinations
  trellis sweep my.toml -m target.width=32,64 --shard 0/2              every second one, on this machine")]
pub(crate) struct Sweep {
    /// The experiment: see examples/configs/
    config: PathBuf,
    /// A key and its values, as often as there are keys: KEY=A,B, KEY=choice(A,B) or KEY=range(START,STOP,STEP)
    #[arg(short = 'm', long = "multirun", value_name = "KEY=VALUES", required = true)]
    axes: Vec<String>,
    /// As for `trellis train`
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder for the sweep's folder
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    out: PathBuf,
    /// Set a key in every combination
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds in place of those in the file
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    seeds: Option<Vec<u64>>,
    /// Run every N-th combination, from number I on (from 0). By default what SLURM_ARRAY_TASK_ID and _COUNT say, or
    /// JOB_COMPLETION_INDEX and TRELLIS_SHARDS; else all
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Print the combinations and what became of them, and run nothing
    #[arg(long)]
    dry_run: bool,
}

impl Sweep {
    /// All configurations are read before the GPU is opened: their errors come at once.
    pub(crate) fn run(&self, gpu: impl FnOnce() -> Result<Gpu>, json: bool) -> Result<()> {
        let axes = self.axes.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>>>()?;
        let cells = cells(&axes)?;
        let name = Config::read_with(&self.config, &self.set)?.name;
        let configs = cells.iter().map(|cell| self.config_of(cell)).collect::<Result<Vec<_>>>()?;
        let sweep = self.out.join(name);
        let shard = match self.shard {
            Some(shard) => shard,
            None => Shard::from_env(|name| std::env::var(name).ok())?.unwrap_or(Shard::WHOLE),
        };
        let failed = if self.dry_run { 0 } else { self.train(&gpu()?, &cells, &configs, &sweep, shard, json)? };
        let table = rows(&sweep, &cells)?;
        let file = sweep.join("sweep.csv");
        if sweep.exists() {
            write_atomic(&file, csv(&table).as_bytes())?;
        }
        if json {
            table.iter().try_for_each(|row| print::json(&as_json(row)))?;
        } else {
            print_table(&table)?;
            if sweep.exists() {
                print::line(format_args!("table: {}; a report in each folder", file.display()))?;
            }
            next::after_sweep(&sweep, &table)?;
        }
        if failed == 0 {
            return Ok(());
        }
        let problem = format!("{failed} of its combinations failed; their errors stand above");
        Err(Error::config(Place::setting("sweep"), "", problem, "mend the cause and run the same command again"))
    }

    /// The configuration of a combination, whose folder has the combination's name.
    fn config_of(&self, cell: &Cell) -> Result<Config> {
        let set: Vec<String> = self.set.iter().chain(&cell.set).cloned().collect();
        let read = || {
            let mut config = Config::read_with(&self.config, &set)?;
            config.seeds = self.seeds.clone().unwrap_or(config.seeds);
            config.check(&self.config)?;
            config.name.clone_from(&cell.name);
            Ok(config)
        };
        read().map_err(|error: Error| error.in_run(cell.name.clone()))
    }

    /// Runs the combinations of a shard one after the other, and returns the number of those that failed.
    fn train(
        &self,
        gpu: &Gpu,
        cells: &[Cell],
        configs: &[Config],
        sweep: &Path,
        shard: Shard,
        json: bool,
    ) -> Result<usize> {
        let own: Vec<usize> = (0..cells.len()).filter(|&cell| shard.has(cell)).collect();
        if !json {
            let part = if shard == Shard::WHOLE {
                String::new()
            } else {
                format!(", of which shard {shard} has {}", own.len())
            };
            print::line(format_args!("{} combinations{part}; {}", cells.len(), gpu.name()))?;
        }
        let (began, mut failed) = (Instant::now(), 0);
        for (done, &number) in own.iter().enumerate() {
            let cell = &cells[number];
            let to_go = match done {
                0 => String::new(),
                _ => {
                    let left = began.elapsed().mul_f64((own.len() - done) as f64 / done as f64);
                    format!(", {} to go", HumanDuration(left))
                }
            };
            let what = format!("{}/{} {}", done + 1, own.len(), cell.name);
            let bar = bar(format!("{what}{to_go}"));
            let outcome = train_cell(gpu, &configs[number], (&self.config, self.data.as_deref()), sweep, &bar);
            bar.finish_and_clear();
            if !json && bar.is_hidden() && outcome.is_ok() {
                print::line(format_args!("{what}: finished"))?;
            }
            cell.note(sweep, outcome.as_ref().err())?;
            if let Err(error) = outcome {
                failed += 1;
                print::warn(&format!("{}: {error}", cell.name));
            }
        }
        Ok(failed)
    }
}

/// Trains one combination, or goes on with it.
fn train_cell(
    gpu: &Gpu,
    config: &Config,
    (path, place): (&Path, Option<&Path>),
    sweep: &Path,
    bar: &ProgressBar,
) -> Result<()> {
    let data = config.dataset(gpu, path, place)?;
    let config = &config.resolved_for(path, &data)?;
    let began = sweep.join(&config.name).join("config.toml").exists();
    let existing = if began { Existing::Resume } else { Existing::Refuse };
    let trained = experiment::run(config, &data, sweep, existing, &mut |progress| match progress {
        Progress::Total(steps) => bar.set_length(steps),
        Progress::Run(arm, seed) => bar.set_message(format!("{arm}, seed {seed}")),
        Progress::Warning(text) => bar.suspend(|| print::warn(&format!("{}: {text}", config.name))),
        Progress::Steps(_, _, steps, _) => bar.inc(steps),
        Progress::MovedAside(_) | Progress::Done(_) => {}
    });
    trained.map(|_| ())
}

/// Hidden where standard error is no terminal.
fn bar(what: String) -> ProgressBar {
    let template = "{prefix}  {bar:24} {percent:>3} %  {msg}";
    let bar =
        ProgressBar::new(0).with_style(ProgressStyle::with_template(template).expect("the template is well-formed"));
    bar.with_prefix(what)
}

fn state(row: &Row) -> String {
    match &row.state {
        State::Missing => "not run".to_string(),
        State::Begun(finished, all) => format!("{finished} of {all} runs"),
        State::Finished => "finished".to_string(),
        State::Failed(_) => "failed".to_string(),
    }
}

/// A line for each combination and arm, and one for each error.
fn print_table(table: &[Row]) -> Result<()> {
    let width = table.iter().map(|row| row.cell.name.len()).max().unwrap_or(0).max(11);
    let shown = |e: Option<Estimate>, digits: usize| e.map_or("-".to_string(), |e| format!("{e:.digits$}"));
    print::line(format_args!(
        "{:<width$} {:<13} {:<14} {:>5} {:>14} {:>16}",
        "combination", "state", "arm", "seeds", "test top-1 %", "test loss"
    ))?;
    for row in table {
        if row.arms.is_empty() {
            print::line(format_args!("{:<width$} {}", row.cell.name, state(row)))?;
        }
        for (number, arm) in row.arms.iter().enumerate() {
            let (name, state) = if number == 0 { (row.cell.name.as_str(), state(row)) } else { ("", String::new()) };
            print::line(format_args!(
                "{name:<width$} {state:<13} {:<14} {:>5} {:>14} {:>16}",
                arm.name,
                arm.seeds,
                shown(arm.top1().map(Estimate::percent), 1),
                shown(arm.test_loss(), 3)
            ))?;
        }
    }
    for row in table {
        if let State::Failed(error) = &row.state {
            print::line(format_args!("failed: {}: {error}", row.cell.name))?;
        }
    }
    Ok(())
}

fn as_json(row: &Row) -> serde_json::Value {
    let error = if let State::Failed(error) = &row.state { Some(error) } else { None };
    json!({"cell": row.cell.name, "set": row.cell.set, "state": state(row), "error": error, "arms": row.arms})
}
