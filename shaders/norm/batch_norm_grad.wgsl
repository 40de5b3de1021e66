// batch_norm_grad.wgsl: dx = gamma / deviation (dy - (dbeta + xhat dgamma) / n), or with RUNNING, where the statistics
//                       do not depend on x, gamma / deviation dy.
//
// in      dy         (batch, channels, inner) f32
//         gamma      (channels) f32
//         statistics (2, channels) f32 means, then variances; with RUNNING the variances alone
//         x          (batch, channels, inner) f32  unused with RUNNING
//         sums       (2, channels) f32             dgamma, then dbeta; unused with RUNNING
// out     dx         (batch, channels, inner) f32
// launch  one invocation per element, or per four (VEC4, when inner is a multiple of 4); workgroups of 256
// memory  none
// cost    about 10 flop and 12 bytes per element: bound by memory
// numeric as the forward: the mean is subtracted before anything is scaled
// source  Ioffe and Szegedy 2015, arXiv:1502.03167, section 3, the paths through mean and variance collected

#import grid
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { n: u32, channels: u32, inner: u32, eps: f32, inverse_count: f32 } // n and inner in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> dy: array<T>;
@group(0) @binding(2) var<storage, read> gamma: array<f32>;
@group(0) @binding(3) var<storage, read> statistics: array<f32>;
@group(0) @binding(4) var<storage, read> x: array<T>;
@group(0) @binding(5) var<storage, read> sums: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<T>;

override RUNNING: u32 = 0u;

@compute @workgroup_size(256)
fn batch_norm_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let c = (i / dims.inner) % dims.channels;
    if (RUNNING == 1u) {
        dx[i] = dy[i] * (gamma[c] / sqrt(statistics[c] + dims.eps));
        return;
    }
    let scale = 1.0 / sqrt(statistics[dims.channels + c] + dims.eps);
    let dgamma = sums[c] * scale * dims.inverse_count;
    let dbeta = sums[dims.channels + c] * dims.inverse_count;
    dx[i] = gamma[c] * scale * (dy[i] - dbeta - (x[i] - statistics[c]) * dgamma);
}
