// 16-bit floats (IEEE 754 binary16), two to a 32-bit word, the first in the low half. No feature of the adapter is needed:
// they are stored as u32 and computed with as f32. `unpack2x16float` reads them.

// Two numbers, each rounded to the nearest f16, ties to even: ±infinity from 65520 on, NaN stays NaN, denormals are kept.
// WGSL does not define how pack2x16float rounds, nor its result for numbers beyond 65504, so this is in integers.
fn pack_half(v: vec2f) -> u32 {
    let bits = bitcast<vec2u>(v);
    let size = bits & vec2u(0x7fffffffu);
    // From 2⁻¹⁴ on: another exponent, 13 bits of the fraction rounded off.
    let normal = (size + 0xfffu + ((size >> vec2u(13u)) & vec2u(1u)) - 0x38000000u) >> vec2u(13u);
    // Below: beside 0.5, whose last bit is 2⁻²⁴, the sum is rounded to f16's denormals.
    let denormal = bitcast<vec2u>(bitcast<vec2f>(size) + 0.5) - 0x3f000000u;
    var h = select(normal, denormal, size < vec2u(0x38800000u));
    h = select(h, vec2u(0x7c00u), size >= vec2u(0x477ff000u)); // 65520, halfway from 65504 to the next
    h = select(h, vec2u(0x7e00u), size > vec2u(0x7f800000u));  // NaN
    h |= (bits >> vec2u(16u)) & vec2u(0x8000u);
    return h.x | (h.y << 16u);
}
fn pack_four(v: vec4f) -> vec2u {
    return vec2u(pack_half(v.xy), pack_half(v.zw));
}
// Four numbers of two words.
fn unpack_four(words: vec2u) -> vec4f {
    return vec4f(unpack2x16float(words.x), unpack2x16float(words.y));
}
// Number i of an array, from the word i / 2.
fn unpack_one(word: u32, i: u32) -> f32 {
    return unpack2x16float(word >> (16u * (i & 1u))).x;
}
