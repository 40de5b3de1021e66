// cka.wgsl: CKA of two centred Gram matrices, and what its gradient needs.
//   c = <K, L> / (|K| |L|), computed on K' = K k⁻ and L' = L l⁻ with k⁻ = n / tr K, l⁻ = n / tr L
//
// in      k, l (n, n) f32: centred Gram matrices
// out     stats (8) f32: c, k⁻, l⁻, u = 1/(|K'||L'|), c/|K'|², c/|L'|², 1 if a matrix is zero, 0
//         dc/dK = k⁻ (u L' − (c/|K'|²) K'), symmetric with zero row sums
// launch  one workgroup of 256; invocation i takes elements i, i + 256, …
// memory  1 KiB: one partial sum per invocation
// cost    6·n² flop, 8·n² bytes
// numeric scaling by the trace first keeps the squares in range for activations from 1e-15 to 1e15; a zero matrix
//         (constant layer) gives c = 0 and a zero gradient; NaN in, NaN out
// source  Kornblith et al. 2019, arXiv:1905.00414, section 3; the gradient is derived in docs/alignment.md

#import reduce

struct Dims { n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> l: array<f32>;
@group(0) @binding(3) var<storage, read_write> stats: array<f32>;

@compute @workgroup_size(256)
fn cka(@builtin(local_invocation_index) local: u32) {
    let n = dims.n;
    var k_trace = 0.0;
    var l_trace = 0.0;
    for (var i = local; i < n; i += 256u) {
        k_trace += k[i * n + i];
        l_trace += l[i * n + i];
    }
    k_trace = lane_sum(local, 1u, k_trace) / f32(n);
    l_trace = lane_sum(local, 1u, l_trace) / f32(n);
    let degenerate = k_trace <= 1e-37 || l_trace <= 1e-37; // false for NaN: it must show
    let k_scale = 1.0 / k_trace;
    let l_scale = 1.0 / l_trace;
    var kk = 0.0;
    var ll = 0.0;
    var kl = 0.0;
    for (var i = local; i < n * n; i += 256u) {
        let p = k[i] * k_scale;
        let q = l[i] * l_scale;
        kk += p * p;
        ll += q * q;
        kl += p * q;
    }
    kk = lane_sum(local, 1u, kk);
    ll = lane_sum(local, 1u, ll);
    kl = lane_sum(local, 1u, kl);
    if (local != 0u) {
        return;
    }
    let u = 1.0 / (sqrt(kk) * sqrt(ll));
    let c = kl * u;
    var result = array<f32, 8>(c, k_scale, l_scale, u, c / kk, c / ll, 0.0, 0.0);
    if (degenerate) {
        result = array<f32, 8>(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0);
    }
    for (var i = 0u; i < 8u; i += 1u) {
        stats[i] = result[i];
    }
}
