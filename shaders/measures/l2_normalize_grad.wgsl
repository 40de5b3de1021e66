// l2_normalize_grad.wgsl: the gradient of l2_normalize.wgsl,  dx_i = (du_i − (du_i · u_i) u_i) / |v_i|,  with CENTER less its
// mean (u_i has none).
//
// in      x, u, du (rows, n) f32
// out     dx (rows, n) f32; 0 for a row whose u is 0
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters
// memory  1 KiB: one partial result per invocation
// cost    9 flop and 16 bytes per element; the row is read twice, the second time from cache
// numeric |v_i| = x_i · u_i, so no square leaves f32's range
// source  chain rule; docs/alignment.md

#import grid
#import reduce

struct Dims { rows: u32, n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> u: array<f32>;
@group(0) @binding(3) var<storage, read> du: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

override CENTER: u32 = 0u;

@compute @workgroup_size(256)
fn l2_normalize_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    // Rows that do not exist are empty; their invocations stay for the barriers.
    let n = select(0u, dims.n, row < dims.rows);
    let start = row * dims.n;
    // A centered u ignores an offset of x: a smaller one keeps more digits.
    let offset = select(0.0, x[min(start, (dims.rows - 1u) * dims.n)], CENTER == 1u);
    var length = 0.0;
    var along = 0.0;
    var mean = 0.0;
    for (var i = lane; i < n; i += LANES) {
        length += (x[start + i] - offset) * u[start + i];
        along += du[start + i] * u[start + i];
        mean += du[start + i];
    }
    length = lane_sum(local, 1u, length);
    along = lane_sum(local, 1u, along);
    mean = select(0.0, lane_sum(local, 1u, mean) / f32(dims.n), CENTER == 1u);
    let scale = select(1.0 / length, 0.0, length == 0.0);
    for (var i = lane; i < n; i += LANES) {
        dx[start + i] = (du[start + i] - mean - along * u[start + i]) * scale;
    }
}
