// NaN and infinity, read off the bits of an f32. A driver may assume that neither occurs and then reads `x == x` as true:
// NVIDIA's does (Vulkan, driver 580). So comparisons of floats must not be used to find them.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) < 0x7f800000u;
}
// The greater of two numbers, NaN if either is.
fn nan_max(x: f32, y: f32) -> f32 {
    return select(select(select(y, x, x > y), y, is_nan(y)), x, is_nan(x));
}
