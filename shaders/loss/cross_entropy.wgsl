// cross_entropy.wgsl: loss[r] = -sum over c of q[r, c] log softmax(x[r])[c], where q is the one-hot label, smoothed:
//                     q = (1 - smoothing) onehot(label) + smoothing / n.
//
// in      x      (rows, n) f32  logits
//         labels (rows)    u32  rows whose label is not below n are ignored: loss 0
// out     loss   (rows)    f32
// launch  256 / LANES rows per workgroup; LANES neighboring invocations stride over one row. LANES = 1 on software
//         adapters.
// memory  1 KiB: one partial result per invocation
// cost    5 flop (one exp) and 4 bytes per logit; the row is read twice, the second time from cache
// numeric the greatest logit is subtracted before exp; log softmax is a difference, never the log of a rounded
//         quotient. Without smoothing, logits of -inf are legal.
// source  definition as in PyTorch's CrossEntropyLoss; smoothing from Szegedy et al. 2016, arXiv:1512.00567, section 7

#import grid
#import reduce

struct Dims { rows: u32, n: u32, smoothing: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

const LOWEST: f32 = -3.4028234e38;

@compute @workgroup_size(256)
fn cross_entropy(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                 @builtin(local_invocation_index) local: u32) {
    let row = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let lane = lane_of(local, 1u);
    let n = select(0u, dims.n, row < dims.rows);
    let start = row * dims.n;
    var greatest = LOWEST;
    for (var i = lane; i < n; i += LANES) {
        greatest = nan_max(greatest, x[start + i]);
    }
    greatest = lane_max(local, 1u, greatest);
    var total = 0.0;
    var sum = 0.0; // of x - greatest
    for (var i = lane; i < n; i += LANES) {
        let shifted = x[start + i] - greatest;
        total += exp(shifted);
        sum += shifted;
    }
    total = lane_sum(local, 1u, total);
    sum = lane_sum(local, 1u, sum);
    if (lane == 0u && row < dims.rows) {
        let label = labels[row];
        var result = 0.0;
        if (label < n) {
            result = log(total) - (1.0 - dims.smoothing) * (x[start + label] - greatest);
            if (dims.smoothing > 0.0) {
                result -= dims.smoothing / f32(n) * sum;
            }
        }
        loss[row] = result;
    }
}
