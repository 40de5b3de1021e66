// Shared part of all attention kernels: sizes, offsets of rows, keys that take part, and dropout of probabilities. Rows of a
// head are read in units of T, which is vec4f where the head size is a multiple of four (VEC4), else f32. The importing kernel
// binds `keys` and `step_state`.
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif
override HEAD: u32 = 1u; // units of T in a head's row
const LOWEST: f32 = -3.4028234e38;
const LOG2_E: f32 = 1.4426950408889634;

// Starts and rows in units of T. q may lie apart from k and v, or all three in one tensor.
struct Dims {
    batch: u32, heads: u32, queries: u32, keys: u32,
    q_row: u32, k_row: u32, v_row: u32, k_start: u32,
    v_start: u32, padding: u32, scale: f32, out_row: u32,
    dq_row: u32, dk_row: u32, dv_row: u32, dk_start: u32,
    dv_start: u32,
    causal: u32, // query i sees the keys up to i
    mask: u32,   // 0 all keys, 1 the first keys[batch] of them, 2 those whose id is not `padding`
    seed_low: u32, seed_high: u32, stream: u32, dropped: u32, kept: f32, // dropped: pairs out of 65,536
    parts: u32, part_keys: u32, // workgroups that share the keys of a query, and keys of each; for the tiled kernels
    first_head: u32, held_heads: u32, // heads of all examples whose pairs are in memory; for the stored form
}
fn q_at(batch: u32, head: u32, row: u32) -> u32 {
    return (batch * dims.queries + row) * dims.q_row + head * HEAD;
}
fn k_at(batch: u32, head: u32, row: u32) -> u32 {
    return dims.k_start + (batch * dims.keys + row) * dims.k_row + head * HEAD;
}
fn v_at(batch: u32, head: u32, row: u32) -> u32 {
    return dims.v_start + (batch * dims.keys + row) * dims.v_row + head * HEAD;
}
// The output, and its gradient, at row `row` of the queries.
fn out_at(batch: u32, head: u32, row: u32) -> u32 {
    return (batch * dims.queries + row) * dims.out_row + head * HEAD;
}
// Vectors of four pairs in memory for a query.
fn fours() -> u32 {
    return (dims.keys + 3u) / 4u;
}
// One more than the last key that query `row` may see.
fn end_of_keys(batch: u32, row: u32) -> u32 {
    var end = dims.keys;
    if (dims.causal == 1u) {
        end = min(end, row + 1u);
    }
    if (dims.mask == 1u) {
        end = min(end, keys[batch]);
    }
    return end;
}
// True if key `key` takes part, wherever the end of keys is.
fn takes_part(batch: u32, key: u32) -> bool {
    if (dims.mask != 2u) {
        return true;
    }
    return keys[batch * dims.keys + key] != dims.padding;
}
// True for each of four keys, `j`, that takes part and lies before `end`.
fn present4(batch: u32, j: vec4u, end: u32) -> vec4<bool> {
    let at = min(j, vec4u(dims.keys - 1u));
    return (j < vec4u(end)) & vec4<bool>(takes_part(batch, at.x), takes_part(batch, at.y), takes_part(batch, at.z),
                                        takes_part(batch, at.w));
}

// Dropout's factors of probabilities. A draw of Philox, sixteen bits a pair, serves four keys and two queries.
#if DROPOUT
#import philox
fn draw(head: u32, row: u32, key: u32) -> vec4u {
    let rows = head * ((dims.queries + 1u) / 2u) + row / 2u;
    return philox(vec4u(key / 4u, rows, step_state[0], dims.stream), vec2u(dims.seed_low, dims.seed_high));
}
fn factors(random: vec4u) -> vec4f {
    return select(vec4f(dims.kept), vec4f(), random < vec4u(dims.dropped));
}
// Factors of keys `j` to `j + 3`, j a multiple of four, for query `row` of head number `head`.
fn kept_keys(head: u32, row: u32, j: u32) -> vec4f {
    return factors((draw(head, row, j) >> vec4u(16u * (row % 2u))) & vec4u(0xffffu));
}
#else
fn kept_keys(head: u32, row: u32, j: u32) -> vec4f {
    return vec4f(1.0);
}
#endif
