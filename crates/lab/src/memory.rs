//! Memory that an experiment takes, found out without taking it.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use trellis_data::Place;
use trellis_tensor::Gpu;

use crate::config::{ArmGuide, Config};
use trellis_guidance::{Dataset, Error, Guide, Network, Result, Trainer};

/// Bytes on the GPU of the arm, or of the training of a guide, that takes most of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Name of the experiment.
    pub experiment: String,
    /// The arm; `guide`, or `guide-` and its name, where the training of a guide takes most.
    pub arm: String,
    /// True where the training of a guide takes most.
    pub guide_training: bool,
    /// Name and extent of the data.
    pub data: String,
    /// Parts that hold memory for the whole run, and their bytes: data, networks, moments, plans of a step.
    pub parts: Vec<(String, u64)>,
    /// Greatest number of bytes in use at once.
    pub peak: u64,
    /// Bytes by the name of their holder, most first.
    pub by_name: Vec<(String, u64)>,
    /// Name and size of the largest buffer, which an adapter must be able to bind.
    pub largest: (String, u64),
}

/// Names that the table lists.
const LISTED: usize = 12;

impl Memory {
    /// Counts what training takes on `data`, [`Config::dataset`] say: every arm of `config` and the training of its
    /// guide are recorded as a run would record them. Nothing is allocated, compiled or run. The data may lie on a GPU
    /// that trains, or on one that was opened for a dry run
    /// ([`GpuOptions::dry_run`](trellis_tensor::GpuOptions::dry_run)).
    ///
    /// # Errors
    /// When layers do not fit each other, or a step has loops that the adapter cannot run.
    pub fn count(config: &Config, data: &Dataset) -> Result<Self> {
        let counted = Self::of_each(config, data)?;
        let most = Self::largest(&counted).cloned();
        most.ok_or_else(|| Error::config(Place::setting("configuration"), "arms", "is empty", "name an arm"))
    }

    /// That which takes most; of equals the first, as the arms are listed in the order of the file.
    pub(crate) fn largest(counted: &[Self]) -> Option<&Self> {
        counted.iter().reduce(|most, next| if next.peak > most.peak { next } else { most })
    }

    /// The same of each arm, and of the training of each guide.
    ///
    /// # Errors
    /// As [`Memory::count`].
    pub(crate) fn of_each(config: &Config, data: &Dataset) -> Result<Vec<Self>> {
        let config = &config.resolved_for(Path::new("configuration"), data)?;
        let mut counted = config
            .arms
            .iter()
            .map(|arm| Self::of_arm(config, data, arm).map_err(|error| error.in_run(format!("arm {arm}"))))
            .collect::<Result<Vec<_>>>()?;
        for guide in config.guides_in_use().iter().filter(|guide| config.guide_steps(guide) > 0) {
            counted.push(Self::of_guide(config, data, guide)?);
        }
        Ok(counted)
    }

    /// An arm, with the guides that stay in memory while it trains.
    fn of_arm(config: &Config, data: &Dataset, arm: &str) -> Result<Self> {
        let mut account = Account::new(config, data)?;
        let data = &account.data.clone();
        let guides = account.guides(config, data)?;
        let target = config.draw_target(arm, data, 0)?;
        account.close(format!("target, {}", target.describe()));
        let find = |of: &ArmGuide| guides.iter().find(|(kind, _)| kind == of).map(|(_, guide)| guide.clone());
        account.finish(arm, &config.trainer(arm, &target, data, find, 0))
    }

    /// The training of a guide.
    fn of_guide(config: &Config, data: &Dataset, of: &ArmGuide) -> Result<Self> {
        let mut account = Account::new(config, data)?;
        let data = &account.data.clone();
        let guides = account.guides(config, data)?;
        let guide = guides.iter().find(|(kind, _)| kind == of).and_then(|(_, guide)| guide.network());
        let Some(guide) = guide else { unreachable!("asked for only where an arm has one") };
        if guide.output() != data.output() {
            let (key, hint) = (format!("{}.classes", of.table()), "remove it, or `steps`");
            let problem = "are not those of the data, which the guide is to be trained on";
            return Err(Error::config(Place::setting("configuration"), key, problem, hint));
        }
        let memory = account.finish(&of.name(), &Trainer::new(guide, data, config.guide_training(of, 0)))?;
        Ok(Self { guide_training: true, ..memory })
    }

    /// The same memory, and `bytes` more for what `name` says, used at its peak.
    pub fn and(mut self, name: &str, bytes: u64) -> Self {
        self.parts.push((name.to_string(), bytes));
        self.peak += bytes;
        self
    }

    /// Refuses an experiment that does not fit on `gpu`: at most `copies` runs at once.
    ///
    /// # Errors
    /// [`Error::Memory`] with the table.
    pub fn check(&self, gpu: &Gpu, copies: usize) -> Result<()> {
        let (caps, budget) = (gpu.caps(), gpu.memory_budget());
        let limit = caps.max_binding.min(caps.max_buffer);
        let problem = if self.largest.1 > limit {
            let (name, bytes) = &self.largest;
            format!("{name} takes {}, and this adapter binds up to {}", mebibytes(*bytes), mebibytes(limit))
        } else if self.peak.saturating_mul(copies as u64) > budget {
            let all =
                if copies > 1 { format!("{copies} jobs of {}", mebibytes(self.peak)) } else { mebibytes(self.peak) };
            format!("it takes {all}, and may use {}", mebibytes(budget))
        } else {
            return Ok(());
        };
        Err(Error::Memory { problem, table: self.to_string() })
    }
}

/// The table of `trellis plan`.
impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arm = match (self.guide_training, self.arm.strip_prefix("guide-")) {
            (false, _) => format!("arm {}", self.arm),
            (true, None) => "training of the guide".to_string(),
            (true, Some(name)) => format!("training of the guide {name}"),
        };
        writeln!(f, "{}, {arm}, which takes most", self.experiment)?;
        writeln!(f, "data: {}", self.data)?;
        for (name, bytes) in &self.parts {
            writeln!(f, "{:>16}  {name}", mebibytes(*bytes))?;
        }
        writeln!(f, "{:>16}  at most at once", mebibytes(self.peak))?;
        writeln!(f, "most of it:")?;
        for (name, bytes) in self.by_name.iter().take(LISTED) {
            writeln!(f, "{:>16}  {name}", mebibytes(*bytes))?;
        }
        write!(f, "largest piece: {}, {}", self.largest.0, mebibytes(self.largest.1))
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Account of one run's memory, part by part, on a GPU of its own that only counts.
struct Account {
    gpu: Gpu,
    data: Dataset,
    experiment: String,
    parts: Vec<(String, u64)>,
    before: u64,
    /// Memory of the GPU that is to train.
    budget: u64,
}

impl Account {
    fn new(config: &Config, data: &Dataset) -> Result<Self> {
        let (gpu, budget) = (data.gpu().counting(), data.gpu().memory_budget());
        let data = data.counted_on(&gpu)?;
        let mut account = Self { gpu, data, experiment: config.name.clone(), parts: Vec::new(), before: 0, budget };
        account.close("data".to_string());
        Ok(account)
    }

    /// Ends a part, to which all memory belongs that was taken since the last.
    fn close(&mut self, name: String) {
        let now = self.gpu.memory_used();
        self.parts.push((name, now - self.before));
        self.before = now;
    }

    /// Guides that some arm uses: each stays in memory while all arms of a seed train.
    fn guides(&mut self, config: &Config, data: &Dataset) -> Result<Vec<(ArmGuide, Guide)>> {
        let mut guides = Vec::new();
        for of in config.guides_in_use() {
            let guide = config.guide(&of, data, 0)?;
            let what = guide.network().map_or("recorded layers".to_string(), Network::describe);
            self.close(format!("{}, {what}", of.words()));
            guides.push((of, guide));
        }
        Ok(guides)
    }

    fn finish(mut self, arm: &str, trainer: &Trainer<'_>) -> Result<Memory> {
        // To record the step of a network of hundreds of GiB takes minutes, and its parameters alone do not fit.
        if self.gpu.memory_used() > self.budget {
            self.parts.push(("the step was not counted: this alone does not fit".to_string(), 0));
            return Ok(self.close_with(arm));
        }
        let (session, evaluation) = trainer.prepare()?;
        let (steps, evaluated) = (session.plans_memory(), evaluation.memory());
        let rest = self.gpu.memory_used() - self.before - steps - evaluated;
        self.parts.push(("optimizer, metrics, tables of the guide".to_string(), rest));
        self.parts.push(("a step: gradients, activations, scratch".to_string(), steps));
        self.parts.push(("evaluations, beyond the memory of a step".to_string(), evaluated));
        Ok(self.close_with(arm))
    }

    fn close_with(self, arm: &str) -> Memory {
        let (by_name, peak) = self.gpu.memory_by_name();
        let data = format!("{}, {}", self.data.name(), self.data.extent());
        let largest = self.gpu.largest_buffer();
        let Self { experiment, parts, .. } = self;
        Memory { experiment, arm: arm.to_string(), guide_training: false, data, parts, peak, by_name, largest }
    }
}
