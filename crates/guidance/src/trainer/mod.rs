//! Training a target, guided or alone, entirely on the GPU.
//!
//! A run is a [`Session`]: one plan for guided steps and one for unguided ones over the same parameters, optimiser and
//! clock. The CPU submits chunks of steps and collects metrics of earlier chunks while they run.

mod diagnose;
mod evaluate;
mod fixed_batches;
mod invariants;
pub(crate) mod records;
mod session;
mod state;

use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use trellis_tensor::{Curve, Log, OptimizerConfig};

use crate::alignment::LayerMap;
use crate::alignment::Schedule;
use crate::alignment::{Cka, Metric};
use crate::data::Dataset;
use crate::data::{Crop, Feed};
use crate::error::Result;
use crate::network::{Guide, Network, Precision, TapAt};
pub use evaluate::TRAINING;
pub use evaluate::{Evaluation, evaluate};
pub use records::{EvalRecord, RunRecord, StepRecord, number};
pub use session::Session;
use state::Keeper;

/// How a target is guided.
///
/// ```no_run
/// # use trellis_guidance::{Cka, Guidance, Guide, LayerMap, Schedule};
/// # fn example(guide: Guide) {
/// let guidance = Guidance::new(guide)
///     .align(Cka::linear())
///     .map_layers(LayerMap::even())
///     .schedule(Schedule::first_steps(150))
///     .weight(1.0);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Guidance {
    pub(crate) guide: Guide,
    pub(crate) align: Metric,
    pub(crate) map: LayerMap,
    pub(crate) schedule: Schedule,
    pub(crate) weight: f32,
    pub(crate) taps: TapAt,
}

impl Guidance {
    /// Linear CKA, the even layer map, at every step, with weight 1, before the norm: the paper's choices.
    pub fn new(guide: Guide) -> Self {
        Self {
            guide,
            align: Cka::linear().into(),
            map: LayerMap::even(),
            schedule: Schedule::always(),
            weight: 1.0,
            taps: TapAt::default(),
        }
    }

    /// How alikeness is measured: [`Cka`], or [`Rsa`](crate::Rsa).
    pub fn align(self, metric: impl Into<Metric>) -> Self {
        Self { align: metric.into(), ..self }
    }

    /// Which layers are paired.
    pub fn map_layers(self, map: LayerMap) -> Self {
        Self { map, ..self }
    }

    /// When the guide pulls.
    pub fn schedule(self, schedule: Schedule) -> Self {
        Self { schedule, ..self }
    }

    /// The paper's α: the weight of `Σ (1 − metric)` beside the task loss.
    pub fn weight(self, alpha: f32) -> Self {
        Self { weight: alpha, ..self }
    }

    /// Where layers are tapped.
    pub fn taps(self, taps: TapAt) -> Self {
        Self { taps, ..self }
    }
}

/// How batches are drawn. Either way every example is seen once an epoch, but for those that do not fill a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Batches {
    /// Each epoch deals the examples anew.
    #[default]
    Random,
    /// The examples are dealt once; each epoch shuffles the batches. The guide then says the same of a batch every
    /// time: its Gram matrices are computed once, before the first step, and it does not run again. Not with
    /// augmentation. Cost: `examples · batch · 4` bytes for each pair of layers.
    Fixed,
}

/// What a run needs besides its networks and data.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Training {
    /// Optimiser steps.
    pub steps: u32,
    /// Examples a step.
    pub batch: usize,
    /// How batches are drawn.
    pub batches: Batches,
    /// Optimiser and learning rate.
    pub optimizer: OptimizerConfig,
    /// Whether linear layers multiply f16.
    pub precision: Precision,
    /// Blocks of the target (hidden layers, residual blocks) that are computed again together for the backward pass in place
    /// of being kept: less memory, one more forward pass, the same bits. 0: all are kept.
    pub recompute: usize,
    /// Seed of batches, dropout and augmentation. Initial weights have their own.
    pub seed: u64,
    /// ε of label smoothing, 0 for none.
    pub label_smoothing: f32,
    /// Which part of training images is seen.
    pub crop: Crop,
    /// Training images are shifted by up to this many pixels each way.
    pub shift: usize,
    /// Training images are mirrored with probability 1/2.
    pub flip: bool,
    /// Steps between evaluations; one before the first step and one after the last come on top. 0 for those two alone.
    pub eval_every: u32,
    /// Before the first guided step and at each evaluation, what the gradient of the measure must be is checked. For
    /// debugging: it costs a step and copies the activations to the CPU.
    pub check: bool,
}

impl Training {
    /// Adam at 1e-3 with batches of 128, no augmentation, evaluated before and after.
    pub fn new(steps: u32) -> Self {
        Self {
            steps,
            batch: 128,
            batches: Batches::Random,
            optimizer: OptimizerConfig::adam(Curve::Constant(1e-3)),
            precision: Precision::F32,
            recompute: 0,
            seed: 0,
            label_smoothing: 0.0,
            crop: Crop::Center,
            shift: 0,
            flip: false,
            eval_every: 0,
            check: false,
        }
    }
}

impl Training {
    /// The batches of a run on `data`.
    fn feed<'a>(&self, data: &'a Dataset) -> Result<Feed<'a>> {
        Ok(Feed::shuffled(data, self.batch, self.seed)?.crop(self.crop))
    }

    /// Steps from one evaluation to the next.
    fn evaluation_interval(&self) -> u32 {
        if self.eval_every == 0 { self.steps.max(1) } else { self.eval_every }
    }

    /// Whether there is an evaluation after so many steps.
    fn evaluates_after(&self, step: u32) -> bool {
        step.is_multiple_of(self.evaluation_interval()) || step == self.steps
    }

    /// Whether an image is not the same each time it is seen.
    pub fn augments(&self) -> bool {
        self.shift > 0 || self.flip || self.crop != Crop::Center
    }
}

/// What happens while a run goes on, for progress bars and records.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Steps whose metrics have arrived.
    Steps(&'a [StepRecord]),
    /// An evaluation.
    Eval(&'a EvalRecord),
    /// The run goes on from its state after so many steps.
    Resumed(u32),
    /// Something a person should know, told once.
    Warning(&'a str),
}

/// A target, its data, and how it is trained.
#[derive(Clone, Debug)]
pub struct Trainer<'a> {
    target: &'a Network,
    data: &'a Dataset,
    training: Training,
    guidance: Option<Guidance>,
    probe: Option<Guidance>,
    state: Option<PathBuf>,
}

impl<'a> Trainer<'a> {
    /// Trains `target` on its task alone.
    pub fn new(target: &'a Network, data: &'a Dataset, training: Training) -> Self {
        Self { target, data, training, guidance: None, probe: None, state: None }
    }

    /// Adds the pull of a guide.
    pub fn guided_by(self, guidance: Guidance) -> Self {
        Self { probe: Some(guidance.clone()), guidance: Some(guidance), ..self }
    }

    /// Measures alignment with a guide at each evaluation without being pulled: for the unguided arm.
    pub fn measured_against(self, guidance: Guidance) -> Self {
        Self { probe: Some(guidance), ..self }
    }

    /// Keeps the state of the run in the file `state`, at evaluations and every minute, and goes on from it if the file is
    /// there: with the same bits, on the same adapter, as if the run had not ended. The run's record then begins there. Cost: at
    /// most a twentieth of the time, less often where the file is large. At the end it stays, so that a longer run of the
    /// same training can go on from it.
    pub fn resumable(self, state: impl Into<PathBuf>) -> Self {
        Self { state: Some(state.into()), ..self }
    }

    /// Whether there is an evaluation after so many steps.
    pub fn evaluates_after(&self, step: u32) -> bool {
        self.training.evaluates_after(step)
    }

    /// Guide layer and target layer of each pair that is aligned or measured.
    ///
    /// # Errors
    /// When the layer map names a layer that does not exist.
    pub fn pairs(&self) -> Result<Vec<[String; 2]>> {
        let Some(guidance) = &self.probe else { return Ok(Vec::new()) };
        let (ours, theirs) = (self.target.layers()?, guidance.guide.network().layers()?);
        let name = |(g, t): (usize, usize)| [theirs[g].clone(), ours[t].clone()];
        Ok(guidance.map.resolve(&theirs, &ours)?.into_iter().map(name).collect())
    }

    /// Steps and evaluations, recorded and compiled: what [`Trainer::run`] begins with, for who wants to know what it takes.
    ///
    /// # Errors
    /// When layers do not fit, or memory does not allow it.
    pub fn prepare(&self) -> Result<(Session<'a>, Evaluation<'a>)> {
        let session = Session::new(self.target, self.data, self.training, self.guidance.as_ref())?;
        let evaluation = Evaluation::new(self, session.memory())?;
        Ok((session, evaluation))
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// See [`Trainer::run_with`].
    pub fn run(&self) -> Result<RunRecord> {
        self.run_with(&mut |_| Ok(()))
    }

    /// Trains to the end and tells `observe` what happens; its error ends the run.
    ///
    /// # Errors
    /// [`Error::Diverged`](crate::Error::Diverged) with step and layer when a number is not finite; when layers do not
    /// fit, memory is short or the device is lost; [`Error::Invariant`](crate::Error::Invariant) where checks are on.
    pub fn run_with(&self, observe: &mut dyn FnMut(Event<'_>) -> Result<()>) -> Result<RunRecord> {
        let started = Instant::now();
        let (mut session, mut evaluation) = self.prepare()?;
        let mut keeper = Keeper::new(self.state.as_deref());
        let mut spent = keeper.resume(&mut session)?;
        let before = spent.total;
        if session.step() > 0 {
            observe(Event::Resumed(session.step()))?;
        }
        let mut record = RunRecord { seed: self.training.seed, pairs: self.pairs()?, ..RunRecord::default() };
        let Training { steps, check, .. } = self.training;
        let every = self.training.evaluation_interval();
        loop {
            // A run may go on between two evaluations.
            if self.training.evaluates_after(session.step()) {
                if check {
                    session.check_invariants()?;
                }
                record.evals.extend(evaluation.run(session.step(), observe)?);
            }
            spent.total = before + started.elapsed();
            if session.step() >= steps {
                keeper.finish(&session, spent)?;
                break;
            }
            keeper.keep(&session, spent)?;
            let until = steps.min((session.step() / every + 1) * every);
            let began = Instant::now();
            while session.step() < until && began.elapsed() < keeper.patience() {
                let chunk = (until - session.step()).min(Log::CAPACITY as u32);
                let rows = session.advance(chunk)?;
                observe(Event::Steps(&rows))?;
                record.steps.extend(rows);
            }
            let rows = session.wait()?;
            spent.training += began.elapsed();
            observe(Event::Steps(&rows))?;
            record.steps.extend(rows);
        }
        record.seconds = spent.total.as_secs_f64();
        record.steps_per_s = f64::from(steps) / spent.training.as_secs_f64().max(1e-9);
        Ok(record)
    }
}
