//! `trellis tune`

use std::path::Path;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use trellis_guidance::tune::{TimedProduct, products, table, time};
use trellis_guidance::{Error, Result};
use trellis_tensor::Gpu;

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

impl Tune {
    pub(crate) fn run(&self, gpu: &Gpu, as_json: bool) -> Result<()> {
        let Some(path) = gpu.tuning_path() else {
            let hint = "set TRELLIS_TUNING to a folder, or HOME";
            return Err(Error::config(Path::new("TRELLIS_TUNING"), "", "tables are off", hint));
        };
        let products = products(gpu);
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} products, {eta} left");
        let bar =
            ProgressBar::new(products.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let timed = products
            .into_iter()
            .map(|(layout, size)| time(gpu, layout, size).inspect(|_| bar.inc(1)))
            .collect::<Result<Vec<_>>>()?;
        bar.finish_and_clear();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
        }
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
