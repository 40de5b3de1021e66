// batch_stats.wgsl: mean and biased variance of every channel of x (batch, channels, inner).
//
// in      x   (batch, channels, inner) f32
// out     out (2, channels) f32  means, then variances; with PARTS (parts, 2, channels), see batch_stats_combine.wgsl
// launch  256 / LANES channels per workgroup; LANES invocations stride over one channel (lib/channel.wgsl). LANES = 1
//         on software adapters.
// memory  1 KiB: one partial result per invocation
// cost    6 flop and 4 bytes per element; each is read twice
// numeric two passes, both shifted: by the first element, then by the mean so found, whose own error the sum of the
//         differences corrects. So |mean| >> deviation costs no digits, unlike E[x^2] - E[x]^2.
// source  Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 1.7

#import grid
#import reduce
#import channel

struct Dims { channels: u32, inner: u32, n: u32 } // n = batch * inner
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn batch_stats(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
           @builtin(local_invocation_index) local: u32) {
    let spacing = lane_spacing();
    let lane = lane_of(local, spacing);
    let number = linear_group(group, groups);
    let channel = channel_of(number / PARTS * (256u / LANES), local);
    let at = min(channel, dims.channels - 1u);
    let part = part_of(number, dims.n);
    let n = select(0u, part.y, channel < dims.channels);
    let count = f32(part.y - part.x);
    let first = x[at * dims.inner];
    let start = walk(at, part.x + lane, dims.channels, dims.inner);

    var w = start;
    var sum = 0.0;
    for (var m = part.x + lane; m < n; m += LANES) {
        sum += x[w.at] - first;
        advance(&w);
    }
    let guess = first + lane_sum(local, spacing, sum) / count;
    w = start;
    sum = 0.0;
    var squares = 0.0;
    for (var m = part.x + lane; m < n; m += LANES) {
        let difference = x[w.at] - guess;
        sum += difference;
        squares += difference * difference;
        advance(&w);
    }
    let correction = lane_sum(local, spacing, sum) / count;
    squares = lane_sum(local, spacing, squares) / count;
    if (channel < dims.channels && lane == 0u) {
        let to = 2u * dims.channels * (number % PARTS) + channel;
        out[to] = guess + correction;
        out[to + dims.channels] = squares - correction * correction;
    }
}
