//! Layer maps: which layer of the guide pulls which layer of the target.

use trellis_data::Place;

use crate::error::{Error, Result};

/// A rule that pairs guide layers with target layers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayerMap {
    /// The paper's rule: guide layers are spread evenly over the target's (see [`LayerMap::even`]).
    Even,
    /// Every layer of the target, by its share of the depth (see [`LayerMap::by_depth`]).
    ByDepth,
    /// The last layer of each.
    Last,
    /// Every pair (see [`LayerMap::all`]).
    All,
    /// Pairs of (guide layer, target layer) by name.
    Named(Vec<(String, String)>),
}

impl LayerMap {
    /// Guide layer i of m goes to target layer `round(i (n − 1) / (m − 1))` of n, halves to the even neighbor. Where
    /// several land on one target layer the last one counts (arXiv:2410.20035, and the authors' `layer_supervision`).
    pub fn even() -> Self {
        Self::Even
    }

    /// Every target layer j of n goes to guide layer `round(j (m − 1) / (n − 1))` of m, halves to the even neighbor. Unlike
    /// [`LayerMap::even`] it leaves out no layer of the target, and a guide's layer may pull several.
    pub fn by_depth() -> Self {
        Self::ByDepth
    }

    /// The last layer of the guide, to the last layer of the target that can be aligned.
    pub fn last() -> Self {
        Self::Last
    }

    /// Every guide layer with every target layer. Each target layer's pairs share a weight of 1, in proportion to how alike they are
    /// at that step: `Σ w (1 − s)` with `w = s / Σ s`, of which no gradient is taken. So a layer of the target is pulled most towards
    /// the layers of the guide that it is like. Cost: a comparison of `[n, n]` matrices for each pair.
    pub fn all() -> Self {
        Self::All
    }

    /// Explicit pairs, guide layer first: `LayerMap::named([("conv1", "fc1"), ("pool", "fc6")])`.
    pub fn named<G: Into<String>, T: Into<String>>(pairs: impl IntoIterator<Item = (G, T)>) -> Self {
        Self::Named(pairs.into_iter().map(|(guide, target)| (guide.into(), target.into())).collect())
    }

    /// Pairs of (guide index, target index), in order of the target.
    ///
    /// # Errors
    /// [`Error::Config`] when a name does not exist, a pair stands there twice, or there is nothing to pair.
    pub(crate) fn resolve(&self, guide: &[String], target: &[String]) -> Result<Vec<(usize, usize)>> {
        let mut pairs = match self {
            Self::Even => even(guide.len(), target.len()),
            Self::ByDepth => by_depth(guide.len(), target.len()),
            Self::All => (0..target.len()).flat_map(|t| (0..guide.len()).map(move |g| (g, t))).collect(),
            Self::Last => guide.len().checked_sub(1).zip(target.len().checked_sub(1)).into_iter().collect(),
            Self::Named(pairs) => pairs
                .iter()
                .map(|(g, t)| Ok((position("guide", guide, g)?, position("target", target, t)?)))
                .collect::<Result<Vec<_>>>()?,
        };
        if pairs.is_empty() {
            let problem = format!("pairs no layers ({} in the guide, {} in the target)", guide.len(), target.len());
            return Err(Error::config(Place::setting("layer map"), "", problem, "both networks need hidden layers"));
        }
        pairs.sort_by_key(|&(_, target)| target);
        if let Some(&(g, t)) = pairs.iter().enumerate().find(|(at, pair)| pairs[..*at].contains(pair)).map(|(_, p)| p) {
            let problem = format!("pairs `{}` with `{}` twice", guide[g], target[t]);
            return Err(Error::config(Place::setting("layer map"), "", problem, "name each pair once"));
        }
        Ok(pairs)
    }
}

fn even(guide: usize, target: usize) -> Vec<(usize, usize)> {
    if guide == 0 || target == 0 {
        return Vec::new();
    }
    let step = if guide == 1 { 1.0 } else { (target - 1) as f64 / (guide - 1) as f64 };
    let mut last = vec![None; target];
    for i in 0..guide {
        last[((i as f64 * step).round_ties_even() as usize).min(target - 1)] = Some(i);
    }
    last.into_iter().enumerate().filter_map(|(t, g)| Some((g?, t))).collect()
}

fn by_depth(guide: usize, target: usize) -> Vec<(usize, usize)> {
    if guide == 0 || target == 0 {
        return Vec::new();
    }
    let step = if target == 1 { 0.0 } else { (guide - 1) as f64 / (target - 1) as f64 };
    // The only layer of a target is its last.
    let first = if target == 1 { (guide - 1) as f64 } else { 0.0 };
    (0..target).map(|at| (((first + at as f64 * step).round_ties_even() as usize).min(guide - 1), at)).collect()
}

fn position(whose: &str, layers: &[String], name: &str) -> Result<usize> {
    layers.iter().position(|layer| layer == name).ok_or_else(|| {
        let problem = format!("the {whose} has no layer `{name}`");
        Error::config(Place::setting("layer map"), name, problem, format!("its layers are {}", layers.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(guide: usize, target: usize) -> Vec<usize> {
        even(guide, target).into_iter().map(|(_, t)| t).collect()
    }

    #[test]
    fn all_pairs_are_in_order_of_the_target() {
        let layers = |count: usize| (0..count).map(|i| format!("l{i}")).collect::<Vec<_>>();
        let pairs = LayerMap::all().resolve(&layers(2), &layers(3)).expect("layers on both sides");
        assert_eq!(pairs, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)]);
        assert!(LayerMap::all().resolve(&layers(0), &layers(3)).is_err());
    }

    #[test]
    fn the_even_rule_gives_the_papers_pairs() {
        // ResNet-18 (21 maps) to the Deep FCN (48 linear layers), ResNet-18 to the Wide FCN: from the authors' code.
        let deep = [0, 2, 5, 7, 9, 12, 14, 16, 19, 21, 24, 26, 28, 31, 33, 35, 38, 40, 42, 45, 47];
        assert_eq!(targets(21, 48), deep);
        assert_eq!(even(21, 3), [(5, 0), (14, 1), (20, 2)]);
        assert_eq!(even(20, 4), [(3, 0), (9, 1), (15, 2), (19, 3)]);
        assert_eq!(even(20, 6).iter().map(|p| p.0).collect::<Vec<_>>(), [1, 5, 9, 13, 17, 19]);
        assert_eq!(even(1, 5), [(0, 0)]);
        assert_eq!(even(0, 5), []);
    }

    #[test]
    fn other_rules_pair_every_layer_or_the_last() {
        assert_eq!(by_depth(3, 6), [(0, 0), (0, 1), (1, 2), (1, 3), (2, 4), (2, 5)]);
        assert_eq!(by_depth(6, 3), [(0, 0), (2, 1), (5, 2)]);
        assert_eq!((by_depth(1, 2), by_depth(4, 1), by_depth(0, 3)), (vec![(0, 0), (0, 1)], vec![(3, 0)], vec![]));
        let layers = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>();
        assert_eq!(LayerMap::last().resolve(&layers(4), &layers(7)).unwrap(), [(3, 6)]);
        assert!(LayerMap::last().resolve(&layers(0), &layers(7)).is_err());
        assert_eq!(LayerMap::by_depth().resolve(&layers(2), &layers(3)).unwrap(), [(0, 0), (0, 1), (1, 2)]);
    }

    #[test]
    fn unknown_layers_are_named_with_what_exists() {
        let layers = ["conv1".to_string(), "pool".to_string()];
        let error = LayerMap::named([("conv9", "conv1")]).resolve(&layers, &layers).unwrap_err().to_string();
        assert!(error.contains("conv9") && error.contains("conv1, pool"), "{error}");
        assert_eq!(LayerMap::named([("pool", "conv1")]).resolve(&layers, &layers).unwrap(), [(1, 0)]);
        assert!(LayerMap::even().resolve(&layers, &[]).is_err());
        // Layers may stand in several pairs, but a pair counts once.
        let pairs = [("pool", "conv1"), ("conv1", "conv1"), ("pool", "pool")];
        assert_eq!(LayerMap::named(pairs).resolve(&layers, &layers).unwrap(), [(1, 0), (0, 0), (1, 1)]);
        let twice = LayerMap::named([pairs.as_slice(), &pairs[..1]].concat());
        let error = twice.resolve(&layers, &layers).unwrap_err().to_string();
        assert!(error.contains("pairs `pool` with `conv1` twice"), "{error}");
    }
}
