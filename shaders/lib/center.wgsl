// x − mean, with what is left of equal numbers by rounding (4 units in the last place of the mean) taken for zero:
// a constant activation has no direction, and CKA's gradient would blow that rounding up by 1 / |x − mean|.
fn centered(x: f32, mean: f32) -> f32 {
    let difference = x - mean;
    return select(difference, 0.0, abs(difference) <= 4e-7 * abs(mean));
}
