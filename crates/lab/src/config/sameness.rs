//! All that the result of a run depends on, beside its seed, its data and the device.

use super::{ArmGuide, Config, GuidanceConfig};

impl Config {
    /// Text that is the same for two runs of an arm that have the same bits, whichever configurations they are of: with the same
    /// seed and data, on the same device, by the same version. `None` for an arm that begins with the weights of another.
    pub(crate) fn sameness_of_arm(&self, arm: &str) -> Option<String> {
        if self.init_from(arm).is_some() {
            return None;
        }
        let guided = self.guide_of(arm) != ArmGuide::None;
        let guides: Vec<String> = self
            .guiding_arms(arm)
            .iter()
            .map(|of| match self.compared_with(of) {
                ArmGuide::None => String::new(),
                guide => {
                    // The schedule says what these two keys say.
                    let guidance = GuidanceConfig { first_steps: None, decay_steps: 0, ..self.guidance_of(of) };
                    let pull = guided.then(|| (self.schedule_of(of), self.control_of(of), guidance.clone()));
                    let measure = guidance.of_measure();
                    format!("{} {measure:?} {pull:?}", self.sameness_of_guide(&guide))
                }
            })
            .collect();
        let (target, training, batch) = (self.target_of(arm), self.training_of(arm), self.batch_of(arm));
        let unlabeled = self.unlabeled_steps_of(arm);
        Some(format!("{:?} {target:?} {training:?} {batch} {unlabeled} {guided} {guides:?}", self.data))
    }

    /// The same of a guide's own training.
    pub(crate) fn sameness_of_guide(&self, guide: &ArmGuide) -> String {
        let t = &self.training;
        let of_file = (self.batch(), t.crop(), t.shift, t.flip);
        format!("{:?} {} {:?} {of_file:?}", self.data, self.guide_steps(guide), self.table_of(guide))
    }
}
