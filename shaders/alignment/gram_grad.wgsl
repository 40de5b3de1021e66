// gram_grad.wgsl: dX = 2 M X, where M is the gradient of a Gram matrix; with CKA, M is computed on load:
//   M = dc · k⁻ (u L' − v K'), of K' = K k⁻ and L' = L l⁻. Here u = 1 / (|K'||L'|) and v = c / |K'|². See cka.wgsl for k⁻.
//
// in      m (entries, n, n) f32: M itself, symmetric; or, with CKA, the layer's own Gram matrix K
//         l (entries, n, n), stats (entries, 8), dc () f32: the other one, cka.wgsl's output, gradient of the mean CKA
//         x (n, entries, p) f32 or f16: activations of the Gram matrices, most often centered, see
//         center.wgsl; an entry is a time step. PACKED: an entry is a layer (n, p of its own), multiples of 4, at
//         the offsets in `places`; out likewise
// out     out (n, entries, p) f32, or f16 (OUT_HALF)
// launch  SUBGROUP: ceil(p/32) x ceil(n/64) x entries workgroups of 8 x 4, see lib/gemm/product_subgroup.wgsl; TALL: of 8 x 2
//         BLOCK:    ceil(p/COLUMNS) x ceil(n/ROWS) x entries workgroups, see lib/gemm/product_block.wgsl
// memory  SUBGROUP, TALL: none; BLOCK: its two tiles
// cost    2·n²·p flop; x read about n/16 (SUBGROUP), n/32 (TALL) or n/ROWS times
// numeric f32 sums in order of k; with ROUND rounded to f16. With centered X no digits are lost when |mean| ≫ σ
// source  docs/alignment.md; checked against differences

// row = entries·p, share = 1 / entries; places of two layers each, first element and p
struct Dims { n: u32, p: u32, row: u32, share: f32, places: array<vec4u, 14> }
@group(0) @binding(0) var<uniform> dims: Dims;
#if LHS_K4
alias M = vec4f; // n is a multiple of 4, and subgroups have 8
#else
alias M = f32;
#endif
@group(0) @binding(1) var<storage, read> m: array<M>;
@group(0) @binding(2) var<storage, read> l: array<M>;
@group(0) @binding(3) var<storage, read> stats: array<f32>;
@group(0) @binding(4) var<storage, read> dc: array<f32>;
#import half
// By fours, VEC4: p is a multiple of 4.
#if X_HALF4
@group(0) @binding(5) var<storage, read> x: array<vec2u>;
fn x_four(i: u32) -> vec4f { return unpack_four(x[i]); }
#elif X_HALF
@group(0) @binding(5) var<storage, read> x: array<u32>;
fn x_one(i: u32) -> f32 { return unpack_one(x[i / 2u], i); }
#elif VEC4
@group(0) @binding(5) var<storage, read> x: array<vec4f>;
fn x_four(i: u32) -> vec4f { return x[i]; }
#else
@group(0) @binding(5) var<storage, read> x: array<f32>;
fn x_one(i: u32) -> f32 { return x[i]; }
#endif
#if OUT_HALF
@group(0) @binding(6) var<storage, read_write> out: array<vec2u>;
fn put(at: u32, v: vec4f) { out[at] = pack_four(v); }
#elif VEC4
@group(0) @binding(6) var<storage, read_write> out: array<vec4f>;
fn put(at: u32, v: vec4f) { out[at] = v; }
#else
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
#endif
#import gemm/product

override CKA: u32 = 0u;   // 1: compute M on load
override RIGHT: u32 = 0u; // 1: this layer is CKA's second argument
override ROUND: u32 = 0u; // 1: the result is rounded to f16

var<private> first: u32;  // of this entry in x and out
var<private> row_step: u32;
var<private> matrix: u32; // and in m and l
var<private> towards: f32;
var<private> own_scale: f32;
var<private> own_factor: f32;
var<private> other_factor: f32;
var<private> first_col: u32;
var<private> x_now: u32; // next position of rhs_at

fn columns(cols: vec4u) {
    first_col = cols.x;
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn gradient(at: u32) -> M {
    if (CKA == 1u) {
        return (l[at] * other_factor) * towards - (m[at] * own_scale) * own_factor;
    }
    return m[at];
}
#if LHS_K4
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return gradient(matrix / 4u + row * (dims.n / 4u) + k / 4u);
}
#else
fn lhs_at(row: u32, k: u32) -> f32 {
    return gradient(matrix + row * dims.n + k);
}
#endif
#if VEC4
fn seek(k: u32) {
    x_now = (first + k * row_step + first_col) / 4u;
}
fn advance() {
    x_now += row_step / 4u;
}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    return x_four(x_now);
}
#else
fn seek(k: u32) {}
fn advance() {}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    let at = first + k * row_step + cols;
    return vec4f(x_one(at.x), x_one(at.y), x_one(at.z), x_one(at.w));
}
#endif
fn factor() -> f32 {
    if (CKA == 1u) {
        return 2.0 * (dc[0] * dims.share) * own_scale;
    }
    return 2.0;
}
#if VEC4
fn store(row: u32, col: u32, sums: vec4f) {
    var result = factor() * sums;
    if (ROUND == 1u) {
        result = unpack_four(pack_four(result));
    }
    put((first + row * row_step + col) / 4u, result);
}
#else
fn store(row: u32, col: u32, sums: vec4f) {
#unroll j 4
    if (col + $ju < dims.p) {
        var result = factor() * sums[$j];
        if (ROUND == 1u) {
            result = unpack_one(pack_half(vec2f(result, 0.0)), 0u);
        }
        out[first + row * row_step + col + $ju] = result;
    }
#end
}
#endif

@compute @workgroup_size(WIDTH, HEIGHT)
fn gram_grad(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
#if PACKED
    let two = dims.places[group.z / 2u];
    first = select(two.x, two.z, group.z % 2u == 1u);
    let p = select(two.y, two.w, group.z % 2u == 1u); // and not read from `row_step`: see gram.wgsl
    row_step = p;
    if (group.x * COLUMNS >= p) {
        return; // the grid is that of the widest layer
    }
#else
    first = group.z * dims.p;
    row_step = dims.row;
    let p = dims.p;
#endif
    matrix = group.z * dims.n * dims.n;
    if (CKA == 1u) {
        let at = 8u * group.z;
        towards = stats[at + 3u];
        own_scale = stats[at + 1u + RIGHT];
        other_factor = stats[at + 2u - RIGHT];
        own_factor = stats[at + 4u + RIGHT];
    }
    product(group.xy, local.xy, dims.n, p, 0u, dims.n);
}
