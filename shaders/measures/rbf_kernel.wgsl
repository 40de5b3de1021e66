// rbf_kernel.wgsl: K_ij = exp(−|x_i − x_j|² / (2 σ²)), from the linear Gram matrix G = X Xᵀ:
//   |x_i − x_j|² = G_ii + G_jj − 2 G_ij
//
// in      g (entries, n, n) f32, of centered activations; variance (entries) f32: σ²
// out     out (entries, n, n) f32: symmetric, 1 on the diagonal
// launch  one invocation per element; workgroups of 256
// memory  none
// cost    6 flop (one of them exp) and 8 bytes per element: bound by memory
// numeric of centered activations, so that a common offset costs no digits; distances that rounding makes negative are 0
// source  Kornblith et al. 2019, arXiv:1905.00414, section 3

#import grid
#import number

struct Dims { n: u32, entries: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> g: array<f32>;
@group(0) @binding(2) var<storage, read> variance: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn rbf_kernel(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
              @builtin(local_invocation_index) local: u32) {
    let at = linear_index(group, groups, local);
    if (at >= dims.entries * dims.n * dims.n) {
        return;
    }
    let entry = at / (dims.n * dims.n);
    let first = entry * dims.n * dims.n;
    let row = (at - first) / dims.n;
    let column = at % dims.n;
    let squared = g[first + row * dims.n + row] + g[first + column * dims.n + column] - 2.0 * g[at];
    // The sign bit is read: a driver turns a comparison into `max`, and `max` may lose NaN.
    let negative = bitcast<u32>(squared) >> 31u == 1u && !is_nan(squared);
    out[at] = exp(-select(squared, 0.0, negative) / (2.0 * variance[entry]));
}
