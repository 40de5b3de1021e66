//! Similarity that chance gives: the same layers, with the examples of one side in random order.
//!
//! The null distribution keeps what inflates a value by itself (width, spectrum, number of examples), and takes away which example
//! is which. Calibration is that of arXiv:2602.14486 and its package `calibrated-similarity`: `(s − τ) / (1 − τ)`, at least 0, where τ
//! is the value that one in twenty of all orders exceeds, the given one among them. So it is above 0 only where `p <= 0.05`.

use trellis_data::Place;
use trellis_rng::Rng;

use super::measure::PreparedLayer;
use super::products::parallel;
use trellis_guidance::{Error, Result};

/// A similarity beside what chance gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibrated {
    /// The measure's value.
    pub value: f64,
    /// Mean of the null distribution.
    pub chance: f64,
    /// Value that one order of the examples in twenty exceeds.
    pub critical: f64,
    /// `(value − critical) / (1 − critical)`, at least 0.
    pub calibrated: f64,
    /// `(1 + permutations with such a value or more) / (1 + permutations)`.
    pub p: f64,
}

/// Layer that is most like another, of several: the one with the greatest calibrated value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MostSimilar {
    /// Number of the layer in the other network.
    pub layer: usize,
    /// The pair by itself.
    pub pair: Calibrated,
    /// Calibrated value as the greatest of several: what the greatest of so many is by chance is subtracted too.
    pub calibrated: f64,
    /// Share of orders in which the greatest of so many is as great.
    pub p: f64,
}

/// Similarity of each layer of one network with each of another, calibrated.
#[derive(Clone, Debug, PartialEq)]
pub struct SimilarityMatrix {
    /// Layers of the first network.
    pub rows: Vec<String>,
    /// Layers of the second network.
    pub columns: Vec<String>,
    /// Row after row.
    pub pairs: Vec<Calibrated>,
    /// For each row its column that is most similar.
    pub best_of_rows: Vec<MostSimilar>,
    /// For each column its row that is most similar.
    pub best_of_columns: Vec<MostSimilar>,
    /// The row of the most similar pair of all, and its column.
    pub best: (usize, MostSimilar),
}

/// Fewest permutations: with fewer, p is never 0.05 or less.
const FEWEST: usize = 19;

/// Values nearer to each other than this are taken for equal: they differ by the order of a sum.
const ROUNDING: f64 = 1e-12;

/// Nearest to 1 that a critical value may be. Above, values differ by rounding alone.
const SATURATED: f64 = 1.0 - 1e-9;

/// Stream of [`Rng`] that draws permutations.
const STREAM: u64 = 0x7065_726d;

/// Random orders of `examples`, each as likely as any other; the same for the same seed.
pub fn permutations(examples: usize, count: usize, seed: u64) -> Vec<Vec<usize>> {
    let mut rng = Rng::new(seed, STREAM);
    let mut order = || {
        let mut order: Vec<usize> = (0..examples).collect();
        rng.shuffle(&mut order);
        order
    };
    (0..count).map(|_| order()).collect()
}

impl Calibrated {
    /// A value beside a null distribution; the greatest value of a measure is 1.
    fn new(value: f64, null: impl Iterator<Item = f64> + Clone) -> Self {
        let mut all: Vec<f64> = null.clone().chain([value]).collect();
        all.sort_by(f64::total_cmp);
        // ⌈0.95 · number⌉ of them are no greater than it.
        let critical = all[(19 * all.len()).div_ceil(20) - 1];
        let count = null.clone().count() as f64;
        let reached = null.clone().filter(|&other| other >= value - ROUNDING).count() as f64;
        let p = (1.0 + reached) / (1.0 + count);
        let above = value - critical;
        let calibrated =
            if critical < SATURATED && above > ROUNDING { (above / (1.0 - critical)).min(1.0) } else { 0.0 };
        Self { value, chance: null.sum::<f64>() / count, critical, calibrated, p }
    }

    /// True if nearly every order of the examples gives the greatest value that there is: the measure then tells nothing. SVCCA is
    /// so where components are about as many as examples.
    pub fn is_saturated(&self) -> bool {
        self.critical >= SATURATED
    }

    /// True if `p <= 0.05`: chance gives such a value in at most one of twenty cases.
    pub fn is_significant(&self) -> bool {
        self.p <= 0.05
    }
}

impl MostSimilar {
    /// True if `p <= 0.05`.
    pub fn is_significant(&self) -> bool {
        self.p <= 0.05
    }
}

impl SimilarityMatrix {
    /// Compares every layer of `a` with every one of `b`, as they are and with the examples of `b` in each of the orders
    /// `permutations`, on all processors. An order is the same for all layers. Orders of one's own, within blocks of examples that
    /// belong together, keep what such blocks have in common.
    ///
    /// Cost: [`PreparedLayer::compare`] of each pair, once and for each order; CKA and neighbors take microseconds, Procrustes and SVCCA of
    /// 256 examples up to 50 ms.
    ///
    /// # Errors
    /// [`Error::Config`] if a list is empty, layers do not go together, or there are fewer than 19 orders, or some that are none of the
    /// examples.
    pub fn measure(a: &[PreparedLayer], b: &[PreparedLayer], permutations: &[Vec<usize>]) -> Result<Self> {
        Self::measure_with(a, b, permutations, || {})
    }

    /// [`SimilarityMatrix::measure`] that calls `told` once for each order, from any thread, and once more.
    ///
    /// # Errors
    /// As there.
    pub fn measure_with(
        a: &[PreparedLayer],
        b: &[PreparedLayer],
        permutations: &[Vec<usize>],
        told: impl Fn() + Sync,
    ) -> Result<Self> {
        let refuse = |key: &str, problem: String, hint: &str| {
            Err(Error::config(Place::setting("similarity"), key, problem, hint))
        };
        let (Some(first), Some(_)) = (a.first(), b.first()) else {
            return refuse("layers", "there are none to compare".to_string(), "give at least one of each network");
        };
        a.iter().chain(b).try_for_each(|layer| first.goes_with(layer))?;
        if permutations.len() < FEWEST {
            let problem = format!("{} are too few to tell chance from anything", permutations.len());
            return refuse("permutations", problem, &format!("take at least {FEWEST}, for p = 0.05; 200 are usual"));
        }
        let examples = first.examples();
        for order in permutations {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            if !sorted.into_iter().eq(0..examples) {
                let problem = format!("one is no order of {examples} examples");
                return refuse("permutations", problem, "each holds every number from 0 on once");
            }
        }
        let given: Vec<usize> = (0..examples).collect();
        let of_order = |number: usize| -> Vec<f64> {
            let order = number.checked_sub(1).map_or(&given, |number| &permutations[number]);
            // One layer at a time is held twice.
            let column = |b: &PreparedLayer| {
                let b = b.permuted(order);
                a.iter().map(|a| a.similarity(&b)).collect::<Vec<_>>()
            };
            let columns: Vec<Vec<f64>> = b.iter().map(column).collect();
            told();
            (0..a.len() * b.len()).map(|at| columns[at % b.len()][at / b.len()]).collect()
        };
        let mut all = parallel(permutations.len() + 1, of_order);
        let value = all.remove(0);
        Ok(Self::of(a, b, &value, &all))
    }

    /// From values of the pairs, as they are and in each order.
    fn of(a: &[PreparedLayer], b: &[PreparedLayer], values: &[f64], null: &[Vec<f64>]) -> Self {
        let (rows, columns) = (a.len(), b.len());
        let pair = |at: usize| Calibrated::new(values[at], null.iter().map(|values| values[at]));
        let pairs: Vec<Calibrated> = (0..rows * columns).map(pair).collect();
        // Values of layers of different width, in the units of the calibrated ones. The critical value is one of all orders alike, so
        // what is computed with it has the same null distribution.
        let scaled = |at: usize, value: f64| {
            let Calibrated { critical, .. } = pairs[at];
            if pairs[at].is_saturated() { 0.0 } else { (value - critical) / (1.0 - critical) }
        };
        let greatest = |among: &[usize]| {
            let most =
                |values: &[f64]| among.iter().map(|&at| scaled(at, values[at])).fold(f64::NEG_INFINITY, f64::max);
            let value = most(values);
            // Of equal ones the first.
            let at = among.iter().copied().find(|&at| scaled(at, values[at]) == value).unwrap_or(0);
            let Calibrated { calibrated, p, .. } = Calibrated::new(value, null.iter().map(|values| most(values)));
            (at, MostSimilar { layer: at % columns, pair: pairs[at], calibrated, p })
        };
        let row = |row: usize| greatest(&(row * columns..(row + 1) * columns).collect::<Vec<_>>()).1;
        let column = |column: usize| {
            let (at, best) = greatest(&(0..rows).map(|row| row * columns + column).collect::<Vec<_>>());
            MostSimilar { layer: at / columns, ..best }
        };
        let names = |layers: &[PreparedLayer]| layers.iter().map(|layer| layer.name().to_string()).collect();
        let (at, best) = greatest(&(0..rows * columns).collect::<Vec<_>>());
        Self {
            rows: names(a),
            columns: names(b),
            best_of_rows: (0..rows).map(row).collect(),
            best_of_columns: (0..columns).map(column).collect(),
            best: (at / columns, best),
            pairs,
        }
    }

    /// The pair of row `a` and column `b`.
    pub fn at(&self, a: usize, b: usize) -> &Calibrated {
        &self.pairs[a * self.columns.len() + b]
    }
}
