// 6. hsic: y = tr(k h l h) / (n − 1)², the covariance of two matrices of similarity (Gretton et al. 2005). h takes means away.
//
// in      k (n, n) f32, already centered: h k h = k; l (n, n) f32, not centered
// out     y (1) f32
// launch  1 workgroup of 64
// map     lane p adds elements p, p + 64, p + 128, … of both matrices
// memory  64 floats of workgroup memory
// cost    2 n² flop, 8 n² bytes: bound by memory
// numeric tr(k h l h) = tr(h k h l), so it is enough that one of the two is centered; and tr(k l) = Σ_ij k_ij l_ij, as l is symmetric

struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> l: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

var<workgroup> lanes: array<f32, 64>;

@compute @workgroup_size(64)
fn hsic(@builtin(local_invocation_index) lane: u32) {
    var own = 0.0;
    let scale = f32(dims.n - 1u);
    // HOLE: add this lane's share of Σ k_ij l_ij / scale² to `own`.
    for (var at = lane; at < dims.n * dims.n; at += 64u) {
        own += k[at] * l[at];
    }
    own /= scale * scale;
    // END
    lanes[lane] = own;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        y[0] = lanes[0];
    }
}
