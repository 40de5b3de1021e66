//! How alike two layers see the same examples, as a loss.

use trellis_tensor::{Clock, Curve, Graph, Var};

use crate::error::Result;
use crate::network::Tap;

/// Centred kernel alignment, the paper's measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cka(());

impl Cka {
    /// Linear CKA, biased: `<K, L> / (|K| |L|)` of the centred Gram matrices (Kornblith et al. 2019, arXiv:1905.00414).
    /// Columns are centred before the product, so a common offset of the activations costs no digits; a constant layer
    /// gives 0 and no gradient.
    pub fn linear() -> Self {
        Self(())
    }

    /// Records `Σ w (1 − CKA)` over pairs of (target layer, guide layer), where w follows `weight` at the clock's step.
    ///
    /// # Errors
    /// When two layers differ in batch size.
    pub fn loss<'g>(
        self,
        graph: &'g Graph,
        clock: &Clock,
        weight: Curve,
        pairs: &[(&Tap<'g>, &Tap<'g>)],
    ) -> Result<Alignment<'g>> {
        let weight = clock.value(graph, weight)?;
        let mut loss = graph.constant(0.0, []);
        let mut stats = Vec::with_capacity(pairs.len());
        for (target, guide) in pairs {
            let _scope = graph.scope(&format!("{}-{}", target.name, guide.name));
            let cka = Var::cka(target.value.centered_gram()?, guide.value.centered_gram()?)?;
            loss = loss.add(cka.value.affine(-1.0, 1.0)?.mul(weight)?)?;
            stats.push(cka.stats);
        }
        Ok(Alignment { loss, stats })
    }
}

/// An alignment loss in a graph.
#[derive(Clone, Debug)]
pub struct Alignment<'g> {
    /// A scalar.
    pub loss: Var<'g>,
    /// `[8]` for each pair, CKA first; word 6 is 1 where a layer is constant.
    pub stats: Vec<Var<'g>>,
}
