//! Every layer of one network against every layer of another.

use trellis_data::Place;
use trellis_tensor::{Graph, Layout, Plan, StepState, Var};

use trellis_guidance::network::{Captured, Mode};
use trellis_guidance::{BatchSource, CapturePoint, Cka, Dataset, Error, GramMatch, Metric, Network, Result, Split};

/// Similarity of each pair of layers.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerMatrix {
    /// Layers of the first network, in forward order.
    pub rows: Vec<String>,
    /// Layers of the second network, in forward order.
    pub columns: Vec<String>,
    /// Row after row.
    pub values: Vec<f64>,
}

/// The Gram matrices of `layers` as rows of `[layers, n²]`.
fn grams<'g>(metric: &Metric, layers: &[Var<'g>]) -> Result<Var<'g>> {
    let matrices = metric.all_grams(layers)?;
    let rows = |grams: Var<'g>| -> Result<Var<'g>> {
        let shape = [grams.shape()[0], grams.shape()[1..].iter().product()];
        Ok(grams.reshape(shape)?)
    };
    let rows = matrices.into_iter().map(rows).collect::<Result<Vec<_>>>()?;
    Ok(Var::concat(&rows, 0)?)
}

/// Records the measure of every layer `[n, …]` of `a` with every one of `b`: `[a, b]`.
///
/// Each layer's Gram matrix is made once; the pairs are one matrix product of unit vectors of length n². Cost: n²·p
/// flop for each layer and 2·a·b·n² for the pairs.
///
/// # Errors
/// When a list is empty, for measures that are no cosine of Gram matrices of whole layers, or as [`Metric::compare`].
pub fn layer_matrix<'g>(metric: &Metric, a: &[Var<'g>], b: &[Var<'g>]) -> Result<Var<'g>> {
    let refuse = |problem| {
        let hint = "compare pair by pair, or by CKA or RSA of whole layers";
        Err(Error::config(Place::setting("layer matrix"), "metric", problem, hint))
    };
    match metric {
        Metric::Ridge(_) => return refuse("ridge regression is no product of Gram matrices"),
        Metric::Grams(GramMatch::L2) => return refuse("a squared distance is no product of Gram matrices"),
        Metric::Own(_) => return refuse("a measure of one's own has no Gram matrix"),
        Metric::Cka(cka) if cka.is_of_time_steps() => return refuse("time steps are not one Gram matrix"),
        Metric::Cka(_) | Metric::Rsa(_) | Metric::Grams(GramMatch::Cosine) => {}
    }
    let (a, b) = (grams(metric, a)?, grams(metric, b)?);
    Ok(a.l2_normalize(false)?.matmul(b.l2_normalize(false)?, Layout::NT)?)
}

impl LayerMatrix {
    /// Debiased linear CKA over all images of `split`, in batches of `batch`. The estimators of the three HSIC terms
    /// are added up over the batches before they are divided, so a data set of any size fits and the batch size does
    /// not bias the result (Nguyen et al. 2021, arXiv:2010.15327, section 3). Both networks are in evaluation mode;
    /// images that do not fill a batch are left out, and so are broken ones where the data set leaves them out. Of a streamed set each
    /// image is then read twice, first to find those.
    ///
    /// # Errors
    /// When `batch` is below 4 or above the images of the split that can be read, or memory does not allow it.
    pub fn measure(
        a: &Network,
        b: &Network,
        data: &Dataset,
        split: &Split,
        batch: usize,
        capture: CapturePoint,
    ) -> Result<Self> {
        let (data, split) = &data.readable(split);
        if !(4..=split.count()).contains(&batch) {
            let problem = format!("a batch of {batch} out of {} images that can be read", split.count());
            return Err(Error::config(
                Place::setting("layer matrix"),
                "batch",
                problem,
                "give at least 4, at most all",
            ));
        }
        let (gpu, step_state, graph) = (data.gpu(), StepState::new(data.gpu())?, Graph::new());
        let mut batches = BatchSource::sequential(data, split, batch)?;
        let input = batches.batch(&graph, &step_state)?.input;
        let forward = |network: &Network| network.forward(&graph, input, Mode::Eval, capture);
        let (a, b) = (forward(a)?.activations, forward(b)?.activations);
        let metric = Metric::from(Cka::linear().debiased());
        let names = |activations: &[Captured<'_>]| {
            activations.iter().map(|activation| activation.name.clone()).collect::<Vec<_>>()
        };
        let (rows, columns) = (names(&a), names(&b));
        let [a, b] =
            [a, b].map(|activations| activations.iter().map(|activation| activation.value).collect::<Vec<_>>());
        let (a, b) = (grams(&metric, &a)?, grams(&metric, &b)?);
        // HSIC of a batch, but for the factor n (n − 3) that cancels.
        let terms = [a.matmul(b, Layout::NT)?, a.mul(a)?.sum(&[1], false)?, b.mul(b)?.sum(&[1], false)?];
        let plan = Plan::new(gpu, &graph, &terms)?;
        let mut sums = terms.map(|term| vec![0.0; term.ty().elements()]);
        for step in 0..split.count() / batch {
            step_state.set(step as u32)?;
            batches.prepare(step as u32, 1)?;
            plan.run(1)?;
            for (sum, term) in sums.iter_mut().zip(terms) {
                sum.iter_mut().zip(plan.read(term)?).for_each(|(sum, value)| *sum += f64::from(value));
            }
        }
        let [cross, aa, bb] = sums;
        let value = |at: usize| {
            let scale = (aa[at / bb.len()] * bb[at % bb.len()]).sqrt();
            if scale > 0.0 { cross[at] / scale } else { 0.0 }
        };
        Ok(Self { rows, columns, values: (0..cross.len()).map(value).collect() })
    }

    /// The value for row `a` and column `b`.
    pub fn at(&self, a: usize, b: usize) -> f64 {
        self.values[a * self.columns.len() + b]
    }
}
