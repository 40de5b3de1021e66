//! Frequency of each class among the training labels.

use trellis_tensor::{Graph, Plan, StepState};

use crate::data::BatchSource;
use crate::data::Dataset;
use crate::error::Result;

/// Largest number of training examples whose labels are counted.
const COUNTED: usize = 10_000;

/// Examples that are read at once.
const BATCH: usize = 250;

impl Dataset {
    /// Share of each class among the training labels, `[classes]`, which add up to 1. Up to 10,000 examples are counted, the first
    /// ones of the split; one is added to each count, so that no share is 0. Cost: those examples are read once.
    ///
    /// # Errors
    /// Any error of reading an example; when memory does not allow it.
    pub(crate) fn label_shares(&self) -> Result<Vec<f64>> {
        let split = self.train().first(COUNTED);
        let batch = BATCH.min(split.count());
        let graph = Graph::new();
        let step_state = StepState::new(self.gpu())?;
        let mut batches = BatchSource::sequential(self, &split, batch)?;
        let labels = batches.batch(&graph, &step_state)?.labels;
        let plan = Plan::new(self.gpu(), &graph, &[labels])?;
        let mut counts = vec![1_u64; self.output().classes];
        for step in 0..split.count().div_ceil(batch) as u32 {
            step_state.set(step)?;
            batches.prepare(step, 1)?;
            plan.run(1)?;
            // Positions without a label, and what lies past the end, have classes that do not exist.
            for label in plan.read_u32(labels)? {
                if let Some(count) = counts.get_mut(label as usize) {
                    *count += 1;
                }
            }
        }
        let total: u64 = counts.iter().sum();
        Ok(counts.into_iter().map(|count| count as f64 / total as f64).collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use std::sync::Arc;

    use trellis_data::Images;
    use trellis_tensor::Gpu;

    use super::*;
    use crate::data::DrawnSequences;
    use crate::network::HeadBias;
    use crate::{Network, Rnn};

    /// Resident or streamed, all labels are counted, those past the last whole batch too.
    #[test]
    fn labels_are_counted_once_each() {
        let gpu = Gpu::new().unwrap();
        let labels: Vec<u16> = (0..1001).map(|number| u16::from(number % 4 == 0)).collect();
        let pixels = (0..=255).cycle().take(1001).collect();
        let images =
            Images { channels: 1, height: 1, width: 1, pixels, labels, classes: 3, name: "quarters".to_string() };
        let resident = Dataset::new(&gpu, &images, None, None).unwrap();
        let streamed = Dataset::stream(&gpu, Arc::new(images), None, None, false).unwrap();
        for data in [resident, streamed] {
            let shares = data.label_shares().unwrap();
            assert_eq!(shares, [751.0 / 1004.0, 252.0 / 1004.0, 1.0 / 1004.0]);
        }
    }

    /// Of copy-paste the digits other than 0 are equally frequent, and each sequence ends with one mark.
    #[test]
    fn a_head_begins_at_the_trivial_solution() {
        let gpu = Gpu::new().unwrap();
        let drawn = DrawnSequences::copy_paste(4, [6, 6], 3).unwrap();
        let data = Dataset::drawn(&gpu, drawn, [300, 0, 50]).unwrap();
        let network = Network::new(Rnn::default(), &data, 1).unwrap();
        let drawn = network.tensor("logits.bias").unwrap().read_f32().unwrap();
        network.set_head_bias(HeadBias::Default, &data).unwrap();
        assert_eq!(network.tensor("logits.bias").unwrap().read_f32().unwrap(), drawn);
        network.set_head_bias(HeadBias::LabelPrior, &data).unwrap();
        let bias = network.tensor("logits.bias").unwrap().read_f32().unwrap();
        let shares = data.label_shares().unwrap();
        assert!(bias.iter().zip(&shares).all(|(bias, share)| (f64::from(*bias) - share.ln()).abs() < 1e-6));
        // 300 sequences of 6 digits, 3 of 4 of them scored, and an end mark.
        let marks = shares.iter().filter(|share| **share > 0.15).count();
        assert_eq!(marks, 4, "three digits and the end mark: {shares:?}");
    }
}
