#import number
// Partial results of one workgroup for two Gram matrices: their greatest magnitudes, and the sums of K'∘K', L'∘L' and K'∘L' where
// K' = K / max|K| and L' = L / max|L|. Scaled first, the squares of activations from 1e-15 to 1e15 stay in range.
struct Sums { k_max: f32, l_max: f32, kk: f32, ll: f32, kl: f32 }

// CKA and what its gradient needs, from the sums over everything.
fn finish_cka(sums: Sums) -> array<f32, 8> {
    // NaN must show, also beside a zero matrix: `nan_max` has kept it.
    let whole = !is_nan(sums.k_max) && !is_nan(sums.l_max);
    if (whole && (sums.k_max <= 1e-37 || sums.l_max <= 1e-37)) {
        return array<f32, 8>(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0);
    }
    let u = 1.0 / (sqrt(sums.kk) * sqrt(sums.ll));
    let c = sums.kl * u;
    return array<f32, 8>(c, 1.0 / sums.k_max, 1.0 / sums.l_max, u, c / sums.kk, c / sums.ll, 0.0, 0.0);
}
