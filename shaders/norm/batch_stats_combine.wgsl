// batch_stats_combine.wgsl: mean and biased variance of every channel from those of its parts (Chan, Golub and LeVeque):
//   mean = Σ n_i mean_i / n,   variance = Σ n_i (variance_i + (mean_i − mean)²) / n
//
// in      partial (parts, 2, channels) f32: output of batch_stats.wgsl for each part; all have `length` elements but the last ones
// out     out     (2, channels) f32  means, then variances
// launch  one invocation per channel; workgroups of 256
// memory  none
// cost    6 flop and 8 bytes per channel and part: bound by the launch
// numeric means are summed as differences from the first, in order of the parts, so |mean| >> deviation costs no digits
// source  Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance", equation 2.1

#import grid

struct Dims { channels: u32, parts: u32, n: u32 } // n elements of a channel
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

// Elements of a part, as lib/channel.wgsl cuts them.
fn length(part: u32) -> f32 {
    let whole = (dims.n + dims.parts - 1u) / dims.parts;
    return f32(min((part + 1u) * whole, dims.n) - min(part * whole, dims.n));
}

@compute @workgroup_size(256)
fn batch_stats_combine(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let channel = linear_index(group, groups, local);
    if (channel >= dims.channels) {
        return;
    }
    let first = partial[channel];
    var sum = 0.0;
    for (var part = 1u; part < dims.parts; part += 1u) {
        sum += length(part) * (partial[2u * part * dims.channels + channel] - first);
    }
    let mean = first + sum / f32(dims.n);
    var squares = 0.0;
    for (var part = 0u; part < dims.parts; part += 1u) {
        let at = 2u * part * dims.channels + channel;
        let difference = partial[at] - mean;
        squares += length(part) * (partial[at + dims.channels] + difference * difference);
    }
    out[channel] = mean;
    out[dims.channels + channel] = squares / f32(dims.n);
}
