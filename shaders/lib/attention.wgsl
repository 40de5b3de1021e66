// What the attention kernels share: sizes, which keys take part, and rows of a head in units of T. A head's row is `units`
// of T: vec4f where the head size is a multiple of four (VEC4), else f32. The importing kernel binds q, k, v and keys.
//
// Arrays of a row have UNITS elements, of which a loop with a constant bound uses the first HEAD: a GPU's compiler unrolls
// it and keeps them in registers.
#if VEC4
alias T = vec4f;
fn inner(a: T, b: T) -> f32 {
    return dot(a, b);
}
#else
alias T = f32;
fn inner(a: T, b: T) -> f32 {
    return a * b;
}
#endif
#if UNITS_8
const UNITS: u32 = 8u;
#elif UNITS_16
const UNITS: u32 = 16u;
#elif UNITS_32
const UNITS: u32 = 32u;
#else
const UNITS: u32 = 128u;
#endif
override HEAD: u32 = 1u;   // units of T in a head's row
override CAUSAL: u32 = 0u; // query i sees the keys up to i
override KEYS: u32 = 0u;   // 0 all keys, 1 the first keys[batch] of them, 2 those whose id is not `padding`
const LOWEST: f32 = -3.4028234e38;

// Starts and rows in units of T. q may lie apart from k and v, or all three in one tensor.
struct Dims {
    batch: u32, heads: u32, queries: u32, keys: u32,
    q_row: u32, k_row: u32, v_row: u32, k_start: u32,
    v_start: u32, padding: u32, scale: f32, out_row: u32,
    dq_row: u32, dk_row: u32, dv_row: u32, dk_start: u32,
    dv_start: u32,
}
// Invocation `index` of a launch over (batch, heads, rows).
struct Place { batch: u32, head: u32, row: u32 }

fn place_of(index: u32, rows: u32) -> Place {
    return Place(index / (rows * dims.heads), index / rows % dims.heads, index % rows);
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
// One more than the last key that query `row` may see.
fn end_of_keys(batch: u32, row: u32) -> u32 {
    var end = dims.keys;
    if (CAUSAL == 1u) {
        end = min(end, row + 1u);
    }
    if (KEYS == 1u) {
        end = min(end, keys[batch]);
    }
    return end;
}
// Whether key `key`, below that end, takes part.
fn takes_part(batch: u32, key: u32) -> bool {
    if (KEYS != 2u) {
        return true;
    }
    return keys[batch * dims.keys + key] != dims.padding;
}
