// unary_grad.wgsl: dx[i] = f'(·) dy[i], with f' from the value that f saved: its input or its output.
//
// in      saved (n) f32: the output y of relu, relu6, tanh, sigmoid, exp, sqrt; the input x of gelu, gelu_tanh, log, pow
//         dy    (n) f32
// out     dx    (n) f32
// launch  one invocation per element, or per four (VEC4); workgroups of 256
// memory  none
// cost    about 1 to 30 flop and 12 bytes per element: bound by memory
// numeric relu'(0) = relu6'(0) = relu6'(6) = 0, as in PyTorch
// source  definitions

#import grid
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif
#import activation

struct Dims { n: u32, a: f32, b: f32 } // n in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> saved: array<T>;
@group(0) @binding(2) var<storage, read> dy: array<T>;
@group(0) @binding(3) var<storage, read_write> dx: array<T>;

override FUNCTION: u32 = 0u; // number in the enum of ops/elementwise/unary.rs

fn derivative(s: T) -> T {
    switch FUNCTION {
        case 0u: { return T(dims.a); }
        case 1u: { return select(T(0.0), T(1.0), s > T(0.0)); }
        case 2u: { return gelu_derivative(s); }
        case 3u: { return 1.0 - s * s; }
        case 4u: { return s * (1.0 - s); }
        case 5u: { return s; }
        case 6u: { return 1.0 / s; }
        case 7u: { return 0.5 / s; }
        case 8u: { return select(dims.a * power(s, dims.a - 1.0), T(0.0), dims.a == 0.0); } // 0 · ∞ else
        case 9u: { return gelu_tanh_derivative(s); }
        default: { return select(T(0.0), T(1.0), (s > T(0.0)) & (s < T(6.0))); }
    }
}

@compute @workgroup_size(256)
fn unary_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i < dims.n) {
        dx[i] = derivative(saved[i]) * dy[i];
    }
}
