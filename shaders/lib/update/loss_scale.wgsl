// The loss scale, a power of two, as the step state keeps it: word 2 is its logarithm plus 1, or 0 before the first step; the low
// half of word 3 counts good steps in a row, the high half the skipped steps.
#import number
fn log2_of_scale(word: u32, first: u32) -> i32 {
    return i32(select(word, first, word == 0u)) - 1;
}
// 2ˣ, exactly.
fn power_of_two(x: i32) -> f32 {
    return bitcast<f32>(u32(127 + x) << 23u);
}
