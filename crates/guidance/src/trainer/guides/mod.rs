//! Guides of a run: which of them pull at a step, each by its own schedule.

pub(super) mod phase;

use std::collections::BTreeSet;
use std::ops::Range;

use trellis_data::Place;

use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::network::Network;
use crate::trainer::guidance::Guidance;
use crate::trainer::methods::Method;
use crate::trainer::records::StepRecord;
use phase::Phase;

/// Greatest number of guides of a target.
pub const MOST_GUIDES: usize = 8;

/// A set of guides of a run: bit i is set if number i is among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pulling(u8);

impl Pulling {
    pub(super) fn has(self, guide: usize) -> bool {
        self.0 & 1 << guide != 0
    }

    pub(super) fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// A guide of a run.
#[derive(Clone)]
pub(super) struct Guided {
    pub(super) guidance: Guidance,
    pub(super) phase: Phase,
    /// Its columns among those that a step logs of guides: one for each pair, or one for another method than alignment.
    pub(super) columns: Range<usize>,
}

/// Every guide of a run.
#[derive(Clone, Default)]
pub(super) struct Guides(Vec<Guided>);

impl Guides {
    /// Checks what guides of one target have to share.
    pub(super) fn new<'a>(guides: impl IntoIterator<Item = &'a Guidance>, target: &Network) -> Result<Self> {
        let mut each: Vec<Guided> = Vec::new();
        for guidance in guides {
            guidance.check_method(target)?;
            guidance.check_layer_weights(target)?;
            let from = each.last().map_or(0, |guided| guided.columns.end);
            let columns = if guidance.method == Method::Align { guidance.pairs(target)?.len() } else { 1 };
            let (guidance, phase) = (guidance.clone(), Phase::new(guidance.schedule));
            each.push(Guided { guidance, phase, columns: from..from + columns });
        }
        let refused = |key, problem: &str, hint| Err(Error::config(Place::setting("guidance"), key, problem, hint));
        if each.len() > MOST_GUIDES {
            return refused("guides", &format!("are more than {MOST_GUIDES}"), "leave some out");
        }
        if each.len() > 1 {
            let aligns = |guided: &Guided| guided.guidance.method == Method::Align;
            if !each.iter().all(aligns) {
                let problem = "is one of several guides, of which each aligns layers";
                return refused("method", problem, "use `align`, or one guide");
            }
            if each.iter().any(|guided| guided.guidance.capture != each[0].guidance.capture) {
                let problem = "differs among the guides, but the target runs forward once for all of them";
                return refused("taps", problem, "give all guides the same");
            }
            if each.iter().any(|guided| guided.guidance.balance) {
                let problem = "scales the gradient of one guide, and there are several";
                return refused("balance", problem, "choose weights, or one guide");
            }
            if each.iter().any(|guided| guided.guidance.unlabeled_steps > 0) {
                let problem = "has several guides";
                return refused("unlabeled_steps", problem, "train without labels by one guide");
            }
        }
        Ok(Self(each))
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = &Guided> {
        self.0.iter()
    }

    /// Settings of the guides in a set.
    pub(super) fn among(&self, pulling: Pulling) -> Vec<&Guidance> {
        let numbered = self.0.iter().enumerate().filter(|(number, _)| pulling.has(*number));
        numbered.map(|(_, guided)| &guided.guidance).collect()
    }

    /// The only guide, where there is one and some of `total` steps may be guided.
    pub(super) fn only(&self, total: u32) -> Option<&Guidance> {
        let [guided] = &self.0[..] else { return None };
        guided.phase.begins(total).then_some(&guided.guidance)
    }

    /// The same guides in a run of random batches under a seed.
    pub(super) fn begin(mut self, data: &Dataset, batch: usize, seed: u64) -> Result<Self> {
        for guided in &mut self.0 {
            guided.guidance.guide = guided.guidance.guide.begin(data, batch, seed)?;
        }
        Ok(self)
    }

    /// Makes ready `steps` steps from step `first` on, of guides whose layers are read while they are needed.
    pub(super) fn prepare(&self, first: u32, steps: usize) -> Result<()> {
        self.0.iter().try_for_each(|guided| guided.guidance.guide.prepare(first, steps))
    }

    /// Number of columns that a step logs of guides.
    pub(super) fn columns(&self) -> usize {
        self.0.last().map_or(0, |guided| guided.columns.end)
    }

    /// Guides that pull at `step`.
    pub(super) fn at(&self, step: u32) -> Pulling {
        let bits = self.0.iter().enumerate().map(|(number, guided)| u8::from(guided.phase.guides(step)) << number);
        Pulling(bits.sum())
    }

    /// Sets of guides that may pull at some of these steps, whatever the run shows; the largest numbers first.
    pub(super) fn sets(&self, steps: Range<u32>) -> impl Iterator<Item = Pulling> {
        let leaving = self.0.iter().enumerate().filter(|(_, guided)| guided.phase.depends_on_progress());
        let leaving: Vec<usize> = leaving.map(|(number, _)| number).collect();
        let mut sets: BTreeSet<Pulling> = steps.map(|step| self.at(step)).collect();
        for number in leaving {
            sets.extend(sets.clone().into_iter().map(|Pulling(bits)| Pulling(bits & !(1 << number))));
        }
        sets.into_iter().rev()
    }

    /// Number of steps from `step` on, at most `limit`, at which the same guides pull.
    pub(super) fn alike(&self, step: u32, limit: u32) -> u32 {
        self.0.iter().map(|guided| guided.phase.alike(step, limit)).min().unwrap_or(limit)
    }

    /// Counts steps whose metrics have arrived.
    pub(super) fn see(&mut self, records: &[StepRecord]) {
        let several = self.0.len() > 1;
        for Guided { phase, columns, .. } in &mut self.0 {
            for record in records {
                if !phase.guides(record.step as u32) {
                    continue;
                }
                let own = |similarity: &[f32]| similarity.iter().map(|value| 1.0 - value).sum();
                let of_several = || record.similarity.get(columns.clone()).map(own);
                let alignment = if several { of_several() } else { record.alignment };
                phase.see(record.loss, alignment);
            }
        }
    }

    /// Decides at an evaluation after `step` steps which guides stay.
    pub(super) fn review(&mut self, step: u32) {
        self.0.iter_mut().for_each(|guided| guided.phase.review(step));
    }

    /// The phases, to be kept in the state of a run or to go on from it.
    pub(super) fn phases(&mut self) -> impl Iterator<Item = &mut Phase> {
        self.0.iter_mut().map(|guided| &mut guided.phase)
    }

    /// True if some guide leaves by what the run has shown.
    pub(super) fn depend_on_progress(&self) -> bool {
        self.0.iter().any(|guided| guided.phase.depends_on_progress())
    }
}
