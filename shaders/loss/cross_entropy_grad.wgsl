// cross_entropy_grad.wgsl: dx[r, c] = dloss[r] (softmax(x[r])[c] - q[r, c]), q the smoothed one-hot label.
//
// in      x      (rows, n) f32  logits
//         labels (rows)    u32  rows whose label is not below n are ignored: gradient 0
//         dloss  (rows)    f32
// out     dx     (rows, n) f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    8 flop (two exp) and 8 bytes per logit; the row is read three times, the last two from cache
// numeric softmax is computed again as in softmax.wgsl: cheaper than to store it
// source  derivative of cross_entropy.wgsl

#import grid
#import loss/row_softmax

struct Dims { rows: u32, n: u32, smoothing: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> dloss: array<f32>;
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(256)
fn cross_entropy_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) local: u32) {
    let row = softmax_row(linear_group(group, groups), local);
    let at = min(row.number, dims.rows - 1u);
    let label = labels[at];
    let scale = dloss[at];
    let spread = dims.smoothing / f32(dims.n);
    for (var i = row.lane; i < row.n; i += LANES) {
        let q = spread + select(0.0, 1.0 - dims.smoothing, i == label);
        let p = exp(x[row.start + i] - row.greatest) / row.total;
        // select, not a factor 0: an ignored row may hold anything.
        dx[row.start + i] = select(0.0, scale * (p - q), label < row.n);
    }
}
