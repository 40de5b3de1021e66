//! A training run that can be advanced: its plans, parameters, optimizer and step state.

use std::time::Duration;

use trellis_data::Place;
use trellis_tensor::{Graph, Log, Optimizer, Plan, Row, StepState};

use super::diagnose::diagnose;
use super::fixed_batches::FixedBatches;
use super::guidance::Guidance;
use super::invariants::check;
use super::methods::Method;
use super::methods::hints::Hints;
use super::phase::Phase;
use super::step::{Beside, record};
use super::training::{Batches, Training};
use crate::data::{BatchSource, Dataset};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::trainer::records::StepRecord;

/// A run in progress.
pub struct Session<'a> {
    pub(super) target: &'a Network,
    data: &'a Dataset,
    pub(super) training: Training,
    guidance: Option<Guidance>,
    pub(super) hints: Option<Hints>,
    pub(super) optimizer: Optimizer,
    pub(super) step_state: StepState,
    pub(super) phase: Phase,
    fixed: Option<FixedBatches>,
    batches: BatchSource<'a>,
    plans: Plans,
    /// Number of steps from the first on that the guide alone trains.
    unlabeled_steps: u32,
    log: Log,
    pub(super) step: u32,
}

/// Plans of the steps of a run, as far as it has such steps.
#[derive(Default)]
struct Plans {
    /// Of steps that the guide alone trains.
    unlabeled: Option<Plan>,
    guided: Option<Plan>,
    unguided: Option<Plan>,
}

impl Plans {
    fn all(&self) -> impl DoubleEndedIterator<Item = &Plan> {
        [&self.unlabeled, &self.guided, &self.unguided].into_iter().flatten()
    }

    /// The plan of a step.
    fn of(&self, labels: bool, guided: bool) -> Option<&Plan> {
        match (labels, guided) {
            (false, _) => self.unlabeled.as_ref(),
            (true, true) => self.guided.as_ref(),
            (true, false) => self.unguided.as_ref(),
        }
    }
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
        let step_state = StepState::new(data.gpu())?;
        guidance.map_or(Ok(()), |guidance| guidance.check_method(target))?;
        let hints = guidance.filter(|guidance| guidance.method == Method::Hints);
        let hints = hints.map(|g| Hints::new(data.gpu(), target, g, training.seed)).transpose()?;
        let params = hints.as_ref().map_or(target.params().clone(), |hints| target.params().and(hints.params()));
        let optimizer =
            Optimizer::new(data.gpu(), &params, training.optimizer)?.with_loss_scale(training.precision.loss_scale());
        let phase = Phase::new(guidance.map(|g| g.schedule));
        // One number of each pair, or that of another method.
        let columns = match guidance {
            None => 0,
            Some(guidance) if guidance.method == Method::Align => guidance.pairs(target)?.len(),
            Some(_) => 1,
        };
        let log = Log::new(data.gpu(), 1 + scale_columns(&training) + columns)?;
        if training.batches == Batches::Fixed && training.augments() {
            let hint = "draw random batches, or do not crop, shift and flip";
            return Err(Error::config(
                Place::setting("training"),
                "batches",
                "fixed batches cannot be augmented",
                hint,
            ));
        }
        let aligns = guidance.is_none_or(|guidance| guidance.method == Method::Align);
        if training.batches == Batches::Fixed && !aligns {
            let problem = "fixed batches look up Gram matrices of the guide, which only alignment compares";
            return Err(Error::config(Place::setting("training"), "batches", problem, "draw random batches"));
        }
        let pulls = guidance.filter(|_| phase.begins(training.steps));
        let fixed = (training.batches == Batches::Fixed)
            .then(|| FixedBatches::new(data, target, training.batch, training.seed, pulls))
            .transpose()?;
        let batches = training.batches(data)?;
        guidance.map_or(Ok(()), |g| g.check_unlabeled(training.steps))?;
        let unlabeled_steps = guidance.map_or(0, |g| g.unlabeled_steps);
        let plan = |guidance: Option<&Guidance>, labels: bool, beside: Option<&Plan>| {
            let graph = Graph::new();
            let beside_target = Beside { guidance, fixed: fixed.as_ref(), hints: hints.as_ref() };
            let step = record(&graph, target, &batches, &training, &step_state, beside_target)?;
            // Task loss, loss scale, pairs: an unguided step has no pairs.
            let mut metrics = step.metrics;
            // The moments begin anew with the first label.
            let (loss, first) = match step.pull.filter(|_| !labels) {
                Some(pull) => (pull, 0),
                None => (step.loss, unlabeled_steps),
            };
            metrics.splice(1..1, optimizer.update_since(first, &graph, loss, &step_state)?);
            log.record(&graph, &step_state, &metrics)?;
            Ok::<Plan, crate::Error>(Plan::beside(beside, data.gpu(), &graph, &[])?)
        };
        let mut plans = Plans::default();
        if unlabeled_steps > 0 {
            plans.unlabeled = Some(plan(pulls, false, None)?);
        }
        if let Some(guidance) = pulls.filter(|_| (unlabeled_steps..training.steps).any(|step| phase.guides(step))) {
            plans.guided = Some(plan(Some(guidance), true, plans.all().last())?);
        }
        if pulls.is_none() || phase.pauses(training.steps) {
            plans.unguided = Some(plan(None, true, plans.all().last())?);
        }
        let guidance = guidance.cloned();
        Ok(Self {
            target,
            data,
            training,
            guidance,
            hints,
            optimizer,
            step_state,
            phase,
            fixed,
            batches,
            plans,
            unlabeled_steps,
            log,
            step: 0,
        })
    }

    /// Steps taken.
    pub fn step(&self) -> u32 {
        self.step
    }

    /// Total time that [`Session::advance`] has waited for examples that are read while they are needed.
    pub fn waited(&self) -> Duration {
        self.batches.waited()
    }

    /// The plan whose memory other plans between steps may use, that of all its steps.
    pub(super) fn memory(&self) -> Option<&Plan> {
        self.plans.all().last()
    }

    /// Bytes of the plans of its steps: of one without labels, a guided and an unguided one, as far as they are used, each beyond the
    /// one before.
    pub fn plans_memory(&self) -> u64 {
        self.plans.all().map(Plan::memory).sum()
    }

    /// The plan that the next step runs; `None` after the last.
    pub fn plan(&self) -> Option<&Plan> {
        self.plans.of(self.step >= self.unlabeled_steps, self.phase.guides(self.step))
    }

    /// Submits the next `steps` steps, at most [`Log::CAPACITY`], and gives the metrics that have arrived, which may be
    /// of earlier ones. Blocks until all but the most recent submission has finished.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged), or a lost device.
    pub fn advance(&mut self, steps: u32) -> Result<Vec<StepRecord>> {
        let steps = steps.min(self.training.steps - self.step).min(self.batches.depth() as u32);
        let (first, labels) = (self.step, self.step >= self.unlabeled_steps);
        let steps = if labels { steps } else { steps.min(self.unlabeled_steps - first) };
        let steps = self.phase.alike(first, steps);
        if first > 0 && first == self.unlabeled_steps {
            self.optimizer.clear(&self.step_state)?;
        }
        if let Some(plan) = self.plans.of(labels, self.phase.guides(first)) {
            self.batches.prepare(first, steps as usize)?;
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

    /// Checks the gradient of the measure on the step that comes next, or on the guided one nearest to it. The gradient's columns must
    /// sum to 0, and it must be at right angles to the activations, as far as the measure promises. The step is run apart; nothing
    /// that trains changes.
    ///
    /// # Errors
    /// [`Error::Invariant`](crate::Error::Invariant) with step and layer.
    pub fn check_invariants(&self) -> Result<()> {
        let step = self.phase.guided_near(self.step, self.training.steps);
        let (Some(guidance), Some(step)) = (&self.guidance, step) else { return Ok(()) };
        // Other methods promise nothing of their gradients.
        if guidance.method != Method::Align {
            return Ok(());
        }
        check(self.target, self.data, &self.training, guidance, step, self.fixed.as_ref())
    }

    fn records(&mut self, rows: &[Row]) -> Result<Vec<StepRecord>> {
        if let Some(step) = rows.iter().find_map(|row| row.failed_step) {
            let step = self.training.steps.min(step);
            let guidance = self.guidance.as_ref().filter(|_| self.phase.guides(step));
            let beside = Beside { guidance, fixed: self.fixed.as_ref(), hints: self.hints.as_ref() };
            return Err(diagnose(self.target, self.data, &self.training, step, beside)?);
        }
        let record = |row: &Row| {
            let guided = self.phase.guides(row.step);
            let (scale, pairs) = row.values[1..].split_at(scale_columns(&self.training));
            let aligns = self.guidance.as_ref().is_some_and(|guidance| guidance.method == Method::Align);
            let similarity = if guided && aligns { pairs.to_vec() } else { Vec::new() };
            let alignment =
                if aligns { pairs.iter().map(|similarity| 1.0 - similarity).sum() } else { pairs.iter().sum() };
            StepRecord {
                step: u64::from(row.step),
                loss: row.values[0],
                alignment: guided.then_some(alignment),
                similarity,
                learning_rate: self.training.optimizer.rate.at(row.step) as f32,
                loss_scale: scale.first().copied(),
                skipped: scale.get(1).map(|&skipped| skipped as u64),
            }
        };
        let records: Vec<StepRecord> = rows.iter().map(record).collect();
        self.phase.see(&records);
        Ok(records)
    }
}

/// Metrics that loss scaling adds: the scale, and the number of steps left out.
fn scale_columns(training: &Training) -> usize {
    if training.precision.loss_scale().is_some() { 2 } else { 0 }
}
