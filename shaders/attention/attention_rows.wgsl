// attention_rows.wgsl: per query and head two numbers for both gradient kernels: the logarithm of the softmax's divisor, and
// the sum over the head's elements of out · dout.
//
// in      y    (batch, queries, heads · d) f32 and (batch, heads, queries) f32, from attention.wgsl
//         dout (batch, queries, heads · d) f32
// out     rows (batch, heads, queries, 2) f32
// launch  256 / LANES queries of a head per workgroup: LANES neighbors stride over a row, so that their reads are contiguous.
//         LANES = 1 on software adapters
// memory  1 KiB: one partial sum per invocation
// cost    2 flop and 8 bytes per element: bound by memory
// numeric sums in order, in f32; then over LANES as in lib/reduce.wgsl
// source  Dao et al. 2022, arXiv:2205.14135, appendix B.2: Σ_j p[j] dp[j] = Σ_c out[c] dout[c]

#import grid
#import reduce
struct Dims { batch: u32, heads: u32, queries: u32, head: u32 } // head: its size in elements
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<f32>;
@group(0) @binding(3) var<storage, read_write> rows: array<vec2f>;

@compute @workgroup_size(256)
fn attention_rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) local: u32) {
    let index = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let total = dims.batch * dims.heads * dims.queries;
    let lane = lane_of(local, 1u);
    let head = index / dims.queries % dims.heads;
    let row = index / (dims.queries * dims.heads) * dims.queries + index % dims.queries;
    let at = (row * dims.heads + head) * dims.head;
    // Rows that do not exist are empty; their invocations stay for the barriers.
    let end = select(0u, dims.head, index < total);
    var sum = 0.0;
    for (var c = lane; c < end; c += LANES) {
        sum += y[at + c] * dout[at + c];
    }
    sum = lane_sum(local, 1u, sum);
    if (lane == 0u && index < total) {
        rows[index] = vec2f(y[total * dims.head + index], sum);
    }
}
