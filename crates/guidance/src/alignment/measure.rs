//! Measures of similarity that are defined outside this crate.

use std::{fmt, ptr};

use trellis_data::Place;
use trellis_tensor::ops::Similarity;
use trellis_tensor::{DType, Var};

use crate::error::{Error, Result};

/// A measure of similarity of one's own, recorded in ops, for [`Guidance::align`](crate::Guidance::align). Its gradient is that of the
/// ops. `examples/own_measure.rs` is one.
///
/// Pairs are compared one by one, where small layers of a built-in measure share dispatches. Fixed batches
/// ([`Batches::Fixed`](crate::Batches::Fixed)) and matrices of layers need Gram matrices and refuse it.
pub trait Measure: fmt::Debug + Send + Sync {
    /// A few words for messages: `linear CKA`.
    fn describe(&self) -> String;

    /// Fewest examples between which it tells anything. A smaller batch is an error.
    fn least_examples(&self) -> usize;

    /// Records the similarity of a target's layer and a guide's over the same examples: f32 `[n, …]` each, of as many axes as the
    /// networks have; [`Var::flatten`] makes them `[n, features]`. The result is a scalar, 1 for equal layers: the loss
    /// is `Σ w (1 − similarity)`. A value or gradient that is not finite, for a constant layer say, ends the run.
    ///
    /// # Errors
    /// When it does not compare such layers.
    fn compare<'g>(&self, target: Var<'g>, guide: Var<'g>) -> Result<Var<'g>>;

    /// True if an offset common to all examples does not change it. [`Training::check`](crate::Training::check) then tests that the
    /// columns of its gradient sum to 0.
    fn ignores_offset(&self) -> bool {
        false
    }

    /// True if the scale of a layer does not change it. [`Training::check`](crate::Training::check) then tests that its gradient is at
    /// right angles to the layer.
    fn ignores_scale(&self) -> bool {
        false
    }
}

/// Equal if they are one object.
impl PartialEq for dyn Measure {
    fn eq(&self, other: &Self) -> bool {
        ptr::addr_eq(self, other)
    }
}

/// The comparison of one pair, if the layers and the result have the right shapes.
pub(super) fn checked<'g>(measure: &dyn Measure, target: Var<'g>, guide: Var<'g>) -> Result<Similarity<'g>> {
    let refuse = |problem, hint| Err(Error::config(Place::setting("alignment"), "metric", problem, hint));
    if target.shape().first() != guide.shape().first() {
        let problem = format!(
            "{} compares layers of the same examples, not {} and {}",
            measure.describe(),
            target.ty(),
            guide.ty()
        );
        return refuse(problem, "run both networks on one batch");
    }
    let value = measure.compare(target, guide)?;
    if value.ty().dtype != DType::F32 || value.shape().rank() != 0 {
        let problem =
            format!("{} of {} and {} is {}, not a scalar", measure.describe(), target.ty(), guide.ty(), value.ty());
        return refuse(problem, "end `Measure::compare` with a sum or a mean over all axes");
    }
    Ok(Similarity { value, stats: value, each: value })
}
