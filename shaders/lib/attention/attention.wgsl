// Shared part of the attention kernels in which an invocation owns a row, and meets the rows of the other side eight at a
// time. The importing kernel binds q, k, v, keys and step state.
//
// If subgroups have eight neighbors (SUBGROUP8: a CPU, where every load is a gather over the lanes) each of them loads one
// of the eight rows and gets the others from its neighbors; elsewhere each loads all eight, and since neighbors load the
// same, one cache line serves all.
//
// Arrays of a row have UNITS elements, of which a loop with a constant bound uses the first HEAD: a GPU's compiler unrolls
// it and keeps them in registers.
#import attention/attention_sizes
#if VEC4
fn inner(a: T, b: T) -> f32 {
    return dot(a, b);
}
#else
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
// The row that an invocation owns, of `rows`. Heads begin at multiples of eight invocations, so that eight neighbors share
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

// With dropout an invocation that owns a query draws twice for eight keys, one that owns a key four times for eight queries.
#if DROPOUT
// Factors of `key` for queries `i` to `i + 3`, i even.
fn kept_queries(head: u32, i: u32, key: u32) -> vec4f {
    let at = vec4<bool>(key % 4u == 0u, key % 4u == 1u, key % 4u == 2u, key % 4u == 3u);
    let first = select(vec4u(), draw(head, i, key), at);
    let second = select(vec4u(), draw(head, i + 2u, key), at);
    let words = vec2u(first.x | first.y | first.z | first.w, second.x | second.y | second.z | second.w);
    return factors(vec4u(words.x & 0xffffu, words.x >> 16u, words.y & 0xffffu, words.y >> 16u));
}
#else
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
// Offsets of rows `first` to `first + 7`, of `count`: of the one that this lane loads.
struct Rows { own: u32 }
fn rows_from(start: u32, step: u32, first: u32, count: u32, lane: u32) -> Rows {
    return Rows(start + min(first + lane, count - 1u) * step);
}
fn heard(x: T) -> Units {
    return Units(subgroupBroadcast(x, 0u), subgroupBroadcast(x, 1u), subgroupBroadcast(x, 2u), subgroupBroadcast(x, 3u),
                 subgroupBroadcast(x, 4u), subgroupBroadcast(x, 5u), subgroupBroadcast(x, 6u), subgroupBroadcast(x, 7u));
}
// Unit c of q, k or v in each of these rows.
fn q_units(r: Rows, c: u32) -> Units {
    return heard(q[r.own + c]);
}
fn k_units(r: Rows, c: u32) -> Units {
    return heard(k[r.own + c]);
}
fn v_units(r: Rows, c: u32) -> Units {
    return heard(v[r.own + c]);
}
#else
struct Rows { low: vec4u, high: vec4u }
fn rows_from(start: u32, step: u32, first: u32, count: u32, lane: u32) -> Rows {
    let last = vec4u(count - 1u);
    let low = min(first + vec4u(0u, 1u, 2u, 3u), last);
    let high = min(first + vec4u(4u, 5u, 6u, 7u), last);
    return Rows(start + step * low, start + step * high);
}
fn q_units(r: Rows, c: u32) -> Units {
    return Units(q[r.low.x + c], q[r.low.y + c], q[r.low.z + c], q[r.low.w + c],
                 q[r.high.x + c], q[r.high.y + c], q[r.high.z + c], q[r.high.w + c]);
}
fn k_units(r: Rows, c: u32) -> Units {
    return Units(k[r.low.x + c], k[r.low.y + c], k[r.low.z + c], k[r.low.w + c],
                 k[r.high.x + c], k[r.high.y + c], k[r.high.z + c], k[r.high.w + c]);
}
fn v_units(r: Rows, c: u32) -> Units {
    return Units(v[r.low.x + c], v[r.low.y + c], v[r.low.z + c], v[r.low.w + c],
                 v[r.high.x + c], v[r.high.y + c], v[r.high.z + c], v[r.high.w + c]);
}
#endif
