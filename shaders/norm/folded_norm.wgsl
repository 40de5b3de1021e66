// folded_norm.wgsl: batch norm with stored statistics as one multiply-add per element, γ (x − mean) / √(variance + ε) + β =
// scale x + shift, for the epilogue of a convolution.
//
// in      gamma, beta, mean, variance (channels) f32
// out     folded (2, channels) f32: shift, then scale
// launch  one invocation per channel; workgroups of 256
// memory  none
// cost    5 flop and 24 bytes per channel
// numeric the scale is rounded before it multiplies: results differ from batch_norm.wgsl's by rounding
// source  Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 2

#import grid
struct Dims { channels: u32, eps: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> gamma: array<f32>;
@group(0) @binding(2) var<storage, read> beta: array<f32>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read> variance: array<f32>;
@group(0) @binding(5) var<storage, read_write> folded: array<f32>;

@compute @workgroup_size(256)
fn folded_norm(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(local_invocation_index) local: u32) {
    let c = linear_index(group, groups, local);
    if (c >= dims.channels) {
        return;
    }
    let scale = gamma[c] / sqrt(variance[c] + dims.eps);
    folded[c] = beta[c] - mean[c] * scale;
    folded[dims.channels + c] = scale;
}
