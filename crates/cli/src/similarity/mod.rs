//! `trellis similarity`

mod line;
mod table;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use trellis_data::io::write_atomic;
use trellis_guidance::Result;
use trellis_lab::report::heat_map_svg;
use trellis_lab::similarity::measures::SimilarityMeasure;
use trellis_lab::similarity::{NetworkPair, Settings, find_checkpoint};
use trellis_tensor::Gpu;

use crate::{next, print};

#[derive(Args)]
#[command(after_help = "\
Two networks see the same examples, the first of the test split, and each layer of the one is compared with each of the other.
A value by itself means little: wide layers look alike whatever they hold. So the examples of one side are put into random order
many times. The calibrated value is 0 where chance gives as much in one case of twenty, and 1 for layers that are equal; p is the
share of orders with such a value. A network is RUN:ARM:SEED: the folder of a run, an arm or `guide` (needless if there is one arm),
and a seed (else the smallest); or a checkpoint. Both must be trained on the same data. Below the table: how often their predictions
agree, and whether they are wrong on the same examples (Cohen's kappa).

Examples:
  trellis similarity runs/glyphs:alone runs/glyphs:trained
  trellis similarity runs/glyphs:trained:2 runs/glyphs:guide:2 --measure debiased_cka
  trellis similarity runs/mnist:alone runs/mnist:trained --data ~/mnist --svg layers.svg
  trellis similarity runs/a/alone-1.best.safetensors runs/b:alone --examples 1000 --json")]
pub(crate) struct Similarity {
    /// First network, rows of the table: RUN, RUN:ARM, RUN:ARM:SEED, or a checkpoint
    #[arg(value_name = "RUN[:ARM[:SEED]]")]
    a: String,
    /// Second network, columns of the table
    #[arg(value_name = "RUN[:ARM[:SEED]]")]
    b: String,
    /// Measure of similarity
    #[arg(long, value_enum, value_name = "NAME", default_value = "cka")]
    measure: Measure,
    /// Largest number of examples; memory grows with its square
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    examples: u32,
    /// Number of random orders of the examples that tell what chance gives
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(19..=1_000_000))]
    permutations: u32,
    /// Path of the data, as for `train`: a folder, or a file of text
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Draw the table into this file, a square for each pair of layers
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Measure {
    /// Linear CKA, as it trains
    Cka,
    /// Linear CKA that is 0 on average for independent layers
    DebiasedCka,
    /// Share of the 10 nearest neighbors that are the same
    MutualKnn,
    /// Angle that is left after the best rotation; slow
    Procrustes,
    /// Mean canonical correlation of principal components; slow
    Svcca,
}

impl Measure {
    fn built_in(self) -> SimilarityMeasure {
        match self {
            Self::Cka => SimilarityMeasure::Cka,
            Self::DebiasedCka => SimilarityMeasure::DebiasedCka,
            Self::MutualKnn => SimilarityMeasure::MutualKnn,
            Self::Procrustes => SimilarityMeasure::Procrustes,
            Self::Svcca => SimilarityMeasure::Svcca,
        }
    }
}

impl Similarity {
    pub(crate) fn run(&self, gpu: impl FnOnce() -> Result<Gpu>, as_json: bool) -> Result<()> {
        // The files are read before the GPU is opened: their errors come at once.
        let pair = NetworkPair::read(find_checkpoint(&self.a)?, find_checkpoint(&self.b)?)?;
        let settings = Settings {
            measure: self.measure.built_in(),
            examples: self.examples as usize,
            permutations: self.permutations as usize,
        };
        // Hidden where stderr is no terminal.
        let bar = ProgressBar::new(u64::from(self.permutations) + 1);
        let style = "{bar:30} {pos} of {len} orders of the examples, {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        let comparison = pair.compare(&gpu()?, self.data.as_deref(), settings, || bar.inc(1));
        bar.finish_and_clear();
        let comparison = comparison?;
        for note in &comparison.notes {
            eprintln!("note: {}", print::escape_control(note));
        }
        if let Some(file) = &self.svg {
            write_atomic(file, heat_map_svg(&comparison).as_bytes())?;
        }
        if as_json {
            return print::json(&line::Line::new(self.measure.to_possible_value(), &pair, &comparison));
        }
        table::print(&pair, &comparison)?;
        let other = if self.measure == Measure::MutualKnn { "debiased_cka" } else { "mutual_knn" };
        next::after_similarity([&self.a, &self.b], self.data.as_deref(), self.svg.as_deref(), other)
    }
}
