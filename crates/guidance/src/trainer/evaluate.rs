//! Evaluations: loss and top-1 over a split, CKA of the layer pairs on held-out images.

use trellis_tensor::{Clock, Graph, Log, Plan};

use super::Guidance;
use super::session::pairs;
use crate::alignment::Pair;
use crate::dataset::{Dataset, Split};
use crate::error::Result;
use crate::network::{Mode, Network, TapAt};
use crate::record::EvalRecord;

/// Examples of one evaluation step.
const BATCH: usize = 500;

/// Mean loss and top-1 of a network over one split.
pub(super) struct Evaluator {
    plan: Plan,
    clock: Clock,
    log: Log,
    split: &'static str,
    count: usize,
    steps: usize,
}

impl Evaluator {
    pub(super) fn new(network: &Network, data: &Dataset, name: &'static str, split: &Split) -> Result<Self> {
        let (clock, log) = (Clock::new(data.gpu())?, Log::new(data.gpu(), 2)?);
        let count = split.count();
        let batch = BATCH.min(count);
        let graph = Graph::new();
        let examples = data.sequential_batch(&graph, split, &clock, batch)?;
        let logits = network.forward(&graph, examples.input, Mode::Eval, TapAt::default())?.logits;
        let loss = logits.cross_entropy_rows(examples.labels, 0.0)?.sum_all()?;
        let right = logits.top1(examples.labels)?.sum_all()?;
        log.record(&graph, &clock, &[loss, right])?;
        let plan = Plan::new(data.gpu(), &graph, &[])?;
        Ok(Self { plan, clock, log, split: name, count, steps: count.div_ceil(batch) })
    }

    /// Evaluates the network as it is after `step` steps of training.
    pub(super) fn evaluate(&mut self, step: u32) -> Result<EvalRecord> {
        self.clock.set(0)?;
        let (mut loss, mut right) = (0.0, 0.0);
        for first in (0..self.steps).step_by(Log::CAPACITY) {
            let steps = (self.steps - first).min(Log::CAPACITY);
            self.plan.run(steps)?;
            self.log.request(first as u32, steps);
            for row in self.log.collect(true)? {
                loss += f64::from(row.values[0]);
                right += f64::from(row.values[1]);
            }
        }
        let mean = |sum: f64| (sum / self.count as f64) as f32;
        let split = self.split.to_string();
        Ok(EvalRecord { step: u64::from(step), split, loss: mean(loss), top1: mean(right), similarity: Vec::new() })
    }
}

/// CKA of a target's layers with a guide's, on the first images of the test split (of the training split if there is
/// none), both networks in evaluation mode.
pub(super) struct Probe {
    plan: Plan,
    clock: Clock,
    log: Log,
}

impl Probe {
    /// The evaluations that carry its numbers.
    pub(super) const SPLIT: &'static str = "test";
    const BATCH: usize = 256;

    pub(super) fn new(target: &Network, data: &Dataset, guidance: &Guidance) -> Result<Self> {
        let split = data.splits().last().expect("a data set has a training split").1;
        let graph = Graph::new();
        let clock = Clock::new(data.gpu())?;
        let input = data.sequential_batch(&graph, split, &clock, Self::BATCH.min(split.count()))?.input;
        let ours = target.forward(&graph, input, Mode::Eval, guidance.taps)?.taps;
        let theirs = guidance.guide.forward(&graph, input, guidance.taps)?.taps;
        let indices = pairs(guidance, target)?;
        let tapped: Vec<_> = indices.iter().map(|&(g, t)| Pair::of(&ours[t], &theirs[g])).collect();
        let weight = trellis_tensor::Curve::Constant(1.0);
        let alignment = guidance.align.loss(&graph, &clock, weight, &tapped)?;
        let log = Log::new(data.gpu(), tapped.len())?;
        log.record(&graph, &clock, &alignment.stats)?;
        Ok(Self { plan: Plan::new(data.gpu(), &graph, &[])?, clock, log })
    }

    pub(super) fn measure(&mut self) -> Result<Vec<f32>> {
        self.clock.set(0)?;
        self.plan.run(1)?;
        self.log.request(0, 1);
        Ok(self.log.collect(true)?.into_iter().flat_map(|row| row.values).collect())
    }
}
