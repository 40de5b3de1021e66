//! Summary of an experiment: one line per arm, compared with the first.

use serde::{Deserialize, Serialize};

use super::{EvalRecord, Experiment, RunRecord, Speed};
use crate::stats::{Estimate, bca95, holm, mean, paired_differences, sign_flip_p};

/// The final test evaluations of one arm over its seeds, of runs that came to their end.
///
/// A value is `None` where no such run of the arm has a test evaluation; an interval also where only one has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ArmSummary {
    /// The arm.
    pub name: String,
    /// Number of seeds it came to its end with.
    pub seeds: usize,
    /// Mean test top-1, 0 to 1.
    pub top1_mean: Option<f64>,
    /// Half-width of its 95 % confidence interval.
    pub top1_ci95: Option<f64>,
    /// Mean test cross-entropy, in nats.
    pub test_loss_mean: Option<f64>,
    /// Half-width of its 95 % confidence interval.
    pub test_loss_ci95: Option<f64>,
    /// Optimizer steps per second, mean over the finished runs; `None` if none is.
    pub steps_per_s: Option<f64>,
    /// Seconds of a run, evaluations included, mean over the finished runs; the training of a guide is not in it.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// Greatest number of bytes on the GPU in use at once, as counted; `None` in records of earlier versions.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Mean loss on the test split minus that on the training split after the last step: the over-fitting gap, in nats.
    #[serde(default)]
    pub gap: Option<f64>,
    /// Learning speed, compared with the first arm.
    #[serde(default)]
    pub speed: Option<Speed>,
    /// Top-1 of this arm minus that of the first one, seed by seed; `None` for the first arm itself.
    pub top1_difference: Option<Difference>,
    /// Test loss of this arm minus that of the first one, seed by seed; `None` for the first arm itself.
    pub test_loss_difference: Option<Difference>,
}

/// A paired difference between an arm and the first arm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The arm compared with.
    pub versus: String,
    /// Number of seeds that both arms ran with.
    pub seeds: usize,
    /// Mean of arm − first arm; `None` if it is not a finite number.
    pub mean: Option<f64>,
    /// Half-width of its 95 % confidence interval (Student's t).
    pub ci95: Option<f64>,
    /// Its 95 % bootstrap interval (BCa); `None` where differences are all equal or not finite.
    #[serde(default)]
    pub bca95: Option<[f64; 2]>,
    /// Two-sided p of exact sign flips.
    #[serde(default)]
    pub p: Option<f64>,
    /// The same, corrected by Holm for the number of arms that are compared.
    #[serde(default)]
    pub p_holm: Option<f64>,
}

impl ArmSummary {
    /// Test top-1 as an estimate; its mean is NaN if a run diverged.
    pub fn top1(&self) -> Option<Estimate> {
        self.top1_mean.map(|mean| Estimate { n: self.seeds, mean, ci95: self.top1_ci95 })
    }

    /// Test loss as an estimate, in nats; its mean is NaN if a run diverged.
    pub fn test_loss(&self) -> Option<Estimate> {
        self.test_loss_mean.map(|mean| Estimate { n: self.seeds, mean, ci95: self.test_loss_ci95 })
    }
}

impl Difference {
    /// The difference as an estimate.
    pub fn estimate(&self) -> Option<Estimate> {
        self.mean.map(|mean| Estimate { n: self.seeds, mean, ci95: self.ci95 })
    }

    /// Test top-1 and test loss of `arm` in an experiment minus those in another one, of runs that came to their end, for each seed that
    /// `pairs`.
    pub(crate) fn between(
        ours: &Experiment,
        theirs: &Experiment,
        arm: &str,
        versus: &str,
        pairs: impl Fn(u64) -> bool,
    ) -> [Option<Self>; 2] {
        let of = |value: fn(&EvalRecord) -> f32| {
            let mut own = ours.final_test(arm, value);
            own.retain(|(seed, _)| pairs(*seed));
            Self::of(versus, &own, &theirs.final_test(arm, value))
        };
        [of(|eval| eval.top1), of(|eval| eval.loss)]
    }

    fn of(versus: &str, arm: &[(u64, f64)], first: &[(u64, f64)]) -> Option<Self> {
        let mut differences = paired_differences(arm, first);
        // Shares are kept as f32: differences of equal counts are to be equal.
        differences.iter_mut().for_each(|difference| *difference = (*difference * 1e6).round() / 1e6);
        let Estimate { n, mean, ci95 } = Estimate::of(&differences)?;
        let mean = Some(mean).filter(|m| m.is_finite());
        Some(Self {
            versus: versus.to_owned(),
            seeds: n,
            mean,
            ci95: ci95.filter(|c| c.is_finite()),
            bca95: bca95(&differences),
            p: sign_flip_p(&differences),
            p_holm: None,
        })
    }

    /// Corrects the p of differences for their number.
    pub(crate) fn correct<'d>(differences: impl Iterator<Item = &'d mut Self>) {
        let mut tested: Vec<&mut Self> = differences.filter(|difference| difference.p.is_some()).collect();
        let p: Vec<f64> = tested.iter().filter_map(|difference| difference.p).collect();
        tested.iter_mut().zip(holm(&p)).for_each(|(difference, p)| difference.p_holm = Some(p));
    }
}

impl Experiment {
    /// One summary per arm, in the order of [`arms`](Self::arms), from the last `test` evaluation of each run that came to its
    /// end.
    pub fn summary(&self) -> Vec<ArmSummary> {
        let arms = self.arms();
        let Some(&first) = arms.first() else { return Vec::new() };
        let (first_top1, first_loss) = (self.final_test(first, |e| e.top1), self.final_test(first, |e| e.loss));
        let summarize = |&arm: &&str| {
            let (top1, loss) = (self.final_test(arm, |e| e.top1), self.final_test(arm, |e| e.loss));
            let (top1_all, loss_all) = (Estimate::of(&values(&top1)), Estimate::of(&values(&loss)));
            let finished = |run: &&RunRecord| self.is_complete(run);
            let mean_of = |value: &dyn Fn(&RunRecord) -> Option<f64>| {
                mean(&self.runs_of(arm).filter(finished).filter_map(value).collect::<Vec<_>>())
            };
            let gap = |run: &RunRecord| {
                let [test, train] = ["test", "train"].map(|split| run.last_eval(split));
                Some(f64::from(test?.loss) - f64::from(train?.loss))
            };
            ArmSummary {
                name: arm.to_owned(),
                seeds: self.runs_of(arm).filter(finished).count(),
                top1_mean: top1_all.map(|e| e.mean),
                top1_ci95: top1_all.and_then(|e| e.ci95),
                test_loss_mean: loss_all.map(|e| e.mean),
                test_loss_ci95: loss_all.and_then(|e| e.ci95),
                steps_per_s: mean_of(&|run| Some(run.steps_per_s)),
                seconds: mean_of(&|run| Some(run.seconds)),
                bytes: self.memory.get(arm).copied(),
                gap: mean_of(&gap).filter(|gap| gap.is_finite()),
                speed: self.speed(arm, first),
                top1_difference: Difference::of(first, &top1, &first_top1).filter(|_| arm != first),
                test_loss_difference: Difference::of(first, &loss, &first_loss).filter(|_| arm != first),
            }
        };
        let mut summary: Vec<ArmSummary> = arms.iter().map(summarize).collect();
        Difference::correct(summary.iter_mut().filter_map(|arm| arm.top1_difference.as_mut()));
        Difference::correct(summary.iter_mut().filter_map(|arm| arm.test_loss_difference.as_mut()));
        summary
    }

    /// A line for the guides by themselves, and one for each arm, of the further scores of the last `test` evaluation,
    /// means over the seeds. They are whole sequences that are right and perplexity where each position of a sequence
    /// has a label, and top-5 where there are more than ten classes.
    pub fn further_scores(&self) -> Vec<String> {
        let line = |&arm: &&str| {
            let of = |value: fn(&EvalRecord) -> f32| mean(&values(&self.final_test(arm, value)));
            if let Some(top5) = of(|eval| eval.top5.unwrap_or(f32::NAN)).filter(|share| !share.is_nan()) {
                return Some(format!("{arm}: top-5 {:.1} %", 100.0 * top5));
            }
            let whole = of(|eval| eval.sequences.unwrap_or(f32::NAN)).filter(|share| !share.is_nan())?;
            let perplexity = of(EvalRecord::perplexity)?;
            Some(format!("{arm}: whole sequences {:.1} %, perplexity {perplexity:.2}", 100.0 * whole))
        };
        let mut names: Vec<&str> = self.guides.iter().map(|guide| guide.arm.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let guides = names.into_iter().filter_map(|name| {
            let finished = self.guides.iter().filter(|guide| guide.arm == name && guide.is_finished());
            let evals = finished.filter_map(|guide| guide.last_eval("test"));
            let top1 = mean(&evals.map(|eval| f64::from(eval.top1)).collect::<Vec<_>>())?;
            Some(format!("{name} by itself: top-1 {:.1} %", 100.0 * top1))
        });
        guides.chain(self.arms().iter().filter_map(line)).collect()
    }

    /// (seed, value) of the last test evaluation of each run of `arm` that came to its end.
    fn final_test(&self, arm: &str, value: impl Fn(&EvalRecord) -> f32) -> Vec<(u64, f64)> {
        let finished = self.runs_of(arm).filter(|run| self.is_complete(run));
        finished.filter_map(|run| Some((run.seed, f64::from(value(run.last_eval("test")?))))).collect()
    }
}

fn values(pairs: &[(u64, f64)]) -> Vec<f64> {
    pairs.iter().map(|(_, value)| *value).collect()
}
