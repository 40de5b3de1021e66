//! A training run that can be advanced: its plans, parameters, optimiser and clock.

use std::time::Duration;

use trellis_tensor::{Clock, Graph, Log, Optimizer, Plan, Row, Var};

use super::diagnose::diagnose;
use super::fixed_batches::FixedBatches;
use super::invariants::check;
use super::{Batches, Guidance, Training};
use crate::alignment::{Guiding, Pair};
use crate::data::Feed;
use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};
use crate::network::{Forward, Mode, Network, TapAt};
use crate::trainer::records::StepRecord;

/// A run in progress.
pub struct Session<'a> {
    pub(super) target: &'a Network,
    data: &'a Dataset,
    pub(super) training: Training,
    guidance: Option<Guidance>,
    pub(super) optimizer: Optimizer,
    pub(super) clock: Clock,
    /// First step that is not guided.
    guided_until: u32,
    fixed: Option<FixedBatches>,
    feed: Feed<'a>,
    guided: Option<Plan>,
    unguided: Option<Plan>,
    log: Log,
    pub(super) step: u32,
}

impl<'a> Session<'a> {
    /// Records and compiles the steps of a run that starts with the target as it is.
    ///
    /// # Errors
    /// When layers do not fit, or memory does not allow it.
    pub fn new(
        target: &'a Network,
        data: &'a Dataset,
        training: Training,
        guidance: Option<&Guidance>,
    ) -> Result<Self> {
        let clock = Clock::new(data.gpu())?;
        let optimizer = Optimizer::new(data.gpu(), target.params(), training.optimizer)?
            .with_loss_scale(training.precision.loss_scale());
        let guided_until = guidance.map_or(0, |g| g.schedule.end(training.steps));
        let pairs = guidance.map_or(Ok(Vec::new()), |g| pairs(g, target))?;
        let log = Log::new(data.gpu(), 1 + scale_columns(&training) + pairs.len())?;
        if training.batches == Batches::Fixed && training.augments() {
            let hint = "draw random batches, or do not crop, shift and flip";
            return Err(Error::config("training", "batches", "fixed batches cannot be augmented", hint));
        }
        let pulls = guidance.filter(|_| guided_until > 0);
        let fixed = (training.batches == Batches::Fixed)
            .then(|| FixedBatches::new(data, target, training.batch, training.seed, pulls))
            .transpose()?;
        let feed = training.feed(data)?;
        let plan = |guidance: Option<&Guidance>, beside: Option<&Plan>| {
            let graph = Graph::new();
            let step = record(&graph, target, &feed, &training, guidance, &clock, fixed.as_ref())?;
            // Task loss, loss scale, pairs: an unguided step has no pairs.
            let mut metrics = step.metrics;
            metrics.splice(1..1, optimizer.update(&graph, step.loss, &clock)?);
            log.record(&graph, &clock, &metrics)?;
            Ok::<Plan, crate::Error>(Plan::beside(beside, data.gpu(), &graph, &[])?)
        };
        let guided = pulls.map(|g| plan(Some(g), None)).transpose()?;
        let unguided = (guided_until < training.steps).then(|| plan(None, guided.as_ref())).transpose()?;
        let guidance = guidance.cloned();
        Ok(Self {
            target,
            data,
            training,
            guidance,
            optimizer,
            clock,
            guided_until,
            fixed,
            feed,
            guided,
            unguided,
            log,
            step: 0,
        })
    }

    /// Steps taken.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// How long [`Session::advance`] has waited in all for examples that are read while they are needed.
    pub fn waited(&self) -> Duration {
        self.feed.waited()
    }

    /// The plan whose memory other plans between steps may use, that of all its steps.
    pub(super) fn memory(&self) -> Option<&Plan> {
        self.unguided.as_ref().or(self.guided.as_ref())
    }

    /// Bytes of the plans of its steps: of a guided and an unguided one, where both are used, the second beyond the first.
    pub fn plans_memory(&self) -> u64 {
        self.guided.iter().chain(&self.unguided).map(Plan::memory).sum()
    }

    /// The plan that the next step runs; `None` after the last.
    pub fn plan(&self) -> Option<&Plan> {
        if self.step < self.guided_until { self.guided.as_ref() } else { self.unguided.as_ref() }
    }

    /// Submits the next `steps` steps, at most [`Log::CAPACITY`], and gives the metrics that have arrived, which may be
    /// of earlier ones. Nothing is waited for but all except the last submission.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged), or a lost device.
    pub fn advance(&mut self, steps: u32) -> Result<Vec<StepRecord>> {
        let before_switch = self.guided_until.checked_sub(self.step).filter(|&left| left > 0);
        let steps = steps.min(before_switch.unwrap_or(u32::MAX)).min(self.training.steps - self.step);
        let (first, steps) = (self.step, steps.min(self.feed.depth() as u32));
        let plan = if first < self.guided_until { &self.guided } else { &self.unguided };
        if let Some(plan) = plan {
            self.feed.prepare(first, steps as usize)?;
            plan.run(steps as usize)?;
            self.log.request(first, steps as usize);
            self.step += steps;
        }
        let rows = self.log.collect(false)?;
        self.records(&rows)
    }

    /// Waits for all submitted steps.
    ///
    /// # Errors
    /// As [`Session::advance`].
    pub fn wait(&mut self) -> Result<Vec<StepRecord>> {
        let rows = self.log.collect(true)?;
        self.records(&rows)
    }

    /// Checks what the gradient of the measure must be, on the step that comes next (on the last guided one, once the
    /// guide has left): its columns sum to 0 and it is at right angles to the activations, as far as the measure promises.
    /// The step is played apart; nothing that trains changes.
    ///
    /// # Errors
    /// [`Error::Invariant`](crate::Error::Invariant) with step and layer.
    pub fn check_invariants(&self) -> Result<()> {
        let Some(guidance) = self.guidance.as_ref().filter(|_| self.guided_until > 0) else { return Ok(()) };
        let step = self.step.min(self.guided_until - 1);
        check(self.target, self.data, &self.training, guidance, step, self.fixed.as_ref())
    }

    fn records(&self, rows: &[Row]) -> Result<Vec<StepRecord>> {
        if let Some(step) = rows.iter().find_map(|row| row.failed_step) {
            let step = self.training.steps.min(step);
            let guidance = self.guidance.as_ref().filter(|_| step < self.guided_until);
            return Err(diagnose(self.target, self.data, &self.training, guidance, step, self.fixed.as_ref())?);
        }
        let record = |row: &Row| {
            let guided = row.step < self.guided_until;
            let (scale, pairs) = row.values[1..].split_at(scale_columns(&self.training));
            let similarity = if guided { pairs.to_vec() } else { Vec::new() };
            StepRecord {
                step: u64::from(row.step),
                loss: row.values[0],
                alignment: guided.then(|| similarity.iter().map(|similarity| 1.0 - similarity).sum()),
                similarity,
                learning_rate: self.training.optimizer.rate.at(row.step) as f32,
                loss_scale: scale.first().copied(),
                skipped: scale.get(1).map(|&skipped| skipped as u64),
            }
        };
        Ok(rows.iter().map(record).collect())
    }
}

/// Metrics that loss scaling adds: the scale, and the number of steps left out.
fn scale_columns(training: &Training) -> usize {
    if training.precision.loss_scale().is_some() { 2 } else { 0 }
}

/// What a recorded step gives.
pub(super) struct Step<'g> {
    /// Task loss plus weighted alignment loss.
    pub(super) loss: Var<'g>,
    /// Task loss, then statistics of the pairs.
    pub(super) metrics: Vec<Var<'g>>,
    /// The pairs.
    pub(super) pairs: Vec<Pair<'g>>,
    /// The target's forward pass.
    pub(super) forward: Forward<'g>,
}

/// Records batch, forward passes and losses of one step.
pub(super) fn record<'g>(
    graph: &'g Graph,
    target: &Network,
    feed: &Feed<'g>,
    training: &Training,
    guidance: Option<&Guidance>,
    clock: &Clock,
    fixed: Option<&FixedBatches>,
) -> Result<Step<'g>> {
    let (batch, number) = match fixed {
        Some(fixed) => {
            let _scope = graph.scope("data");
            let number = fixed.number(graph, clock)?;
            (fixed.examples(feed.data(), graph, number)?, Some((fixed, number)))
        }
        None => (batch(graph, feed, training, clock)?, None),
    };
    let Training { seed, precision, recompute, .. } = *training;
    let mode = Mode::Train { clock, seed, precision, recompute };
    let taps = guidance.map_or(TapAt::default(), |g| g.taps);
    // One forward pass of the target serves both losses.
    let forward = {
        let _scope = graph.scope("target");
        target.forward(graph, batch.input, mode, taps)?
    };
    let task = {
        let _scope = graph.scope("loss");
        let (logits, labels) = rows(forward.logits, batch.labels)?;
        logits.cross_entropy(labels, training.label_smoothing)?
    };
    let mut step = Step { loss: task, metrics: vec![task], pairs: Vec::new(), forward };
    let Some(guidance) = guidance else { return Ok(step) };

    let indices = pairs(guidance, target)?;
    let guiding = {
        let _scope = graph.scope("guide");
        guiding(graph, &batch, guidance, &indices, number)?
    };
    let _scope = graph.scope("alignment");
    let names = guidance.guide.network().layers()?;
    let pair = |(&(g, t), gram): (&(usize, usize), Guiding<'g>)| Pair {
        target: step.forward.taps[t].clone(),
        guide: names[g].clone(),
        gram,
    };
    step.pairs = indices.iter().zip(guiding).map(pair).collect();
    let alignment = guidance.align.loss(graph, clock, guidance.schedule.weight(guidance.weight), &step.pairs)?;
    step.loss = task.add(alignment.loss)?;
    step.metrics.extend(alignment.stats);
    Ok(step)
}

/// Logits `[rows, classes]` and labels `[rows]`: a row for each example, or for each of its positions.
pub(super) fn rows<'g>(logits: Var<'g>, labels: Var<'g>) -> Result<(Var<'g>, Var<'g>)> {
    let rows = labels.ty().elements();
    Ok((logits.reshape([rows, logits.shape().last_axis()])?, labels.reshape([rows])?))
}

/// What the guide says of the batch for each pair: looked up where the batches are fixed, else its forward pass.
fn guiding<'g>(
    graph: &'g Graph,
    batch: &Batch<'g>,
    guidance: &Guidance,
    pairs: &[(usize, usize)],
    number: Option<(&FixedBatches, Var<'g>)>,
) -> Result<Vec<Guiding<'g>>> {
    if let Some((fixed, number)) = number {
        return Ok(fixed.guide_grams(graph, number)?.into_iter().map(Guiding::Gram).collect());
    }
    let taps = guidance.guide.forward(graph, batch.input, guidance.taps)?.taps;
    Ok(pairs.iter().map(|&(guide, _)| Guiding::Activations(taps[guide].value)).collect())
}

fn batch<'g>(graph: &'g Graph, feed: &Feed<'g>, training: &Training, clock: &Clock) -> Result<Batch<'g>> {
    let _scope = graph.scope("data");
    let mut batch = feed.batch(graph, clock)?;
    if training.shift > 0 || training.flip {
        let now = graph.leaf(clock.tensor());
        let images = batch.input.images()?;
        batch.input = images.augment(now, training.shift, training.flip, feed.data().black(), training.seed)?.into();
    }
    Ok(batch)
}

/// Pairs of (guide layer, target layer) as indices of taps.
pub(super) fn pairs(guidance: &Guidance, target: &Network) -> Result<Vec<(usize, usize)>> {
    guidance.map.resolve(&guidance.guide.network().layers()?, &target.layers()?)
}
