//! The alignment loss over pairs of layers. Small layers share dispatches: one for the Gram matrices of all of them, one for
//! their comparison, one for the gradients.

use std::ops::Range;

use trellis_tensor::ops::{LayerGrams, Similarity};
use trellis_tensor::{CkaForm, CkaSizes, Graph, Schedule, StepState, Var};

use super::Metric;
use crate::error::Result;
use crate::network::Captured;

/// A layer of the target and what it is compared with.
#[derive(Clone, Debug)]
pub struct Pair<'g> {
    /// The target's layer.
    pub target: Captured<'g>,
    /// Name of the guide's layer.
    pub guide: String,
    /// Guide side of the pair for the batch.
    pub gram: GuideSide<'g>,
    /// Weight of the pair, beside that of all.
    pub weight: f32,
}

/// Guide side of a pair: activations, or their Gram matrix.
#[derive(Clone, Copy, Debug)]
pub enum GuideSide<'g> {
    /// Activations `[n, …]`.
    Activations(Var<'g>),
    /// The centered Gram matrix `[n, n]` of them, from [`Metric::gram`], computed before.
    Gram(Var<'g>),
}

impl<'g> Pair<'g> {
    /// As in "fc1-conv2": the target's layer, then the guide's.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.target.name, self.guide)
    }

    /// Two layers of the same batch.
    pub fn of(target: &Captured<'g>, guide: &Captured<'g>) -> Self {
        Self {
            target: target.clone(),
            guide: guide.name.clone(),
            gram: GuideSide::Activations(guide.value),
            weight: 1.0,
        }
    }
}

/// An alignment loss in a graph.
#[derive(Clone, Debug)]
pub struct Alignment<'g> {
    /// A scalar.
    pub loss: Var<'g>,
    /// The measure of each pair, for a log: tensors of one pair or several, in order. Statistics `[8]` of CKA and RSA, the
    /// measure first, word 6 is 1 where a layer is constant; `[pairs, 8]` of several.
    pub stats: Vec<Var<'g>>,
}

impl Metric {
    /// The Gram matrix of the guide's side of a pair.
    pub(crate) fn gram_of<'g>(&self, side: GuideSide<'g>) -> Result<Var<'g>> {
        match side {
            GuideSide::Activations(layer) => self.gram(layer),
            GuideSide::Gram(gram) => Ok(gram),
        }
    }

    /// The measure of one pair, for a loss.
    pub(crate) fn compare_pair<'g>(&self, pair: &Pair<'g>) -> Result<Similarity<'g>> {
        match pair.gram {
            GuideSide::Activations(guide) => self.compare_layers(pair.target.value, guide, true),
            GuideSide::Gram(gram) => self.compare_grams(self.gram(pair.target.value)?, gram),
        }
    }

    /// The measure of several pairs at once: the value is their mean.
    fn compare_pairs<'g>(&self, pairs: &[Pair<'g>]) -> Result<Similarity<'g>> {
        let targets: Vec<Var<'g>> = pairs.iter().map(|pair| pair.target.value).collect();
        let guide = |pair: &Pair<'g>| match pair.gram {
            GuideSide::Activations(layer) => Ok(layer),
            GuideSide::Gram(gram) => Ok(gram.reshape([&[1], &gram.shape()[..]].concat())?),
        };
        let guides = pairs.iter().map(guide).collect::<Result<Vec<_>>>()?;
        let l = match pairs[0].gram {
            GuideSide::Activations(_) => self.grams(&guides)?,
            GuideSide::Gram(_) => Var::concat(&guides, 0)?,
        };
        self.compare_grams(self.grams(&targets)?, l)
    }

    /// Size of a pair, if its layers can be compared in one dispatch with others.
    fn batchable_pair(&self, pair: &Pair<'_>) -> Option<Batchable> {
        let target = self.batchable(pair.target.value)?;
        let GuideSide::Activations(guide) = pair.gram else { return Some(Batchable { looked_up: true, ..target }) };
        let guide = self.batchable(guide).filter(|guide| guide.n == target.n)?;
        let [n, p, q] = [target.n, target.elements / target.n, guide.elements / guide.n];
        let form = CkaForm::choose(CkaSizes { n, p, q, gradient: true });
        let by_features = self.is_linear_cka() && form == CkaForm::Features;
        (!by_features).then_some(Batchable { elements: target.elements.max(guide.elements), ..target })
    }

    /// Size of a layer, if its Gram matrix can be made in one dispatch with others.
    fn batchable(&self, layer: Var<'_>) -> Option<Batchable> {
        let whole = match self {
            Self::Cka(cka) => !cka.is_of_time_steps(),
            Self::Rsa(_) => true,
            Self::Ridge(_) | Self::Grams(_) | Self::Own(_) => false,
        };
        let [n, p] = layer.flatten().ok()?.shape()[..] else { return None };
        let fits = n > 0 && p.is_multiple_of(4) && n * p <= LARGEST_LAYER;
        (whole && fits).then_some(Batchable { n, elements: n * p, looked_up: false })
    }

    /// The Gram matrices of layers `[n, …]` in order, as `[layers, n, n]` of some of them at a time.
    ///
    /// # Errors
    /// As [`Metric::gram`].
    pub fn all_grams<'g>(&self, layers: &[Var<'g>]) -> Result<Vec<Var<'g>>> {
        let sizes: Vec<_> = layers.iter().map(|&layer| self.batchable(layer)).collect();
        let grams = |run: Range<usize>| match &layers[run] {
            [layer] => {
                let gram = self.gram(*layer)?;
                Ok(gram.reshape([&[1], &gram.shape()[..]].concat())?)
            }
            layers => self.grams(layers),
        };
        runs(&sizes).into_iter().map(grams).collect()
    }

    /// Records `w Σ w(pair) (1 − metric)` over pairs of layers, where w follows `weight` at the step state's step. Neighboring pairs
    /// of the same weight are compared in one go where they are small.
    ///
    /// # Errors
    /// As [`Metric::compare`].
    pub fn loss<'g>(
        &self,
        graph: &'g Graph,
        step_state: &StepState,
        weight: Schedule,
        pairs: &[Pair<'g>],
    ) -> Result<Alignment<'g>> {
        let weight = step_state.value(graph, weight)?;
        let mut loss = graph.constant(0.0, []);
        let mut stats = Vec::new();
        let sizes: Vec<_> = pairs.iter().map(|pair| self.batchable_pair(pair)).collect();
        let runs = runs(&sizes).into_iter().map(|run| &pairs[run]);
        for run in runs.flat_map(|run| run.chunk_by(|a, b| a.weight == b.weight)) {
            let (first, last) = (&run[0], &run[run.len() - 1]);
            let value = if run.len() == 1 {
                let _scope = graph.scope(&first.name());
                let similarity = self.compare_pair(first)?;
                stats.push(similarity.stats);
                similarity.value
            } else {
                let _scope = graph.scope(&format!("{}…{}", first.name(), last.name()));
                let similarity = self.compare_pairs(run)?;
                stats.push(similarity.each);
                similarity.value
            };
            let count = run.len() as f32 * first.weight;
            loss = loss.add(value.affine(-count, count)?.mul(weight)?)?;
        }
        Ok(Alignment { loss, stats })
    }
}

/// Elements of a layer whose products fill a GPU by themselves, and of all layers of one dispatch: 16 and 64 MiB.
const LARGEST_LAYER: usize = 1 << 22;
const LARGEST_RUN: usize = 1 << 24;

/// A layer, or a pair of layers, that can share dispatches with others.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Batchable {
    /// Examples.
    n: usize,
    /// Of the larger layer.
    elements: usize,
    /// The guide's Gram matrix comes out of a table.
    looked_up: bool,
}

/// Cuts a list into runs that share dispatches; a layer that cannot share is a run of its own.
fn runs(sizes: &[Option<Batchable>]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut elements = 0;
    for (at, size) in sizes.iter().enumerate() {
        let shares = |last: &Range<usize>| match (sizes[last.start], size) {
            (Some(first), Some(own)) => {
                let alike = (first.n, first.looked_up) == (own.n, own.looked_up);
                alike && last.len() < LayerGrams::LAYERS && elements + own.elements <= LARGEST_RUN
            }
            _ => false,
        };
        match runs.last_mut().filter(|last| shares(last)) {
            Some(last) => last.end += 1,
            None => {
                runs.push(at..at + 1);
                elements = 0;
            }
        }
        elements += size.map_or(0, |size| size.elements);
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_what_can_share_dispatches() {
        let of = |n, elements| Some(Batchable { n, elements, looked_up: false });
        let small = of(128, 1000);
        assert!(runs(&[]).is_empty());
        assert_eq!(runs(&[small; 3]).first(), Some(&(0..3)));
        assert_eq!(runs(&[small, None, small, small]), [0..1, 1..2, 2..4]);
        assert_eq!(runs(&[small, of(64, 1000)]), [0..1, 1..2], "another batch");
        let looked_up = Some(Batchable { n: 128, elements: 1000, looked_up: true });
        assert_eq!(runs(&[small, looked_up, looked_up]), [0..1, 1..3]);
        assert_eq!(
            runs(&[small; LayerGrams::LAYERS + 2]),
            [0..LayerGrams::LAYERS, LayerGrams::LAYERS..LayerGrams::LAYERS + 2]
        );
        assert_eq!(runs(&[of(128, LARGEST_LAYER); 6]), [0..4, 4..6], "64 MiB");
    }
}
