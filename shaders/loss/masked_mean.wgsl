// masked_mean.wgsl: out = mean of x[r] over the r with labels[r] < classes.
//
// in      x      (n) f32
//         labels (n) u32
// out     out    ()  f32
// launch  one workgroup; LANES invocations stride over n, the rest idle
// memory  1 KiB: one partial result per invocation
// cost    2 flop and 8 bytes per element
// numeric each lane sums in order of r, then a fixed tree: same bits every time. NaN (0/0) if no label counts.
// source  PyTorch's reduction="mean" with ignore_index

#import grid
#import reduce

struct Dims { rows: u32, n: u32, classes: u32 } // rows is 1
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn masked_mean(@builtin(local_invocation_index) local: u32) {
    let lane = lane_of(local, 1u);
    let n = select(0u, dims.n, local < LANES);
    var total = 0.0;
    var count = 0.0;
    for (var i = lane; i < n; i += LANES) {
        if (labels[i] < dims.classes) {
            total += x[i];
            count += 1.0;
        }
    }
    total = lane_sum(local, 1u, total);
    count = lane_sum(local, 1u, count);
    if (local == 0u) {
        out[0] = total / count;
    }
}
