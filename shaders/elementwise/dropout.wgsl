// dropout.wgsl: y[i] = x[i] / (1 - p) where a random number is at least p, else 0. Its gradient is itself, on dy.
//
// in      x     (n) f32
//         step_state (4) u32  word 0 is the step
// out     y     (n) f32
// launch  one invocation per four elements (the last may have fewer); workgroups of 256
// memory  none
// cost    about 30 integer operations and 8 bytes per element
// numeric the mask is a pure function of (seed, stream, step, i), so it is never stored. A dropped NaN or infinity
//         gives NaN, as a product with a mask of zeros would.
// source  Srivastava et al. 2014, section 10, scaled while training; bits by lib/philox.wgsl, all four words used

#import grid
#import philox
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { blocks: u32, n: u32, seed_low: u32, seed_high: u32, stream: u32, p: f32, scale: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> step_state: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<T>;

const DOMAIN: u32 = 0x44524f50u; // "DROP": apart from the numbers that crates/rng draws under the same seed

@compute @workgroup_size(256)
fn dropout(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let block = linear_index(group, groups, local);
    if (block >= dims.blocks) {
        return;
    }
    let words = philox(vec4u(block, step_state[0], dims.stream, DOMAIN), vec2u(dims.seed_low, dims.seed_high));
    let random = vec4f(unit(words.x), unit(words.y), unit(words.z), unit(words.w));
    let mask = select(vec4f(dims.scale), vec4f(0.0), random < vec4f(dims.p));
#if VEC4
    y[block] = x[block] * mask;
#else
    for (var k = 0u; k < min(4u, dims.n - 4u * block); k += 1u) {
        y[4u * block + k] = x[4u * block + k] * mask[k];
    }
#endif
}
