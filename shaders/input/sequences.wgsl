// sequences.wgsl: tokens or labels of drawn sequences: copy-paste, or parity of bits.
//
// in      number (batch) u32   number of the example; 0xffffffff is none
// out     out (batch, time) u32, or (batch) for the labels of parity
// launch  one invocation per output element; workgroups of 256
// memory  none
// cost    two Philox calls per element; labels of parity one for each bit and one more
// numeric integers, the same on every adapter; the bias of a length or symbol is below its bound / 2^32
// source  the tasks of arXiv:2410.20035; the same in Rust: crates/tensor/src/ops/input/sequences.rs

#import grid
#import philox

struct Dims {
    n: u32, time: u32, shortest: u32, lengths: u32, symbols: u32, stream: u32, seed_low: u32, seed_high: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> number: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

override PARITY: u32 = 0u;
override LABELS: u32 = 0u;
const DOMAIN = 0x53455153u; // keeps these random bits apart from those of other ops with the same seed
const NONE = 0xffffffffu;   // no example, and a label that is ignored

// Random word `at` of an example, as a number below `bound`. Word 0 is the length, the others are the symbols.
fn below(example: u32, at: u32, bound: u32) -> u32 {
    let words = philox(vec4u(example, at / 4u, dims.stream, DOMAIN), vec2u(dims.seed_low, dims.seed_high));
    return mul_high(words[at % 4u], bound);
}
fn symbol(example: u32, at: u32) -> u32 {
    return below(example, 1u + at, dims.symbols);
}

@compute @workgroup_size(256)
fn sequences(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let per_example = select(dims.time, 1u, PARITY == 1u && LABELS == 1u);
    let example = number[i / per_example];
    let t = i % per_example;
    let none = example == NONE;
    let length = dims.shortest + below(example, 0u, dims.lengths);
    var value = NONE;
    if (PARITY == 1u && LABELS == 1u) {
        if (!none) {
            value = 0u;
            for (var at = 0u; at < length; at += 1u) {
                value ^= symbol(example, at);
            }
        }
    } else if (PARITY == 1u) {
        value = 2u;
        if (!none && t < length) {
            value = symbol(example, t);
        }
    } else {
        let end = t == 2u * length + 1u;
        let asked = t > length && t <= 2u * length;
        if (LABELS == 0u) {
            value = 0u;
            if (!none && t < length) {
                value = symbol(example, t);
            } else if (!none && t == length) {
                value = dims.symbols + 1u;
            }
        } else if (!none && asked) {
            let digit = symbol(example, t - length - 1u);
            value = select(digit, NONE, digit == 0u);
        }
        if (!none && end) {
            value = dims.symbols + 2u;
        }
    }
    out[i] = value;
}
