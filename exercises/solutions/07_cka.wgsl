// 7. cka: y = <k, l> / (|k| |l|), the cosine of two centered Gram matrices (Kornblith et al. 2019). 1: alike up to turning and scale.
//
// in      k, l (n, n) f32, centered
// out     y (1) f32, 0 where a matrix is zero: a layer that says the same of every example is like no other
// launch  1 workgroup of 64
// map     lane p adds elements p, p + 64, … of three products at once: k l, k k and l l
// memory  64 vec3 of workgroup memory
// cost    6 n² flop, 8 n² bytes: bound by memory, so the two further sums cost nothing
// numeric sqrt of each sum, then their product: the product of the sums overflows for matrices from 1e10 on

struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> l: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> lanes: array<vec3f, 64>; // <k, l>, <k, k>, <l, l>

@compute @workgroup_size(64)
fn cka(@builtin(local_invocation_index) lane: u32) {
    var own = vec3f();
    for (var at = lane; at < dims.n * dims.n; at += 64u) {
        own += vec3f(k[at] * l[at], k[at] * k[at], l[at] * l[at]);
    }
    lanes[lane] = own;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        let sums = lanes[0];
        var value = 0.0;
        // HOLE: `value` from the three sums: 0 where a matrix is zero, never NaN or infinite.
        let length = sqrt(sums.y) * sqrt(sums.z);
        if (length > 0.0) {
            value = sums.x / length;
        }
        // END
        y[0] = value;
    }
}
