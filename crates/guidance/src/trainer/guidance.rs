//! Guidance: which guide pulls at which layers, by which measure, when and how strongly.

use std::collections::BTreeMap;

use trellis_data::Place;

use super::control::Control;
use super::methods::Method;
use crate::alignment::{Cka, GuideSchedule, GuideSide, LayerMap, Metric, Pair};
use crate::error::{Error, Result};
use crate::guide::Guide;
use crate::network::{CapturePoint, Captured, Network};

/// Settings of guidance: a guide, a measure, a layer map, a schedule and a weight.
///
/// ```no_run
/// # use trellis_guidance::{Cka, Guidance, Guide, LayerMap, GuideSchedule};
/// # fn example(guide: Guide) {
/// let guidance = Guidance::new(guide)
///     .align(Cka::linear())
///     .map_layers(LayerMap::even())
///     .schedule(GuideSchedule::first_steps(150))
///     .weight(1.0);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Guidance {
    pub(crate) guide: Guide,
    pub(crate) align: Metric,
    pub(crate) map: LayerMap,
    pub(crate) schedule: GuideSchedule,
    pub(crate) weight: f32,
    pub(crate) capture: CapturePoint,
    pub(crate) control: Control,
    pub(crate) method: Method,
    pub(crate) unlabeled_steps: u32,
    pub(crate) balance: bool,
    pub(crate) layer_weights: BTreeMap<String, f32>,
}

impl Guidance {
    /// Linear CKA, the even layer map, at every step, with weight 1, before the norm: the paper's choices.
    pub fn new(guide: Guide) -> Self {
        Self {
            guide,
            align: Cka::linear().into(),
            map: LayerMap::even(),
            schedule: GuideSchedule::always(),
            weight: 1.0,
            capture: CapturePoint::default(),
            control: Control::default(),
            method: Method::default(),
            unlabeled_steps: 0,
            balance: false,
            layer_weights: BTreeMap::new(),
        }
    }

    /// Sets the measure of similarity: [`Cka`], [`Rsa`](crate::Rsa), [`Ridge`](crate::Ridge), or a [`Measure`](crate::Measure) of
    /// one's own.
    pub fn align(self, metric: impl Into<Metric>) -> Self {
        Self { align: metric.into(), ..self }
    }

    /// Sets which layers are paired.
    pub fn map_layers(self, map: LayerMap) -> Self {
        Self { map, ..self }
    }

    /// Sets when the guide pulls.
    pub fn schedule(self, schedule: GuideSchedule) -> Self {
        Self { schedule, ..self }
    }

    /// Sets the paper's α: the weight of `Σ (1 − metric)` beside the task loss.
    pub fn weight(self, alpha: f32) -> Self {
        Self { weight: alpha, ..self }
    }

    /// Sets the point at which activations are captured.
    pub fn capture(self, capture: CapturePoint) -> Self {
        Self { capture, ..self }
    }

    /// Sets a control: what the guide sees, or what stands in its place.
    pub fn control(self, control: Control) -> Self {
        Self { control, ..self }
    }

    /// Sets how the guide teaches: by alignment of layers, unless this is called. Evaluations compare layers by the measure in any case.
    pub fn method(self, method: Method) -> Self {
        Self { method, ..self }
    }

    /// Sets weights of single layers of the target, beside that of all: each 1 unless it is named here. Evaluations are as ever.
    pub fn layer_weights(self, weights: impl IntoIterator<Item = (String, f32)>) -> Self {
        Self { layer_weights: weights.into_iter().collect(), ..self }
    }

    /// Refuses weights of layers that nothing pulls at, and where there is no weight for each pair.
    pub(super) fn check_layer_weights(&self, target: &Network) -> Result<()> {
        if self.layer_weights.is_empty() {
            return Ok(());
        }
        let refused = |problem: String, hint: &str| {
            Err(Error::config(Place::setting("guidance"), "layer_weights", problem, hint))
        };
        if self.method != Method::Align || self.map == LayerMap::All {
            let problem = "is for pairs that are aligned, each with a weight of its own".to_string();
            return refused(problem, "use `method = \"align\"`, and another map than `all`");
        }
        let layers = target.layers()?;
        let pulled: Vec<&str> = self.pairs(target)?.into_iter().map(|(_, layer)| layers[layer].as_str()).collect();
        match self.layer_weights.keys().find(|name| !pulled.contains(&name.as_str())) {
            Some(unknown) => {
                let hint = format!("it pulls at {}", pulled.join(", "));
                refused(format!("names `{unknown}`, at which the guide does not pull"), &hint)
            }
            None => Ok(()),
        }
    }

    /// Sets whether the weight is relative: the gradient of the alignment loss then has `weight` times the norm of the task's, over all
    /// parameters, at each step. Cost: a further backward pass of the target.
    pub fn balance(self, on: bool) -> Self {
        Self { balance: on, ..self }
    }

    /// Refuses what the method cannot work with: controls that do not run the guide, logits of other classes.
    ///
    /// # Errors
    /// [`Error::Config`] with the key.
    pub(super) fn check_method(&self, target: &Network) -> Result<()> {
        let refused =
            |key: &str, problem: String, hint: &str| Err(Error::config(Place::setting("guidance"), key, problem, hint));
        let is_run = matches!(self.control, Control::None | Control::Permuted | Control::Noise);
        let Some(network) = self.guide.network() else {
            return match (self.method, self.control) {
                (Method::Distill { .. } | Method::Hints, _) => {
                    let problem = format!("takes a guide that is run, and activations are compared: {}", self.method);
                    refused("method", problem, "align layers, or give a network")
                }
                (_, Control::Noise) => {
                    let problem = "takes a guide that is run, and activations were recorded".to_string();
                    refused("control", problem, "choose another control, or give a network")
                }
                (_, control) => {
                    let grams = (0..self.guide.layers()?.len()).any(|layer| self.guide.is_gram(layer));
                    if grams && !self.align.is_linear_cka() {
                        let problem = format!(
                            "has no use for Gram matrices of the guide, and some were recorded: {}",
                            self.align
                        );
                        return refused("metric", problem, "compare by `cka`, or record activations");
                    }
                    if grams && matches!(control, Control::Permuted | Control::Rotated) {
                        let problem = "changes activations, and Gram matrices of the guide were recorded".to_string();
                        return refused("control", problem, "choose another control, or record activations");
                    }
                    Ok(())
                }
            };
        };
        let [ours, theirs] = [target.output(), network.output()].map(|output| output.classes);
        match self.method {
            Method::Distill { .. } | Method::Hints if self.balance => {
                let problem = format!("scales the gradient of an alignment loss, and {} has none", self.method);
                refused("balance", problem, "align layers, or do not balance")
            }
            Method::Distill { .. } | Method::Hints if !is_run => {
                let problem = format!("stands in the guide's place with Gram matrices, and {} has none", self.method);
                refused("control", problem, "align layers, or choose another control")
            }
            Method::Distill { .. } if ours != theirs => {
                let problem = format!("distills logits: the guide has {theirs} classes and the target {ours}");
                refused("method", problem, "give both the same classes, or align layers")
            }
            Method::Align | Method::Distill { .. } | Method::Hints => Ok(()),
        }
    }

    /// Sets the number of steps, from the first on, in which the guide alone trains the target: the task loss has no weight. It is
    /// still recorded. After them training goes on by the schedule as it would have begun, with new optimizer moments: those of
    /// the guide's gradients are forgotten. The learning rate follows the steps of the whole run.
    ///
    /// With [`GuideSchedule::first_steps`] of as many steps this is guided initialization: first the guide without labels, then
    /// labels without the guide.
    pub fn unlabeled_steps(self, steps: u32) -> Self {
        Self { unlabeled_steps: steps, ..self }
    }

    /// Refuses steps without labels at which the guide does not pull either.
    pub(crate) fn check_unlabeled(&self, total: u32) -> Result<()> {
        let problem = match self.unlabeled_steps {
            0 => None,
            _ if self.weight == 0.0 => Some("have no loss at all: the guide's weight is 0".to_string()),
            steps => self.schedule.problem_without_labels(steps, total),
        };
        let hint = "let the guide pull at each of these steps, and leave some steps with labels";
        let refused = |problem| Err(Error::config(Place::setting("guidance"), "unlabeled_steps", problem, hint));
        problem.map_or(Ok(()), refused)
    }

    /// Pairs of (guide layer, target layer) as indices of captured activations.
    ///
    /// # Errors
    /// When the layer map names a layer that does not exist.
    pub(crate) fn pairs(&self, target: &Network) -> Result<Vec<(usize, usize)>> {
        self.map.resolve(&self.guide.layers()?, &target.layers()?)
    }

    /// Layers of the target, each with the guide's side of it: `indices` are those of [`Guidance::pairs`].
    pub(super) fn pair_up<'g>(
        &self,
        ours: &[Captured<'g>],
        indices: &[(usize, usize)],
        sides: Vec<GuideSide<'g>>,
    ) -> Result<Vec<Pair<'g>>> {
        let names = self.guide.layers()?;
        let pair = |(&(g, t), gram): (&(usize, usize), GuideSide<'g>)| Pair {
            target: ours[t].clone(),
            guide: names[g].clone(),
            gram,
            weight: self.layer_weights.get(&ours[t].name).copied().unwrap_or(1.0),
        };
        Ok(indices.iter().zip(sides).map(pair).collect())
    }
}
