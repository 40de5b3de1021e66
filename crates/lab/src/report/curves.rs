//! From the records of several seeds to one curve with a band.

use std::collections::BTreeMap;

use crate::record::Experiment;
use trellis_guidance::trainer::{EvalRecord, RunRecord};

/// Largest number of points of a curve; longer ones are averaged in groups.
const MOST_POINTS: usize = 240;

/// One point of a curve: over the seeds, and over neighboring steps where a curve is long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Optimizer steps taken.
    pub(super) step: f64,
    /// Mean over the seeds.
    pub(super) mean: f64,
    /// Lowest seed.
    pub(super) low: f64,
    /// Highest seed.
    pub(super) high: f64,
}

/// A curve, and how many values were not finite and are missing from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Curve {
    pub(super) points: Vec<Point>,
    pub(super) left_out: usize,
}

/// The curve of (step, value) over all seeds.
pub(super) fn curve(values: impl IntoIterator<Item = (u64, f32)>) -> Curve {
    let mut left_out = 0;
    let mut by_step: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for (step, value) in values {
        if value.is_finite() {
            by_step.entry(step).or_default().push(f64::from(value));
        } else {
            left_out += 1;
        }
    }
    let points = by_step.into_iter().map(|(step, values)| Point {
        step: step as f64,
        mean: values.iter().sum::<f64>() / values.len() as f64,
        low: values.iter().copied().fold(f64::INFINITY, f64::min),
        high: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    });
    Curve { points: thin(points.collect(), MOST_POINTS), left_out }
}

/// At most `most` points: groups of neighbors become one each, mean of the means, of the lows and of the highs.
pub(super) fn thin(points: Vec<Point>, most: usize) -> Vec<Point> {
    let group = points.len().div_ceil(most.max(1));
    if group < 2 {
        return points;
    }
    let one = |group: &[Point]| {
        let mean = |part: fn(&Point) -> f64| group.iter().map(part).sum::<f64>() / group.len() as f64;
        Point { step: mean(|p| p.step), mean: mean(|p| p.mean), low: mean(|p| p.low), high: mean(|p| p.high) }
    };
    points.chunks(group).map(one).collect()
}

/// The curve of an evaluation's number over the seeds of `arm`.
pub(super) fn evals(experiment: &Experiment, arm: &str, split: &str, value: fn(&EvalRecord) -> f32) -> Curve {
    let of_run = |run: &RunRecord| -> Vec<(u64, f32)> {
        run.evals.iter().filter(|e| e.split == split).map(|e| (e.step, value(e))).collect()
    };
    curve(experiment.runs_of(arm).flat_map(of_run))
}

/// The loss of the training batches over the seeds of `arm`.
pub(super) fn batch_losses(experiment: &Experiment, arm: &str) -> Curve {
    curve(experiment.runs_of(arm).flat_map(|run| run.steps.iter().map(|s| (s.step, s.loss))))
}

/// Similarity of the layer pairs of a run by step: on held-out images where evaluations measured it, else on the batches.
pub(super) fn similarity_by_step(run: &RunRecord) -> Vec<(u64, &[f32])> {
    let evals: Vec<_> =
        run.evals.iter().map(|e| (e.step, e.similarity.as_slice())).filter(|(_, c)| !c.is_empty()).collect();
    if !evals.is_empty() {
        return evals;
    }
    run.steps.iter().map(|s| (s.step, s.similarity.as_slice())).filter(|(_, c)| !c.is_empty()).collect()
}

/// The curve of the similarity of layer pair `pair` over the seeds of `arm`.
pub(super) fn similarity(experiment: &Experiment, arm: &str, pair: usize) -> Curve {
    let of_run = move |run: &RunRecord| -> Vec<(u64, f32)> {
        similarity_by_step(run)
            .into_iter()
            .filter_map(|(step, similarity)| Some((step, *similarity.get(pair)?)))
            .collect()
    };
    curve(experiment.runs_of(arm).flat_map(of_run))
}

/// The split whose course is shown: `test` if it was evaluated more than once in some run, or else whichever of
/// `test`, `validation` and `train` has the most evaluations; `None` if there are none at all.
pub(super) fn shown_split(experiment: &Experiment) -> Option<&'static str> {
    let most = |split: &str| {
        let count = |run: &RunRecord| run.evals.iter().filter(|e| e.split == split).count();
        experiment.runs.iter().map(count).max().unwrap_or(0)
    };
    if most("test") > 1 {
        return Some("test");
    }
    // max_by_key takes the last of equals, so the order here is from least to most wanted.
    ["train", "validation", "test"].into_iter().max_by_key(|split| most(split)).filter(|split| most(split) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_become_mean_and_band() {
        let curve = curve([(0, 1.0), (10, 4.0), (0, 3.0), (10, f32::NAN), (20, f32::INFINITY)]);
        let expected =
            [Point { step: 0.0, mean: 2.0, low: 1.0, high: 3.0 }, Point { step: 10.0, mean: 4.0, low: 4.0, high: 4.0 }];
        assert_eq!((curve.points.as_slice(), curve.left_out), (&expected[..], 2));
    }

    #[test]
    fn long_curves_are_thinned_evenly() {
        let curve = curve((0..100_000).map(|step| (step, step as f32)));
        assert!(curve.points.len() <= MOST_POINTS && curve.points.len() > MOST_POINTS / 2);
        assert!(curve.points.iter().all(|p| (p.mean - p.step).abs() < 1.0));
    }
}
