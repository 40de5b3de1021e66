//! Learning speed: steps that an arm takes to a loss that another one has at its best.

use serde::{Deserialize, Serialize};

use super::{EvalRecord, Experiment, RunRecord};
use crate::stats::mean;

/// Steps until an arm has the least loss that the first arm had, seed by seed, on the validation split, or without one on the test split.
/// Between two evaluations the loss is taken to fall along a straight line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Speed {
    /// Number of seeds that both arms came to their end with.
    pub seeds: usize,
    /// Number of them with which the arm came to that loss.
    pub reached: usize,
    /// Mean steps to it, over the seeds that reached it; `None` if none did.
    pub steps: Option<f64>,
    /// Mean steps that the first arm took to it, minus those of this arm, over the same seeds; `None` unless more than half reached it.
    pub saved: Option<f64>,
}

impl Experiment {
    /// Speed of `arm` compared with the first arm, for which it is that of its own best; `None` where no seed has both.
    pub(super) fn speed(&self, arm: &str, first: &str) -> Option<Speed> {
        let complete = |run: &&RunRecord| self.is_complete(run);
        let mut taken = Vec::new();
        for run in self.runs_of(arm).filter(complete) {
            let Some(base) = self.runs_of(first).filter(complete).find(|base| base.seed == run.seed) else { continue };
            let of_base = course(base);
            let Some(best) = of_base.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)) else { continue };
            // One that never learned has no best loss to come to.
            if best.step == 0 {
                continue;
            }
            let best = (best.step as f64, f64::from(best.loss));
            taken.push((best.0, steps_to(&course(run), best.1)));
        }
        let reached: Vec<(f64, f64)> = taken.iter().filter_map(|(base, steps)| Some((*base, (*steps)?))).collect();
        let steps = mean(&reached.iter().map(|(_, steps)| *steps).collect::<Vec<_>>());
        let saved = mean(&reached.iter().map(|(base, steps)| base - steps).collect::<Vec<_>>());
        // The few seeds that came to it say nothing of those that did not.
        let saved = saved.filter(|_| 2 * reached.len() > taken.len());
        (!taken.is_empty()).then_some(Speed { seeds: taken.len(), reached: reached.len(), steps, saved })
    }
}

/// Evaluations of the split by which speed is told, in order of their steps; those that are no number are left out.
fn course(run: &RunRecord) -> Vec<&EvalRecord> {
    let of =
        |split: &str| run.evals.iter().filter(|eval| eval.split == split && eval.loss.is_finite()).collect::<Vec<_>>();
    let validation = of("validation");
    if validation.is_empty() { of("test") } else { validation }
}

/// Steps after which a course is first at `loss` or below.
fn steps_to(course: &[&EvalRecord], loss: f64) -> Option<f64> {
    let at = course.iter().position(|eval| f64::from(eval.loss) <= loss)?;
    let (step, now) = (course[at].step as f64, f64::from(course[at].loss));
    let Some(before) = at.checked_sub(1).map(|before| course[before]) else { return Some(step) };
    let (from, was) = (before.step as f64, f64::from(before.loss));
    Some(from + (step - from) * (was - loss) / (was - now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(arm: &str, seed: u64, losses: &[f32]) -> RunRecord {
        let eval = |(number, loss): (usize, &f32)| EvalRecord {
            step: 10 * number as u64,
            split: "validation".to_string(),
            loss: *loss,
            top1: 0.5,
            top5: None,
            sequences: None,
            similarity: Vec::new(),
            confusion: Vec::new(),
        };
        let evals = losses.iter().enumerate().map(eval).collect();
        RunRecord { arm: arm.to_string(), seed, evals, seconds: 1.0, ..RunRecord::default() }
    }

    #[test]
    fn steps_are_those_to_the_best_of_the_first_arm() {
        let runs = vec![
            run("alone", 1, &[3.0, 2.0, 1.0, 1.5]),
            run("alone", 2, &[3.0, 2.0, 1.5, 1.2]),
            run("alone", 3, &[3.0, 2.0, 1.5, 1.2]),
            run("trained", 1, &[3.0, 0.5, f32::NAN, 0.2]),
            run("trained", 2, &[3.0, 2.5, 2.4, 2.0]),
            run("trained", 9, &[3.0, 0.0, 0.0, 0.0]),
        ];
        let experiment = Experiment { runs, ..Experiment::default() };
        let speed = experiment.speed("trained", "alone").expect("two seeds");
        // From 3 to 0.5 in ten steps, 1 after eight of them.
        assert_eq!(speed, Speed { seeds: 2, reached: 1, steps: Some(8.0), saved: None });
        let own = experiment.speed("alone", "alone").expect("three seeds");
        assert_eq!((own.reached, own.saved), (3, Some(0.0)));
        assert_eq!(experiment.speed("other", "alone"), None);
        // Of two seeds that reach it, one after 8 steps and one after 20, where the first arm took 20 and 30.
        let mut both = experiment.clone();
        both.runs[4] = run("trained", 2, &[3.0, 2.5, 1.2, 1.0]);
        let speed = both.speed("trained", "alone").expect("two seeds");
        assert_eq!((speed.reached, speed.steps, speed.saved), (2, Some(14.0), Some(11.0)));
        // An arm that is best before its first step sets no mark.
        let never = Experiment { runs: vec![run("alone", 1, &[2.0, 3.0]), run("trained", 1, &[2.0, 1.0])], ..both };
        assert_eq!(never.speed("trained", "alone"), None);
    }
}
