// batch_norm.wgsl: y = gamma[c] (x - mean[c]) / sqrt(variance[c] + eps) + beta[c], then relu with RELU.
//
// in      x        (batch, channels, inner) f32
//         gamma    (channels) f32
//         beta     (channels) f32
//         mean     (channels) f32, or the batch_stats (2, channels) of the batch, means first
//         variance (channels) f32 with RUNNING, else unused: then it follows the mean
// out     y        (batch, channels, inner) f32
// launch  one invocation per element, or per four (VEC4, when inner is a multiple of 4); workgroups of 256
// memory  none
// cost    about 5 flop and 8 bytes per element: bound by memory
// numeric the mean is subtracted before anything is scaled
// source  Ioffe and Szegedy 2015, arXiv:1502.03167, algorithm 1

#import grid
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif
#import activation

struct Dims { n: u32, channels: u32, inner: u32, eps: f32 } // n and inner in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> beta: array<f32>;
@group(0) @binding(4) var<storage, read> mean: array<f32>;
@group(0) @binding(5) var<storage, read> variance: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<T>;

override RUNNING: u32 = 0u;
override RELU: u32 = 0u;

@compute @workgroup_size(256)
fn batch_norm(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let c = (i / dims.inner) % dims.channels;
    var spread = 0.0;
    if (RUNNING == 1u) {
        spread = variance[c];
    } else {
        spread = mean[dims.channels + c];
    }
    let scale = gamma[c] / sqrt(spread + dims.eps);
    let v = (x[i] - mean[c]) * scale + beta[c];
    if (RELU == 1u) {
        y[i] = relu(v);
    } else {
        y[i] = v;
    }
}
