// layer_norm_sums.wgsl: per column dgamma = sum over rows of dy xhat and dbeta = sum of dy.
//
// in      x       (rows, n) f32
//         dy      (rows, n) f32
//         row_stats (2, rows) f32  means, then biased variances (batch_stats.wgsl)
// out     out     (2, n) f32     dgamma, then dbeta; with PARTS (parts, 2, n), which product_parts.wgsl adds up
// launch  256 / LANES columns per workgroup; neighboring invocations take neighboring columns, so that reads run
//         along rows, and LANES of them share one column. LANES = 1 on software adapters. PARTS workgroups share the
//         rows of a column
// memory  1 KiB: one partial result per invocation
// cost    7 flop and 8 bytes per element: bound by memory
// numeric each lane sums in order of rows, then a fixed tree: same bits every time
// source  derivative of layer_norm.wgsl

#import grid
#import reduce

struct Dims { rows: u32, n: u32, eps: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> row_stats: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;

override PARTS: u32 = 1u;

@compute @workgroup_size(256)
fn layer_norm_sums(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let per_group = 256u / LANES;
    let number = linear_group(group, groups);
    let column = number / PARTS * per_group + local % per_group;
    let lane = lane_of(local, per_group);
    let length = (dims.rows + PARTS - 1u) / PARTS;
    let first = number % PARTS * length;
    let rows = select(0u, min(first + length, dims.rows), column < dims.n);
    var dgamma = 0.0;
    var dbeta = 0.0;
    for (var r = first + lane; r < rows; r += LANES) {
        let at = r * dims.n + column;
        let scale = 1.0 / sqrt(row_stats[dims.rows + r] + dims.eps);
        dgamma += dy[at] * ((x[at] - row_stats[r]) * scale);
        dbeta += dy[at];
    }
    dgamma = lane_sum(local, per_group, dgamma);
    dbeta = lane_sum(local, per_group, dbeta);
    if (column < dims.n && lane == 0u) {
        let to = 2u * dims.n * (number % PARTS) + column;
        out[to] = dgamma;
        out[to + dims.n] = dbeta;
    }
}
