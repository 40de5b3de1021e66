// l2_normalize.wgsl: u_i = v_i / |v_i|, where v_i is row i of X, with CENTER less its mean.
//
// in      x (rows, n) f32
// out     u (rows, n) f32: rows of length 1; a zero row stays zero
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters
// memory  1 KiB: one partial result per invocation
// cost    5 flop and 8 bytes per element; the row is read up to four times, all but once from cache
// numeric the row is divided by its greatest magnitude before it is squared, so lengths of 1e±30 are fine
// source  Kriegeskorte et al. 2008: correlation and cosine distance of activity patterns

#import grid
#import reduce

struct Dims { rows: u32, n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

override CENTER: u32 = 0u;

@compute @workgroup_size(256)
fn l2_normalize(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    // Rows that do not exist are empty; their invocations stay for the barriers.
    let n = select(0u, dims.n, row < dims.rows);
    let start = row * dims.n;
    var mean = 0.0;
    if (CENTER == 1u) {
        for (var i = lane; i < n; i += LANES) {
            mean += x[start + i];
        }
        mean = lane_sum(local, 1u, mean) / f32(dims.n);
    }
    var greatest = 0.0;
    for (var i = lane; i < n; i += LANES) {
        greatest = nan_max(greatest, abs(x[start + i] - mean));
    }
    greatest = lane_max(local, 1u, greatest);
    // Residues of rounding equal numbers have no direction.
    if (greatest <= 4e-7 * abs(mean) || greatest <= 1e-37) {
        greatest = 0.0;
    }
    let scale = select(1.0 / greatest, 0.0, greatest == 0.0);
    var squares = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let v = (x[start + i] - mean) * scale;
        squares += v * v;
    }
    squares = lane_sum(local, 1u, squares);
    let factor = select(scale / sqrt(squares), 0.0, greatest == 0.0);
    for (var i = lane; i < n; i += LANES) {
        out[start + i] = (x[start + i] - mean) * factor;
    }
}
