// attention_pair_sums.wgsl: sums over the pairs of attention_pairs.wgsl, on the loop of a product:
//   by queries  out[i] = Σ_j w[i, j] met[j]: the output (w = p, met = v), and dq (w = ds, met = k)
//   BY_KEYS     out[j] = Σ_i w[i, j] met[i]: dk (w = ds, met = q), and dv (w = p, met = dout)
//
// in      pairs (heads of this launch, queries, keys filled up to fours) f32 from vector `pairs_first` on; 0 where a key is not seen
//         met (batch, time, heads · d) f32, its rows at the offsets in `dims`
// out     out (batch, time, heads · d) f32, likewise; other elements stay
// launch  ceil(d/COLUMNS) x ceil(time/ROWS) x heads workgroups, from head number `first_head` of all examples on, see
//         lib/gemm/product_block.wgsl; with COOPERATIVE lib/gemm/product_cooperative.wgsl
// memory  the two tiles of the product
// cost    2·d flop and 4 bytes per pair, from cache if it holds them. Causal: the pairs behind a block's last query, or before
//         its first key, are left out
// numeric f32 sums in order of keys, or of queries; with COOPERATIVE both sides are rounded to f16
// source  Vaswani et al. 2017, arXiv:1706.03762, section 3.2, and its derivatives

#import gemm/extensions
// Starts and rows in vectors of four. rows: of out; count: rows of met, over which is summed.
struct Dims {
    heads: u32, head: u32, first_head: u32, rows: u32, count: u32, fours: u32, queries: u32, causal: u32,
    pairs_first: u32, met_start: u32, met_row: u32, out_start: u32, out_row: u32,
}
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> pairs: array<vec4f>;
@group(0) @binding(2) var<storage, read> met: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
#import gemm/product

var<private> pair_first: u32; // of this head
var<private> met_first: u32;
var<private> out_first: u32;
var<private> unit: u32;       // of the four columns of this invocation

fn seek(k: u32) {}
fn columns(cols: vec4u) {
    unit = cols.x / 4u;
}
#if BY_KEYS
fn rows4_at(row: u32, k: u32) -> vec4f {
    return pairs[pair_first + k * dims.fours + row / 4u];
}
#else
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return pairs[pair_first + row * dims.fours + k / 4u];
}
#endif
// Behind the last row that row again, as pairs there are 0.
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    return met[met_first + min(k, dims.count - 1u) * dims.met_row + unit];
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
fn store(row: u32, col: u32, sums: vec4f) {
    if (row < dims.rows) {
        out[out_first + row * dims.out_row + col / 4u] = sums;
    }
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn attention_pair_sums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let number = dims.first_head + group.z;
    let batch = number / dims.heads;
    let head = number % dims.heads;
    pair_first = dims.pairs_first + group.z * dims.queries * dims.fours;
    met_first = dims.met_start + batch * dims.count * dims.met_row + head * dims.head;
    out_first = dims.out_start + batch * dims.rows * dims.out_row + head * dims.head;
#if BY_KEYS
    let begin = select(0u, min(group.y * ROWS, dims.count), dims.causal == 1u);
    product(group.xy, local.xy, 4u * dims.fours, 4u * dims.head, begin, dims.count);
#else
    let end = select(4u * dims.fours, min((group.y + 1u) * ROWS, 4u * dims.fours), dims.causal == 1u);
    product(group.xy, local.xy, dims.rows, 4u * dims.head, 0u, end);
#endif
}
