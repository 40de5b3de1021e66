//! `trellis tune`

use std::path::Path;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use trellis_data::Place;
use trellis_guidance::{Error, Result};
use trellis_lab::tune::{TimedProduct, products, table, time};
use trellis_tensor::{Gpu, GpuOptions};

use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Times every loop that matrix products can run on, for products of many sizes, and writes the fastest of each to a table
that later runs on this adapter and driver use. It takes a minute or two. Without a table the choice is a fixed rule. TRELLIS_TUNING names the
folder of the tables; TRELLIS_TUNING=off turns them off.

Examples:
  trellis tune
  trellis tune --json
  TRELLIS_TUNING=off trellis bench --filter matmul")]
pub(crate) struct Tune {}

/// These options without tables where the user's cache folder cannot be had; a line on stderr then says why. A folder that is
/// named by TRELLIS_TUNING stays as it is.
pub(crate) fn with_folder(options: GpuOptions) -> GpuOptions {
    if std::env::var_os("TRELLIS_TUNING").is_some_and(|folder| !folder.is_empty()) {
        return options;
    }
    let problem = match &options.tuning {
        None => "neither HOME nor XDG_CACHE_HOME names a folder".to_string(),
        Some(folder) => match std::fs::create_dir_all(folder) {
            Ok(()) => return options,
            Err(error) => format!("{}: {error}", folder.display()),
        },
    };
    let problem = print::escape_control(problem);
    eprintln!("note: tuning tables are off ({problem}); set TRELLIS_TUNING to a folder for them");
    GpuOptions { tuning: None, ..options }
}

/// Refuses a folder that no table can be written to, before a minute is spent on it.
fn check_writable(path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let probe = folder.join(format!(".tuning-{}", std::process::id()));
    let tried = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&probe, ""))
        .and_then(|()| std::fs::remove_file(&probe));
    tried.map_err(|error| Error::io(folder, error))
}

impl Tune {
    pub(crate) fn run(&self, gpu: &Gpu, as_json: bool) -> Result<()> {
        let Some(path) = gpu.tuning_path() else {
            let hint = "set TRELLIS_TUNING to a folder, or HOME";
            return Err(Error::config(Place::setting("TRELLIS_TUNING"), "", "tables are off", hint));
        };
        check_writable(path)?;
        let products = products(gpu);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} products, {eta} left");
        let bar =
            ProgressBar::new(products.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let timed = products
            .into_iter()
            .map(|(layout, size)| time(gpu, layout, size).inspect(|_| bar.inc(1)))
            .collect::<Result<Vec<_>>>()?;
        bar.finish_and_clear();
        let text = format!(
            "# Written by `trellis tune` on {}: layout, rows, columns, inner axis, loop\n{}",
            gpu.name(),
            table(&timed)
        );
        std::fs::write(path, text).map_err(|error| Error::io(path, error))?;
        if as_json {
            return timed.iter().try_for_each(|product| print::line(line(gpu, product)));
        }
        print::line(gpu.name())?;
        print::line(format_args!("{:<6} {:>16}  milliseconds of each loop, fastest first", "layout", "rows, cols, k"))?;
        for product in &timed {
            let [m, n, k] = product.size;
            let times: Vec<String> = product.times.iter().map(|(name, ms)| format!("{name} {ms:.3}")).collect();
            let (layout, size) = (format!("{:?}", product.layout), format!("{m} {n} {k}"));
            print::line(format_args!("{layout:<6} {size:>16}  {}", times.join("  ")))?;
        }
        print::line(format_args!("written to {}", path.display()))?;
        next::after_tune()
    }
}

fn line(gpu: &Gpu, product: &TimedProduct) -> serde_json::Value {
    let times: serde_json::Map<_, _> = product.times.iter().map(|(name, ms)| (name.to_string(), json!(ms))).collect();
    json!({"layout": format!("{:?}", product.layout), "size": product.size, "ms": times, "adapter": gpu.name()})
}
