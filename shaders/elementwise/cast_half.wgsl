// cast_half.wgsl: y[i] = x[i] in another type: f32 to f16 (HALF), or f16 to f32.
//
// in      x (n) f32, or (n) f16 two to a word
// out     y (n) f16, or f32
// launch  one invocation per word of f16; workgroups of 256
// memory  none
// cost    6 bytes per element: bound by memory
// numeric to f16: nearest, ties to even, see lib/half.wgsl; where n is odd the last half word is 0. To f32: exact
// source  IEEE 754-2019, binary16

#import grid
#import half

struct Dims { n: u32, words: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
#if HALF
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

fn convert(word: u32) {
    let i = 2u * word;
    var second = 0.0;
    if (i + 1u < dims.n) {
        second = x[i + 1u];
    }
    y[word] = pack_half(vec2f(x[i], second));
}
#else
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

fn convert(word: u32) {
    let i = 2u * word;
    let pair = unpack2x16float(x[word]);
    y[i] = pair.x;
    if (i + 1u < dims.n) {
        y[i + 1u] = pair.y;
    }
}
#endif

@compute @workgroup_size(256)
fn cast_half(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let word = linear_index(group, groups, local);
    if (word < dims.words) {
        convert(word);
    }
}
