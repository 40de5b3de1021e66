// binary.wgsl: out[i] = f(x[i], y[i]), either side stretched to the output's shape (NumPy's broadcasting).
//
// in      x, y f32
// out     out  (n) f32
// launch  one invocation per element, or per four (VEC4: equal shapes, n a multiple of 4); workgroups of 256
// memory  none
// cost    1 flop and 12 bytes per element: bound by memory; STRETCH adds six divisions per element
// numeric equal(x, y) is 1 or 0
// source  definitions

#import grid
#import index
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { n: u32, pad0: u32, pad1: u32, pad2: u32, shape: Axes, x: Axes, y: Axes } // strides of x and y, 0 = stretched
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> y: array<T>;
@group(0) @binding(3) var<storage, read_write> out: array<T>;

override FUNCTION: u32 = 0u; // number in the enum of ops/elementwise/binary.rs
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
    out[i] = apply(x[ix], y[iy]);
}
