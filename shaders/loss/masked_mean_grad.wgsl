// masked_mean_grad.wgsl: dx[r] = dy / count where labels[r] < classes, else 0; count is the number of such r.
//
// in      labels (n) u32
//         dy     ()  f32
// out     dx     (n) f32
// launch  one workgroup; LANES invocations stride over n, the rest idle
// memory  1 KiB: one partial result per invocation
// cost    12 bytes per element
// numeric counts are exact up to 2^24
// source  derivative of masked_mean.wgsl

#import grid
#import reduce

struct Dims { rows: u32, n: u32, classes: u32 } // rows is 1
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(256)
fn masked_mean_grad(@builtin(local_invocation_index) local: u32) {
    let lane = lane_of(local, 1u);
    let n = select(0u, dims.n, local < LANES);
    var count = 0.0;
    for (var i = lane; i < n; i += LANES) {
        count += select(0.0, 1.0, labels[i] < dims.classes);
    }
    let share = dy[0] / lane_sum(local, 1u, count);
    for (var i = lane; i < n; i += LANES) {
        dx[i] = select(0.0, share, labels[i] < dims.classes);
    }
}
