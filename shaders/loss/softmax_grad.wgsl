// softmax_grad.wgsl: dx = y (dy - sum(dy y)) per row, or with LOG, where y is log softmax, dx = dy - exp(y) sum(dy).
//
// in      y  (rows, n) f32  the output of softmax or log softmax
//         dy (rows, n) f32
// out     dx (rows, n) f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    4 flop and 12 bytes per element; the row is read twice, the second time from cache
// numeric each lane sums in order of i, then a fixed tree: same bits every time
// source  the Jacobian of softmax, diag(y) - y yT

#import grid
#import reduce

struct Dims { rows: u32, n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

override LOG: u32 = 0u;

@compute @workgroup_size(256)
fn softmax_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    let n = select(0u, dims.n, row < dims.rows);
    let start = row * dims.n;
    var total = 0.0;
    for (var i = lane; i < n; i += LANES) {
        if (LOG == 1u) {
            total += dy[start + i];
        } else {
            total += dy[start + i] * y[start + i];
        }
    }
    total = lane_sum(local, 1u, total);
    for (var i = lane; i < n; i += LANES) {
        if (LOG == 1u) {
            dx[start + i] = dy[start + i] - exp(y[start + i]) * total;
        } else {
            dx[start + i] = y[start + i] * (dy[start + i] - total);
        }
    }
}
