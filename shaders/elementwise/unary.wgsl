// unary.wgsl: y[i] = f(x[i]) for one of the functions below.
//
// in      x (n) f32
// out     y (n) f32
// launch  one invocation per element, or per four of them (VEC4, when n is a multiple of 4); workgroups of 256
// memory  none
// cost    about 1 (affine) to 20 (gelu) flop and 8 bytes per element: bound by memory
// numeric NaN in, NaN out, for every function
// source  definitions; erf from Abramowitz and Stegun 7.1.26

#import grid
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif
#import activation

struct Dims { n: u32, a: f32, b: f32 } // n in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> y: array<T>;

override FUNCTION: u32 = 0u; // number in the enum of ops/elementwise/unary.rs

fn apply(v: T) -> T {
    switch FUNCTION {
        case 0u: { return dims.a * v + dims.b; }
        case 1u: { return relu(v); }
        case 2u: { return gelu(v); }
        case 3u: { return tanh_exact(v); }
        case 4u: { return sigmoid(v); }
        case 5u: { return exp(v); }
        case 6u: { return log(v); }
        case 7u: { return sqrt(v); }
        case 8u: { return power(v, dims.a); }
        case 9u: { return gelu_tanh(v); }
        default: { return relu6(v); }
    }
}

@compute @workgroup_size(256)
fn unary(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i < dims.n) {
        y[i] = apply(x[i]);
    }
}
