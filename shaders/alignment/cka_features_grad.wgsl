// cka_features_grad.wgsl: the gradient of linear CKA from products of features, see cka_features.wgsl:
//   dX = 2 dc (w Y T' − v a⁻ X A'),  one product over the features of both layers: [w Y, −v a⁻ X] [T'; A']
//
// in      x (n, p), y (n, q) f32: centered activations of the layer it is for, and of the other
//         a (p, p) f32: XᵀX; t f32: YᵀX (q, p), or with RIGHT its transpose (p, q), X being CKA's second argument
//         stats (8) f32 from cka_features.wgsl; dc () f32: the gradient of the CKA value
// out     out (n, p) f32: its columns sum to 0
// launch  SUBGROUP: ceil(p/32) x ceil(n/64) workgroups of 8 x 4, see lib/gemm/product_subgroup.wgsl; TALL: of 8 x 2
//         BLOCK:    ceil(p/COLUMNS) x ceil(n/ROWS) workgroups, see lib/gemm/product_block.wgsl
// memory  SUBGROUP, TALL: none; BLOCK: its two tiles
// cost    2·n·p·(p + q) flop
// numeric f32 sums in order of the other layer's features, then of the own; all factors are applied while loading, so
//         nothing leaves f32's range
// source  docs/alignment.md; checked against differences

struct Dims { n: u32, p: u32, q: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
#if LHS_K4
alias L = vec4f; // p and q are multiples of 4, and subgroups have 8
#else
alias L = f32;
#endif
#if R4
alias R = vec4f; // p is a multiple of 4, and t is (q, p)
#else
alias R = f32;
#endif
@group(0) @binding(1) var<storage, read> x: array<L>;
@group(0) @binding(2) var<storage, read> y: array<L>;
@group(0) @binding(3) var<storage, read> a: array<R>;
@group(0) @binding(4) var<storage, read> t: array<R>;
@group(0) @binding(5) var<storage, read> stats: array<f32>;
@group(0) @binding(6) var<storage, read> dc: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
#import gemm/product

override RIGHT: u32 = 0u;

var<private> own_scale: f32;
var<private> own_factor: f32;
var<private> cross_scale: f32;
var<private> cross_factor: f32;

fn seek(k: u32) {}
fn advance() {}
fn columns(cols: vec4u) {}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
// Element (row, k) of [Y, X], sizes in units of L.
fn lhs(row: u32, k: u32, p: u32, q: u32) -> L {
    if (k < q) {
        return y[row * q + k] * cross_factor;
    }
    return x[row * p + k - q] * own_factor;
}
#if LHS_K4
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return lhs(row, k / 4u, dims.p / 4u, dims.q / 4u);
}
#else
fn lhs_at(row: u32, k: u32) -> f32 {
    return lhs(row, k, dims.p, dims.q);
}
#endif
#if R4
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    if (k < dims.q) {
        return t[(k * dims.p + cols.x) / 4u] * cross_scale;
    }
    return a[((k - dims.q) * dims.p + cols.x) / 4u] * own_scale;
}
#else
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    if (k < dims.q) {
        let at = select(k * dims.p + cols, cols * dims.q + k, RIGHT == 1u);
        return vec4f(t[at.x], t[at.y], t[at.z], t[at.w]) * cross_scale;
    }
    let at = (k - dims.q) * dims.p + cols;
    return vec4f(a[at.x], a[at.y], a[at.z], a[at.w]) * own_scale;
}
#endif
fn store(row: u32, col: u32, sums: vec4f) {
#unroll j 4
    if (col + $ju < dims.p) {
        out[row * dims.p + col + $ju] = 2.0 * dc[0] * sums[$j];
    }
#end
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn cka_features_grad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    own_scale = stats[1u + RIGHT];
    own_factor = -stats[4u + RIGHT] * own_scale;
    cross_scale = stats[7];
    cross_factor = stats[3];
    product(group.xy, local.xy, dims.n, dims.p, 0u, dims.p + dims.q);
}
