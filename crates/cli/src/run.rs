//! `trellis demo` and `trellis train`

use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use trellis_guidance::trainer::RunRecord;
use trellis_guidance::{Dataset, Error, Result};
use trellis_lab::config::Config;
use trellis_lab::experiment::{self, Progress};
use trellis_lab::record::{Difference, Existing, Experiment};
use trellis_lab::stats::Estimate;
use trellis_tensor::{Counters, Gpu};

use crate::next::Invocation;
use crate::stopped::{self, Choice};
use crate::{next, print};

/// The experiment of `trellis demo`.
const DEMO: &str = include_str!("../../../examples/configs/demo.toml");

/// Largest number of classes that are told by name.
const NAMED: usize = 12;

#[derive(Args)]
#[command(after_help = "\
Trains a recurrent network of six layers to copy eleven digits: alone, guided by an untrained Transformer, guided by it for
the first 200 steps only, and alone with orthogonal recurrent weights. Nothing is downloaded. On a CPU each core trains a
seed. The report is runs/demo/report.html.

Examples:
  trellis demo
  trellis demo --out /tmp/runs --json")]
pub(crate) struct Demo {
    /// Folder for run folders
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    out: PathBuf,
    /// Set a key of the configuration, as often as there are keys: --set training.learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  trellis train examples/configs/glyphs.toml
  trellis train examples/configs/mnist.toml --data ~/mnist --out /tmp/runs
  trellis train pets.toml --data ~/pets   # cat/*.jpg, dog/*.jpg …; pets.toml: [data] set = \"folder\"
  trellis train my.toml --seeds 11,12,13,14,15
  trellis train my.toml --set training.learning_rate=3e-4 --set training.optimizer=sgd
  trellis train my.toml --resume                     goes on where a killed run was
  trellis train my.toml --seeds 1,2,3,4,5 --resume   keeps what is trained, adds seeds")]
pub(crate) struct Train {
    /// The experiment: see examples/configs/
    config: PathBuf,
    /// Folder with IDX files (MNIST, Fashion-MNIST; .gz or not), CIFAR in binary form, or JPEG and PNG in
    /// CLASS/, or in train/CLASS/, val/CLASS/ and test/CLASS/; or a file of text
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Folder for run folders
    #[arg(long, value_name = "FOLDER", default_value = "runs")]
    out: PathBuf,
    /// Set a key of the configuration, as often as there are keys: --set training.learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seeds in place of those in the file
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    seeds: Option<Vec<u64>>,
    /// Go on with a run that was killed, or extend one by more seeds, arms or steps: the same batches, the same bits
    #[arg(long)]
    resume: bool,
    /// Seeds to train at once, each on a device and a copy of the data of its own: worth it for small networks on a CPU
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    jobs: u8,
    /// Check the alignment gradient's invariants before the first guided step and at each evaluation
    #[arg(long)]
    check: bool,
}

impl Demo {
    pub(crate) fn run(&self, gpus: impl FnOnce(usize) -> Result<Vec<Gpu>>, json: bool) -> Result<()> {
        let path = Path::new("examples/configs/demo.toml");
        let config = Config::parse_with(DEMO, &self.set, path)?;
        // Steps so small leave most of a CPU idle: a seed for each core.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let mut gpus = gpus(cores.min(config.seeds.len()))?;
        if !gpus[0].caps().software {
            gpus.truncate(1);
        }
        let trained = train(&gpus, &config, path, None, &self.out, None, json)?;
        if json || !trained { Ok(()) } else { next::after_demo(&config, &self.out) }
    }
}

impl Train {
    /// True if it goes on with a run.
    pub(crate) fn resumes(&self) -> bool {
        self.resume
    }

    /// The file is read before the GPU is opened: its errors come at once.
    pub(crate) fn run(&self, gpus: impl FnOnce(usize) -> Result<Vec<Gpu>>, json: bool) -> Result<()> {
        let mut config = read(&self.config, &self.set, self.seeds.as_deref())?;
        config.check_gradients = self.check;
        if !config.sweep.is_empty() {
            print::warn("[sweep] is for `trellis sweep`; here every key has the value of the rest of the file");
        }
        let (existing, data) = (self.resume.then_some(Existing::Resume), self.data.as_deref());
        let trained = train(&gpus(usize::from(self.jobs))?, &config, &self.config, data, &self.out, existing, json)?;
        let given = Invocation { file: &self.config, data, set: &self.set };
        if json || !trained { Ok(()) } else { next::after_train(&config, &given, &self.out) }
    }
}

/// The configuration in a file, with keys that are set and seeds in place of its own.
pub(crate) fn read(file: &Path, set: &[String], seeds: Option<&[u64]>) -> Result<Config> {
    let mut config = Config::read_with(file, set)?;
    config.seeds = seeds.map_or(config.seeds, <[u64]>::to_vec);
    config.check(file)?;
    if !config.networks.is_empty() {
        let hint = "run trellis affinity with this file, or remove the tables [networks.NAME]";
        return Err(Error::config(file, "networks", "are those of `trellis affinity`", hint));
    }
    Ok(config)
}

/// A finished run, where no progress bar is seen.
pub(crate) fn in_a_line(run: &RunRecord) -> String {
    let top1 = run.last_eval("test").map_or(f32::NAN, |eval| 100.0 * eval.top1);
    format!("{}, seed {}: test top-1 {top1:.1} %", run.arm, run.seed)
}

/// Trains and prints the result. `existing` decides about an older folder; without it a person is asked. `false` if the
/// answer was to quit.
fn train(
    gpus: &[Gpu],
    config: &Config,
    path: &Path,
    data: Option<&Path>,
    out: &Path,
    existing: Option<Existing>,
    json: bool,
) -> Result<bool> {
    let copies = gpus.iter().map(|gpu| config.dataset(gpu, path, data)).collect::<Result<Vec<Dataset>>>()?;
    let (gpu, data) = (&gpus[0], &copies[0]);
    print::warn_of_data(data);
    warn_of_skipped(data);
    let in_epochs = config.training.epochs;
    let config = &config.resolved_for(path, data)?;
    let choice = match existing {
        Some(existing) => Choice { existing: Some(existing), resumable: false },
        None => stopped::choose(config, out, json)?,
    };
    let Some(existing) = choice.existing else { return Ok(false) };
    if !json {
        print::line(format_args!("{} on {}", config.name, gpu.name()))?;
        print::line(format_args!("data: {}", about(config, data, in_epochs)))?;
    }
    // Hidden where stderr is no terminal.
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:32} {percent:>3} %  {msg}  {elapsed} gone, {eta} to go")
            .expect("the template is well-formed"),
    );
    // Without a visible bar, a line for each finished run.
    let plain = !json && bar.is_hidden();
    let experiment = experiment::run_on(config, &copies, out, existing, &mut |progress| match progress {
        Progress::Total(steps) => bar.set_length(steps),
        Progress::Run(arm, seed) => bar.set_message(format!("{arm}, seed {seed}")),
        Progress::Warning(text) => bar.suspend(|| eprintln!("warning: {}", print::escape_control(text))),
        Progress::MovedAside(to) => bar.suspend(|| {
            let more = if choice.resumable { "; `trellis train --resume` would have gone on with it" } else { "" };
            eprintln!("note: the older run of this name is now {}{more}", print::escape_control(to.display()));
        }),
        Progress::Done(run) if plain => {
            // If there is no reader, the table at the end will tell.
            let _ = print::line(in_a_line(run));
        }
        Progress::Done(_) => {}
        Progress::Steps(arm, seed, steps, loss) => {
            bar.inc(steps);
            if let Some(loss) = loss {
                bar.set_message(format!("{arm}, seed {seed}: loss {loss:.3}"));
            }
        }
    });
    bar.finish_and_clear();
    if data.is_streamed() {
        warn_of_skipped(data);
    }
    let experiment = experiment?;
    if json {
        print_json(gpus, &experiment)?;
        return Ok(true);
    }
    print_table(&experiment)?;
    if let Some(text) = further_scores(config, &experiment)? {
        print::line(text)?;
    }
    if let Some(text) = mixed(&experiment) {
        print::line(text)?;
    }
    Ok(true)
}

/// Splits, classes and length of what is trained, in a line.
fn about(config: &Config, data: &Dataset, epochs: Option<u32>) -> String {
    let mut about = format!("{}, {}", data.name(), data.extent());
    let names = data.class_names();
    if (1..=NAMED).contains(&names.len()) {
        about.push_str(&format!(" ({})", names.join(", ")));
    }
    if let (Some(epochs), Some(batch)) = (epochs, config.training.batch) {
        about.push_str(&format!("; epochs {epochs}, steps {}, batch {batch}", config.training.steps));
    }
    about
}

/// Tells of files that are left out; of a streamed set, of those found so far.
fn warn_of_skipped(data: &Dataset) {
    if let [first, ..] = &data.skipped()[..] {
        let first = print::escape_control(first);
        eprintln!("warning: {} files are left out; the first: {first}", data.skipped().len());
    }
}

fn print_json(gpus: &[Gpu], experiment: &Experiment) -> Result<()> {
    let sum = |of: fn(Counters) -> u64| gpus.iter().map(|gpu| of(gpu.counters())).sum::<u64>();
    let counters = json!({"dispatches": sum(|c| c.dispatches), "submits": sum(|c| c.submits),
        "readbacks": sum(|c| c.readbacks), "buffers_created": sum(|c| c.buffers_created),
        "pipelines_created": sum(|c| c.pipelines_created)});
    let line = json!({"arms": experiment.summary(), "counters": counters, "adapter": experiment.adapter,
        "left_out": experiment.left_out, "missing": experiment.missing, "seconds": experiment.seconds});
    print::line(line)
}

/// Scores that the table leaves out where each position has a label, and the score of a network that learns nothing.
fn further_scores(config: &Config, experiment: &Experiment) -> Result<Option<String>> {
    let mut parts = Vec::new();
    if let Some(drawn) = config.drawn()? {
        parts.push(format!("the trivial solution: top-1 {:.2} %", 100.0 * drawn.floor()));
    }
    parts.extend(experiment.further_scores());
    Ok((!parts.is_empty()).then(|| parts.join("\n")))
}

/// Cost of mixed precision, if a run used it.
fn mixed(experiment: &Experiment) -> Option<String> {
    let last = experiment.runs.iter().filter_map(|run| run.steps.last());
    let scaled: Vec<(f32, u64)> = last.filter_map(|step| Some((step.loss_scale?, step.skipped?))).collect();
    let smallest = scaled.iter().map(|(scale, _)| *scale).reduce(f32::min)?;
    let largest = scaled.iter().map(|(scale, _)| *scale).fold(smallest, f32::max);
    let skipped: u64 = scaled.iter().map(|(_, skipped)| skipped).sum();
    let steps: usize = experiment.runs.iter().map(|run| run.steps.len()).sum();
    Some(format!("mixed precision: {skipped} of {steps} steps left out; last loss scales {smallest} to {largest}"))
}

fn print_table(experiment: &Experiment) -> Result<()> {
    let shown = |e: Option<Estimate>, digits: usize| e.map_or("-".to_string(), |e| format!("{e:.digits$}"));
    let signed = |e: Option<Estimate>, digits: usize| e.map_or("-".to_string(), |e| format!("{e:+.digits$}"));
    let paired = |d: &Option<Difference>| d.as_ref().and_then(Difference::estimate);
    let versus = format!("vs {}", experiment.arms().first().unwrap_or(&"-"));
    print::line(format_args!(
        "{:<14} {:>5} {:>14} {versus:>16} {:>16} {versus:>16} {:>9}",
        "arm", "seeds", "test top-1 %", "test loss", "steps/s"
    ))?;
    for arm in experiment.summary() {
        print::line(format_args!(
            "{:<14} {:>5} {:>14} {:>16} {:>16} {:>16} {:>9}",
            arm.name,
            arm.seeds,
            shown(arm.top1().map(Estimate::percent), 1),
            signed(paired(&arm.top1_difference).map(Estimate::percent), 1),
            shown(arm.test_loss(), 3),
            signed(paired(&arm.test_loss_difference), 3),
            arm.steps_per_s.map_or("-".to_string(), |rate| format!("{rate:.1}")),
        ))?;
    }
    let seconds = experiment.seconds;
    print::line(format_args!("mean ± 95 % interval over seeds; differences are paired by seed; {seconds:.0} s"))
}
