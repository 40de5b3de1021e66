//! `trellis config`: a configuration in which every key is explained.

use std::path::PathBuf;

use clap::Args;
use trellis_guidance::Result;
use trellis_lab::config::Config;

use crate::print;

/// Arguments of `trellis config`.
#[derive(Args)]
#[command(after_help = "\
Examples:
  trellis config                                         every key, its values and its default
  trellis config examples/configs/mnist.toml             a file of ours, with all that it leaves to defaults
  trellis config experiment.toml --set training.optimizer=sgd
  trellis config > experiment.toml                       a file to begin with")]
pub(crate) struct ConfigCommand {
    /// TOML file; without one, the defaults
    config: Option<PathBuf>,
    /// Set a key of the configuration, as often as there are keys: --set training.learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE", requires = "config")]
    set: Vec<String>,
}

impl ConfigCommand {
    pub(crate) fn run(&self, json: bool) -> Result<()> {
        let config = match &self.config {
            Some(path) => Config::read_with(path, &self.set)?,
            None => Config::default(),
        };
        match json {
            true => print::json(&config),
            false => print::line(config.explained().trim_end()),
        }
    }
}
