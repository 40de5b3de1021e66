// layer_norm_grad.wgsl: dx = (g - mean(g) - xhat mean(g xhat)) / deviation per row, with g = gamma dy.
//
// in      x       (rows, n) f32
//         gamma   (n) f32
//         dy      (rows, n) f32
//         row_stats (2, rows) f32  means, then biased variances (batch_stats.wgsl)
// out     dx      (rows, n) f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    12 flop and 12 bytes per element; the row is read twice, the second time from cache
// numeric each lane sums in order of i, then a fixed tree: same bits every time
// source  derivative of layer_norm.wgsl, the paths through mean and variance collected

#import grid
#import reduce

struct Dims { rows: u32, n: u32, eps: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> dy: array<f32>;
@group(0) @binding(4) var<storage, read> row_stats: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(256)
fn layer_norm_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    let n = select(0u, dims.n, row < dims.rows);
    let at = min(row, dims.rows - 1u);
    let start = at * dims.n;
    let mean = row_stats[at];
    let scale = 1.0 / sqrt(row_stats[dims.rows + at] + dims.eps);
    var sum = 0.0;
    var product = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let g = gamma[i] * dy[start + i];
        sum += g;
        product += g * ((x[start + i] - mean) * scale);
    }
    sum = lane_sum(local, 1u, sum) / f32(dims.n);
    product = lane_sum(local, 1u, product) / f32(dims.n);
    for (var i = lane; i < n; i += LANES) {
        let normal = (x[start + i] - mean) * scale;
        dx[start + i] = scale * (gamma[i] * dy[start + i] - sum - normal * product);
    }
}
