// cross_entropy.wgsl: loss[r] = -sum over c of q[r, c] log softmax(x[r])[c], where q is the one-hot label, smoothed:
//                     q = (1 - smoothing) onehot(label) + smoothing / n.
//
// in      x      (rows, n) f32  logits
//         labels (rows)    u32  rows whose label is not below n are ignored: loss 0
// out     loss   (rows)    f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    5 flop (one exp) and 4 bytes per logit; the row is read twice, or with smoothing three times, from cache but once
// numeric the greatest logit is subtracted before exp; log softmax is a difference, never the log of a rounded
//         quotient. Without smoothing, logits of -inf are legal.
// source  definition as in PyTorch's CrossEntropyLoss; smoothing from Szegedy et al. 2016, arXiv:1512.00567, section 7

#import grid
#import loss/row_softmax

struct Dims { rows: u32, n: u32, smoothing: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

@compute @workgroup_size(256)
fn cross_entropy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_index) local: u32) {
    let row = softmax_row(linear_group(group, groups), local);
    var sum = 0.0; // of x - greatest
    if (dims.smoothing > 0.0) {
        for (var i = row.lane; i < row.n; i += LANES) {
            sum += x[row.start + i] - row.greatest;
        }
        sum = lane_sum(local, 1u, sum);
    }
    if (row.lane == 0u && row.number < dims.rows) {
        let label = labels[row.number];
        var result = 0.0;
        if (label < row.n) {
            result = log(row.total) - (1.0 - dims.smoothing) * (x[row.start + label] - row.greatest);
            if (dims.smoothing > 0.0) {
                result -= dims.smoothing / f32(row.n) * sum;
            }
        }
        loss[row.number] = result;
    }
}
