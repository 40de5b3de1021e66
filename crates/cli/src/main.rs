//! The `trellis` command.

mod config;
mod devices;
mod eval;
mod examples;
mod export;
mod init;
mod measure;
mod next;
mod plan;
mod predict;
mod print;
mod report;
mod run;
mod similarity;
mod stopped;
mod sweep;
mod weights;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use trellis_guidance::Result;
use trellis_tensor::{Gpu, GpuOptions};

/// Train networks with a guide, on any GPU.
#[derive(Parser)]
#[command(
    name = "trellis",
    version,
    after_help = "\
Examples:
  trellis demo                                   see guidance work, in two and a half minutes
  trellis init --data ~/photos                   write a configuration, for your own images or text
  trellis config                                 see every key of a configuration
  trellis train experiment.toml --data ~/photos  run it
  trellis train examples/configs/glyphs.toml     run one of ours
  trellis train examples/configs/mnist.toml --data ~/mnist
  trellis eval runs/glyphs/trained-1.safetensors see how good a network is, class by class
  trellis predict runs/flowers/trained-1.best.safetensors photo.jpg
  trellis similarity runs/glyphs:alone runs/glyphs:trained
  trellis sweep experiment.toml -m training.optimizer=sgd,adam
  trellis affinity examples/configs/affinity.toml see which networks guide which
  trellis compare runs/glyphs runs/glyphs-1      see what another setting changes
  trellis report runs/my-sweep                   put a sweep on one page
  trellis devices                                list the adapters
  trellis bench --filter matmul --json           time the kernels
  trellis profile examples/configs/demo.toml     see where the time of a step goes
  trellis plan examples/configs/demo.toml        see how much memory it takes, before it does
  trellis inspect resnet18.safetensors           list the tensors of a file of weights
  trellis tune                                   measure which kernels suit this adapter"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Use the adapter whose name contains this (also TRELLIS_ADAPTER)
    #[arg(long, global = true, value_name = "NAME")]
    adapter: Option<String>,
    /// Print machine-readable JSON lines; see docs/cli.md
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// See guidance work: a recurrent network that is stuck, what frees it, and a report
    Demo(run::Demo),
    /// Write a configuration to begin with, for your own data or drawn ones
    Init(init::Init),
    /// Print a configuration with every key explained: values, range and default
    Config(config::ConfigCommand),
    /// Run the experiment that a TOML file describes
    Train(run::Train),
    /// Run an experiment for each combination of values of some keys
    Sweep(sweep::Sweep),
    /// Put a run, a sweep, an affinity or several runs on one page, with their tables as CSV
    Report(report::Report),
    /// See in which settings runs differ, and what difference that makes
    Compare(report::Compare),
    /// See which networks guide which: each of several as target and as guide
    Affinity(sweep::AffinityCommand),
    /// Write the examples of an experiment, for a guide that another program runs
    Examples(examples::Examples),
    /// Write an experiment as a page that trains in a browser
    Export(export::Export),
    /// See how good a trained network is on a split, or on other data
    Eval(eval::Eval),
    /// Predict the classes of images, or the next token of a text
    Predict(predict::Predict),
    /// See how alike the layers of two trained networks are, and their mistakes
    Similarity(similarity::Similarity),
    /// List the GPU adapters of this machine
    #[command(after_help = "Examples:\n  trellis devices\n  trellis devices --json")]
    Devices,
    /// Time kernels and training steps
    Bench(measure::bench::Bench),
    /// See where the time of a training step goes
    Profile(measure::profile::ProfileCommand),
    /// See how much memory an experiment takes, before it does
    Plan(plan::PlanCommand),
    /// List the tensors of a safetensors file
    Inspect(weights::Inspect),
    /// Write weights under other names or in another format
    Convert(weights::Convert),
    /// Measure which kernels are fastest on this adapter, for later runs
    Tune(measure::tune::Tune),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if print::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let (red, plain) = if std::io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
            eprintln!("{red}error:{plain} {}", print::escape_control(error));
            ExitCode::FAILURE
        }
    }
}

impl Cli {
    /// Lets Ctrl-C and SIGTERM end the command with a line on how to go on. Runs keep their state as they go. It takes a thread, and a
    /// device is opened by a process of one.
    fn handle_interrupts(&self) {
        let way_on = self.way_on();
        let handled = ctrlc::set_handler(move || {
            eprintln!("\n{way_on}");
            std::process::exit(130);
        });
        if let Err(error) = handled {
            print::warn(&format!("Ctrl-C will end the command without a word: {error}"));
        }
    }

    /// The last line of a command that was interrupted: what is kept, and how to go on.
    fn way_on(&self) -> String {
        let command = next::command_line();
        let trains =
            "stopped; finished runs are kept, and the others up to their last evaluation or minute. Go on with:";
        match &self.command {
            Command::Train(train) if train.resumes() => format!("{trains} {command}"),
            Command::Train(_) => format!("{trains} {command} --resume"),
            Command::Sweep(_) | Command::Affinity(_) => format!("{trains} {command}"),
            Command::Demo(_) => "stopped; `trellis demo` begins anew".to_string(),
            _ => "stopped".to_string(),
        }
    }

    fn run(self) -> Result<()> {
        match &self.command {
            Command::Devices => devices::print(self.adapter.as_deref(), self.json),
            Command::Demo(demo) => demo.run(|devices| self.gpus(devices), self.json),
            Command::Init(init) => init.run(self.json),
            Command::Config(config) => config.run(self.json),
            Command::Train(train) => train.run(|devices| self.gpus(devices), self.json),
            Command::Sweep(sweep) => sweep.run(|devices| self.gpus(devices), || self.options(), self.json),
            Command::Report(report) => report.run(self.json),
            Command::Compare(compare) => compare.run(self.json),
            Command::Affinity(affinity) => affinity.run(|devices| self.gpus(devices), self.json),
            Command::Examples(examples) => examples.run(|| self.gpu(), self.json),
            Command::Export(export) => export.run(self.options()?, self.json),
            Command::Eval(eval) => eval.run(|| self.gpu(), self.json),
            Command::Predict(predict) => predict.run(|| self.gpu(), self.json),
            Command::Similarity(similarity) => similarity.run(|| self.gpu(), self.json),
            Command::Profile(profile) => profile.run(|| self.gpu(), self.json),
            Command::Bench(bench) => bench.run(&self.gpu()?, self.json),
            Command::Plan(plan) => plan.run(self.options()?, self.json),
            Command::Inspect(inspect) => inspect.run(self.json),
            Command::Convert(convert) => convert.run(self.json),
            Command::Tune(tune) => tune.run(&self.gpu()?, self.json),
        }
    }

    fn gpu(&self) -> Result<Gpu> {
        let gpu = Gpu::with(&self.options()?)?;
        self.handle_interrupts();
        Ok(gpu)
    }

    /// The same adapter, opened several times.
    fn gpus(&self, devices: usize) -> Result<Vec<Gpu>> {
        let options = GpuOptions { devices, ..self.options()? };
        let gpus = (0..devices).map(|_| Ok(Gpu::with(&options)?)).collect::<Result<Vec<_>>>()?;
        self.handle_interrupts();
        Ok(gpus)
    }

    fn options(&self) -> Result<GpuOptions> {
        let options = measure::tune::with_folder(GpuOptions::from_env()?);
        let adapter = self.adapter.clone().or_else(|| options.adapter.clone());
        Ok(GpuOptions { adapter, ..options })
    }
}
