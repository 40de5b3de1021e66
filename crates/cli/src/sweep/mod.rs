//! `trellis sweep`

mod affinity;
mod work;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use trellis_data::Place;
use trellis_data::io::write_atomic;
use trellis_guidance::{Error, Result};
use trellis_lab::config::Config;
use trellis_lab::stats::Estimate;
use trellis_lab::sweep::{Axis, Cell, Row, Shard, State, best, cells, check_choosable, choose, csv, rows};
use trellis_tensor::{Gpu, GpuOptions};

use crate::run::read;
use crate::{next, plan, print, report};
pub(crate) use affinity::AffinityCommand;
use work::Work;

#[derive(Args)]
#[command(after_help = "\
Each combination of values is an experiment with a folder of its own, OUT/NAME-sweep/training.optimizer-sgd. Run the same command
again, also after Ctrl-C, and it goes on where it was: finished runs are kept, killed ones resumed, failed ones tried again.

Examples:
  trellis sweep my.toml -m training.optimizer=sgd,adam -m training.weight_decay=0,0.1
  trellis sweep my.toml -m training.learning_rate=1e-3,3e-3 --seeds 1,2,3,4,5 --data ~/mnist
  trellis sweep my.toml -m target.depth='range(2,10,2)' --dry-run      see the combinations
  trellis sweep my.toml -m guide.channels='[4,8],[8,16]'               lists are values too
  trellis sweep my.toml -m target.width=32,64 --shard 0/2              every second one, on this machine
  trellis sweep my.toml --replicates 10                                ten splits of the data, each with a seed of its own
  trellis sweep my.toml -m training.learning_rate=1e-3,3e-3,1e-2 --choose tuned.toml
                                     the best rate of each arm by validation, written into a copy of the file")]
pub(crate) struct Sweep {
    /// The experiment: see examples/configs/
    config: PathBuf,
    /// A key and its values, as often as there are keys: KEY=A,B, KEY=choice(A,B) or KEY=range(START,STOP,STEP).
    /// It takes the place of the same key of the table `sweep` in the file
    #[arg(short = 'm', long = "multirun", value_name = "KEY=VALUES")]
    axes: Vec<String>,
    /// Repeat each combination N times, each time with another split of the data, initial weights and batches:
    /// repetition I has `data.seed` I and the only seed I
    #[arg(long, value_name = "N", conflicts_with = "seeds")]
    replicates: Option<u32>,
    /// When all are finished, write a copy of the configuration in which each arm has the values that are best for it
    /// by validation
    #[arg(long, value_name = "FILE", conflicts_with = "set")]
    choose: Option<PathBuf>,
    /// Combinations to train at once, each on a device and a copy of the data of its own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
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
    /// Print the combinations, those of the shard, and what became of them; run and write nothing. Data that are given are looked
    /// at, with the first combination
    #[arg(long)]
    dry_run: bool,
}

impl Sweep {
    /// All configurations are read before the GPU is opened: their errors come at once.
    pub(crate) fn run(
        &self,
        gpus: impl FnOnce(usize) -> Result<Vec<Gpu>>,
        options: impl FnOnce() -> Result<GpuOptions>,
        json: bool,
    ) -> Result<()> {
        let file = Config::read_with(&self.config, &self.set)?;
        let cells = self.cells(&file)?;
        if self.choose.is_some() {
            let keys = cells.first().into_iter().flat_map(|cell| &cell.set).filter_map(|pair| pair.split_once('='));
            keys.map(|(key, _)| key).try_for_each(check_choosable)?;
        }
        let configs = cells.iter().map(|cell| self.config_of(cell)).collect::<Result<Vec<_>>>()?;
        let mut guides = [&file.guide].into_iter().chain(file.guides.values());
        if cells.iter().any(|cell| cell.replicate.is_some()) && guides.any(|guide| guide.keys.weights.is_some()) {
            print::warn(
                "each repetition has another split, and a guide comes from a file: if it was trained on these data, it may have seen \
                 the images that a repetition tests with",
            );
        }
        if let (true, Some(place), [first, ..]) = (self.dry_run, &self.data, &configs[..]) {
            let (gpu, memory) = plan::count(first, &self.config, Some(place), options()?)?;
            memory.check(&gpu, 1)?;
        }
        // Apart from the folder of `trellis train`, which moves an older one aside.
        let sweep = self.out.join(format!("{}-sweep", file.name));
        let shard = shard(self.shard)?;
        let work = Work {
            file: &self.config,
            place: self.data.as_deref(),
            sweep: &sweep,
            cells: &cells,
            configs: &configs,
            json,
        };
        let failed = if self.dry_run { 0 } else { work.run(None, || gpus(usize::from(self.jobs)), shard)? };
        let shown = |number: &usize| !self.dry_run || shard.has(*number);
        let shown = (0..cells.len()).filter(shown).map(|number| (&cells[number], &configs[number]));
        let table = rows(&sweep, shown)?;
        let file = sweep.join("sweep.csv");
        let mut page = None;
        if !self.dry_run {
            write_atomic(&file, csv(&table).as_bytes())?;
            // A shard may have no combination.
            if table.iter().any(|row| !row.arms.is_empty()) {
                page = report::of_sweep(&sweep)?.into_iter().next();
            }
        }
        if json {
            table.iter().try_for_each(|row| print::json(&as_json(row)))?;
        } else {
            print_table(&table)?;
            if file.exists() {
                print::line(format_args!("table: {}; a report in each folder", file.display()))?;
            }
            next::after_sweep(page.as_deref(), &table, shard)?;
        }
        if failed > 0 {
            return Err(some_failed("sweep", failed, "combinations"));
        }
        match &self.choose {
            Some(chosen) => self.write_choice(chosen, &table, json),
            None => Ok(()),
        }
    }

    /// The combinations of the file's table `[sweep]` and of the command line, which goes before it.
    fn cells(&self, file: &Config) -> Result<Vec<Cell>> {
        let own = self.axes.iter().map(|text| Axis::parse(text)).collect::<Result<Vec<_>>>()?;
        let (in_file, replicates) = Axis::of_table(&file.sweep)?;
        // Seeds on the command line take the place of repetitions in the file.
        let replicates = self.replicates.or(replicates.filter(|_| self.seeds.is_none()));
        let of_file = in_file.into_iter().filter(|axis| own.iter().all(|other| other.key != axis.key));
        let axes: Vec<Axis> = of_file.chain(own.iter().cloned()).collect();
        let is_set =
            |key: &str| self.set.iter().any(|pair| pair.split_once('=').is_some_and(|(own, _)| own.trim() == key));
        if let Some(axis) = axes.iter().find(|axis| is_set(&axis.key)) {
            let hint = "leave out one of `-m` and `--set`";
            return Err(Error::config(Place::setting("sweep"), &axis.key, "is set for all combinations too", hint));
        }
        if replicates.is_some() && is_set("data.seed") {
            let hint = "leave out one of `--set data.seed` and the repetitions";
            return Err(Error::config(Place::setting("sweep"), "data.seed", "is set by each repetition", hint));
        }
        cells(&axes, replicates.unwrap_or(0))
    }

    /// The configuration of a combination, whose folder has the combination's name.
    fn config_of(&self, cell: &Cell) -> Result<Config> {
        let set: Vec<String> = self.set.iter().cloned().chain(cell.all_set()).collect();
        let seed = cell.replicate.map(|seed| vec![seed]);
        let config = read(&self.config, &set, seed.as_deref().or(self.seeds.as_deref()));
        let config = config.map_err(|error| error.in_run(format!("combination {}", cell.folder())))?;
        Ok(Config { name: cell.folder(), sweep: Default::default(), ..config })
    }

    /// Writes the configuration in which each arm has its best values.
    fn write_choice(&self, chosen: &Path, table: &[Row], json: bool) -> Result<()> {
        let text = std::fs::read_to_string(&self.config).map_err(|e| Error::io(&self.config, e))?;
        write_atomic(chosen, choose(&text, &self.config, table)?.as_bytes())?;
        if json {
            return Ok(());
        }
        let data = self.data.as_deref().map_or(String::new(), |data| format!(" --data {}", next::shell(data)));
        print::line(format_args!("chosen: {}", chosen.display()))?;
        // The file may say how many.
        let replicates =
            if Axis::of_table(&Config::read(chosen)?.sweep)?.1.is_some() { "" } else { " --replicates 10" };
        print::line(format_args!("next: trellis sweep {}{data}{replicates}", next::shell(chosen)))
    }
}

/// The part of this process: the one that was given, or what a scheduler says, or all.
fn shard(given: Option<Shard>) -> Result<Shard> {
    match given {
        Some(shard) => Ok(shard),
        None => Ok(Shard::from_env(|name| std::env::var(name).ok())?.unwrap_or(Shard::WHOLE)),
    }
}

/// The error of a command some of whose experiments failed.
fn some_failed(command: &'static str, failed: usize, what: &str) -> Error {
    let problem = format!("{failed} of its {what} failed; their errors stand above");
    Error::config(Place::setting(command), "", problem, "mend the cause and run the same command again")
}

/// A line for each combination and arm, and one for each error.
fn print_table(table: &[Row]) -> Result<()> {
    let name = |row: &Row| match row.name.is_empty() {
        true => format!("{} repetitions", row.folders.len()),
        false => row.name.clone(),
    };
    let width = table.iter().map(|row| name(row).len()).max().unwrap_or(0).max(11);
    let shown = |e: Option<Estimate>, digits: usize| e.map_or("-".to_string(), |e| format!("{e:.digits$}"));
    print::line(format_args!(
        "{:<width$} {:<14} {:<14} {:>5} {:>17} {:>15} {:>14} {:>16}",
        "combination", "state", "arm", "seeds", "validation top-1", "validation loss", "test top-1 %", "test loss"
    ))?;
    for row in table {
        if row.arms.is_empty() {
            print::line(format_args!("{:<width$} {}", name(row), row.state))?;
        }
        for (number, (arm, [top1, loss])) in row.arms.iter().zip(&row.validation).enumerate() {
            let (label, state) = if number == 0 { (name(row), row.state.to_string()) } else { Default::default() };
            let percent = format!("{:.1} %", 100.0 * top1);
            print::line(format_args!(
                "{label:<width$} {state:<14} {:<14} {:>5} {percent:>17} {loss:>15.3} {:>14} {:>16}",
                arm.name,
                arm.seeds,
                shown(arm.top1().map(Estimate::percent), 1),
                shown(arm.test_loss(), 3)
            ))?;
        }
    }
    for row in table {
        match &row.state {
            State::Failed(error) => print::line(format_args!("failed: {}: {error}", name(row)))?,
            State::Other(setting) => print::line(format_args!("other settings: {}: {setting}", name(row)))?,
            _ => {}
        }
    }
    match best(table) {
        Some((row, arm)) => print::line(format_args!("least validation loss: {}, arm {}", name(row), arm.name)),
        None => Ok(()),
    }
}

fn as_json(row: &Row) -> serde_json::Value {
    let error = if let State::Failed(error) = &row.state { Some(error) } else { None };
    json!({"cell": row.name, "set": row.set, "folders": row.folders, "state": row.state.to_string(), "error": error, "arms": row.arms,
        "validation": row.validation})
}
