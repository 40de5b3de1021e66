//! `trellis plan`

use std::path::PathBuf;

use clap::Args;
use trellis_guidance::memory::Memory;
use trellis_guidance::{Config, Error, Result};
use trellis_tensor::{Gpu, GpuOptions};

use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Records the experiment's guided step and adds up what it would hold on the GPU. Nothing is allocated or run. Without
--data it counts data of the size that the configuration tells.

Examples:
  trellis plan examples/configs/demo.toml
  trellis plan examples/configs/paper/deep-fcn-resnet18.toml
  trellis plan examples/configs/mnist.toml --data ~/mnist --json")]
pub(crate) struct PlanCommand {
    /// The experiment: see examples/configs/
    config: PathBuf,
    /// Folder or file of the data; without it, what the configuration tells of them is counted
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
}

/// Names that are listed.
const LISTED: usize = 12;

impl PlanCommand {
    pub(crate) fn run(&self, options: GpuOptions, json: bool) -> Result<()> {
        let config = Config::read(&self.config)?;
        let gpu = Gpu::with(&GpuOptions { count_memory: true, ..options })?;
        let data = || config.dataset(&gpu, &self.config, self.data.as_deref()).inspect(print::warn_of_data);
        let memory = Memory::count(&gpu, &config, data)?;
        if json {
            let line = serde_json::to_string(&memory).map_err(|e| Error::io("standard output", e.into()))?;
            return print::line(line);
        }
        let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let row = |name: &str, bytes: u64| print::line(format_args!("{:>12.2} MiB  {name}", mebibytes(bytes)));
        print::line(format_args!("{}, a guided arm, on {}", config.name, gpu.name()))?;
        print::line(format_args!("data: {}", memory.data))?;
        for (name, bytes) in &memory.parts {
            row(name, *bytes)?;
        }
        row("at most at once", memory.peak)?;
        print::line("most of it:")?;
        for (name, bytes) in memory.by_name.iter().take(LISTED) {
            row(name, *bytes)?;
        }
        let ((name, bytes), limit) = (&memory.largest, gpu.caps().max_binding);
        let fits = if *bytes > limit { "too large for this adapter, which binds" } else { "this adapter binds up to" };
        print::line(format_args!(
            "largest piece: {name}, {:.2} MiB; {fits} {:.0} MiB",
            mebibytes(*bytes),
            mebibytes(limit)
        ))?;
        next::after_plan(&self.config, self.data.as_deref())
    }
}
