//! `trellis eval`

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use trellis_guidance::Result;
use trellis_guidance::trainer::EvalRecord;
use trellis_lab::recipe::{Chosen, Recipe};
use trellis_tensor::Gpu;

use crate::print;

#[derive(Args)]
#[command(after_help = "\
In the folder of a run, the config.toml beside the checkpoint says how data are cut into splits: the test split is
evaluated, or the one that --split names, with the numbers of the run's own evaluations. Data of another content than the
run's, or data without a config.toml, are evaluated as a whole; so they are with --split all. Drawn data need no --data.

Examples:
  trellis eval runs/glyphs/trained-1.safetensors
  trellis eval runs/flowers/alone-1.best.safetensors --data ~/flowers --split validation
  trellis eval runs/flowers/alone-1.safetensors --data ~/new-flowers     # CLASS/*.jpg, all of them
  trellis eval runs/mnist/alone-1.safetensors --data ~/mnist --json")]
pub(crate) struct Eval {
    /// A checkpoint of a run: ARM-SEED.safetensors or ARM-SEED.best.safetensors
    checkpoint: PathBuf,
    /// Path of the data, as for `train`: a folder, or a file of text
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Split to evaluate: train, validation, test, or all that there is
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
}

/// Line that `--json` prints.
#[derive(Serialize)]
struct Line<'a> {
    checkpoint: String,
    data: &'a str,
    split: &'a str,
    examples: usize,
    left_out: usize,
    loss: f32,
    top1: f32,
    top5: Option<f32>,
    sequences: Option<f32>,
    classes: Vec<Class>,
    confusion: &'a [Vec<u32>],
    notes: &'a [String],
}

#[derive(Serialize)]
struct Class {
    class: usize,
    name: String,
    count: u64,
    right: u32,
}

/// Mistakes that are listed.
const MISTAKES: usize = 10;

/// Largest number of classes that are listed where a person reads.
const LISTED: usize = 100;

impl Eval {
    pub(crate) fn run(&self, gpu: impl FnOnce() -> Result<Gpu>, as_json: bool) -> Result<()> {
        // The file is read before the GPU is opened: its errors come at once.
        let recipe = Recipe::read(&self.checkpoint)?;
        let gpu = gpu()?;
        let chosen = recipe.dataset(&gpu, &self.checkpoint, self.data.as_deref(), self.split.as_deref())?;
        for note in &chosen.notes {
            eprintln!("note: {}", print::escape_control(note));
        }
        let network = recipe.network(&gpu, &self.checkpoint)?;
        let eval = chosen.evaluate(&network)?;
        if let [first, ..] = &chosen.data.skipped()[..] {
            eprintln!(
                "warning: {} files are left out; the first: {}",
                chosen.data.skipped().len(),
                print::escape_control(first)
            );
        }
        match as_json {
            true => self.print_json(&recipe, &chosen, &eval),
            false => self.print(&recipe, &chosen, &eval),
        }
    }

    fn print_json(&self, recipe: &Recipe, chosen: &Chosen, eval: &EvalRecord) -> Result<()> {
        let class = |(class, count, right)| Class { class, name: recipe.class_name(class), count, right };
        let line = Line {
            checkpoint: self.checkpoint.display().to_string(),
            data: chosen.data.name(),
            split: &eval.split,
            examples: evaluated(chosen, eval),
            left_out: chosen.data.skipped().len(),
            loss: eval.loss,
            top1: eval.top1,
            top5: eval.top5,
            sequences: eval.sequences,
            classes: classes(eval).map(class).collect(),
            confusion: &eval.confusion,
            notes: &chosen.notes,
        };
        print::json(&line)
    }

    fn print(&self, recipe: &Recipe, chosen: &Chosen, eval: &EvalRecord) -> Result<()> {
        let (name, count) = (chosen.data.name(), evaluated(chosen, eval));
        for (what, value) in recipe.describe() {
            print::line(format_args!("{what}: {value}"))?;
        }
        let split = if eval.split == "all" { "all".to_string() } else { format!("{} split", eval.split) };
        print::line(format_args!("data: {name}, {split}, {count} examples"))?;
        print::line(format_args!("top-1 {:.2} %, loss {:.4}", 100.0 * eval.top1, eval.loss))?;
        if let Some(top5) = eval.top5 {
            print::line(format_args!("top-5 {:.2} %", 100.0 * top5))?;
        }
        if let Some(sequences) = eval.sequences {
            let perplexity = eval.perplexity();
            print::line(format_args!("whole sequences {:.2} %, perplexity {perplexity:.3}", 100.0 * sequences))?;
        }
        let total = classes(eval).count();
        if total == 0 {
            let classes = recipe.output.classes;
            return print::line(format_args!("{classes} classes are too many to count them one by one"));
        }
        // Spaces are tokens too.
        let quoted = |name: String| if recipe.is_of_characters() { format!("“{name}”") } else { name };
        let names: Vec<String> = classes(eval).map(|(class, ..)| quoted(recipe.class_name(class))).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).clamp(5, 40);
        print::line(format_args!("\n{:<width$} {:>9} {:>9} {:>8}", "class", "labels", "right", "%"))?;
        for ((_, count, right), name) in classes(eval).zip(&names).take(LISTED) {
            let share =
                if count == 0 { "-".to_string() } else { format!("{:.1}", 100.0 * right as f64 / count as f64) };
            print::line(format_args!("{name:<width$} {count:>9} {right:>9} {share:>8}"))?;
        }
        if total > LISTED {
            print::line(format_args!("… and {} more: --json has all", total - LISTED))?;
        }
        let mut mistakes: Vec<(u32, usize, usize)> = Vec::new();
        for (label, row) in eval.confusion.iter().enumerate() {
            let wrong = row.iter().enumerate().filter(|(class, count)| *class != label && **count > 0);
            mistakes.extend(wrong.map(|(class, &count)| (count, label, class)));
        }
        mistakes.sort_by_key(|&(count, label, class)| (std::cmp::Reverse(count), label, class));
        if mistakes.is_empty() {
            return print::line("\nno mistakes");
        }
        print::line("\nmost frequent mistakes")?;
        for &(count, label, class) in mistakes.iter().take(MISTAKES) {
            print::line(format_args!("{count:>9} {} taken for {}", names[label], names[class]))?;
        }
        Ok(())
    }
}

/// Number of each class, of its labels, and of those that are right.
/// Number of examples that were read and evaluated: files that are left out are not among them.
fn evaluated(chosen: &Chosen, eval: &EvalRecord) -> usize {
    let counted: u64 = classes(eval).map(|(_, count, _)| count).sum();
    if chosen.data.skipped().is_empty() { chosen.examples().count() } else { counted as usize }
}

fn classes(eval: &EvalRecord) -> impl Iterator<Item = (usize, u64, u32)> {
    let class = |(class, row): (usize, &Vec<u32>)| (class, row.iter().map(|&count| u64::from(count)).sum(), row[class]);
    eval.confusion.iter().enumerate().map(class)
}
