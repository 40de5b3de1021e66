// top1.wgsl: hit[r] = 1 if the first greatest of x[r] is at labels[r], else 0.
//
// in      x      (rows, n) f32  logits
//         labels (rows)    u32
// out     hit    (rows)    f32
// launch  256 / LANES rows per workgroup; LANES neighbouring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    1 comparison and 4 bytes per logit: bound by memory
// numeric counts the logits that do not beat the label's: below it if they come first, at most equal if later. A
//         comparison with NaN is false, so a row with a NaN is no hit. Counts are exact up to 2^24.
// source  definition

#import grid
#import reduce

struct Dims { rows: u32, n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> hit: array<f32>;

@compute @workgroup_size(256)
fn top1(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
        @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    let at = min(row, dims.rows - 1u);
    let label = labels[at];
    let counts = row < dims.rows && label < dims.n;
    let n = select(0u, dims.n, counts);
    let start = at * dims.n;
    let best = x[start + min(label, dims.n - 1u)];
    var beaten = 0.0;
    for (var i = lane; i < n; i += LANES) {
        let v = x[start + i];
        let wins = select(v <= best, v < best, i < label);
        beaten += select(0.0, 1.0, wins);
    }
    beaten = lane_sum(local, 1u, beaten);
    if (lane == 0u && row < dims.rows) {
        hit[row] = select(0.0, 1.0, counts && beaten == f32(dims.n));
    }
}
