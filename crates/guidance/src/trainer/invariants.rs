//! Checks of the gradient of a measure while a run goes on: it must be blind to an offset common to all examples, and
//! to scale. A step is run again with activations and gradients kept, as in `diagnose`, but nothing that trains
//! changes.

use trellis_tensor::{Graph, Plan, StepState};

use super::fixed_batches::FixedBatches;
use super::guidance::Guidance;
use super::step::{Beside, record};
use super::training::Training;
use crate::alignment::Metric;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::network::Network;

/// Largest value that is taken for rounding.
const TOLERANCE: f64 = 1e-4;

/// Smallest |X| |dX| that a violation is measured against. Where layers are nearly alike the terms of the gradient
/// cancel, and the rest is rounding. |X| |dX| of one term is about 1.
const LEAST_PRODUCT: f64 = 0.1;

/// Runs `step` again and checks, for each guided pair, the gradient of its measure for the target's layer.
pub(super) fn check(
    target: &Network,
    data: &Dataset,
    training: &Training,
    guidance: &Guidance,
    step: u32,
    fixed: Option<&FixedBatches>,
) -> Result<()> {
    let step_state = StepState::new(data.gpu())?;
    step_state.set(step)?;
    let mut batches = training.batches(data)?;
    let graph = Graph::new();
    let beside = Beside { guides: &[guidance], fixed, hints: None };
    let played = record(&graph, target, &batches, training, &step_state, beside)?;
    let mut layers = Vec::new();
    for pair in &played.pairs {
        let value = guidance.align.compare_pair(pair)?.value;
        layers.push((&pair.target, graph.grad(value, &[pair.target.value])?[0]));
    }
    let keep: Vec<_> = layers.iter().flat_map(|(activation, gradient)| [activation.value, *gradient]).collect();
    let plan = Plan::new(data.gpu(), &graph, &keep)?;
    // The forward pass of training moves running statistics.
    let before = target.running_statistics().map(|tensor| tensor.read_f32()).collect::<Result<Vec<_>, _>>()?;
    batches.prepare(step, 1)?;
    guidance.guide.prepare(step, 1)?;
    plan.run(1)?;
    for (tensor, values) in target.running_statistics().zip(before) {
        tensor.write_f32(&values)?;
    }
    for (activation, gradient) in layers {
        let (x, dx) = (plan.read(activation.value)?, plan.read(gradient)?);
        if let Some((invariant, value)) = broken(&guidance.align, &x, &dx, training.batch) {
            let (step, layer) = (u64::from(step), activation.name.clone());
            return Err(Error::Invariant { step, layer, invariant, value, tolerance: TOLERANCE });
        }
    }
    Ok(())
}

/// The first invariant of `metric` that activations `[n, p]` and its gradient for them break, and by how much, relative to
/// |X| |dX|. Numbers that are not finite break none: training stops for them.
fn broken(metric: &Metric, x: &[f32], dx: &[f32], n: usize) -> Option<(&'static str, f64)> {
    if x.iter().chain(dx).any(|value| !value.is_finite()) {
        return None;
    }
    let p = x.len() / n;
    let column = |values: &[f32], j: usize| (0..n).map(|i| f64::from(values[i * p + j])).sum::<f64>();
    let means: Vec<f64> = (0..p).map(|j| column(x, j) / n as f64).collect();
    let length = |squares: f64| squares.sqrt();
    let gradient = length(dx.iter().map(|&v| f64::from(v).powi(2)).sum());
    // An offset does not count: the gradient grows with what is left of the activations without it.
    let spread = length(x.iter().enumerate().map(|(at, &v)| (f64::from(v) - means[at % p]).powi(2)).sum());
    let whole = length(x.iter().map(|&v| f64::from(v).powi(2)).sum());
    let sums = length((0..p).map(|j| column(dx, j).powi(2)).sum()) / (n as f64).sqrt();
    let along: f64 = x.iter().zip(dx).map(|(&x, &dx)| f64::from(x) * f64::from(dx)).sum();
    let checks = [
        (metric.ignores_offset(), "columns of the gradient sum to 0", sums * spread, spread),
        (metric.ignores_scale(), "<X, dX> = 0", along.abs(), whole),
    ];
    let relative = |(holds, invariant, value, size): (bool, &'static str, f64, f64)| {
        let value = value / (size * gradient).max(LEAST_PRODUCT);
        (holds && value > TOLERANCE).then_some((invariant, value))
    };
    checks.into_iter().find_map(relative)
}

#[cfg(test)]
mod tests {
    use trellis_rng::Rng;

    use super::*;
    use crate::{Cka, Rsa};

    /// Activations, and a gradient for them that ignores offset and scale.
    fn sane(n: usize, p: usize) -> (Vec<f32>, Vec<f32>) {
        let mut rng = Rng::new(1, 1);
        let x: Vec<f32> = (0..n * p).map(|_| rng.normal() + 2.0).collect();
        let mut dx: Vec<f32> = (0..n * p).map(|_| 0.1 * rng.normal()).collect();
        let center = |v: &[f32]| -> Vec<f32> {
            let mean = |j: usize| (0..n).map(|i| v[i * p + j]).sum::<f32>() / n as f32;
            v.iter().enumerate().map(|(at, v)| v - mean(at % p)).collect()
        };
        let centered = center(&x);
        dx = center(&dx);
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        let along = dot(&dx, &centered) / dot(&centered, &centered);
        dx.iter_mut().zip(&centered).for_each(|(dx, x)| *dx -= along * x);
        (x, dx)
    }

    #[test]
    fn a_gradient_that_is_wrong_is_found() {
        let (n, p) = (16, 5);
        let (x, dx) = sane(n, p);
        let cka = Metric::from(Cka::linear());
        assert_eq!(broken(&cka, &x, &dx, n), None);
        // As from a kernel that forgets a row.
        let mut cut = dx.clone();
        cut[..p].fill(0.0);
        let found = broken(&cka, &x, &cut, n);
        assert!(found.is_some_and(|(name, value)| name.starts_with("columns") && value > 0.01), "{found:?}");
        // As from one that forgets the second term, which takes off what lies along X.
        let centered = |at: usize| x[at] - (0..n).map(|i| x[i * p + at % p]).sum::<f32>() / n as f32;
        let longer: Vec<f32> = dx.iter().enumerate().map(|(at, dx)| dx + 0.01 * centered(at)).collect();
        let found = broken(&cka, &x, &longer, n);
        assert!(found.is_some_and(|(name, value)| name.starts_with("<X") && value > 0.001), "{found:?}");
        // An invariant that a measure does not promise is not checked.
        assert_eq!(broken(&Cka::rbf(0.8).into(), &x, &longer, n), None);
        let offset: Vec<f32> = (0..n * p).map(|at| dx[at] + if at % p == 0 { 0.1 } else { 0.0 }).collect();
        assert!(broken(&Cka::rbf(0.8).into(), &x, &offset, n).is_some());
        assert_ne!(
            broken(&Rsa::Cosine.into(), &x, &offset, n).map(|(name, _)| name),
            Some("columns of the gradient sum to 0")
        );
    }

    #[test]
    fn zero_gradients_and_numbers_that_are_not_finite_pass() {
        let (n, p) = (16, 5);
        let (x, dx) = sane(n, p);
        let cka = Metric::from(Cka::linear());
        assert_eq!(broken(&cka, &x, &vec![0.0; n * p], n), None);
        assert_eq!(broken(&cka, &x, &dx.iter().map(|_| f32::NAN).collect::<Vec<_>>(), n), None);
    }
}
