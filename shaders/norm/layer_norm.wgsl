// layer_norm.wgsl: y[r, i] = gamma[i] (x[r, i] - mean[r]) / sqrt(variance[r] + eps) + beta[i].
//
// in      x     (rows, n) f32
//         gamma (n) f32
//         beta  (n) f32
// out     y     (rows, n) f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    10 flop and 8 bytes per element; the row is read three times, the last two from cache
// numeric mean and variance as in batch_stats.wgsl: two passes, so |mean| >> deviation costs no digits
// source  Ba, Kiros and Hinton 2016, arXiv:1607.06450, section 3

#import grid
#import reduce

struct Dims { rows: u32, n: u32, eps: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn layer_norm(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    let n = select(0u, dims.n, row < dims.rows);
    let start = min(row, dims.rows - 1u) * dims.n;
    let first = x[start];
    var sum = 0.0;
    for (var i = lane; i < n; i += LANES) {
        sum += x[start + i] - first;
    }
    let guess = first + lane_sum(local, 1u, sum) / f32(dims.n);
    sum = 0.0;
    var squares = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let difference = x[start + i] - guess;
        sum += difference;
        squares += difference * difference;
    }
    let correction = lane_sum(local, 1u, sum) / f32(dims.n);
    let variance = lane_sum(local, 1u, squares) / f32(dims.n) - correction * correction;
    let scale = 1.0 / sqrt(variance + dims.eps);
    for (var i = lane; i < n; i += LANES) {
        y[start + i] = gamma[i] * ((x[start + i] - guess - correction) * scale) + beta[i];
    }
}
