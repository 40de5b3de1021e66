//! A run from its first step to its last: steps, evaluations, its state on disk.

use std::path::PathBuf;
use std::time::Instant;

use trellis_tensor::Log;

use super::evaluate::Evaluation;
use super::guidance::Guidance;
use super::records::{EvalRecord, RunRecord, StepRecord};
use super::session::Session;
use super::state::Checkpointer;
use super::training::Training;
use crate::data::Dataset;
use crate::error::Result;
use crate::network::Network;

/// Event of a run, for progress bars and records.
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
    pub(super) target: &'a Network,
    pub(super) data: &'a Dataset,
    pub(super) training: Training,
    guides: Vec<Guidance>,
    /// Guides that evaluations compare with.
    pub(super) probes: Vec<Guidance>,
    state: Option<PathBuf>,
}

impl<'a> Trainer<'a> {
    /// Trains `target` on its task alone.
    pub fn new(target: &'a Network, data: &'a Dataset, training: Training) -> Self {
        Self { target, data, training, guides: Vec::new(), probes: Vec::new(), state: None }
    }

    /// Adds the pull of a guide. Several guides pull at the same target, each on its own layers and by its own schedule; their weighted
    /// losses add up.
    pub fn guided_by(mut self, guidance: Guidance) -> Self {
        self.probes.push(guidance.clone());
        self.guides.push(guidance);
        self
    }

    /// Measures alignment with a guide at each evaluation without being pulled: for the unguided arm.
    pub fn measured_against(mut self, guidance: Guidance) -> Self {
        self.probes.push(guidance);
        self
    }

    /// Keeps the state of the run in the file `state`, at evaluations and every minute, and goes on from it if the file
    /// is there. On the same adapter the bits are those of a run that had not ended. The run's record then begins
    /// there. Cost: at most a twentieth of the time, less often where the file is large. At the end the file stays, so
    /// that a longer run of the same training can go on from it.
    pub fn resumable(self, state: impl Into<PathBuf>) -> Self {
        Self { state: Some(state.into()), ..self }
    }

    /// Its settings.
    pub fn training(&self) -> &Training {
        &self.training
    }

    /// Guide layer and target layer of each pair that is aligned or measured. Of several guides a layer is called by the number of its
    /// guide too, as in `2:conv1`.
    ///
    /// # Errors
    /// When the layer map names a layer that does not exist.
    pub fn pairs(&self) -> Result<Vec<[String; 2]>> {
        let mut pairs = Vec::new();
        for (number, guidance) in (1..).zip(&self.probes) {
            let (ours, theirs) = (self.target.layers()?, guidance.guide.layers()?);
            let whose = if self.probes.len() > 1 { format!("{number}:") } else { String::new() };
            let name = |(g, t): (usize, usize)| [format!("{whose}{}", theirs[g]), ours[t].clone()];
            pairs.extend(guidance.map.resolve(&theirs, &ours)?.into_iter().map(name));
        }
        Ok(pairs)
    }

    /// Steps and evaluations, recorded and compiled, with which [`Trainer::run`] begins. Use this to inspect memory
    /// before training.
    ///
    /// # Errors
    /// When layers do not fit, or memory does not allow it.
    pub fn prepare(&self) -> Result<(Session<'a>, Evaluation<'a>)> {
        let session = Session::new(self.target, self.data, self.training, &self.guides)?;
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
        let mut keeper = Checkpointer::new(self.state.as_deref());
        let mut spent = keeper.resume(&mut session)?;
        let before = spent.total;
        if session.step() > 0 {
            observe(Event::Resumed(session.step()))?;
        }
        let mut record = RunRecord { seed: self.training.seed, pairs: self.pairs()?, ..RunRecord::default() };
        let Training { steps, check, .. } = self.training;
        let every = self.training.evaluation_interval();
        let mut first = true;
        loop {
            // A run may go on between two evaluations.
            if self.training.evaluates_after(session.step()) {
                if check {
                    session.check_invariants()?;
                }
                record.evals.extend(evaluation.run(session.step(), observe)?);
            }
            // Not at the last step: a longer run need not have an evaluation there.
            if session.step().is_multiple_of(every) {
                session.guides.review(session.step());
            }
            spent.total = before + started.elapsed();
            if session.step() >= steps {
                keeper.finish(&session, spent)?;
                break;
            }
            keeper.keep(&session, spent)?;
            let until = steps.min((session.step() / every + 1) * every);
            let mut began = Instant::now();
            if first {
                // Kernels are compiled when they first run.
                let mut rows = session.advance(1)?;
                rows.extend(session.wait()?);
                observe(Event::Steps(&rows))?;
                record.steps.extend(rows);
                (first, began) = (false, Instant::now());
            }
            while session.step() < until && began.elapsed() < keeper.save_interval() {
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
        // Of a run of one step there is nothing but the first.
        record.steps_per_s = f64::from(steps.saturating_sub(1)) / spent.training.as_secs_f64().max(1e-9);
        Ok(record)
    }
}
