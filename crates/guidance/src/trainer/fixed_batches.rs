//! Fixed batches: the guide side of each, from a frozen guide, is computed once and kept.
//!
//! The training images are cut into batches once; an epoch visits all of them in a fresh order. The guide's centered
//! Gram matrices then depend on nothing but the number of the batch. They are tables on the GPU, filled before the
//! first step, and the guide's forward pass disappears from the step.

use trellis_data::Place;
use trellis_rng::Rng;
use trellis_tensor::{Graph, Plan, StepState, Tensor, TensorType, Var};

use super::control::guide_sides;
use super::guidance::Guidance;
use crate::alignment::GuideSide;
use crate::data::{Batch, Dataset};
use crate::error::{Error, Result};
use crate::network::Network;

/// Stream of [`Rng`] that cuts the batches.
const STREAM: u64 = 0x6669_7865_6462;

/// The cut, and the guide's Gram matrices for it.
#[derive(Clone)]
pub(super) struct FixedBatches {
    /// Indices of examples, `[batches, batch]`.
    examples: Tensor,
    /// The guide's centered Gram matrices of one pair of layers or several, `[batches, pairs, batch, batch]`; with time steps
    /// `[batches, pairs, time, batch, batch]`.
    grams: Vec<Tensor>,
    seed: u64,
}

impl FixedBatches {
    /// Cuts the training images of `data`, and runs the guide over all batches once.
    pub(super) fn new(
        data: &Dataset,
        target: &Network,
        batch: usize,
        seed: u64,
        guidance: Option<&Guidance>,
    ) -> Result<Self> {
        let batches = data.train_count() / batch;
        if batches == 0 {
            let problem = format!("{} images do not fill a batch of {batch}", data.train_count());
            return Err(Error::config(Place::setting("training"), "batch", problem, "make it smaller"));
        }
        let mut order: Vec<u32> = (0..data.train_count() as u32).collect();
        Rng::new(seed, STREAM).shuffle(&mut order);
        order.truncate(batches * batch);
        let examples = Tensor::from_u32(data.gpu(), "batches", [batches, batch], &order)?;
        let mut cut = Self { examples, grams: Vec::new(), seed };
        if let Some(guidance) = guidance {
            cut.grams = cut.run_guide(data, target, guidance)?;
        }
        Ok(cut)
    }

    fn run_guide(&self, data: &Dataset, target: &Network, guidance: &Guidance) -> Result<Vec<Tensor>> {
        let (gpu, batches) = (data.gpu(), self.examples.shape()[0]);
        let number = Tensor::zeros(gpu, "number of the batch", TensorType::u32([1]))?;
        let graph = Graph::new();
        let batch = self.examples(data, &graph, graph.leaf(&number))?;
        let sides = guide_sides(&graph, gpu, &batch, data.output(), guidance, &guidance.pairs(target)?, None)?;
        let grams = sides.into_iter().map(|side| guidance.align.gram_of(side)).collect::<Result<Vec<_>>>()?;
        let plan = Plan::new(gpu, &graph, &grams)?;
        // One table for as many pairs as an adapter can bind: one lookup a step.
        let bytes = |gram: &Var<'_>| 4 * batches * gram.ty().elements();
        let most = |gram: &Var<'_>| (gpu.caps().max_binding as usize / bytes(gram)).max(1);
        let tables: Vec<&[Var<'_>]> =
            grams.chunk_by(|a, b| a.shape() == b.shape()).flat_map(|alike| alike.chunks(most(&alike[0]))).collect();
        let mut values = vec![Vec::new(); tables.len()];
        for at in 0..batches as u32 {
            number.write_u32(&[at])?;
            plan.run(1)?;
            for (values, table) in values.iter_mut().zip(&tables) {
                for &gram in *table {
                    values.extend(plan.read(gram)?);
                }
            }
        }
        let upload = |(values, table): (Vec<f32>, &&[Var<'_>])| {
            let shape = [&[batches, table.len()], &table[0].shape()[..]].concat();
            Ok(Tensor::from_f32(gpu, "Gram matrices of the guide", shape, &values)?)
        };
        values.into_iter().zip(&tables).map(upload).collect()
    }

    /// The number of the batch that `step_state` draws: `[1]`, every number once an epoch.
    pub(super) fn number<'g>(&self, graph: &'g Graph, step_state: &StepState) -> Result<Var<'g>> {
        Ok(graph.leaf(step_state.tensor()).sample_batch(self.examples.shape()[0], 1, self.seed)?)
    }

    /// The examples of batch `number`.
    pub(super) fn examples<'g>(&self, data: &Dataset, graph: &'g Graph, number: Var<'g>) -> Result<Batch<'g>> {
        let batch = self.examples.shape()[1];
        data.train_examples(graph, graph.leaf(&self.examples).gather_labels(number)?.reshape([batch])?)
    }

    /// Guide side of batch `number`: the centered Gram matrix of each pair.
    pub(super) fn guide_sides<'g>(&self, graph: &'g Graph, number: Var<'g>) -> Result<Vec<GuideSide<'g>>> {
        let mut grams = Vec::new();
        for table in &self.grams {
            let [_, pairs, gram @ ..] = &table.shape()[..] else { continue };
            let looked_up = graph.leaf(table).gather(number)?.reshape(&table.shape()[1..])?;
            for pair in 0..*pairs {
                grams.push(GuideSide::Gram(looked_up.slice(0, pair, 1)?.reshape(gram)?));
            }
        }
        Ok(grams)
    }
}
