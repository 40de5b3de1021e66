//! Several run folders as one thing to look at: which settings differ, and what difference they make.
//!
//! Folders of the same settings that differ in their seeds, as the shards of an experiment or the repetitions of a sweep do, are one
//! [`Member`] together.

mod collect;
mod files;
mod keys;
mod manifest;

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::record::{ArmSummary, Difference, Experiment};
pub use manifest::Manifest;

/// Experiments that are compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Title: names of the folders that were given.
    pub title: String,
    /// The members, in the order of their folders.
    pub members: Vec<Member>,
    /// Keys of the configuration in which members differ.
    pub keys: Vec<String>,
    /// Paired differences of every arm that a member and the first one both have, p corrected by Holm for all of them.
    pub between: Vec<Between>,
    /// Runs and folders that are not there or not finished, each in a sentence.
    pub missing: Vec<String>,
    /// The command that makes the same again, if the folders say it.
    pub command: Option<String>,
}

/// Experiments of the same settings, with the runs of all.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Its values of the keys that differ, or the name of its folder.
    pub label: String,
    /// Its folders.
    pub folders: Vec<PathBuf>,
    /// The runs of all folders together; the rest is that of the first.
    pub experiment: Experiment,
    /// Its summary, an arm each.
    pub arms: Vec<ArmSummary>,
    /// Values of the configuration by dotted key.
    values: Vec<(String, String)>,
    /// Seeds, with the description of the data of each.
    data: Vec<(u64, String)>,
    /// `data.seed` of its folders.
    data_seeds: Vec<String>,
}

/// A difference between an arm of a member and the same arm of the first member.
#[derive(Clone, Debug, PartialEq)]
pub struct Between {
    /// Number of the member.
    pub member: usize,
    /// The arm.
    pub arm: String,
    /// Test top-1 minus that of the first member, seed by seed.
    pub top1: Difference,
    /// Test loss minus that of the first member.
    pub loss: Difference,
}

impl Member {
    /// Value of a key of the configuration, as TOML has it; `–` if it has none.
    pub fn value(&self, key: &str) -> &str {
        self.values.iter().find(|(own, _)| own == key).map_or("–", |(_, value)| value)
    }
}

impl Comparison {
    /// Names of all arms, in the order of the first member that has them.
    pub fn arms(&self) -> Vec<&str> {
        let mut arms = Vec::new();
        for arm in self.members.iter().flat_map(|member| member.experiment.arms()) {
            if !arms.contains(&arm) {
                arms.push(arm);
            }
        }
        arms
    }

    /// Devices and versions that it was made by, each once.
    pub fn made_by(&self) -> Vec<String> {
        let of = |member: &Member| format!("{}, Trellis {}", member.experiment.adapter, member.experiment.version);
        self.members.iter().map(of).collect::<BTreeSet<_>>().into_iter().collect()
    }
}

/// Paired differences to the first of `members`.
fn between(members: &[Member]) -> Vec<Between> {
    let Some((first, others)) = members.split_first() else { return Vec::new() };
    let mut all = Vec::new();
    for (number, member) in (1..).zip(others) {
        for arm in member.experiment.arms() {
            // The same seed on other data is another example of chance, not a pair.
            let pairs = |seed: u64| {
                let of =
                    |member: &Member| member.data.iter().find(|(own, _)| *own == seed).map(|(_, data)| data.clone());
                of(member) == of(first)
            };
            let [top1, loss] = Difference::between(&member.experiment, &first.experiment, arm, &first.label, pairs);
            let equal = |difference: &Difference| difference.mean == Some(0.0) && difference.ci95 == Some(0.0);
            if let (Some(top1), Some(loss)) = (top1, loss)
                // Runs that are the same tell nothing of a setting, and would count in the correction.
                && !(equal(&top1) && equal(&loss))
            {
                all.push(Between { member: number, arm: arm.to_string(), top1, loss });
            }
        }
    }
    Difference::correct(all.iter_mut().map(|between| &mut between.top1));
    Difference::correct(all.iter_mut().map(|between| &mut between.loss));
    all
}
