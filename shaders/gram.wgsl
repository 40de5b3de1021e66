// gram.wgsl: centred linear Gram matrix  K = Xc Xcᵀ,  Xc = X − 1 meanᵀ.
//
// in      x (n, p) f32: activations of one layer, one row per example; mean (p) f32: its column means
// out     out (n, n) f32: symmetric; every row and column sums to 0
// launch  SUBGROUP: ceil(n/32) x ceil(n/64) workgroups of 8 x 4, see lib/product_subgroup.wgsl
//         else:     ceil(n/64) x ceil(n/64) workgroups of 16 x 16, see lib/product_tiled.wgsl
//         blocks above the diagonal return at once; what is below is stored on both sides
// memory  SUBGROUP: none; else 8 KiB
// cost    n²·p flop (half of a product), x read about n/64 times
// numeric X is centred while it is loaded. Centring K afterwards (H K H, the same matrix) cancels when |mean| ≫ σ:
//         at 1000 σ it is wrong by 0.26 in CKA, this by 1e-7
// source  Kornblith et al. 2019, arXiv:1905.00414, section 3

struct Dims { n: u32, p: u32, k_start: u32, k_end: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;
#import center
#if SUBGROUP
#import product_subgroup
#else
#import product_tiled
#endif

override CONTINUE: u32 = 0u; // 1: an earlier dispatch has summed over k < k_start

fn seek(k: u32) {}
fn advance() {}
fn columns(cols: vec4u) {}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return row + rows <= col;
}
fn lhs_at(row: u32, k: u32) -> f32 {
    return centered(x[row * dims.p + k], mean[k]);
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = cols * dims.p + k;
    let m = mean[k];
    return vec4f(centered(x[at.x], m), centered(x[at.y], m), centered(x[at.z], m), centered(x[at.w], m));
}
fn store(row: u32, col: u32, sum: f32) {
    if (row < col) {
        return;
    }
    var total = sum;
    if (CONTINUE == 1u) {
        total += out[row * dims.n + col];
    }
    out[row * dims.n + col] = total;
    out[col * dims.n + row] = total;
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn gram(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    product(group.xy, local.xy, dims.n, dims.n, dims.k_start, dims.k_end);
}
