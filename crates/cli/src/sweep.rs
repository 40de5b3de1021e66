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
use trellis_lab::record::{Existing, LOCKED};
use trellis_lab::stats::Estimate;
use trellis_lab::sweep::{Axis, Cell, Row, Shard, State, best, cells, csv, rows};
use trellis_tensor::Gpu;

use crate::run::{in_a_line, read};
use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Each combination of values is an experiment with a folder of its own, OUT/NAME-sweep/training.optimizer-sgd. Run the same command
again, also after Ctrl-C, and it goes on where it was: finished runs are kept, killed ones resumed, failed ones tried again.

Examples:
  trellis sweep my.toml -m training.optimizer=sgd,adam -m training.weight_decay=0,0.1
  trellis sweep my.toml -m training.learning_rate=1e-3,3e-3 --seeds 1,2,3,4,5 --data ~/mnist
  trellis sweep my.toml -m target.depth='range(2,10,2)' --dry-run      see the combinations
  trellis sweep my.toml -m guide.channels='[4,8],[8,16]'               lists are values too
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
    /// Print the combinations, those of the shard, and what became of them; run and write nothing
    #[arg(long)]
    dry_run: bool,
}

impl Sweep {
    /// All configurations are read before the GPU is opened: their errors come at once.
    pub(crate) fn run(&self, gpu: impl FnOnce() -> Result<Gpu>, json: bool) -> Result<()> {
        let axes = self.axes.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>>>()?;
        let cells = cells(&axes)?;
        let twice = |axis: &&Axis| {
            self.set.iter().any(|pair| pair.split_once('=').is_some_and(|(key, _)| key.trim() == axis.key))
        };
        if let Some(axis) = axes.iter().find(twice) {
            let hint = "leave out one of `-m` and `--set`";
            return Err(Error::config(Place::setting("sweep"), &axis.key, "is set for all combinations too", hint));
        }
        let name = Config::read_with(&self.config, &self.set)?.name;
        let configs = cells.iter().map(|cell| self.config_of(cell)).collect::<Result<Vec<_>>>()?;
        // Apart from the folder of `trellis train`, which moves an older one aside.
        let sweep = self.out.join(format!("{name}-sweep"));
        let shard = match self.shard {
            Some(shard) => shard,
            None => Shard::from_env(|name| std::env::var(name).ok())?.unwrap_or(Shard::WHOLE),
        };
        let failed = if self.dry_run { 0 } else { self.train(&gpu()?, &cells, &configs, &sweep, shard, json)? };
        let shown = |number: &usize| !self.dry_run || shard.has(*number);
        let shown = (0..cells.len()).filter(shown).map(|number| (&cells[number], &configs[number]));
        let table = rows(&sweep, shown)?;
        let file = sweep.join("sweep.csv");
        if !self.dry_run {
            // A shard may have no combination.
            std::fs::create_dir_all(&sweep).map_err(|e| Error::io(&sweep, e))?;
            write_atomic(&file, csv(&table).as_bytes())?;
        }
        if json {
            table.iter().try_for_each(|row| print::json(&as_json(row)))?;
        } else {
            print_table(&table)?;
            if file.exists() {
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
        let config = read(&self.config, &set, self.seeds.as_deref());
        let config = config.map_err(|error| error.in_run(format!("combination {}", cell.name)))?;
        Ok(Config { name: cell.name.clone(), ..config })
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
            cell.begin(sweep)?;
            let outcome = train_cell(gpu, &configs[number], (&self.config, self.data.as_deref()), sweep, (&bar, json));
            bar.finish_and_clear();
            if !json && bar.is_hidden() && outcome.is_ok() {
                print::line(format_args!("{what}: finished"))?;
            }
            match outcome {
                Ok(()) => {}
                Err(error) if is_locked(&error) => print::warn(&format!("{}: left to it: {error}", cell.name)),
                Err(error) => {
                    cell.note(sweep, &error)?;
                    failed += 1;
                    print::warn(&format!("{}: {error}", cell.name));
                }
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
    (bar, json): (&ProgressBar, bool),
) -> Result<()> {
    let data = config.dataset(gpu, path, place)?;
    let config = &config.resolved_for(path, &data)?;
    let existing = if sweep.join(&config.name).exists() { Existing::Resume } else { Existing::Refuse };
    let trained = experiment::run(config, &data, sweep, existing, &mut |progress| match progress {
        Progress::Total(steps) => bar.set_length(steps),
        Progress::Run(arm, seed) => bar.set_message(format!("{arm}, seed {seed}")),
        Progress::Warning(text) => bar.suspend(|| print::warn(&format!("{}: {text}", config.name))),
        Progress::Steps(_, _, steps, _) => bar.inc(steps),
        Progress::Done(run) if !json && bar.is_hidden() => {
            // If there is no reader, the table at the end will tell.
            let _ = print::line(format_args!("  {}", in_a_line(run)));
        }
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

/// A line for each combination and arm, and one for each error.
fn print_table(table: &[Row]) -> Result<()> {
    let width = table.iter().map(|row| row.cell.name.len()).max().unwrap_or(0).max(11);
    let shown = |e: Option<Estimate>, digits: usize| e.map_or("-".to_string(), |e| format!("{e:.digits$}"));
    print::line(format_args!(
        "{:<width$} {:<14} {:<14} {:>5} {:>17} {:>15} {:>14} {:>16}",
        "combination", "state", "arm", "seeds", "validation top-1", "validation loss", "test top-1 %", "test loss"
    ))?;
    for row in table {
        if row.arms.is_empty() {
            print::line(format_args!("{:<width$} {}", row.cell.name, row.state))?;
        }
        for (number, (arm, [top1, loss])) in row.arms.iter().zip(&row.validation).enumerate() {
            let (name, state) =
                if number == 0 { (row.cell.name.as_str(), row.state.to_string()) } else { ("", String::new()) };
            let percent = format!("{:.1} %", 100.0 * top1);
            print::line(format_args!(
                "{name:<width$} {state:<14} {:<14} {:>5} {percent:>17} {loss:>15.3} {:>14} {:>16}",
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
    match best(table) {
        Some((row, arm)) => print::line(format_args!("least validation loss: {}, arm {}", row.cell.name, arm.name)),
        None => Ok(()),
    }
}

/// True if another process writes into the folder.
fn is_locked(error: &Error) -> bool {
    matches!(error, Error::Data(trellis_data::Error::Data { problem, .. }) if problem == LOCKED)
}

fn as_json(row: &Row) -> serde_json::Value {
    let error = if let State::Failed(error) = &row.state { Some(error) } else { None };
    json!({"cell": row.cell.name, "set": row.cell.set, "state": row.state.to_string(), "error": error, "arms": row.arms,
        "validation": row.validation})
}
