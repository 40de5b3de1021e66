// binary.wgsl: out[i] = f(x[i], y[i]), either side stretched to the output's shape (NumPy's broadcasting).
//
// in      x, y f32
// out     out  (n) f32
// launch  one invocation per element, or per four (VEC4: n a multiple of 4, and so is each side that is no single number);
//         workgroups of 256
// memory  none
// cost    1 flop and 12 bytes per element: bound by memory. A side that repeats (REPEAT: a bias of the last axes) adds two
//         divisions, and one that stretches along inner axes (STRETCH) six
// numeric equal(x, y) is 1 or 0
// source  definitions

#import grid
#import index
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

// Elements of a side before it repeats; strides of x and y, 0 = stretched.
struct Dims { n: u32, x_period: u32, y_period: u32, pad: u32, shape: Axes, x: Axes, y: Axes }
@group(0) @binding(0) var<uniform> dims: Dims;
#if X_ONE
@group(0) @binding(1) var<storage, read> x: array<f32>; // a single number
fn x_at(i: u32) -> T { return T(x[0]); }
#else
@group(0) @binding(1) var<storage, read> x: array<T>;
fn x_at(i: u32) -> T { return x[i]; }
#endif
#if Y_ONE
@group(0) @binding(2) var<storage, read> y: array<f32>;
fn y_at(i: u32) -> T { return T(y[0]); }
#else
@group(0) @binding(2) var<storage, read> y: array<T>;
fn y_at(i: u32) -> T { return y[i]; }
#endif
@group(0) @binding(3) var<storage, read_write> out: array<T>;

override FUNCTION: u32 = 0u; // number in the enum of ops/elementwise/binary.rs
override REPEAT: bool = false;
override STRETCH: bool = false;

fn apply(p: T, q: T) -> T {
    switch FUNCTION {
        case 0u: { return p + q; }
        case 1u: { return p - q; }
        case 2u: { return p * q; }
        case 3u: { return p / q; }
        default: { return select(T(0.0), T(1.0), p == q); }
    }
}

@compute @workgroup_size(256)
fn binary(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    var ix = i;
    var iy = i;
    if (REPEAT) {
        ix = i % dims.x_period;
        iy = i % dims.y_period;
    }
    if (STRETCH) {
        var rest = i;
        ix = 0u;
        iy = 0u;
        for (var a = 6u; a > 0u; a -= 1u) {
            let size = axis(dims.shape, a - 1u);
            let at = rest % size;
            rest /= size;
            ix += at * axis(dims.x, a - 1u);
            iy += at * axis(dims.y, a - 1u);
        }
    }
    out[i] = apply(x_at(ix), y_at(iy));
}
