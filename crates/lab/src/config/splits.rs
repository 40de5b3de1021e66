//! Sizes of the splits: those that a file asks for, made to numbers by the examples there are, or a proposal that fits.

use super::{Amount, ConfigError};

/// Names of the splits, in the order of all arrays here.
const NAMES: [&str; 3] = ["train", "validation", "test"];

/// Share of the images that a held-out split has where nothing else is said.
const HELD_OUT: f64 = 0.1;

/// Largest number of examples of a batch, unless the file gives another.
const BATCH: usize = 128;

/// A share that is off by less than this is rounding: 0.7 + 0.2 + 0.1 is not 1.
const ROUNDING: f64 = 1e-9;

/// Pools that splits are drawn from, and the sizes that are asked of them.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    /// Name of the set.
    pub(super) name: &'a str,
    /// Unit that is counted: `images`, or `blocks of 64 tokens`.
    pub(super) unit: &'a str,
    /// Examples to train with and, where held-out splits have examples of their own, theirs. Others are drawn from the first.
    pub(super) pools: [Option<usize>; 3],
    /// Size of each split; `None` for what the rule of [`Request::fill`] gives.
    pub(super) amounts: [Option<Amount>; 3],
    /// Fewest examples of each split.
    pub(super) least: [usize; 3],
    /// Examples of a batch, if the file says.
    pub(super) batch: Option<usize>,
    /// Fewest examples of a batch.
    pub(super) least_batch: usize,
}

impl Request<'_> {
    /// Number of examples of each split.
    ///
    /// # Errors
    /// If splits or batch do not fit, with numbers that do, all of them at once.
    pub(super) fn resolve(&self) -> Result<[usize; 3], ConfigError> {
        let counts = self.most();
        let (misfits, batch) = (self.misfits(counts), self.batch.filter(|&batch| batch > counts[0]));
        if misfits == [false; 3] && batch.is_none() {
            return Ok(counts);
        }
        let Some(first) = misfits.iter().position(|&misfit| misfit) else {
            let (name, unit, train, batch) = (self.name, self.unit, counts[0], batch.unwrap_or(0));
            let problem = format!("{batch} is more than the {train} {unit} of {name} that it is drawn from");
            return Err((
                "training.batch".to_string(),
                problem,
                format!("for example batch = {}", self.batch_for(train)),
            ));
        };
        Err((format!("data.{}", NAMES[first]), self.problem(counts, misfits), self.proposal(misfits)))
    }

    /// Number of examples of each split, whether or not there are as many.
    pub(super) fn most(&self) -> [usize; 3] {
        self.fill(self.amounts)
    }

    /// Pool that each split is drawn from, as the index of the split that it belongs to.
    fn pool_of(&self, split: usize) -> usize {
        if self.pools[split].is_some() { split } else { 0 }
    }

    /// Examples of the pool of a split.
    fn pool(&self, split: usize) -> usize {
        self.pools[self.pool_of(split)].unwrap_or(0)
    }

    /// Amounts as numbers. Shares are rounded down; where those of one pool are 1 together, what is left over goes to
    /// its splits in turn. For a held-out split, `None` is all that it has of its own, or a tenth of the training
    /// images, or what the others leave of it. For the training split, it is what the others leave.
    fn fill(&self, amounts: [Option<Amount>; 3]) -> [usize; 3] {
        let number = |split: usize, amount: Amount| match amount {
            Amount::Count(count) => count,
            Amount::Share(share) if share <= 0.0 => 0,
            // A share is never nothing.
            Amount::Share(share) => ((share * self.pool(split) as f64 + ROUNDING).floor() as usize).max(1),
        };
        let mut counts: [Option<usize>; 3] = std::array::from_fn(|split| Some(number(split, amounts[split]?)));
        for pool in 0..3 {
            let splits: Vec<usize> = (0..3).filter(|&split| self.pool_of(split) == pool).collect();
            let shares = splits.iter().map(|&split| match amounts[split] {
                Some(Amount::Share(share)) => share,
                _ => f64::NAN,
            });
            if (shares.sum::<f64>() - 1.0).abs() < ROUNDING {
                let taken: usize = splits.iter().filter_map(|&split| counts[split]).sum();
                let more = self.pool(pool).saturating_sub(taken);
                let takers: Vec<usize> = splits.into_iter().filter(|&split| counts[split] > Some(0)).collect();
                for &split in takers.iter().cycle().take(more) {
                    counts[split] = counts[split].map(|count| count + 1);
                }
            }
        }
        let given = |counts: [Option<usize>; 3]| -> usize {
            let drawn = (0..3).filter(|&split| self.pool_of(split) == 0);
            drawn.filter_map(|split| counts[split]).fold(0, usize::saturating_add)
        };
        for split in [2, 1] {
            let (own, pool) = (self.pool_of(split) != 0, self.pool(split));
            let tenth = ((HELD_OUT * pool as f64) as usize).max(self.least[split]).max(1);
            // A training split that is given leaves its rest for both.
            let open = (1..3).filter(|&other| self.pool_of(other) == 0 && counts[other].is_none()).count().max(1);
            let left = pool.saturating_sub(given(counts));
            let left = if counts[0].is_some() { left.div_ceil(open) } else { left };
            counts[split].get_or_insert(if own { pool } else { tenth.min(left) });
        }
        let rest = self.pool(0).saturating_sub(given(counts));
        counts.map(|count| count.unwrap_or(rest))
    }

    /// Splits that are too small, or that ask for more than their pool holds.
    fn misfits(&self, counts: [usize; 3]) -> [bool; 3] {
        std::array::from_fn(|split| {
            let pool = self.pool_of(split);
            let sharing = (0..3).filter(|&other| self.pool_of(other) == pool);
            let wanted = sharing.map(|other| counts[other]).fold(0, usize::saturating_add);
            wanted > self.pool(split) || counts[split] < self.least[split]
        })
    }

    /// Description of what does not fit, by name.
    fn problem(&self, counts: [usize; 3], misfits: [bool; 3]) -> String {
        let named = |split: usize| match self.amounts[split] {
            Some(Amount::Count(count)) => format!("{} = {count}", NAMES[split]),
            Some(share) => format!("{} = {share} ({})", NAMES[split], counts[split]),
            None => format!("{} = {} (as the file says nothing)", NAMES[split], counts[split]),
        };
        let mut problems = Vec::new();
        for pool in (0..3).filter(|&pool| self.pool_of(pool) == pool) {
            let splits: Vec<usize> = (0..3).filter(|&split| self.pool_of(split) == pool).collect();
            if !splits.iter().any(|&split| misfits[split]) {
                continue;
            }
            let (unit, holds) = (self.unit, self.pool(pool));
            let list = splits.iter().map(|&split| named(split)).collect::<Vec<_>>().join(", ");
            let of = if self.pools[1..].iter().all(Option::is_none) {
                ""
            } else {
                [" to train with", " to validate with", " to test with"][pool]
            };
            let wanted = splits.iter().map(|&split| counts[split]).fold(0, usize::saturating_add);
            if wanted > holds {
                problems.push(format!("holds {holds} {unit}{of}, fewer than {list}"));
                continue;
            }
            for &split in splits.iter().filter(|&&split| counts[split] < self.least[split]) {
                let why = if split == 0 {
                    "one of each class, and what the metric compares"
                } else {
                    "what the metric compares"
                };
                problems.push(format!(
                    "holds {holds} {unit}{of}, of which {} are too few: at least {} are needed, {why}",
                    named(split),
                    self.least[split]
                ));
            }
        }
        format!("{} {}", self.name, problems.join("; and "))
    }

    /// Numbers that fit, or a description of what is missing.
    fn proposal(&self, misfits: [bool; 3]) -> String {
        let none = |split: usize| self.amounts[split] == Some(Amount::Count(0));
        let held_out = |split: usize| (1..3).contains(&split) && self.pool_of(split) == 0 && !none(split);
        let shared = (0..3).any(|split| misfits[split] && self.pool_of(split) == 0);
        let mut amounts = self.amounts;
        let mut shares = self.amounts;
        for split in 1..3 {
            let (own, pool) = (self.pool_of(split) != 0, self.pool(split));
            if own && misfits[split] {
                amounts[split] = Some(Amount::Count(pool));
                shares[split] = Some(Amount::Share(1.0));
            } else if shared && held_out(split) {
                amounts[split] = Some(Amount::Count((pool / 10).max(self.least[split]).max(1)));
                shares[split] = Some(Amount::Share(HELD_OUT));
            }
        }
        if shared {
            let drawn = (1..3).filter(|&split| held_out(split));
            let others: usize = drawn.clone().filter_map(|split| amounts[split]?.count()).sum();
            amounts[0] = Some(Amount::Count(self.pool(0).saturating_sub(others)));
            shares[0] = Some(Amount::Share([1.0, 0.9, 0.8][drawn.count()]));
        }
        let fits = |amounts| Some(self.fill(amounts)).filter(|&counts| self.misfits(counts) == [false; 3]);
        let Some(counts) = fits(amounts) else {
            let [train, _, test] = self.least;
            return format!("add some: at least {train} are needed to train with and {test} to test with");
        };
        let list = |amounts: [Option<Amount>; 3]| {
            let named = (0..3).filter_map(|split| Some(format!("{} = {}", NAMES[split], amounts[split]?)));
            named.collect::<Vec<_>>().join(", ")
        };
        let mut text = format!("for example {}", list(amounts));
        // Beside numbers that the file has, shares would say nothing simpler.
        let mixed = |amounts: &[Option<Amount>; 3]| {
            amounts.iter().flatten().any(|amount| matches!(amount, Amount::Count(count) if *count > 0))
        };
        let shares = Some(shares).filter(|shares| !mixed(shares) && fits(*shares).is_some());
        let mut train = counts[0];
        if let Some(shares) = shares {
            text.push_str(&format!(" (or as shares: {})", list(shares)));
            train = train.min(self.fill(shares)[0]);
        }
        if self.batch.is_some_and(|batch| batch > train) {
            text.push_str(&format!(", and in [training] batch = {}", self.batch_for(train)));
        }
        text
    }

    /// A batch of up to `train` examples: the greatest power of two that is one.
    fn batch_for(&self, train: usize) -> usize {
        let power = 1 << train.max(1).ilog2();
        if power < self.least_batch { train } else { power }
    }
}

/// Examples of a batch where the file does not say: 128, or all of fewer training examples.
pub(super) fn default_batch(train: usize) -> usize {
    train.clamp(1, BATCH)
}

#[cfg(test)]
#[path = "splits_tests.rs"]
mod tests;
