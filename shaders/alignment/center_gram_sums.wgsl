// center_gram_sums.wgsl: row sums of a Gram matrix K, without the constant that its elements share, for center_gram.wgsl:
//   r_i = Σ_j (K_ij − c),  c = K_12, or 0 without OFFSET;  with DIAGONAL = 0 without j = i
//
// in      k (entries, n, n) f32
// out     sums (entries, n) f32: r
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software adapters
// memory  1 KiB: one partial sum per invocation
// cost    2 flop and 4 bytes per element: bound by memory
// numeric an RBF kernel of distant examples is nearly the same everywhere: its sums would lose the digits that centering keeps.
//         With c taken off first the gradient of RBF CKA is 12 times as exact (64 examples, 100 features)
// source  centering leaves a constant out, so it may be taken off before

#import grid
#import reduce

struct Dims { rows: u32, n: u32 } // entries · n rows
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;

override DIAGONAL: u32 = 1u;
override OFFSET: u32 = 0u;

@compute @workgroup_size(256)
fn center_gram_sums(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                    @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    // Rows that do not exist are empty; their invocations stay for the barriers.
    let n = select(0u, dims.n, row < dims.rows);
    let own = min(row, dims.rows - 1u);
    let offset = select(0.0, k[own / dims.n * dims.n * dims.n + min(1u, dims.n * dims.n - 1u)], OFFSET == 1u);
    var sum = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let counted = DIAGONAL == 1u || i != own % dims.n;
        sum += select(0.0, k[row * dims.n + i] - offset, counted);
    }
    sum = lane_sum(local, 1u, sum);
    if (lane == 0u && row < dims.rows) {
        sums[row] = sum;
    }
}
