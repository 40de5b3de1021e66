// augment.wgsl: every image shifted by up to dims.shift pixels and, where FLIP, mirrored with probability 1/2.
//
// in      x (b, c, h, w) f32
//         step_state (4) u32   word 0 is the number of the step
// out     y (b, c, h, w) f32   y[row, column] = x[row + down, mirrored column + right], or `fill` outside of x;
//         TRANSPOSED: the gradient, each pixel moved back to its source, 0 where none comes from
// launch  one invocation per output element; workgroups of 256
// memory  none
// cost    8 bytes per element, and Philox anew per element, about 200 integer operations: cheaper than a second kernel
// numeric exact copy
// source  the usual augmentation of small images, as in He et al. 2016, arXiv:1512.03385, section 4.2

#import grid
#import philox

struct Dims { n: u32, image: u32, height: u32, width: u32, shift: u32, fill: f32, seed_low: u32, seed_high: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> step_state: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

override FLIP: u32 = 0u;
override TRANSPOSED: u32 = 0u;
const STREAM = 0x41554721u; // keeps these random bits apart from those of other ops with the same seed

fn mirrored(column: i32, flip: bool) -> i32 {
    return select(column, i32(dims.width) - 1 - column, flip);
}
// Uniform in -shift..shift.
fn offset(word: u32) -> i32 {
    return i32(mul_high(word, 2u * dims.shift + 1u)) - i32(dims.shift);
}

@compute @workgroup_size(256)
fn augment(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let bits = philox(vec4u(i / dims.image, step_state[0], 0u, STREAM), vec2u(dims.seed_low, dims.seed_high));
    let flip = FLIP == 1u && bits.x >= 0x80000000u;
    let down = offset(bits.y);
    let right = offset(bits.z);
    let plane = i / (dims.height * dims.width);
    var row = i32(i / dims.width % dims.height);
    var column = i32(i % dims.width);
    if (TRANSPOSED == 1u) {
        row -= down;
        column = mirrored(column - right, flip);
    } else {
        row += down;
        column = mirrored(column, flip) + right;
    }
    var value = dims.fill;
    if (row >= 0 && row < i32(dims.height) && column >= 0 && column < i32(dims.width)) {
        value = x[(plane * dims.height + u32(row)) * dims.width + u32(column)];
    }
    y[i] = value;
}
