//! All that the result of a run depends on, beside its seed, its data and the device.

use super::{ArmGuide, Config, GuidanceConfig};

impl Config {
    /// Text that is the same for two runs of an arm that have the same bits, whichever configurations they are of: with the same
    /// seed and data, on the same device, by the same version. `None` for an arm that begins with the weights of another, and where a
    /// guide comes from a file, whose content may have changed.
    pub(crate) fn sameness_of_arm(&self, arm: &str) -> Option<String> {
        if self.init_from(arm).is_some() {
            return None;
        }
        let guided = self.guide_of(arm) != ArmGuide::None;
        let guides: Option<Vec<String>> = self
            .guiding_arms(arm)
            .iter()
            .map(|of| match self.compared_with(of) {
                ArmGuide::None => Some(String::new()),
                guide => {
                    // The schedule says what these two keys say.
                    let guidance = GuidanceConfig { first_steps: None, decay_steps: 0, ..self.guidance_of(of) };
                    let pull = guided.then(|| (self.schedule_of(of), self.control_of(of), guidance.clone()));
                    let measure = guidance.of_measure();
                    Some(format!("{} {measure:?} {pull:?}", self.sameness_of_guide(&guide)?))
                }
            })
            .collect();
        let guides = guides?;
        let (target, training, batch) = (self.target_of(arm), self.training_of(arm), self.batch_of(arm));
        let unlabeled = self.unlabeled_steps_of(arm);
        Some(format!("{:?} {target:?} {training:?} {batch} {unlabeled} {guided} {guides:?}", self.data))
    }

    /// The same of a guide's own training; `None` for one from a file.
    pub(crate) fn sameness_of_guide(&self, guide: &ArmGuide) -> Option<String> {
        if self.guide_weights(guide).is_some() || self.guide_activations(guide).is_some() {
            return None;
        }
        let t = &self.training;
        let of_file = (self.batch(), t.crop(), t.shift, t.flip);
        let (steps, table) = (self.guide_steps(guide), self.table_of(guide));
        Some(format!("{guide:?} {:?} {steps} {table:?} {of_file:?}", self.data))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn runs_are_the_same_if_nothing_that_they_depend_on_differs() {
        let config = |text: &str| Config::parse(text, Path::new("x.toml")).expect("sane");
        let base = config("");
        let same = |text: &str, arm: &str| config(text).sameness_of_arm(arm) == base.sameness_of_arm(arm);
        for (text, alone, trained) in [
            ("name = \"other\"\nseeds = [9]\n", true, true),
            ("[guidance]\nweight = 3.0\n", true, false),
            ("[guidance]\nmetric = \"cka_debiased\"\n", false, false),
            ("[guidance]\nfirst_steps = 7\n", true, true),
            ("[training]\nlearning_rate = 0.5\n", false, false),
            ("[guide]\nlearning_rate = 0.5\n", false, false),
            ("[data]\nseed = 3\n", false, false),
            ("[target]\ndepth = 3\n", false, false),
            ("[arm.trained]\nlearning_rate = 0.5\n", true, false),
        ] {
            assert_eq!((same(text, "alone"), same(text, "trained")), (alone, trained), "{text}");
        }
        let guide = |text: &str| config(text).sameness_of_guide(&ArmGuide::Trained);
        assert_eq!(guide("[training]\nlearning_rate = 0.5\n"), guide(""));
        assert_ne!(guide("[training]\nbatch = 16\n"), guide(""));
        assert_ne!(base.sameness_of_guide(&ArmGuide::Untrained), guide(""));
        // A file may have changed.
        let from_file = "[guide]\nweights = \"w.safetensors\"\n";
        assert_eq!((guide(from_file), config(from_file).sameness_of_arm("trained")), (None, None));
    }
}
