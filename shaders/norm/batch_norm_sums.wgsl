// batch_norm_sums.wgsl: per channel dgamma = sum of dy xhat and dbeta = sum of dy, with xhat = (x - mean) / deviation.
//
// in      x        (batch, channels, inner) f32
//         dy       (batch, channels, inner) f32
//         mean     (channels) f32, or the batch_stats (2, channels) of the batch, means first
//         variance (channels) f32 with RUNNING, else unused: then it follows the mean
// out     out      (2, channels) f32  dgamma, then dbeta; with PARTS (parts, 2, channels), which product_parts.wgsl adds up
// launch  256 / LANES channels per workgroup; LANES invocations stride over one channel (lib/channel.wgsl). LANES = 1
//         on software adapters.
// memory  1 KiB: one partial result per invocation
// cost    4 flop and 8 bytes per element: bound by memory
// numeric each lane sums in order, then a fixed tree: same bits every time
// source  Ioffe and Szegedy 2015, arXiv:1502.03167, section 3

#import grid
#import reduce
#import channel

struct Dims { channels: u32, inner: u32, n: u32, eps: f32 } // n = batch * inner
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> dy: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> out: array<f32>;

override RUNNING: u32 = 0u;

@compute @workgroup_size(256)
fn batch_norm_sums(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let spacing = lane_spacing();
    let lane = lane_of(local, spacing);
    let number = linear_group(group, groups);
    let channel = channel_of(number / PARTS * (256u / LANES), local);
    let at = min(channel, dims.channels - 1u);
    let part = part_of(number, dims.n);
    let n = select(0u, part.y, channel < dims.channels);
    let center = mean[at];
    var w = walk(at, part.x + lane, dims.channels, dims.inner);
    var dgamma = 0.0;
    var dbeta = 0.0;
    for (var m = part.x + lane; m < n; m += LANES) {
        dgamma += dy[w.at] * (x[w.at] - center);
        dbeta += dy[w.at];
        advance(&w);
    }
    dgamma = lane_sum(local, spacing, dgamma);
    dbeta = lane_sum(local, spacing, dbeta);
    if (channel < dims.channels && lane == 0u) {
        var spread = 0.0;
        if (RUNNING == 1u) {
            spread = variance[channel];
        } else {
            spread = mean[dims.channels + channel];
        }
        let to = 2u * dims.channels * (number % PARTS) + channel;
        out[to] = dgamma / sqrt(spread + dims.eps);
        out[to + dims.channels] = dbeta;
    }
}
