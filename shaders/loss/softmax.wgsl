// softmax.wgsl: y[r, i] = exp(x[r, i]) / sum over j of exp(x[r, j]), or with LOG its logarithm.
//
// in      x (rows, n) f32
// out     y (rows, n) f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    4 flop (two of them exp) and 8 bytes per element; the row is read three times, the last two from cache
// numeric the greatest element is subtracted, so exp stays in (0, 1] and the sum in [1, n]. A row with a NaN, or all of
//         -inf, is NaN throughout.
// source  definition; Milakov and Gimelshein 2018, arXiv:1805.02867, section 2, "safe softmax"

#import grid
#import loss/row_softmax

struct Dims { rows: u32, n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

override LOG: u32 = 0u;

@compute @workgroup_size(256)
fn softmax(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let row = softmax_row(linear_group(group, groups), local);
    let log_total = log(row.total);
    for (var i = row.lane; i < row.n; i += LANES) {
        let shifted = x[row.start + i] - row.greatest;
        if (LOG == 1u) {
            y[row.start + i] = shifted - log_total;
        } else {
            y[row.start + i] = exp(shifted) / row.total;
        }
    }
}
