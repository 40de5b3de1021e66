//! `trellis plan`

use std::path::{Path, PathBuf};

use clap::Args;
use trellis_guidance::{Error, Result};
use trellis_lab::config::Config;
use trellis_lab::experiment::check_weights;
use trellis_lab::memory::Memory;
use trellis_tensor::{Gpu, GpuOptions};

use crate::next::Invocation;
use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Records the steps of every arm and of the guide, and adds up what the largest would hold on the GPU. Nothing is allocated
or run. `trellis train` refuses by the same table. Without --data it counts data of the size that the configuration tells.

Examples:
  trellis plan examples/configs/demo.toml
  trellis plan examples/configs/paper/parity.toml
  trellis plan examples/configs/mnist.toml --data ~/mnist --json")]
pub(crate) struct PlanCommand {
    /// The experiment: see examples/configs/
    config: PathBuf,
    /// Folder or file of the data; without it, what the configuration tells of them is counted
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Set a key of the configuration, as often as there are keys: --set training.learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Looks at data and files of weights, warns of what a run would warn of, and counts the memory of an experiment, on a GPU opened for that.
pub(crate) fn count(config: &Config, file: &Path, data: Option<&Path>, options: GpuOptions) -> Result<(Gpu, Memory)> {
    let gpu = Gpu::with(&GpuOptions { dry_run: true, ..options })?;
    let data = config.dataset(&gpu, file, data)?;
    print::warn_of_data(&data);
    let memory = Memory::count(config, &data)?;
    for warning in check_weights(&config.resolved_for(file, &data)?, &data)? {
        print::warn(&warning);
    }
    Ok((gpu, memory))
}

impl PlanCommand {
    fn invocation(&self) -> Invocation<'_> {
        Invocation { file: &self.config, data: self.data.as_deref(), set: &self.set }
    }

    pub(crate) fn run(&self, options: GpuOptions, json: bool) -> Result<()> {
        let config = Config::read_with(&self.config, &self.set)?;
        let (gpu, memory) = count(&config, &self.config, self.data.as_deref(), options)?;
        if json {
            return print::json(&memory);
        }
        print::line(&memory)?;
        match memory.check(&gpu, 1) {
            Err(Error::Memory { problem, .. }) => {
                print::line(format_args!("does not fit on {}: {problem}", gpu.name()))?;
                next::after_plan_that_does_not_fit(&config, &memory.arm, &self.invocation())
            }
            fits => {
                fits?;
                print::line(format_args!("fits on {}, as far as it tells", gpu.name()))?;
                next::after_plan(&self.invocation())
            }
        }
    }
}
