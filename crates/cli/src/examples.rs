//! `trellis examples`

use std::path::PathBuf;

use clap::Args;
use trellis_guidance::Result;
use trellis_lab::config::Config;
use trellis_lab::examples::write_examples;
use trellis_tensor::Gpu;

use crate::print;

#[derive(Args)]
#[command(after_help = "\
Writes the training and the test split to a safetensors file, in the order in which a guide's `activations` have to lie:
`train.input`, normalized images or token ids, `train.labels`, and the same of `test`. All numbers are f32.

Examples:
  trellis examples examples/configs/mnist.toml --data ~/mnist --out examples.safetensors
  python3 examples/activations.py examples.safetensors guide.safetensors")]
pub(crate) struct Examples {
    /// The experiment: see examples/configs/
    config: PathBuf,
    /// Folder or file of the data
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Set a key of the configuration, as often as there are keys: --set data.train=500
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Examples {
    pub(crate) fn run(&self, gpu: impl Fn() -> Result<Gpu>, json: bool) -> Result<()> {
        let config = Config::read_with(&self.config, &self.set)?;
        let data = config.dataset(&gpu()?, &self.config, self.data.as_deref())?;
        print::warn_of_data(&data);
        write_examples(&data, &self.out)?;
        if json {
            return print::json(&serde_json::json!({ "out": self.out, "data": data.describe() }));
        }
        print::line(format_args!("wrote {}: {}", self.out.display(), data.describe()))?;
        print::line(format_args!(
            "next: run a guide on them, as examples/activations.py does; then [guide] activations = FILE"
        ))
    }
}
