//! Means with their uncertainty: the conclusions that a handful of seeds allow, and those that they do not.
//!
//! A run per seed gives n numbers. Their mean is reported as `0.873 ± 0.012`, where the second number is the half-width
//! of the 95 % confidence interval. It is t · s / √n with Student's t for n − 1 degrees of freedom: for three seeds t
//! is 4.30, not 1.96. Two arms that ran with the same seeds are compared by their
//! paired difference, in which the effect of a seed on both arms cancels.
//!
//! Student's interval assumes differences that are about normal. Two more numbers assume less: the p of exact sign flips, corrected by
//! Holm for the number of arms, and a bootstrap interval (BCa).
//!
//! No value is left out quietly: one NaN makes a NaN of the mean.

mod bootstrap;
mod paired;

use std::f64::consts::FRAC_PI_2;
use std::fmt;

pub(crate) use bootstrap::bca95;
pub(crate) use paired::{holm, sign_flip_p, smallest_p};

/// A mean and how well it is known. Units are those of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Number of values.
    pub n: usize,
    /// Their mean.
    pub mean: f64,
    /// Half-width of the 95 % confidence interval of the mean; `None` for one value, which says nothing of its spread.
    pub ci95: Option<f64>,
}

impl Estimate {
    /// Mean and interval of `values`; `None` if there are none.
    ///
    /// ```
    /// use trellis_lab::stats::Estimate;
    /// let top1 = Estimate::of(&[0.86, 0.87, 0.89]).expect("three values");
    /// assert_eq!(top1.to_string(), "0.873 ± 0.038");
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self { n: values.len(), mean: mean(values)?, ci95: ci95(values) })
    }

    /// A share in per cent.
    pub fn percent(self) -> Self {
        Self { mean: 100.0 * self.mean, ci95: self.ci95.map(|half| 100.0 * half), ..self }
    }

    /// True if the interval leaves 0 out: the sign of the mean is then no accident, 19 times out of 20. Values that are all equal,
    /// as shares of few examples can be, have an interval of no width, which says nothing.
    pub fn excludes_zero(&self) -> bool {
        self.ci95.is_some_and(|half| half > 0.0 && self.mean.abs() > half)
    }
}

/// `0.873 ± 0.012`, or `0.873` for one value; `{:.1}` and `{:+.3}` set decimals and sign of the mean, 3 decimals
/// otherwise.
impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(3);
        if f.sign_plus() {
            write!(f, "{:+.decimals$}", self.mean)?;
        } else {
            write!(f, "{:.decimals$}", self.mean)?;
        }
        self.ci95.map_or(Ok(()), |half| write!(f, " ± {half:.decimals$}"))
    }
}

/// Arithmetic mean; `None` of no values.
pub(crate) fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation, √(Σ (x − mean)² / (n − 1)); `None` below two values.
pub(crate) fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Half-width of the 95 % confidence interval of the mean, t · s / √n; `None` below two values.
pub(crate) fn ci95(values: &[f64]) -> Option<f64> {
    let deviation = standard_deviation(values)?;
    Some(student_t95(values.len() - 1) * deviation / (values.len() as f64).sqrt())
}

/// Differences `arm − baseline` of the seeds that both have.
///
/// Each side is a list of (seed, value). If a seed occurs twice in a list, its first value counts.
pub(crate) fn paired_differences(arm: &[(u64, f64)], baseline: &[(u64, f64)]) -> Vec<f64> {
    let mut differences: Vec<(u64, f64)> = Vec::new();
    for &(seed, value) in arm {
        let other = baseline.iter().find(|(s, _)| *s == seed);
        if let Some((_, base)) = other.filter(|_| differences.iter().all(|(s, _)| *s != seed)) {
            differences.push((seed, value - base));
        }
    }
    differences.into_iter().map(|(_, difference)| difference).collect()
}

/// The number t for which a Student-t variable with `degrees` degrees of freedom lies within ±t with probability 0.95;
/// infinite for 0 degrees.
///
/// Found by halving an interval of θ = atan(t / √degrees), in which the probability is a finite series (Abramowitz &
/// Stegun 26.7.3 and 26.7.4). It is therefore exact to rounding for every number of degrees.
pub(crate) fn student_t95(degrees: usize) -> f64 {
    if degrees == 0 {
        return f64::INFINITY;
    }
    let (mut low, mut high) = (0.0, FRAC_PI_2);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if probability_within(middle, degrees) < 0.95 { low = middle } else { high = middle }
    }
    (0.5 * (low + high)).tan() * (degrees as f64).sqrt()
}

/// P(|T| ≤ t) at θ = atan(t / √degrees).
fn probability_within(theta: f64, degrees: usize) -> f64 {
    let (sin, cos) = theta.sin_cos();
    // Σ of sinθ · cosθ^j · Π (factors), over odd j below degrees - 1 for odd degrees, over even j for even degrees.
    let odd = degrees % 2;
    let mut term = if odd == 1 { sin * cos } else { sin };
    let mut sum = 0.0;
    for j in (odd..degrees - 1).step_by(2) {
        sum += term;
        let j = j as f64;
        term *= cos * cos * (j + 1.0) / (j + 2.0);
    }
    if odd == 1 { (theta + sum) / FRAC_PI_2 } else { sum }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: f64, expected: f64, tolerance: f64) {
        assert!((value - expected).abs() <= tolerance, "{value} is not {expected}");
    }

    #[test]
    fn student_t_is_that_of_the_tables() {
        // Two-sided 95 %, from the table of the NIST/SEMATECH handbook, 1.3.6.7.2.
        let table = [
            12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
            2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045,
        ];
        for (index, expected) in table.into_iter().enumerate() {
            close(student_t95(index + 1), expected, 0.0006);
        }
        close(student_t95(1), 12.706_204_736_4, 1e-8);
        close(student_t95(2), 4.302_652_729_7, 1e-9);
        close(student_t95(100), 1.984, 0.0006);
        close(student_t95(100_000), 1.959_96, 5e-5);
        assert_eq!(student_t95(0), f64::INFINITY);
    }

    #[test]
    fn known_samples() {
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), Some(5.0));
        close(standard_deviation(&values).expect("eight values"), (32.0f64 / 7.0).sqrt(), 1e-15);
        // 2.364624 · 2.138090 / √8
        close(ci95(&values).expect("eight values"), 1.787_488, 1e-6);
        let three = Estimate::of(&[1.0, 2.0, 3.0]).expect("three values");
        close(three.ci95.expect("three values"), 4.302_652_73 / 3.0f64.sqrt(), 1e-8);
        assert!(!three.excludes_zero());
        assert!(Estimate::of(&[2.0, 2.1, 2.2]).expect("three values").excludes_zero());
    }

    #[test]
    fn none_and_one() {
        assert_eq!((mean(&[]), standard_deviation(&[]), ci95(&[])), (None, None, None));
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!((mean(&[3.0]), standard_deviation(&[3.0]), ci95(&[3.0])), (Some(3.0), None, None));
        let equal = Estimate::of(&[0.01, 0.01]).expect("two values");
        assert!(!equal.excludes_zero(), "an interval of no width says nothing");
        let one = Estimate::of(&[3.0]).expect("one value");
        assert_eq!((one.to_string().as_str(), one.excludes_zero()), ("3.000", false));
    }

    #[test]
    fn pairs_are_those_of_common_seeds() {
        let baseline = [(0, 0.50), (1, 0.60), (2, 0.70)];
        let differences = paired_differences(&[(2, 0.81), (9, 0.0), (0, 0.59), (0, 9.0)], &baseline);
        let difference = Estimate::of(&differences).expect("two seeds");
        assert_eq!(difference.n, 2);
        close(difference.mean, 0.10, 1e-12);
        // s = 0.02 / √2, so s / √2 = 0.01.
        close(difference.ci95.expect("two seeds"), 12.706_204_74 * 0.01, 1e-8);
        assert!(paired_differences(&[(7, 1.0)], &baseline).is_empty());
    }

    /// `tests/golden/statistics.py` writes the file.
    #[test]
    fn intervals_and_p_are_those_of_scipy() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/statistics.json");
        let text = std::fs::read_to_string(file).expect("checked in");
        let golden: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let numbers = |value: &serde_json::Value| -> Vec<f64> {
            value.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
        };
        let samples = golden["samples"].as_array().expect("a list");
        assert!(samples.len() >= 6);
        for sample in samples {
            let (name, values) = (&sample["name"], numbers(&sample["values"]));
            let estimate = Estimate::of(&values).expect("values");
            let half = estimate.ci95.expect("several values");
            for (got, wanted) in [estimate.mean - half, estimate.mean + half].iter().zip(numbers(&sample["t"])) {
                close(*got, wanted, 1e-9);
            }
            let p = sign_flip_p(&values).expect("finite");
            assert!((p - sample["p"].as_f64().expect("a number")).abs() < 1e-9, "{name}: {p}");
            // Both draw resamples; ends differ by what 10,000 leave open.
            let spread = sample["spread"].as_f64().expect("a number");
            let wanted = sample["bca"].as_array().map_or(Vec::new(), |_| numbers(&sample["bca"]));
            for (got, wanted) in bca95(&values).expect("they differ").iter().zip(wanted) {
                assert!((got - wanted).abs() < 0.06 * spread, "{name}: {got} for {wanted}");
            }
        }
        let [p, corrected] = [0, 1].map(|i| numbers(&golden["holm"][i]));
        holm(&p).iter().zip(corrected).for_each(|(got, wanted)| close(*got, wanted, 1e-12));
    }

    /// Of five normal numbers SciPy's interval holds their mean in 83.3 % of 4,000 cases, and of ten in 90.1 %.
    #[test]
    fn bca_is_too_narrow_for_few_values() {
        let mut rng = trellis_rng::Rng::new(3, 0);
        let mut coverage = |n: usize| {
            let holds = |_: &i32| {
                let values: Vec<f64> = (0..n).map(|_| f64::from(rng.normal())).collect();
                let [low, high] = bca95(&values).expect("they differ");
                low <= 0.0 && 0.0 <= high
            };
            (0..400i32).filter(holds).count() as f64 / 400.0
        };
        let [five, ten] = [coverage(5), coverage(10)];
        assert!((five - 0.833).abs() < 0.05 && (ten - 0.901).abs() < 0.05, "{five}, {ten}");
    }

    #[test]
    fn few_differences_cannot_be_certain() {
        for n in 2..8 {
            let p = sign_flip_p(&vec![0.1; n]).expect("finite");
            close(p, smallest_p(n), 1e-15);
            close(p, 2.0 * 0.5f64.powi(n as i32), 1e-15);
        }
        // Drawn beyond 20, the same each time, and about what all assignments give.
        let many: Vec<f64> = (0..24).map(|i| if i % 3 == 0 { -1.0 } else { 0.8 }).collect();
        let drawn = sign_flip_p(&many).expect("finite");
        assert_eq!(sign_flip_p(&many), Some(drawn));
        assert!((drawn - sign_flip_p(&many[..20]).expect("finite")).abs() < 0.2 && drawn >= smallest_p(24));
        assert_eq!((sign_flip_p(&[]), sign_flip_p(&[1.0])), (None, None));
        assert_eq!((sign_flip_p(&[1.0, f64::NAN]), bca95(&[1.0, f64::NAN])), (None, None));
        assert_eq!((bca95(&[1.0]), bca95(&[1.0, 1.0])), (None, None));
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn formats() {
        let estimate = Estimate { n: 3, mean: 0.8734, ci95: Some(0.0116) };
        assert_eq!(estimate.to_string(), "0.873 ± 0.012");
        assert_eq!(format!("{estimate:+.1}"), "+0.9 ± 0.0");
        let nan = Estimate::of(&[1.0, f64::NAN]).expect("two values");
        assert!(nan.to_string().starts_with("NaN") && !nan.excludes_zero());
    }
}
