#import number
// Partial results of one workgroup for A = XᵀX, B = YᵀY and T = YᵀX: their greatest magnitudes, and the sums of squares of
// A' = A / max|A|, B' and T'. Scaled first, the squares of activations from 1e-15 to 1e15 stay in range.
struct Sums { a_max: f32, b_max: f32, t_max: f32, aa: f32, bb: f32, tt: f32 }

// 1 / max, and 0 for a zero matrix.
fn scale_of(greatest: f32) -> f32 {
    return select(1.0 / greatest, 0.0, greatest <= 1e-37);
}

// CKA and what its gradient needs, from the sums over everything.
fn finish_cka(sums: Sums) -> array<f32, 8> {
    // NaN must show, also beside a zero matrix: `nan_max` has kept it.
    let whole = !is_nan(sums.a_max) && !is_nan(sums.b_max) && !is_nan(sums.t_max);
    if (whole && (sums.a_max <= 1e-37 || sums.b_max <= 1e-37)) {
        return array<f32, 8>(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0);
    }
    let a_scale = 1.0 / sums.a_max;
    let b_scale = 1.0 / sums.b_max;
    // T is between A and B in size, so the quotients stay in range where the product of both scales might not.
    let u = 1.0 / (sqrt(sums.aa) * sqrt(sums.bb));
    let c = sums.tt * u * (sums.t_max * a_scale) * (sums.t_max * b_scale);
    let w = u * (sums.t_max * a_scale) * b_scale;
    return array<f32, 8>(c, a_scale, b_scale, w, c / sums.aa, c / sums.bb, 0.0, scale_of(sums.t_max));
}
