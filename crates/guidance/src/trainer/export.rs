//! A run as a document: its steps, for a program that replays them elsewhere.

use trellis_data::Place;
use trellis_tensor::Export;

use super::session::Session;
use crate::error::{Error, Result};

impl Session<'_> {
    /// Adds the steps of this run to a document: plans `NAME.guided` and `NAME.alone`, those that its schedule has, and the tensors
    ///
    /// - `NAME.state`, `u32[4]`: the step, then the step that failed + 1 or 0. Steps count on from what is written there.
    /// - `NAME.metrics`, `f32[64, columns]`, a ring with a row for each step: the step that failed + 1 or 0, the task loss, the
    ///   similarity of each pair of layers at guided steps.
    /// - `NAME.` and the name of a parameter or running statistic, as in a checkpoint.
    ///
    /// A step needs nothing else from outside: its examples follow from seed and step, and lie in the document's buffers.
    ///
    /// # Errors
    /// [`Error::Config`] for data that are streamed, several guides, steps without labels or mixed precision;
    /// [`trellis_tensor::Error::NotPortable`] where a kernel needs more than every WebGPU adapter has.
    pub fn export(&self, export: &mut Export, name: &str) -> Result<()> {
        let refused = |place: &str, key: &str, problem: &str, hint: &str| {
            Err(Error::config(Place::setting(place), key, problem, hint))
        };
        if self.data.is_streamed() {
            return refused("data", "stream", "steps that are exported hold their examples", "use fewer examples");
        }
        if self.guides.iter().len() > 1 || self.unlabeled_steps > 0 {
            let problem = "a run is exported with one guide at most, and labels at each step";
            return refused("guidance", "guides", problem, "leave out `also` and `unlabeled_steps`");
        }
        if self.training.precision.loss_scale().is_some() {
            return refused("training", "precision", "mixed precision is not exported", "use `precision = \"f32\"`");
        }
        for (_, pulling, plan) in &self.plans.0 {
            let kind = if pulling.is_none() { "alone" } else { "guided" };
            export.plan(&format!("{name}.{kind}"), plan, &[])?;
        }
        export.tensor(&format!("{name}.state"), self.step_state.tensor())?;
        export.tensor(&format!("{name}.metrics"), self.log.ring())?;
        for tensor in self.target.tensors() {
            export.tensor(&format!("{name}.{}", tensor.name()), tensor)?;
        }
        Ok(())
    }
}
