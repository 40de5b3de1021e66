//! Guidance schedule: how long and how strongly the guide pulls.
//!
//! To add a schedule, add a variant here and go through the five methods below. Two of them do not compile without it; the others have a
//! usual answer: a constant weight, no end by what was seen, no problem. Configurations read it by its name.

use serde::{Deserialize, Serialize};
use trellis_tensor::Schedule;

/// Steps at which the guide pulls, and the course of its weight. Configurations write it as `"always"` or `{ first_steps = 120 }`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuideSchedule {
    /// At every step.
    Always,
    /// During the first steps, then not at all.
    FirstSteps(u32),
    /// With a weight that falls linearly and is 0 from this step on.
    LinearDecay(u32),
    /// With a weight that falls along half a cosine and is 0 from this step on.
    CosineDecay(u32),
    /// From this step on, counted from 0: the target first learns alone.
    After(u32),
    /// At every so many steps, from the first on. The steps between cost what unguided ones do.
    Every(u32),
    /// Until the mean task loss since the last evaluation is below this number.
    UntilLoss(f32),
    /// Until the mean alignment loss since the last evaluation is less than this share below that of the time before.
    UntilPlateau(f32),
}

/// Means over the steps between two evaluations, by which some schedules end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Mean task loss.
    pub loss: f64,
    /// Mean alignment loss.
    pub alignment: f64,
    /// Mean alignment loss between the two evaluations before, if there were two.
    pub alignment_before: Option<f64>,
}

impl GuideSchedule {
    /// Guidance at every step.
    pub fn always() -> Self {
        Self::Always
    }

    /// Guidance as an initialization: during the first `steps` steps alone (arXiv:2410.20035, section 5).
    pub fn first_steps(steps: u32) -> Self {
        Self::FirstSteps(steps)
    }

    /// A weight that falls linearly to 0 at step `steps`.
    pub fn linear_decay(steps: u32) -> Self {
        Self::LinearDecay(steps)
    }

    /// True if the guide pulls at `step`, counted from 0, unless the schedule has ended before. Where it does not, an unguided plan
    /// runs: the guide costs nothing.
    pub fn guides(self, step: u32) -> bool {
        match self {
            Self::Always | Self::UntilLoss(_) | Self::UntilPlateau(_) => true,
            Self::FirstSteps(steps) | Self::LinearDecay(steps) | Self::CosineDecay(steps) => step < steps,
            Self::After(start) => step >= start,
            Self::Every(steps) => step.is_multiple_of(steps.max(1)),
        }
    }

    /// The weight of the alignment loss over the guided steps, starting at `alpha`.
    pub fn weight(self, alpha: f32) -> Schedule {
        match self {
            Self::LinearDecay(steps) => Schedule::Linear { base: alpha, total: steps },
            Self::CosineDecay(steps) => Schedule::Cosine { base: alpha, floor: 0.0, warmup: 0, total: steps },
            _ => Schedule::Constant(alpha),
        }
    }

    /// True if the guide leaves for good after an evaluation with this progress; `None` for schedules that depend on the step alone.
    pub fn ends(self, progress: &Progress) -> Option<bool> {
        match self {
            Self::UntilLoss(loss) => Some(progress.loss < f64::from(loss)),
            Self::UntilPlateau(share) => Some(
                progress.alignment_before.is_some_and(|before| before - progress.alignment < f64::from(share) * before),
            ),
            _ => None,
        }
    }

    /// Reason why the schedule makes no sense in a training of `total` steps with an evaluation every `eval_every` (0 for none
    /// between first and last).
    pub fn problem(self, total: u32, eval_every: u32) -> Option<String> {
        match self {
            Self::FirstSteps(first) if !(1..total).contains(&first) => {
                Some(format!("would stay for {first} of {total} steps"))
            }
            Self::LinearDecay(0) | Self::CosineDecay(0) => Some("would never pull".to_string()),
            Self::After(start) if !(1..total).contains(&start) => {
                Some(format!("would come after {start} of {total} steps"))
            }
            Self::Every(steps) if !(2..=total).contains(&steps) => {
                Some(format!("would pull at every {steps} of {total} steps"))
            }
            Self::UntilLoss(number) | Self::UntilPlateau(number) if !(number > 0.0 && number.is_finite()) => {
                Some(format!("would leave by {number}, which is not above 0"))
            }
            Self::UntilPlateau(share) if share >= 1.0 => {
                Some(format!("would leave by {share}, which is no share below 1"))
            }
            Self::UntilLoss(_) | Self::UntilPlateau(_) if eval_every == 0 || eval_every >= total => {
                Some(format!("can leave at evaluations only, and there is none within {total} steps"))
            }
            _ => None,
        }
    }

    /// Reason why the first `unlabeled` of `total` steps cannot be without labels: the guide must pull at each of them.
    pub fn problem_without_labels(self, unlabeled: u32, total: u32) -> Option<String> {
        if unlabeled >= total {
            return Some(format!("leave no step with labels: {unlabeled} of {total}"));
        }
        if self.ends(&Progress { loss: 0.0, alignment: 0.0, alignment_before: None }).is_some() {
            return Some("have a guide that may leave before they end, by what the run shows".to_string());
        }
        let idle = (0..unlabeled).find(|&step| !self.guides(step))?;
        Some(format!("have no loss at step {idle}: the guide does not pull there"))
    }

    /// The schedule in words, to stand behind the name of a guide; `total` is the number of steps of the training.
    pub fn describe(self, total: u32) -> String {
        match self {
            Self::Always => " at every step".to_string(),
            Self::FirstSteps(steps) => format!(", the first {steps} of {total} steps"),
            Self::LinearDecay(steps) => format!(", its weight falling to 0 at step {steps}"),
            Self::CosineDecay(steps) => format!(", its weight falling to 0 along a cosine until step {steps}"),
            Self::After(start) => format!(" from step {start} on"),
            Self::Every(steps) => format!(" every {steps} steps"),
            Self::UntilLoss(loss) => format!(" until the task loss is below {loss}"),
            Self::UntilPlateau(share) => {
                format!(" until the alignment loss falls by less than {} % between evaluations", 100.0 * share)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_that_depend_on_what_was_seen_end_once() {
        let seen = |loss, alignment, alignment_before| Progress { loss, alignment, alignment_before };
        assert_eq!(GuideSchedule::Always.ends(&seen(0.0, 0.0, Some(0.0))), None);
        let until = GuideSchedule::UntilLoss(0.5);
        assert_eq!(
            [0.6, 0.5, 0.4].map(|loss| until.ends(&seen(loss, 1.0, None))),
            [Some(false), Some(false), Some(true)]
        );
        assert_eq!(until.ends(&seen(f64::NAN, 1.0, None)), Some(false));
        let plateau = GuideSchedule::UntilPlateau(0.1);
        let ends = |alignment, before| plateau.ends(&seen(1.0, alignment, before)) == Some(true);
        assert_eq!(
            [ends(1.0, None), ends(0.8, Some(1.0)), ends(0.95, Some(1.0)), ends(1.2, Some(1.0))],
            [false, false, true, true]
        );
    }

    #[test]
    fn steps_without_labels_need_the_guide() {
        use GuideSchedule::*;
        for schedule in [FirstSteps(4), Always, LinearDecay(9)] {
            assert_eq!(schedule.problem_without_labels(4, 10), None, "{schedule:?}");
        }
        for (schedule, wanted) in [
            (FirstSteps(3), "at step 3"),
            (After(1), "at step 0"),
            (Every(2), "at step 1"),
            (UntilLoss(0.5), "by what the run shows"),
        ] {
            let problem = schedule.problem_without_labels(4, 10);
            assert!(problem.as_ref().is_some_and(|problem| problem.contains(wanted)), "{schedule:?}: {problem:?}");
        }
        assert!(Always.problem_without_labels(10, 10).is_some_and(|problem| problem.contains("10 of 10")));
    }

    #[test]
    fn a_schedule_without_effect_is_told() {
        use GuideSchedule::*;
        for schedule in [
            FirstSteps(0),
            FirstSteps(10),
            LinearDecay(0),
            CosineDecay(0),
            After(0),
            After(10),
            Every(1),
            Every(11),
            UntilLoss(0.0),
            UntilPlateau(f32::NAN),
        ] {
            assert!(schedule.problem(10, 5).is_some(), "{schedule:?}");
        }
        for schedule in [Always, FirstSteps(9), LinearDecay(20), CosineDecay(3), After(9), Every(2), UntilLoss(0.1)] {
            assert_eq!(schedule.problem(10, 5), None, "{schedule:?}");
        }
        assert!(UntilLoss(0.1).problem(10, 0).is_some() && UntilPlateau(0.1).problem(10, 10).is_some());
    }
}
