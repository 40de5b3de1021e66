//! The line that `trellis similarity --json` prints.

use clap::builder::PossibleValue;
use serde::Serialize;
use trellis_lab::similarity::measures::{Agreement, Calibrated, MostSimilar};
use trellis_lab::similarity::{Comparison, NetworkPair, Trained};

#[derive(Serialize)]
pub(super) struct Line<'a> {
    measure: String,
    a: Network<'a>,
    b: Network<'a>,
    data: &'a str,
    split: &'a str,
    examples: usize,
    permutations: usize,
    calibrated: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    chance: Vec<Vec<f64>>,
    p: Vec<Vec<f64>>,
    best: Best,
    labels: usize,
    agreement: f64,
    kappa: Option<f64>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct Network<'a> {
    checkpoint: String,
    arm: &'a str,
    seed: u64,
    step: u64,
    top1: f64,
    layers: &'a [String],
    left_out: &'a [String],
    /// The most similar layer of the other network, for each layer.
    best: Vec<Best>,
}

#[derive(Serialize)]
struct Best {
    layer: String,
    other: String,
    calibrated: f64,
    value: f64,
    chance: f64,
    p: f64,
}

impl Best {
    fn new(layer: &str, others: &[String], best: &MostSimilar) -> Self {
        let MostSimilar { layer: other, pair: Calibrated { value, chance, .. }, calibrated, p } = *best;
        Self { layer: layer.to_string(), other: others[other].clone(), calibrated, value, chance, p }
    }
}

impl<'a> Line<'a> {
    pub(super) fn new(measure: Option<PossibleValue>, pair: &'a NetworkPair, comparison: &'a Comparison) -> Self {
        let matrix = &comparison.matrix;
        let (rows, columns) = (&matrix.rows, &matrix.columns);
        let table = |of: fn(&Calibrated) -> f64| {
            matrix.pairs.chunks(columns.len()).map(|row| row.iter().map(of).collect()).collect()
        };
        let Agreement { labels, top1, agreement, kappa } = comparison.agreement;
        let best = |layers: &[String], others: &[String], best: &[MostSimilar]| {
            let all = layers.iter().zip(best).map(|(layer, best)| Best::new(layer, others, best));
            all.collect::<Vec<_>>()
        };
        let network = |side: &'a Trained, number: usize, layers: &'a [String], best| Network {
            checkpoint: side.checkpoint.display().to_string(),
            arm: &side.recipe.run.arm,
            seed: side.recipe.run.seed,
            step: side.recipe.run.step,
            top1: top1[number],
            layers,
            left_out: &comparison.left_out[number],
            best,
        };
        let (row, greatest) = &matrix.best;
        Self {
            measure: measure.map_or(String::new(), |measure| measure.get_name().to_string()),
            a: network(&pair.a, 0, rows, best(rows, columns, &matrix.best_of_rows)),
            b: network(&pair.b, 1, columns, best(columns, rows, &matrix.best_of_columns)),
            data: &comparison.data,
            split: comparison.split,
            examples: comparison.examples,
            permutations: comparison.permutations,
            calibrated: table(|pair| pair.calibrated),
            values: table(|pair| pair.value),
            chance: table(|pair| pair.chance),
            p: table(|pair| pair.p),
            best: Best::new(&rows[*row], columns, greatest),
            labels,
            agreement,
            kappa,
            notes: &comparison.notes,
        }
    }
}
