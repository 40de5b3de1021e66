// top_k.wgsl: hit[r] = 1 if fewer than k of x[r] come before the one at labels[r], else 0.
//
// in      x      (rows, n) f32  logits
//         labels (rows)    u32
// out     hit    (rows)    f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    1 comparison and 4 bytes per logit: bound by memory
// numeric counts the logits that come before the label's: greater ones, and equal ones in front of it. A NaN counts as all of
//         them, so a row with a NaN is no hit. Counts are exact up to 2^24.
// source  definition

#import grid
#import reduce

struct Dims { rows: u32, n: u32, k: u32 } // k at most n
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> hit: array<f32>;

@compute @workgroup_size(256)
fn top_k(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
         @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    let at = min(row, dims.rows - 1u);
    let label = labels[at];
    let counts = row < dims.rows && label < dims.n;
    let n = select(0u, dims.n, counts);
    let start = at * dims.n;
    let best = x[start + min(label, dims.n - 1u)];
    var before = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let v = x[start + i];
        let one = select(0.0, 1.0, v > best || (v == best && i < label));
        before += select(one, f32(dims.n), is_nan(v));
    }
    before = lane_sum(local, 1u, before);
    if (lane == 0u && row < dims.rows) {
        hit[row] = select(0.0, 1.0, counts && before < f32(dims.k));
    }
}
