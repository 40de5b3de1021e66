//! How much memory an experiment takes, found out without taking it.

use std::path::Path;

use serde::Serialize;
use trellis_tensor::Gpu;

use crate::config::Config;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::schedule::Schedule;
use crate::trainer::Trainer;

/// Bytes on the GPU of the arm with the most of them: a guided one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// What data it is for.
    pub data: String,
    /// What holds memory for the whole run, and how much: data, networks, moments, plans of a step.
    pub parts: Vec<(String, u64)>,
    /// The most that is in use at once.
    pub peak: u64,
    /// By the name of what holds it, most first.
    pub by_name: Vec<(String, u64)>,
    /// Name and size of the largest piece, which an adapter must be able to bind.
    pub largest: (String, u64),
}

impl Memory {
    /// Counts what training the target of `config` takes on what `data` gives, [`Config::dataset`] say. `gpu`, which is that of
    /// the data, must have been opened to count ([`GpuOptions::count_memory`](trellis_tensor::GpuOptions::count_memory)).
    ///
    /// # Errors
    /// When data cannot be read, or layers do not fit each other.
    pub fn count(gpu: &Gpu, config: &Config, data: impl FnOnce() -> Result<Dataset>) -> Result<Self> {
        debug_assert!(gpu.counts_memory());
        let mut parts = Vec::new();
        let mut before = 0;
        let mut part = |parts: &mut Vec<(String, u64)>, name: String| {
            let now = gpu.memory_used();
            parts.push((name, now - before));
            before = now;
        };
        let data = data()?;
        let config = &config.resolved_for(Path::new("configuration"), &data)?;
        part(&mut parts, "data".to_string());
        let about = format!("{}, {}", data.name(), data.extent());
        // Without a guided arm, the unguided one is all there is.
        let arm = config.guided_arm();
        let own = arm.unwrap_or(&config.arms[0]);
        let target = config.draw_target(own, &data, 0)?;
        part(&mut parts, format!("target, {}", target.describe()));
        let mut trainer = Trainer::new(&target, &data, config.training(own, 0));
        if let Some(arm) = arm {
            let guide = config.draw_guide(&data, 0)?;
            part(&mut parts, format!("guide, {}", guide.describe()));
            trainer = trainer.guided_by(config.guidance(arm, guide.freeze()).schedule(Schedule::always()));
        }
        let (session, evaluation) = trainer.prepare()?;
        let step = session.plan().map_or(0, |plan| plan.memory());
        let evaluated = evaluation.memory();
        let rest = gpu.memory_used() - before - step - evaluated;
        parts.push(("optimiser, metrics, tables of the guide".to_string(), rest));
        parts.push(("a step: gradients, activations, scratch".to_string(), step));
        parts.push(("evaluations, beyond the memory of a step".to_string(), evaluated));
        let (by_name, peak) = gpu.memory_by_name();
        Ok(Self { data: about, parts, peak, by_name, largest: gpu.largest_buffer() })
    }
}
