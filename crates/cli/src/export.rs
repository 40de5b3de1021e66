//! `trellis export`

use std::path::PathBuf;

use clap::Args;
use trellis_guidance::Result;
use trellis_lab::config::Config;
use trellis_lab::live::write_page;
use trellis_tensor::{Gpu, GpuOptions};

use crate::print;

#[derive(Args)]
#[command(after_help = "\
Writes one HTML file, of 5 MiB at most, that trains the arms of an experiment side by side in a browser with WebGPU. It holds the
recorded plans, the images, the guides' weights and the program that replays the plans; it loads nothing else.
A guide that is to be trained is trained here first.

Examples:
  trellis export examples/configs/live.toml --live live.html
  trellis export experiment.toml --live page.html --set data.train=500 --set seeds=[7]")]
pub(crate) struct Export {
    /// The experiment: see examples/configs/
    config: PathBuf,
    /// The page to write
    #[arg(long, value_name = "FILE")]
    live: PathBuf,
    /// Folder or file of the data
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Set a key of the configuration, as often as there are keys: --set training.learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Export {
    pub(crate) fn run(&self, options: GpuOptions, json: bool) -> Result<()> {
        let config = Config::read_with(&self.config, &self.set)?;
        let here = Gpu::with(&options)?;
        // No table of `trellis tune` says what is fast in a reader's browser.
        let gpu = Gpu::with(&GpuOptions { portable: true, tuning: None, ..options })?;
        let data = config.dataset(&gpu, &self.config, self.data.as_deref())?;
        print::warn_of_data(&data);
        let fast = config.dataset(&here, &self.config, self.data.as_deref())?;
        let bytes = write_page(&config, [&data, &fast], &self.live, &mut |what| eprintln!("{what}"))?;
        let path = self.live.display().to_string();
        match json {
            true => print::json(&serde_json::json!({ "page": path, "bytes": bytes })),
            false => print::line(format_args!("{path}: {} KiB; open it in a browser with WebGPU", bytes >> 10)),
        }
    }
}
