//! Rows of results: what an arm came to, and what it cost.

use super::Entry;
use crate::record::{ArmSummary, Difference, Experiment};
use crate::report::page::p_value;
use crate::stats::{Estimate, mean};
use trellis_guidance::trainer::RunRecord;

/// Columns of [`result`], where differences are to `first`.
pub(crate) fn result_columns(first: &str) -> Vec<String> {
    let minus = |what: &str| format!("minus {first}{what}");
    let named = ["Arm", "Seeds", "Test top-1, %"].map(String::from);
    [&named[..], &[minus(""), "p, Holm".into(), "Test loss".into(), minus(", loss")]].concat()
}

/// Final test results of an arm.
pub(crate) fn result(arm: &ArmSummary) -> Vec<Entry> {
    let (gain, loss) = (arm.top1_difference.as_ref(), arm.test_loss_difference.as_ref());
    vec![
        Entry::words(&arm.name).of_class("name"),
        Entry::number(Some(arm.seeds as f64), |seeds| format!("{seeds}")),
        Entry::estimate(arm.top1().map(Estimate::percent), 1),
        Entry::difference(gain.and_then(Difference::estimate).map(Estimate::percent), 1.0, 1),
        Entry::number(gain.and_then(|gain| gain.p_holm), p_value),
        Entry::estimate(arm.test_loss(), 3),
        Entry::difference(loss.and_then(Difference::estimate), -1.0, 3),
    ]
}

/// Columns of [`price`], where speed is compared with `first`.
pub(crate) fn price_columns(first: &str) -> Vec<String> {
    let steps = format!("Steps to the best loss of {first}");
    let others = ["saved", "Seeds that come to it", "Test − train loss", "Steps/s", "Seconds a run", "MiB"];
    [&["Arm".to_string(), steps][..], &others.map(String::from)].concat()
}

/// Learning speed, over-fitting gap, time and memory of an arm.
pub(crate) fn price(arm: &ArmSummary) -> Vec<Entry> {
    let speed = arm.speed.as_ref();
    let reached = speed.map_or("–".to_string(), |speed| format!("{} of {}", speed.reached, speed.seeds));
    vec![
        Entry::words(&arm.name).of_class("name"),
        Entry::number(speed.and_then(|speed| speed.steps), |steps| format!("{steps:.0}")),
        Entry::number(speed.and_then(|speed| speed.saved), |saved| format!("{saved:+.0}")),
        Entry::words(reached),
        Entry::number(arm.gap, |gap| format!("{gap:+.3}")),
        Entry::number(arm.steps_per_s.filter(|rate| rate.is_finite()), |rate| format!("{rate:.1}")),
        Entry::number(arm.seconds, |seconds| format!("{seconds:.1}")),
        Entry::number(arm.bytes.map(|bytes| bytes as f64 / 1_048_576.0), |mebibytes| format!("{mebibytes:.1}")),
    ]
}

/// Cost of the training of each guide, a row for each.
pub(crate) fn price_of_guides(experiment: &Experiment) -> Vec<Vec<Entry>> {
    let mut names: Vec<&str> = experiment.guides.iter().map(|run| run.arm.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let row = |name: &str| {
        let runs = || experiment.guides.iter().filter(move |run| run.arm == name && run.is_finished());
        let mean_of = |value: fn(&RunRecord) -> f64| mean(&runs().map(value).collect::<Vec<_>>());
        let none = || Entry::number(None, |_: f64| String::new());
        let bytes = experiment.memory.get(name).map(|bytes| *bytes as f64 / 1_048_576.0);
        vec![
            Entry::words(format!("{name}, its own training")).of_class("name"),
            none(),
            none(),
            Entry::words("–"),
            none(),
            Entry::number(mean_of(|run| run.steps_per_s), |rate| format!("{rate:.1}")),
            Entry::number(mean_of(|run| run.seconds), |seconds| format!("{seconds:.1}")),
            Entry::number(bytes, |mebibytes| format!("{mebibytes:.1}")),
        ]
    };
    names.into_iter().map(row).collect()
}

/// Sentences below a table of results.
pub(crate) const OF_RESULTS: &str = "Final test results: mean over the seeds ± half-width of its 95 % confidence interval (Student’s t). \
     Differences are paired: the same seeds on both sides. Where the interval leaves 0 out, a difference is colored as better or worse. p \
     is that of exact sign flips, corrected by Holm for the number of arms. A click on a head sorts.";

/// Sentences below a table of prices.
pub(crate) const OF_PRICES: &str = "Steps to the least validation loss that the first arm has with the same seed (without a validation split, \
     test loss), along a straight line between evaluations; the mean is over the seeds that come to it. Seconds are those of the run, \
     evaluations included; a guide’s own training, which counts once for all arms of a seed, has a row of its own. MiB is the greatest amount \
     in use at once, as counted.";
