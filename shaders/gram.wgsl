// gram.wgsl: linear Gram matrix  K = X Xᵀ.
//
// in      x (n, p) f32: activations of one layer, most often with their column means taken off (center.wgsl)
// out     out (n, n) f32: symmetric; of centred activations every row and column sums to 0
// launch  SUBGROUP: ceil(n/32) x ceil(n/64) workgroups of 8 x 4, see lib/product_subgroup.wgsl
//         else:     ceil(n/64) x ceil(n/64) workgroups of 16 x 16, see lib/product_tiled.wgsl
//         blocks above the diagonal return at once; those below are stored on both sides
// memory  SUBGROUP: none; else 8 KiB
// cost    n²·p flop (half of a product), x read about n/64 times
// numeric f32 sums in order of k. For centred kernels X is centred before the product: centring K afterwards (H K H,
//         the same matrix) cancels when |mean| ≫ σ:
//         at 1000 σ it is wrong by 0.26 in CKA, this by 1e-7
// source  Kornblith et al. 2019, arXiv:1905.00414, section 3

struct Dims { n: u32, p: u32, k_start: u32, k_end: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
#if KVEC4
alias T = vec4f; // p is a multiple of 4
#else
alias T = f32;
#endif
@group(0) @binding(1) var<storage, read> x: array<T>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
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
#if KVEC4
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return x[(row * dims.p + k) / 4u];
}
fn rhs4_at(col: u32, k: u32) -> vec4f {
    return x[(col * dims.p + k) / 4u];
}
#else
fn lhs_at(row: u32, k: u32) -> f32 {
    return x[row * dims.p + k];
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = cols * dims.p + k;
    return vec4f(x[at.x], x[at.y], x[at.z], x[at.w]);
}
#endif
// Blocks wholly below the diagonal are stored on both sides; those on it compute both of their own.
fn store(row: u32, col: u32, sums: vec4f) {
    let mirrored = row - row % BLOCK.x >= col - col % BLOCK.y + BLOCK.y;
    for (var j = 0u; j < min(4u, dims.n - col); j += 1u) {
        let at = row * dims.n + col + j;
        var total = sums[j];
        if (CONTINUE == 1u) {
            total += out[at];
        }
        out[at] = total;
        if (mirrored) {
            out[(col + j) * dims.n + row] = total;
        }
    }
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn gram(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    product(group.xy, local.xy, dims.n, dims.n, dims.k_start, dims.k_end);
}
