// strided.wgsl: out[i0..i5] = x[offset + Σ i_a stride_a], or 0 outside a box: permute, slice, expand, pad.
//
// in      x f32
// out     out (n) f32, up to six axes
// launch  one invocation per output element, or per four that lie together in x too (VEC4); workgroups of 256
// memory  none
// cost    8 bytes per element, and a division per axis and invocation, which a CPU takes lane by lane
// numeric exact copy
// source  definition

#import grid
#import index

// An element is read where every index lies in [low, high), else it is 0 (the gradient of a slice).
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif
override AXES: u32 = 6u; // those that are used, the last ones

// Sizes, strides and offset in units of T.
struct Dims { n: u32, offset: i32, pad0: u32, pad1: u32, shape: Axes, strides: Axes, low: Axes, high: Axes }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> out: array<T>;

@compute @workgroup_size(256)
fn strided(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    var rest = i;
    var source = dims.offset;
    var inside = true;
    for (var a = 6u; a > 6u - AXES; a -= 1u) {
        let size = axis(dims.shape, a - 1u);
        let at = rest % size;
        rest /= size;
        source += i32(at * axis(dims.strides, a - 1u));
        inside = inside && at >= axis(dims.low, a - 1u) && at < axis(dims.high, a - 1u);
    }
    var value = T(0.0);
    if (inside) {
        value = x[source];
    }
    out[i] = value;
}
