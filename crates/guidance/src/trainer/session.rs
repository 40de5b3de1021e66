//! A training run that can be advanced: its plans, parameters, optimizer and step state.

use std::time::Duration;

use trellis_data::Place;
use trellis_tensor::{Graph, Log, Optimizer, Plan, Row, StepState};

use super::diagnose::diagnose;
use super::fixed_batches::FixedBatches;
use super::guidance::Guidance;
use super::guides::{Guided, Guides, Pulling};
use super::invariants::check;
use super::methods::Method;
use super::methods::hints::Hints;
use super::step::{Beside, record};
use super::training::{Batches, Training};
use crate::data::{BatchSource, Dataset};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::trainer::records::StepRecord;

/// A run in progress.
pub struct Session<'a> {
    pub(super) target: &'a Network,
    pub(super) data: &'a Dataset,
    pub(super) training: Training,
    pub(super) guides: Guides,
    pub(super) hints: Option<Hints>,
    pub(super) optimizer: Optimizer,
    pub(super) step_state: StepState,
    fixed: Option<FixedBatches>,
    batches: BatchSource<'a>,
    pub(super) plans: Plans,
    /// Number of steps from the first on that the guide alone trains.
    pub(super) unlabeled_steps: u32,
    pub(super) log: Log,
    pub(super) step: u32,
}

/// Plans of the steps of a run: with labels or without, and by the guides that pull.
#[derive(Default)]
pub(super) struct Plans(pub(super) Vec<(bool, Pulling, Plan)>);

impl Plans {
    fn all(&self) -> impl DoubleEndedIterator<Item = &Plan> {
        self.0.iter().map(|(.., plan)| plan)
    }

    /// The plan of a step.
    fn of(&self, labels: bool, pulling: Pulling) -> Option<&Plan> {
        self.0.iter().find(|(with_labels, set, _)| (*with_labels, *set) == (labels, pulling)).map(|(.., plan)| plan)
    }
}

impl<'a> Session<'a> {
    /// Records and compiles the steps of a run that starts with the target as it is, pulled by no guide, one or several.
    ///
    /// # Errors
    /// When layers do not fit, or memory does not allow it; [`Error::Config`] for several guides that do not go together.
    pub fn new<'g>(
        target: &'a Network,
        data: &'a Dataset,
        training: Training,
        guides: impl IntoIterator<Item = &'g Guidance>,
    ) -> Result<Self> {
        let step_state = StepState::new(data.gpu())?;
        let guides = Guides::new(guides, target)?;
        let hints = guides.iter().find(|guided| guided.guidance.method == Method::Hints);
        let hints = hints.map(|guided| Hints::new(data.gpu(), target, &guided.guidance, training.seed)).transpose()?;
        let params = hints.as_ref().map_or(target.params().clone(), |hints| target.params().and(hints.params()));
        let optimizer =
            Optimizer::new(data.gpu(), &params, training.optimizer)?.with_loss_scale(training.precision.loss_scale());
        let balances = guides.iter().any(|guided| guided.guidance.balance);
        let columns = 1 + scale_columns(&training) + guides.columns() + usize::from(balances);
        let log = Log::new(data.gpu(), columns)?;
        if training.batches == Batches::Fixed && training.augments() {
            let hint = "draw random batches, or do not crop, shift and flip";
            return Err(Error::config(
                Place::setting("training"),
                "batches",
                "fixed batches cannot be augmented",
                hint,
            ));
        }
        if training.augments() && guides.iter().any(|guided| guided.guidance.guide.network().is_none()) {
            let problem = "changes images, and the activations of a guide were recorded on images as they are";
            let hint = "do not crop, shift and flip, or give the guide as a network";
            return Err(Error::config(Place::setting("training"), "crop, shift or flip", problem, hint));
        }
        let refused =
            |problem| Err(Error::config(Place::setting("training"), "batches", problem, "draw random batches"));
        if training.batches == Batches::Fixed && guides.iter().len() > 1 {
            return refused("fixed batches look up the Gram matrices of one guide, and there are several");
        }
        if training.batches == Batches::Fixed && guides.iter().any(|guided| guided.guidance.method != Method::Align) {
            return refused("fixed batches look up Gram matrices of the guide, which only alignment compares");
        }
        if training.batches == Batches::Fixed && guides.iter().any(|guided| guided.guidance.guide.is_streamed()) {
            return refused("fixed batches look the guide up once, and its activations do not fit or are streamed");
        }
        let guides = guides.begin(data, training.batch, training.seed)?;
        let fixed = (training.batches == Batches::Fixed)
            .then(|| FixedBatches::new(data, target, training.batch, training.seed, guides.only(training.steps)))
            .transpose()?;
        let batches = training.batches(data)?;
        guides.iter().try_for_each(|guided| guided.guidance.check_unlabeled(training.steps))?;
        // Of several guides none trains without labels.
        let unlabeled_steps = guides.iter().map(|guided| guided.guidance.unlabeled_steps).max().unwrap_or(0);
        let plan = |pulling: Pulling, labels: bool, beside: Option<&Plan>| {
            let graph = Graph::new();
            let among = guides.among(pulling);
            let beside_target = Beside { guides: &among, fixed: fixed.as_ref(), hints: hints.as_ref() };
            let step = record(&graph, target, &batches, &training, &step_state, beside_target)?;
            let balanced = among.first().filter(|guidance| guidance.balance);
            // Task loss, loss scale, pairs of each guide, the factor that balances them.
            let mut metrics = vec![step.task];
            let mut balance = None;
            metrics.extend(match (step.pull, balanced) {
                (Some(pull), _) if !labels => optimizer.update(&graph, pull, &step_state)?,
                (Some(pull), Some(guidance)) => {
                    let share = step_state.value(&graph, guidance.schedule.weight(guidance.weight))?;
                    let losses = [step.task, pull];
                    let (shown, factor) =
                        optimizer.update_balanced(unlabeled_steps, &graph, losses, share, &step_state)?;
                    // The pull has its weight already.
                    balance = Some(factor.mul(share)?);
                    shown
                }
                // The moments begin anew with the first label.
                _ => optimizer.update_since(unlabeled_steps, &graph, step.loss, &step_state)?,
            });
            let mut pulled = step.metrics.into_iter();
            for (number, guided) in guides.iter().enumerate().filter(|_| !pulling.is_none()) {
                match pulling.has(number) {
                    true => metrics.extend(pulled.next().into_iter().flatten()),
                    false => metrics.push(graph.constant(0.0, [guided.columns.len(), 1])),
                }
            }
            metrics.extend(balance);
            log.record(&graph, &step_state, &metrics)?;
            Ok::<Plan, crate::Error>(Plan::beside(beside, data.gpu(), &graph, &[])?)
        };
        let mut plans = Plans::default();
        // The largest first: others fit into its memory.
        for (labels, steps) in [(false, 0..unlabeled_steps), (true, unlabeled_steps..training.steps)] {
            for pulling in guides.sets(steps) {
                let made = plan(pulling, labels, plans.all().last())?;
                plans.0.push((labels, pulling, made));
            }
        }
        Ok(Self {
            target,
            data,
            training,
            guides,
            hints,
            optimizer,
            step_state,
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

    /// Bytes of the plans of its steps: one for each set of guides that pull, with labels or without, each beyond the one before.
    pub fn plans_memory(&self) -> u64 {
        self.plans.all().map(Plan::memory).sum()
    }

    /// The plan that the next step runs; `None` after the last.
    pub fn plan(&self) -> Option<&Plan> {
        self.plans.of(self.step >= self.unlabeled_steps, self.guides.at(self.step))
    }

    /// Submits the next `steps` steps, at most [`Log::CAPACITY`], and gives the metrics that have arrived, which may be
    /// of earlier ones. Blocks until all but the most recent submission has finished.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged), or a lost device.
    pub fn advance(&mut self, steps: u32) -> Result<Vec<StepRecord>> {
        let depth =
            self.guides.iter().map(|guided| guided.guidance.guide.depth()).fold(self.batches.depth(), usize::min);
        let steps = steps.min(self.training.steps - self.step).min(depth as u32);
        let (first, labels) = (self.step, self.step >= self.unlabeled_steps);
        let steps = if labels { steps } else { steps.min(self.unlabeled_steps - first) };
        let steps = self.guides.alike(first, steps);
        if first > 0 && first == self.unlabeled_steps {
            self.optimizer.clear(&self.step_state)?;
        }
        if let Some(plan) = self.plans.of(labels, self.guides.at(first)) {
            self.batches.prepare(first, steps as usize)?;
            self.guides.prepare(first, steps as usize)?;
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
        for guided in self.guides.iter() {
            let step = guided.phase.guided_near(self.step, self.training.steps);
            // Other methods promise nothing of their gradients.
            if let Some(step) = step.filter(|_| guided.guidance.method == Method::Align) {
                check(self.target, self.data, &self.training, &guided.guidance, step, self.fixed.as_ref())?;
            }
        }
        Ok(())
    }

    fn records(&mut self, rows: &[Row]) -> Result<Vec<StepRecord>> {
        if let Some(step) = rows.iter().find_map(|row| row.failed_step) {
            let step = self.training.steps.min(step);
            let guides = self.guides.among(self.guides.at(step));
            let beside = Beside { guides: &guides, fixed: self.fixed.as_ref(), hints: self.hints.as_ref() };
            return Err(diagnose(self.target, self.data, &self.training, step, beside)?);
        }
        let record = |row: &Row| {
            let pulling = self.guides.at(row.step);
            let (scale, columns) = row.values[1..].split_at(scale_columns(&self.training));
            let (mut alignment, mut similarity) = (0.0, Vec::new());
            for (number, Guided { guidance, columns: own, .. }) in self.guides.iter().enumerate() {
                let aligns = guidance.method == Method::Align;
                match columns.get(own.clone()).filter(|_| pulling.has(number)) {
                    Some(values) if aligns => {
                        alignment += values.iter().map(|similarity| 1.0 - similarity).sum::<f32>();
                        similarity.extend(values);
                    }
                    Some(values) => alignment += values.iter().sum::<f32>(),
                    // Another guide pulls, and this one was not measured.
                    None if aligns && !pulling.is_none() => similarity.extend(own.clone().map(|_| f32::NAN)),
                    None => {}
                }
            }
            StepRecord {
                step: u64::from(row.step),
                loss: row.values[0],
                alignment: (!pulling.is_none()).then_some(alignment),
                similarity,
                balance: self.guides.iter().find(|guided| guided.guidance.balance).and_then(|guided| {
                    let balances = !pulling.is_none() && row.step >= self.unlabeled_steps;
                    columns.get(guided.columns.end).copied().filter(|_| balances)
                }),
                learning_rate: self.training.optimizer.rate.at(row.step) as f32,
                loss_scale: scale.first().copied(),
                skipped: scale.get(1).map(|&skipped| skipped as u64),
            }
        };
        let records: Vec<StepRecord> = rows.iter().map(record).collect();
        self.guides.see(&records);
        Ok(records)
    }
}

/// Metrics that loss scaling adds: the scale, and the number of steps left out.
fn scale_columns(training: &Training) -> usize {
    if training.precision.loss_scale().is_some() { 2 } else { 0 }
}
