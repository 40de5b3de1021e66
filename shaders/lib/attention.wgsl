// What the attention kernels share: sizes, which keys take part, and rows of a head in units of T, which is vec4f where the
// head size is a multiple of four (VEC4), else f32. The importing kernel binds q, k, v, keys and clock.
//
// An invocation owns a row and meets the rows of the other side eight at a time. Where subgroups have eight neighbours
// (SUBGROUP8: a CPU, where every load is a gather over the lanes) each of them loads one of the eight rows and hears the
// others from its neighbours; elsewhere each loads all eight, and since neighbours load the same, one cache line serves all.
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
override HEAD: u32 = 1u; // units of T in a head's row
const LOWEST: f32 = -3.4028234e38;

// Starts and rows in units of T. q may lie apart from k and v, or all three in one tensor.
struct Dims {
    batch: u32, heads: u32, queries: u32, keys: u32,
    q_row: u32, k_row: u32, v_row: u32, k_start: u32,
    v_start: u32, padding: u32, scale: f32, out_row: u32,
    dq_row: u32, dk_row: u32, dv_row: u32, dk_start: u32,
    dv_start: u32,
    causal: u32, // query i sees the keys up to i
    mask: u32,   // 0 all keys, 1 the first keys[batch] of them, 2 those whose id is not `padding`
    seed_low: u32, seed_high: u32, stream: u32, dropped: u32, kept: f32, // of 65,536 pairs, so many are dropped
}
// The row that an invocation owns, of `rows`. Heads begin at multiples of eight invocations, so that eight neighbours share
// one: the last of a head may have no row, and follow the last row that there is.
struct Place { batch: u32, head: u32, row: u32, exists: bool }

fn place_of(index: u32, rows: u32) -> Place {
    let padded = (rows + 7u) & ~7u;
    let row = index % padded;
    return Place(index / (padded * dims.heads), index / padded % dims.heads, min(row, rows - 1u), row < rows);
}
fn invocations(rows: u32) -> u32 {
    return dims.batch * dims.heads * ((rows + 7u) & ~7u);
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
    if (dims.causal == 1u) {
        end = min(end, row + 1u);
    }
    if (dims.mask == 1u) {
        end = min(end, keys[batch]);
    }
    return end;
}
// Whether key `key` takes part, wherever the end of keys is.
fn takes_part(batch: u32, key: u32) -> bool {
    if (dims.mask != 2u) {
        return true;
    }
    return keys[batch * dims.keys + key] != dims.padding;
}
// Which of four keys, `j`, take part and lie before `end`.
fn present4(batch: u32, j: vec4u, end: u32) -> vec4<bool> {
    let at = min(j, vec4u(dims.keys - 1u));
    return (j < vec4u(end)) & vec4<bool>(takes_part(batch, at.x), takes_part(batch, at.y), takes_part(batch, at.z),
                                        takes_part(batch, at.w));
}

// What dropout multiplies probabilities by. A draw of Philox, sixteen bits a pair, serves four keys and two queries, so that
// an invocation that owns a query draws twice for eight keys, and one that owns a key four times for eight queries.
#if DROPOUT
#import philox
fn draw(head: u32, row: u32, key: u32) -> vec4u {
    let rows = head * ((dims.queries + 1u) / 2u) + row / 2u;
    return philox(vec4u(key / 4u, rows, clock[0], dims.stream), vec2u(dims.seed_low, dims.seed_high));
}
fn factors(random: vec4u) -> vec4f {
    return select(vec4f(dims.kept), vec4f(), random < vec4u(dims.dropped));
}
// Of keys `j` to `j + 3`, a multiple of four and on, for query `row` of head number `head`.
fn kept_keys(head: u32, row: u32, j: u32) -> vec4f {
    return factors((draw(head, row, j) >> vec4u(16u * (row % 2u))) & vec4u(0xffffu));
}
// Of `key` for queries `i` to `i + 3`, an even number and on.
fn kept_queries(head: u32, i: u32, key: u32) -> vec4f {
    let at = vec4<bool>(key % 4u == 0u, key % 4u == 1u, key % 4u == 2u, key % 4u == 3u);
    let first = select(vec4u(), draw(head, i, key), at);
    let second = select(vec4u(), draw(head, i + 2u, key), at);
    let words = vec2u(first.x | first.y | first.z | first.w, second.x | second.y | second.z | second.w);
    return factors(vec4u(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u));
}
#else
fn kept_keys(head: u32, row: u32, j: u32) -> vec4f {
    return vec4f(1.0);
}
fn kept_queries(head: u32, i: u32, key: u32) -> vec4f {
    return vec4f(1.0);
}
#endif

// Eight numbers.
struct Eight { low: vec4f, high: vec4f }
// One unit of each of eight rows.
struct Units { a: T, b: T, c: T, d: T, e: T, f: T, g: T, h: T }

fn inner8(x: T, y: Units) -> Eight {
    return Eight(vec4f(inner(x, y.a), inner(x, y.b), inner(x, y.c), inner(x, y.d)),
                 vec4f(inner(x, y.e), inner(x, y.f), inner(x, y.g), inner(x, y.h)));
}
fn weighed(w: Eight, y: Units) -> T {
    return w.low.x * y.a + w.low.y * y.b + w.low.z * y.c + w.low.w * y.d
        + w.high.x * y.e + w.high.y * y.f + w.high.z * y.g + w.high.w * y.h;
}
#if SUBGROUP8
// Where rows `first` to `first + 7`, of `count`, begin: of the one that this lane loads.
struct Rows { own: u32 }
fn rows_from(start: u32, step: u32, first: u32, count: u32, lane: u32) -> Rows {
    return Rows(start + min(first + lane, count - 1u) * step);
}
fn heard(x: T) -> Units {
    return Units(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u),
                 subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u));
}
#else
struct Rows { low: vec4u, high: vec4u }
fn rows_from(start: u32, step: u32, first: u32, count: u32, lane: u32) -> Rows {
    let last = vec4u(count - 1u);
    let low = min(first + vec4u(0u, 1u, 2u, 3u), last);
    let high = min(first + vec4u(4u, 5u, 6u, 7u), last);
    return Rows(start + step * low, start + step * high);
}
#endif
