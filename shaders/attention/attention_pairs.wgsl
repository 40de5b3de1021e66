// attention_pairs.wgsl: a number for every query i and key j of a head, on the loop of a product:
//   SCORES  s[i, j] = scale log2 e q[i]·k[j], or LOWEST where the key is not seen
//   SLOPES  ds[i, j] = scale p[i, j] (kept dout[i]·v[j] - Σ_c out dout), and p times dropout's factor, kept, in place of p
//   else    p[i, j] = exp2(s[i, j] - log2 e · logarithm of the softmax's divisor)
// attention_pair_sums.wgsl sums over them.
//
// in      lhs, rhs (batch, time, heads · d) f32: q and k; for SLOPES dout and v. d is a multiple of four
//         rows (batch, heads, queries, 2) f32, from attention_rows.wgsl; not for SCORES
//         keys, step state  as in attention.wgsl
// out     pairs (2, heads of this launch, queries, keys filled up to fours) f32: p or s, then ds; 0 where a key is not seen
// launch  ceil(keys/COLUMNS) x ceil(queries/ROWS) x heads workgroups, from head number `first_head` of all examples on, see
//         lib/gemm/product_block.wgsl; with COOPERATIVE lib/gemm/product_cooperative.wgsl. Blocks without a key that is seen
//         store without a product
// memory  the two tiles of the product
// cost    2·d flop per pair, 4 bytes written; for SLOPES 4 read. The sides come from cache
// numeric f32 sums in order of d; with COOPERATIVE the sides are rounded to f16. exp2 of differences: p is in [0, 1]
// source  Dao et al. 2022, arXiv:2205.14135, appendix B.2

#import gemm/extensions
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> lhs: array<vec4f>;
@group(0) @binding(2) var<storage, read> rhs: array<vec4f>;
@group(0) @binding(3) var<storage, read> rows: array<vec2f>;
@group(0) @binding(4) var<storage, read> keys: array<u32>;
@group(0) @binding(5) var<storage, read> step_state: array<u32>;
@group(0) @binding(6) var<storage, read_write> pairs: array<vec4f>;
#import attention/attention_sizes
#import gemm/product

var<private> batch: u32;
var<private> head: u32;       // of all examples
var<private> lhs_first: u32;  // vectors of this head
var<private> rhs_first: u32;
var<private> pair_first: u32;
var<private> lhs_row: u32;
var<private> rhs_row: u32;

fn seek(k: u32) {}
fn columns(cols: vec4u) {}
fn lhs4_at(row: u32, k: u32) -> vec4f {
    return lhs[lhs_first + row * lhs_row + k / 4u];
}
fn rhs4_at(col: u32, k: u32) -> vec4f {
    return rhs[rhs_first + col * rhs_row + k / 4u];
}
fn skip(row: u32, rows: u32, col: u32) -> bool {
    return false;
}
#if SCORES
fn set_pairs(at: u32, row: u32, col: u32, sums: vec4f, seen: vec4<bool>) {
    pairs[at] = select(vec4f(LOWEST), dims.scale * LOG2_E * sums, seen);
}
#elif SLOPES
fn set_pairs(at: u32, row: u32, col: u32, sums: vec4f, seen: vec4<bool>) {
    let p = pairs[at];
    let kept = kept_keys(head, row, col);
    let slopes = at + dims.held_heads * dims.queries * fours();
    pairs[slopes] = select(vec4f(), dims.scale * p * (kept * sums - rows[head * dims.queries + row].y), seen);
    drop(at, p * kept);
}
#else
fn set_pairs(at: u32, row: u32, col: u32, sums: vec4f, seen: vec4<bool>) {
    let logarithm = rows[head * dims.queries + row].x;
    pairs[at] = select(vec4f(), exp2(LOG2_E * (dims.scale * sums - logarithm)), seen);
}
#endif
#if DROPOUT
fn drop(at: u32, p: vec4f) {
    pairs[at] = p;
}
#else
fn drop(at: u32, p: vec4f) {}
#endif
fn store(row: u32, col: u32, sums: vec4f) {
    let seen = present4(batch, col + vec4u(0u, 1u, 2u, 3u), end_of_keys(batch, row));
    set_pairs(pair_first + row * fours() + col / 4u, row, col, sums, seen);
}

@compute @workgroup_size(WIDTH, HEIGHT)
fn attention_pairs(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    // In names of their own: a browser takes private variables for non-uniform, and `product` has barriers.
    let number = dims.first_head + group.z;
    let example = number / dims.heads;
    head = number;
    batch = example;
    pair_first = group.z * dims.queries * fours();
#if SLOPES
    lhs_first = out_at(batch, head % dims.heads, 0u);
    lhs_row = dims.out_row;
    rhs_first = v_at(batch, head % dims.heads, 0u);
    rhs_row = dims.v_row;
#else
    lhs_first = q_at(batch, head % dims.heads, 0u);
    lhs_row = dims.q_row;
    rhs_first = k_at(batch, head % dims.heads, 0u);
    rhs_row = dims.k_row;
#endif
    let last = min((group.y + 1u) * ROWS, dims.queries) - 1u;
    let inner = select(0u, 4u * HEAD, group.x * COLUMNS < end_of_keys(example, last));
    product(group.xy, local.xy, dims.queries, dims.keys, 0u, inner);
}
