// running_statistics.wgsl: mean += momentum (batch mean - mean), variance likewise with the unbiased batch variance.
//
// in      batch_stats  (2, channels) f32  means, then biased variances
// out     mean     (channels) f32     updated in place
//         variance (channels) f32     updated in place
// launch  one invocation per channel
// memory  none
// cost    8 flop and 24 bytes per channel
// numeric unbiased = n / (n - 1), and 1 for n = 1, where the variance is 0
// source  PyTorch's BatchNorm

#import grid

struct Dims { channels: u32, momentum: f32, unbiased: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> batch_stats: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> variance: array<f32>;

@compute @workgroup_size(256)
fn running_statistics(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) local: u32) {
    let c = linear_index(group, groups, local);
    if (c < dims.channels) {
        mean[c] = (1.0 - dims.momentum) * mean[c] + dims.momentum * batch_stats[c];
        let batch = dims.unbiased * batch_stats[dims.channels + c];
        variance[c] = (1.0 - dims.momentum) * variance[c] + dims.momentum * batch;
    }
}
