//! The alignment loss over all pairs of layers, weighted by how alike they are.

use trellis_tensor::{Graph, Schedule, StepState, Var};

use super::{Alignment, Metric, Pair};
use crate::error::Result;

/// Least weight of a pair before weights are divided by their sum: layers that are not alike at all weigh the same.
const LEAST: f32 = 1e-6;

impl Metric {
    /// Records `Σ w (1 − metric)` over the pairs of [`LayerMap::all`](crate::LayerMap::all), times the value of `schedule` at the step
    /// state's step. Each layer has one Gram matrix for all its pairs.
    ///
    /// # Errors
    /// As [`Metric::compare`].
    pub(crate) fn weighted_loss<'g>(
        &self,
        graph: &'g Graph,
        step_state: &StepState,
        schedule: Schedule,
        pairs: &[Pair<'g>],
    ) -> Result<Alignment<'g>> {
        let guides = pairs.iter().take_while(|pair| pair.target.name == pairs[0].target.name).count();
        let theirs = pairs[..guides].iter().map(|pair| self.gram_of(pair.gram)).collect::<Result<Vec<_>>>()?;
        let (mut values, mut stats) = (Vec::new(), Vec::new());
        for of_target in pairs.chunks(guides) {
            let own = self.gram(of_target[0].target.value)?;
            for (pair, &gram) in of_target.iter().zip(&theirs) {
                let _scope = graph.scope(&pair.name());
                let similarity = self.compare_grams(own, gram)?;
                values.push(similarity.value.reshape([1])?);
                stats.push(similarity.stats);
            }
        }
        let alike = Var::concat(&values, 0)?.reshape([pairs.len() / guides, guides])?;
        let weights = alike.detach()?.relu()?.affine(1.0, LEAST)?;
        let weights = weights.div(weights.sum(&[1], true)?)?;
        let loss = alike.affine(-1.0, 1.0)?.mul(weights)?.sum_all()?;
        Ok(Alignment { loss: loss.mul(step_state.value(graph, schedule)?)?, stats })
    }
}
