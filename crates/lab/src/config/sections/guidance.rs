//! `[guidance]`: how the layers of target and guide are compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::keys::{ABOVE_0, FROM_0, PART, section, words_of_enums};
use crate::config::{ConfigError, values};
use trellis_guidance::{CapturePoint, Cka, GramMatch, LayerMap, Method, Metric, Ridge, Rsa};

section! {
    /// `[guidance]`: the alignment loss.
    GuidanceConfig {
        /// Method by which the guide teaches: alignment of layers, distillation of its logits, or hints, which are regressions on its
        /// layers. Evaluations compare layers by `metric` in any case.
        method: MethodName = MethodName::Align;
        /// Temperature of distillation.
        temperature: f32 = 4.0, in ABOVE_0, needs "method = \"distill\"" |g| g.method == MethodName::Distill;
        /// Share α of distillation in the loss; 1 − α is that of the labels.
        mixture: f32 = 0.9, in PART, needs "method = \"distill\"" |g| g.method == MethodName::Distill;
        /// Measure of similarity.
        metric: MetricName = MetricName::Cka;
        /// Width σ of the Gaussian kernel as a fraction of the median distance.
        bandwidth: f32 = 1.0, in ABOVE_0, needs "a metric of `rbf_cka`" |g| {
            matches!(g.metric, MetricName::RbfCka | MetricName::RbfCkaDebiased)
        };
        /// Regularization λ of ridge regression.
        lambda: f32 = 0.1, in ABOVE_0, needs "metric = \"ridge\"" |g| g.metric == MetricName::Ridge;
        /// Weight α of the alignment loss, Σ (1 − metric), or of the errors of hints.
        weight: f32 = 1.0, in FROM_0, needs "another method than `distill`, which has `mixture`" |g| {
            g.method != MethodName::Distill
        };
        /// If true, α is relative: the gradient of the alignment loss has α times the norm of the task's at each step, over all
        /// parameters.
        #[serde(skip_serializing_if = "is_false")]
        balance: bool = false, needs "method = \"align\"" |g| g.method == MethodName::Align;
        /// Weights of single layers of the target, beside α: `layer_weights = { fc1 = 0.5 }`. Those of other layers are 1.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        layer_weights: BTreeMap<String, f32> = BTreeMap::new(), in FROM_0, needs "method = \"align\", and another map than `all`" |g| {
            g.method == MethodName::Align && g.map != MapName::All
        };
        /// Point at which activations are captured.
        taps: CapturePoint = CapturePoint::BeforeNorm;
        /// Guided steps of the arm `trained_first`, unless it has its own; half of all without the key.
        #[serde(skip_serializing_if = "Option::is_none")]
        first_steps: Option<u32> = None;
        /// Step at which the weight of arms without a schedule of their own has fallen linearly to 0; 0 for a constant weight.
        decay_steps: u32 = 0;
        /// Rule that pairs layers: `even`, the paper's, which spreads the guide's layers over the target's; `depth`, which gives every
        /// layer of the target the guide's at the same share of the depth; `last`, the last layer of each; `all`, every pair, weighted
        /// for each layer of the target by how alike they are. Without the key `even`.
        #[serde(skip_serializing_if = "is_even")]
        map: MapName = MapName::Even, needs "no `pairs`" |g| g.pairs.is_empty();
        /// Pairs of guide layer and target layer, in place of `map`.
        #[serde(deserialize_with = "values::two::pairs")]
        pairs: Vec<(String, String)> = Vec::new();
    }
}

/// Measures by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// Linear CKA, biased: the paper's.
    Cka,
    /// Linear CKA, debiased.
    CkaDebiased,
    /// CKA of Gaussian kernels, biased.
    RbfCka,
    /// CKA of Gaussian kernels, debiased.
    RbfCkaDebiased,
    /// RSA by cosine.
    RsaCosine,
    /// RSA by correlation.
    RsaPearson,
    /// Kernel ridge regression.
    Ridge,
    /// Cosine of Gram matrices that are not centered.
    GramCosine,
    /// Squared distance of Gram matrices that are not centered and whose rows have length 1.
    GramL2,
}

/// Methods by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MethodName {
    /// Alignment of layers.
    Align,
    /// Distillation of logits.
    Distill,
    /// Regressions on layers.
    Hints,
}

/// Layer maps by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MapName {
    /// The guide's layers spread over the target's.
    Even,
    /// Every layer of the target, by its share of the depth.
    Depth,
    /// The last layer of each.
    Last,
    /// Every pair, weighted by how alike they are.
    All,
}

fn is_false(on: &bool) -> bool {
    !on
}

fn is_even(map: &MapName) -> bool {
    *map == MapName::Even
}

impl GuidanceConfig {
    /// The same without the keys that only say how strongly a guide pulls, and by which method.
    pub(in crate::config) fn of_measure(&self) -> Self {
        let Self { method, temperature, mixture, weight, balance, .. } = Self::default();
        Self { method, temperature, mixture, weight, balance, ..self.clone() }
    }

    /// The layer map.
    pub(in crate::config) fn layer_map(&self) -> LayerMap {
        match (self.pairs.as_slice(), self.map) {
            ([], MapName::Even) => LayerMap::even(),
            ([], MapName::Depth) => LayerMap::by_depth(),
            ([], MapName::Last) => LayerMap::last(),
            ([], MapName::All) => LayerMap::all(),
            (pairs, _) => LayerMap::named(pairs.iter().cloned()),
        }
    }

    /// The measure of similarity.
    pub(in crate::config) fn metric(&self) -> Metric {
        let rbf = Cka::rbf(self.bandwidth);
        match self.metric {
            MetricName::Cka => Cka::linear().into(),
            MetricName::CkaDebiased => Cka::linear().debiased().into(),
            MetricName::RbfCka => rbf.into(),
            MetricName::RbfCkaDebiased => rbf.debiased().into(),
            MetricName::RsaCosine => Rsa::Cosine.into(),
            MetricName::RsaPearson => Rsa::Pearson.into(),
            MetricName::Ridge => Ridge::new(self.lambda).into(),
            MetricName::GramCosine => GramMatch::Cosine.into(),
            MetricName::GramL2 => GramMatch::L2.into(),
        }
    }

    /// The method, and its weight beside the task loss.
    pub(crate) fn method(&self) -> (Method, f32) {
        match self.method {
            MethodName::Align => (Method::Align, self.weight),
            MethodName::Distill => (Method::Distill { temperature: self.temperature }, self.mixture),
            MethodName::Hints => (Method::Hints, self.weight),
        }
    }
}
words_of_enums!(MethodName, MetricName, MapName, CapturePoint);
