//! Bootstrap intervals, bias-corrected and accelerated.

use std::f64::consts::SQRT_2;

use super::mean;
use trellis_rng::Rng;

/// Number of resamples.
const RESAMPLES: usize = 10_000;

/// The 95 % BCa interval of the mean of `values`: quantiles of the means of 10,000 resamples, always the same, shifted for bias and
/// skew. `None` for fewer than two values, values that are all equal, and values that are not finite. With few values it is too
/// narrow: of five normal ones it holds their mean 83 times in 100, as a test counts.
///
/// Source: Efron 1987, "Better bootstrap confidence intervals"; as `scipy.stats.bootstrap`.
pub(crate) fn bca95(values: &[f64]) -> Option<[f64; 2]> {
    let n = values.len();
    let observed = mean(values).filter(|mean| mean.is_finite())?;
    if n < 2 || values.iter().all(|value| *value == values[0]) {
        return None;
    }
    let mut rng = Rng::new(0, 1);
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| (0..n).map(|_| values[rng.below(n)]).sum::<f64>() / n as f64).collect();
    means.sort_by(f64::total_cmp);
    // Means that are equal but for rounding count half.
    let rounding = 1e-12 * values.iter().map(|value| value.abs()).sum::<f64>();
    let below = means.iter().filter(|&&mean| mean < observed - rounding).count();
    let to = means.iter().filter(|&&mean| mean <= observed + rounding).count();
    let bias = normal_quantile((below + to) as f64 / (2 * RESAMPLES) as f64);
    let left_out: Vec<f64> = values.iter().map(|value| (n as f64 * observed - value) / (n - 1) as f64).collect();
    let center = mean(&left_out)?;
    let moment = |power| left_out.iter().map(|value| (center - value).powi(power)).sum::<f64>();
    let acceleration = moment(3) / (6.0 * moment(2).powf(1.5));
    let end = |share: f64| {
        let shifted = bias + normal_quantile(share);
        quantile(&means, normal(bias + shifted / (1.0 - acceleration * shifted)))
    };
    Some([end(0.025), end(0.975)]).filter(|ends| ends.iter().all(|end| end.is_finite()))
}

/// The value below which a share of sorted values lies, between two of them by a straight line.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let low = (at.floor() as usize).min(sorted.len() - 1);
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + (at - low as f64) * (sorted[high] - sorted[low])
}

/// Probability that a standard normal number is below `z`.
fn normal(z: f64) -> f64 {
    0.5 * libm::erfc(-z / SQRT_2)
}

/// The number below which a standard normal one lies with probability `p`, found by halving an interval.
fn normal_quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-40.0, 40.0);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if normal(middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}
