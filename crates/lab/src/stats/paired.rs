//! Tests of paired differences: exact sign flips, and Holm's correction for several comparisons.

use trellis_rng::Rng;

/// Number of differences up to which all assignments of signs are gone through.
const MOST_EXACT: usize = 20;

/// Number of random assignments of signs beyond that.
const DRAWS: u32 = 100_000;

/// Two-sided p of the sign-flip test: the share of all 2ⁿ assignments of signs whose sum is at least as far from 0 as that of
/// `differences`. It assumes that without an effect a difference is as likely to be positive as negative, and nothing else. Above
/// 20 differences 100,000 assignments are drawn instead, always the same. `None` if there are fewer than two, or one is not finite.
///
/// Source: Fisher 1935, "The Design of Experiments", section 21.
pub(crate) fn sign_flip_p(differences: &[f64]) -> Option<f64> {
    if differences.len() < 2 || differences.iter().any(|d| !d.is_finite()) {
        return None;
    }
    // Sums that are equal but for rounding count as equal.
    let rounding = 1e-12 * differences.iter().map(|d| d.abs()).sum::<f64>();
    let least = differences.iter().sum::<f64>().abs() - rounding;
    let flipped = |signs: u64| {
        let signed = differences.iter().enumerate().map(|(i, d)| if signs >> i & 1 == 1 { -d } else { *d });
        signed.sum::<f64>().abs() >= least
    };
    if differences.len() <= MOST_EXACT {
        let all = 1u64 << differences.len();
        return Some((0..all).filter(|&signs| flipped(signs)).count() as f64 / all as f64);
    }
    let mut rng = Rng::new(0, 0);
    let as_far = (0..DRAWS)
        .filter(|_| {
            let signed = differences.iter().map(|d| if rng.next_u32() & 1 == 1 { -d } else { *d });
            signed.sum::<f64>().abs() >= least
        })
        .count();
    // The differences as they are count as one of the assignments.
    Some((as_far + 1) as f64 / f64::from(DRAWS + 1))
}

/// The smallest p that the sign-flip test can give for so many differences: 2^(1 − n).
pub(crate) fn smallest_p(differences: usize) -> f64 {
    match differences {
        0 => 1.0,
        n if n <= MOST_EXACT => 0.5f64.powi(n as i32 - 1),
        _ => 1.0 / f64::from(DRAWS + 1),
    }
}

/// p values corrected for their number: with them, the chance that any true null hypothesis falls below 0.05 is 0.05 at most.
///
/// Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
pub(crate) fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut corrected = vec![0.0; p.len()];
    let mut greatest = 0.0f64;
    for (rank, &index) in order.iter().enumerate() {
        greatest = greatest.max(((p.len() - rank) as f64 * p[index]).min(1.0));
        corrected[index] = greatest;
    }
    corrected
}
