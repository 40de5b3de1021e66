// rbf_kernel_grad.wgsl: the gradient of rbf_kernel.wgsl with respect to G, for a symmetric dK:
//   W = dK∘K / σ²;  dG_ij = W_ij,  dG_ii = −Σ_j≠i W_ij
//
// in      dk, k (entries, n, n) f32, symmetric; variance (entries) f32: σ²
// out     out (entries, n, n) f32: symmetric, every row sums to 0
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters
// memory  1 KiB: one partial sum per invocation
// cost    3 flop and 12 bytes per element: bound by memory
// numeric fixed order of sums
// source  chain rule; docs/alignment.md

#import grid
#import reduce

struct Dims { rows: u32, n: u32 } // entries · n rows
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> dk: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> variance: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn rbf_kernel_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    // Rows that do not exist are empty; their invocations stay for the barriers.
    let n = select(0u, dims.n, row < dims.rows);
    let start = row * dims.n;
    let diagonal = row % dims.n;
    let sigma2 = variance[min(row, dims.rows - 1u) / dims.n];
    var total = 0.0;
    for (var i = lane; i < n; i += LANES) {
        if (i != diagonal) {
            let w = dk[start + i] * k[start + i] / sigma2;
            total += w;
            out[start + i] = w;
        }
    }
    total = lane_sum(local, 1u, total);
    if (lane == 0u && row < dims.rows) {
        out[start + diagonal] = -total;
    }
}
