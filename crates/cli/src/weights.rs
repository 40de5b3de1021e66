//! `trellis inspect` and `trellis convert`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use trellis_guidance::weights::{About, Converted, Format, Naming, TensorSummary, WeightsFile};
use trellis_guidance::{Error, Result};
use trellis_lab::recipe::Recipe;

use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Prints every tensor's type, shape and statistics; what is not finite is counted.

Examples:
  trellis inspect runs/demo/untrained_200-1.safetensors
  trellis inspect resnet18.safetensors --json")]
pub(crate) struct Inspect {
    /// A safetensors file
    file: PathBuf,
}

#[derive(Args)]
#[command(after_help = "\
Networks of Trellis have the names of torchvision, timm or PyTorch, so that most files need no other names. Wrappers'
prefixes (`module.`), counters and masks are left out.

Examples:
  trellis convert runs/lm/trained-1.safetensors gpt2.safetensors --names gpt2
  trellis convert resnet50.safetensors small.safetensors --dtype f16")]
pub(crate) struct Convert {
    /// A safetensors file
    input: PathBuf,
    /// The file to write
    output: PathBuf,
    /// Whose names and layouts to write
    #[arg(long, value_enum, default_value = "trellis")]
    names: Names,
    /// Number format to write
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Dtype,
}

#[derive(Clone, Copy, ValueEnum)]
enum Names {
    /// Those of this project's networks
    Trellis,
    /// Hugging Face's GPT-2
    Gpt2,
    /// Those that the file has: nothing but the type of its numbers changes
    Own,
}

#[derive(Clone, Copy, ValueEnum)]
enum Dtype {
    F32,
    F16,
    Bf16,
}

impl Inspect {
    pub(crate) fn run(&self, as_json: bool) -> Result<()> {
        let file = WeightsFile::read(&self.file)?;
        let (about, tensors) = (file.about(), file.summaries()?);
        if as_json {
            for TensorSummary { name, dtype, shape, statistics, not_finite } in tensors {
                let [mean, deviation, least, greatest] = statistics.map_or([None; 4], |s| s.map(Some));
                print::line(json!({"name": name, "dtype": dtype, "shape": shape, "mean": mean, "std": deviation,
                    "min": least, "max": greatest, "not_finite": not_finite}))?;
            }
            return Ok(());
        }
        for (key, value) in about.into_iter().filter(|(key, _)| key != "recipe") {
            print::line(format_args!("{key}: {value}"))?;
        }
        // One line of JSON, long where there are many classes.
        match file.recipe().map(|_| Recipe::read(&self.file)) {
            Some(Ok(recipe)) => {
                recipe.describe().iter().try_for_each(|(what, value)| print::line(format_args!("{what}: {value}")))?
            }
            Some(Err(error)) => print::line(format_args!("recipe: {error}"))?,
            None => {}
        }
        let longest = tensors.iter().map(|tensor| tensor.name.len()).max().unwrap_or(0).max(6);
        print::line(format_args!(
            "{:<longest$} {:<5} {:<22} {:>12} {:>10} {:>10} {:>10} {:>10}",
            "tensor", "type", "shape", "values", "mean", "std", "min", "max"
        ))?;
        let (mut values, mut bad) = (0, 0);
        for TensorSummary { name, dtype, shape, statistics, not_finite } in &tensors {
            let count: usize = shape.iter().product();
            (values, bad) = (values + count, bad + not_finite);
            let [mean, deviation, least, greatest] =
                statistics.map_or_else(|| ["-"; 4].map(str::to_string), |s| s.map(|v| format!("{v:.3e}")));
            let note = if *not_finite > 0 { format!("  {not_finite} not finite") } else { String::new() };
            print::line(format_args!(
                "{name:<longest$} {dtype:<5} {:<22} {count:>12} {mean:>10} {deviation:>10} {least:>10} {greatest:>10}{note}",
                format!("{shape:?}")
            ))?;
        }
        let bad = if bad > 0 { format!(", {bad} of them not finite") } else { String::new() };
        print::line(format_args!("{} tensors, {values} values{bad}", tensors.len()))?;
        next::after_inspect(&self.file)
    }
}

impl Convert {
    pub(crate) fn run(&self, as_json: bool) -> Result<()> {
        let format = match self.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::Bf16 => Format::Bf16,
        };
        if self.output.extension().is_none_or(|extension| extension != "safetensors") {
            let problem = "is not a name of what can be written";
            return Err(Error::checkpoint(&self.output, problem, "name a .safetensors file, which PyTorch reads too"));
        }
        let file = WeightsFile::read(&self.input)?;
        let names = match self.names {
            Names::Trellis => Some(Naming::Trellis),
            Names::Gpt2 => Some(Naming::Gpt2),
            Names::Own => None,
        };
        let text = file.about().into_iter().find(|(key, _)| key == "trellis").map(|(_, value)| value);
        let text = text.unwrap_or_else(|| format!("{}, converted", env!("CARGO_PKG_VERSION")));
        let about = About { text, recipe: file.recipe() };
        let Converted { tensors, values, left_out, not_finite } = file.convert(names, &self.output, format, about)?;
        let path = self.output.display();
        match as_json {
            true => print::line(json!({"file": path.to_string(), "tensors": tensors, "values": values,
                "left_out": left_out.iter().map(|(name, _)| name).collect::<Vec<_>>(),
                "not_finite": not_finite.iter().map(|(name, _)| name).collect::<Vec<_>>()})),
            false => {
                for (name, reason) in &left_out {
                    print::line(format_args!("left out: {name}, {reason}"))?;
                }
                for (name, count) in &not_finite {
                    print::line(format_args!("not finite: {count} numbers of {name}, as in {}", self.input.display()))?;
                }
                print::line(format_args!("{path}: {tensors} tensors, {values} values"))?;
                next::after_convert(&self.output)
            }
        }
    }
}
