// attention_rows.wgsl: per query and head what both gradient kernels want: the logarithm of the softmax's divisor, and
// the sum over the head's elements of out · dout.
//
// in      y    (batch, queries, heads · d) f32 and (batch, heads, queries) f32, from attention.wgsl
//         dout (batch, queries, heads · d) f32
// out     rows (batch, heads, queries, 2) f32
// launch  one invocation per query and head; workgroups of 256
// memory  none
// cost    2 flop and 8 bytes per element: bound by memory
// numeric sums in order, in f32
// source  Dao et al. 2022, arXiv:2205.14135, appendix B.2: Σ_j p[j] dp[j] = Σ_c out[c] dout[c]

#import grid
struct Dims { batch: u32, heads: u32, queries: u32, head: u32 } // head: its size in elements
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dout: array<f32>;
@group(0) @binding(3) var<storage, read_write> rows: array<vec2f>;

@compute @workgroup_size(256)
fn attention_rows(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    let total = dims.batch * dims.heads * dims.queries;
    if (index >= total) {
        return;
    }
    let head = index / dims.queries % dims.heads;
    let row = index / (dims.queries * dims.heads) * dims.queries + index % dims.queries;
    let at = (row * dims.heads + head) * dims.head;
    var sum = 0.0;
    for (var c = 0u; c < dims.head; c += 1u) {
        sum += y[at + c] * dout[at + c];
    }
    rows[index] = vec2f(y[total * dims.head + index], sum);
}
