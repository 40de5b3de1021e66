// Philox4x32-10: random bits as a pure function of (counter, key); as in crates/rng/src/lib.rs.
// Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 4.
//
// WGSL has no 32 x 32 -> 64 bit product: the high word is computed from 16-bit halves.
fn mul_high(x: u32, y: u32) -> u32 {
    let xl = x & 0xffffu;
    let xh = x >> 16u;
    let yl = y & 0xffffu;
    let yh = y >> 16u;
    let low = xl * yl;
    let mid = xh * yl + (low >> 16u);
    let mid2 = xl * yh + (mid & 0xffffu);
    return xh * yh + (mid >> 16u) + (mid2 >> 16u);
}
fn philox(counter_in: vec4u, key_in: vec2u) -> vec4u {
    var counter = counter_in;
    var key = key_in;
    for (var round = 0u; round < 10u; round += 1u) {
        let high0 = mul_high(0xD2511F53u, counter.x);
        let high1 = mul_high(0xCD9E8D57u, counter.z);
        counter = vec4u(high1 ^ counter.y ^ key.x, 0xCD9E8D57u * counter.z,
                        high0 ^ counter.w ^ key.y, 0xD2511F53u * counter.x);
        key += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return counter;
}
// Uniform in [0, 1) from the top 24 bits.
fn unit(word: u32) -> f32 {
    return f32(word >> 8u) * (1.0 / 16777216.0);
}
