//! Phase of a guided run: whether the guide pulls, by its schedule and by what the run has shown.

use crate::alignment::{GuideSchedule, Progress};

/// Words of a phase in the state of a run.
pub(in crate::trainer) const WORDS: usize = 10;

/// Phase of a run.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::trainer) struct Phase {
    schedule: GuideSchedule,
    /// Step from which on the guide has left for good.
    left: Option<u32>,
    /// Sums over the steps since the last evaluation, and their number.
    loss: f64,
    alignment: f64,
    steps: u32,
    /// Mean alignment loss between the two evaluations before.
    before: Option<f64>,
}

impl Phase {
    pub(in crate::trainer) fn new(schedule: GuideSchedule) -> Self {
        Self { schedule, left: None, loss: 0.0, alignment: 0.0, steps: 0, before: None }
    }

    /// True if the guide pulls at `step`.
    pub(in crate::trainer) fn guides(&self, step: u32) -> bool {
        self.schedule.guides(step) && self.left.is_none_or(|left| step < left)
    }

    /// Number of steps from `step` on, at most `limit`, that are all guided or all not.
    pub(in crate::trainer) fn alike(&self, step: u32, limit: u32) -> u32 {
        (1..limit).find(|more| self.guides(step + more) != self.guides(step)).unwrap_or(limit)
    }

    /// Last guided step up to `step`, or else the first one of `total`.
    pub(in crate::trainer) fn guided_near(&self, step: u32, total: u32) -> Option<u32> {
        (0..=step).rev().find(|&at| self.guides(at)).or_else(|| (step..total).find(|&at| self.guides(at)))
    }

    /// True if some of `total` steps may be guided.
    pub(in crate::trainer) fn begins(&self, total: u32) -> bool {
        (0..total).any(|step| self.guides(step))
    }

    /// True if the guide leaves by what the run has shown.
    pub(in crate::trainer) fn depends_on_progress(&self) -> bool {
        let any = Progress { loss: 0.0, alignment: 0.0, alignment_before: None };
        self.schedule.ends(&any).is_some()
    }

    /// Counts a step whose metrics have arrived, unless the guide did not pull.
    pub(in crate::trainer) fn see(&mut self, loss: f32, alignment: Option<f32>) {
        if let Some(alignment) = alignment {
            self.loss += f64::from(loss);
            self.alignment += f64::from(alignment);
            self.steps += 1;
        }
    }

    /// Decides at an evaluation after `step` steps whether the guide stays.
    pub(in crate::trainer) fn review(&mut self, step: u32) {
        if self.steps == 0 || self.left.is_some() {
            return;
        }
        let mean = |sum: f64| sum / f64::from(self.steps);
        let progress =
            Progress { loss: mean(self.loss), alignment: mean(self.alignment), alignment_before: self.before };
        if self.schedule.ends(&progress) == Some(true) {
            self.left = Some(step);
        }
        (self.before, self.loss, self.alignment, self.steps) = (Some(progress.alignment), 0.0, 0.0, 0);
    }

    /// The phase in words, for the state of a run.
    pub(in crate::trainer) fn words(&self) -> [u32; WORDS] {
        let halves = |value: f64| [value.to_bits() as u32, (value.to_bits() >> 32) as u32];
        let [[a, b], [c, d], [e, f]] = [self.loss, self.alignment, self.before.unwrap_or(0.0)].map(halves);
        let [left, known] = [u32::from(self.left.is_some()), u32::from(self.before.is_some())];
        [left, self.left.unwrap_or(0), self.steps, a, b, c, d, known, e, f]
    }

    /// Goes on from the words of a state.
    pub(in crate::trainer) fn restore(&mut self, [left, at, steps, a, b, c, d, known, e, f]: [u32; WORDS]) {
        let whole = |low: u32, high: u32| f64::from_bits(u64::from(high) << 32 | u64::from(low));
        self.left = (left > 0).then_some(at);
        (self.steps, self.loss, self.alignment) = (steps, whole(a, b), whole(c, d));
        self.before = (known > 0).then(|| whole(e, f));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_comes_back_from_its_words() {
        let mut phase = Phase::new(GuideSchedule::UntilPlateau(0.5));
        phase.see(2.0, Some(1.0));
        phase.see(1.0, Some(0.5));
        phase.see(9.0, None);
        phase.review(2);
        phase.see(0.5, Some(0.3));
        let mut again = Phase::new(GuideSchedule::UntilPlateau(0.5));
        again.restore(phase.words());
        assert_eq!(again, phase);
        assert!(phase.guides(1 << 30));
        phase.see(0.5, Some(0.6));
        phase.review(4);
        assert!(phase.guides(3) && !phase.guides(4), "0.45 is not half of 0.75");
        again.restore(phase.words());
        assert_eq!(again, phase);
    }

    #[test]
    fn steps_alike_are_run_together() {
        let (phase, never) = (Phase::new, Phase::new(GuideSchedule::FirstSteps(0)));
        let every = phase(GuideSchedule::Every(3));
        assert_eq!([0, 1, 2, 3].map(|step| every.alike(step, 100)), [1, 2, 1, 1]);
        assert_eq!(phase(GuideSchedule::After(5)).alike(0, 100), 5);
        assert_eq!(phase(GuideSchedule::After(5)).guided_near(2, 9), Some(5));
        assert_eq!(phase(GuideSchedule::FirstSteps(5)).guided_near(8, 9), Some(4));
        assert_eq!(never.alike(0, 100), 100);
        assert!(!never.begins(10) && phase(GuideSchedule::After(5)).begins(10));
    }
}
