// Shared part of the tiled attention kernels. The importing kernel binds q, k, v, keys and step state.
//
// A workgroup owns OWN rows of a head, queries or keys, and meets those of the other side MET at a time. Its invocations are
// GROUPS groups of LANES neighbors: a group owns four rows, each of its lanes meets four, so that an invocation has 4 x 4
// scores in registers. Sums over met rows are rows of the head: of each of its group's four, a lane has every
// LANES-th unit of four elements.
//
// In workgroup memory a row takes STRIDE units, a multiple of eight, of which the first INNER are used. Of rows that lanes read
// by fours, unit c of row r lies at c ^ (r / 4 % 8): eight lanes read from eight different groups of banks.
//
// Blocks of 4 x 4 are mat4x4f whose "columns" are the four own rows, and no array is indexed by a variable: values
// outside of workgroup memory stay in registers. Sums are chains of fma, one instruction for each multiply-add.
#import attention/attention_sizes
override LANES: u32 = 8u;
override GROUPS: u32 = 8u;
override STRIDE: u32 = 8u;
override INNER: u32 = 1u;
override THREADS: u32 = LANES * GROUPS;
override OWN: u32 = 4u * GROUPS;
override MET: u32 = 4u * LANES;
override OWN_LOADS: u32 = 4u * STRIDE / LANES; // of each invocation: OWN * STRIDE / THREADS
override MET_LOADS: u32 = 4u * STRIDE / GROUPS;
override SUMS: u32 = 1u; // units of each row that a lane has
override OWN_SIZE: u32 = 32u; // vectors of one tile of own rows, none but one where they are read from cache
override MET_SIZE: u32 = 32u; // of the first tile of met rows, or of weights that take its place
override WEIGHTS_SIZE: u32 = 32u;
var<workgroup> own_a: array<vec4f, OWN_SIZE>;
var<workgroup> own_b: array<vec4f, OWN_SIZE>;
var<workgroup> met_a: array<vec4f, MET_SIZE>;
var<workgroup> met_b: array<vec4f, MET * STRIDE>;
var<workgroup> weights_a: array<vec4f, WEIGHTS_SIZE>; // [own row][met rows by fours]
var<workgroup> weights_b: array<vec4f, WEIGHTS_SIZE>;
#if VEC4
const UNIT: u32 = 4u; // elements of a T
#else
const UNIT: u32 = 1u;
#endif
const EMPTY: f32 = -1e30; // greatest score of a row that sees no key yet: its difference from a score is finite

// Unit c of a row that begins at `at`. Elements behind the last are 0.
#if VEC4
fn q_unit(at: u32, c: u32) -> vec4f {
    return q[at + c];
}
fn k_unit(at: u32, c: u32) -> vec4f {
    return k[at + c];
}
fn v_unit(at: u32, c: u32) -> vec4f {
    return v[at + c];
}
#else
fn elements(c: u32) -> vec4u {
    return 4u * c + vec4u(0u, 1u, 2u, 3u);
}
fn q_unit(at: u32, c: u32) -> vec4f {
    let e = at + min(elements(c), vec4u(HEAD - 1u));
    return select(vec4f(), vec4f(q[e.x], q[e.y], q[e.z], q[e.w]), elements(c) < vec4u(HEAD));
}
fn k_unit(at: u32, c: u32) -> vec4f {
    let e = at + min(elements(c), vec4u(HEAD - 1u));
    return select(vec4f(), vec4f(k[e.x], k[e.y], k[e.z], k[e.w]), elements(c) < vec4u(HEAD));
}
fn v_unit(at: u32, c: u32) -> vec4f {
    let e = at + min(elements(c), vec4u(HEAD - 1u));
    return select(vec4f(), vec4f(v[e.x], v[e.y], v[e.z], v[e.w]), elements(c) < vec4u(HEAD));
}
#endif

// Unit c of row `row` of a head, 0 where there is no row or no element. Something is read in any case, so that the loads of an
// iteration are in flight together, not each behind a branch.
fn q_or_none(batch: u32, head: u32, row: u32, c: u32) -> vec4f {
    let there = q_unit(q_at(batch, head, min(row, dims.queries - 1u)), min(c, INNER - 1u));
    return select(vec4f(), there, row < dims.queries && c < INNER);
}
fn k_or_none(batch: u32, head: u32, row: u32, c: u32) -> vec4f {
    let there = k_unit(k_at(batch, head, min(row, dims.keys - 1u)), min(c, INNER - 1u));
    return select(vec4f(), there, row < dims.keys && c < INNER);
}
fn v_or_none(batch: u32, head: u32, row: u32, c: u32) -> vec4f {
    let there = v_unit(v_at(batch, head, min(row, dims.keys - 1u)), min(c, INNER - 1u));
    return select(vec4f(), there, row < dims.keys && c < INNER);
}
// Unit c of four rows from `row` on, from cache; behind the last row, that row again.
fn q_rows(batch: u32, head: u32, row: u32, c: u32) -> mat4x4f {
    let last = dims.queries - 1u;
    return mat4x4f(q_unit(q_at(batch, head, min(row, last)), c), q_unit(q_at(batch, head, min(row + 1u, last)), c),
                   q_unit(q_at(batch, head, min(row + 2u, last)), c), q_unit(q_at(batch, head, min(row + 3u, last)), c));
}
fn k_rows(batch: u32, head: u32, row: u32, c: u32) -> mat4x4f {
    let last = dims.keys - 1u;
    return mat4x4f(k_unit(k_at(batch, head, min(row, last)), c), k_unit(k_at(batch, head, min(row + 1u, last)), c),
                   k_unit(k_at(batch, head, min(row + 2u, last)), c), k_unit(k_at(batch, head, min(row + 3u, last)), c));
}
fn v_rows(batch: u32, head: u32, row: u32, c: u32) -> mat4x4f {
    let last = dims.keys - 1u;
    return mat4x4f(v_unit(v_at(batch, head, min(row, last)), c), v_unit(v_at(batch, head, min(row + 1u, last)), c),
                   v_unit(v_at(batch, head, min(row + 2u, last)), c), v_unit(v_at(batch, head, min(row + 3u, last)), c));
}

// Position of unit c of row `row` in workgroup memory that lanes read by fours.
fn turned(row: u32, c: u32) -> u32 {
    return row * STRIDE + (c ^ ((row / 4u) & 7u));
}
// Unit c of four own rows.
fn own_a4(row: u32, c: u32) -> mat4x4f {
    let at = row * STRIDE + c;
    return mat4x4f(own_a[at], own_a[at + STRIDE], own_a[at + 2u * STRIDE], own_a[at + 3u * STRIDE]);
}
fn own_b4(row: u32, c: u32) -> mat4x4f {
    let at = row * STRIDE + c;
    return mat4x4f(own_b[at], own_b[at + STRIDE], own_b[at + 2u * STRIDE], own_b[at + 3u * STRIDE]);
}
// Unit c of met rows 4 four to 4 four + 3.
fn met_a4(four: u32, c: u32) -> mat4x4f {
    let at = turned(4u * four, c);
    return mat4x4f(met_a[at], met_a[at + STRIDE], met_a[at + 2u * STRIDE], met_a[at + 3u * STRIDE]);
}
fn met_b4(four: u32, c: u32) -> mat4x4f {
    let at = turned(4u * four, c);
    return mat4x4f(met_b[at], met_b[at + STRIDE], met_b[at + 2u * STRIDE], met_b[at + 3u * STRIDE]);
}
// Sets weights of four own rows for met rows 4 four to 4 four + 3.
fn set_weights_a(row: u32, four: u32, w: mat4x4f) {
    let at = row * LANES + four;
    weights_a[at] = w[0];
    weights_a[at + LANES] = w[1];
    weights_a[at + 2u * LANES] = w[2];
    weights_a[at + 3u * LANES] = w[3];
}
fn set_weights_b(row: u32, four: u32, w: mat4x4f) {
    let at = row * LANES + four;
    weights_b[at] = w[0];
    weights_b[at + LANES] = w[1];
    weights_b[at + 2u * LANES] = w[2];
    weights_b[at + 3u * LANES] = w[3];
}
// Weights of four own rows.
fn weights_a4(row: u32, four: u32) -> mat4x4f {
    let at = row * LANES + four;
    return mat4x4f(weights_a[at], weights_a[at + LANES], weights_a[at + 2u * LANES], weights_a[at + 3u * LANES]);
}
fn weights_b4(row: u32, four: u32) -> mat4x4f {
    let at = row * LANES + four;
    return mat4x4f(weights_b[at], weights_b[at + LANES], weights_b[at + 2u * LANES], weights_b[at + 3u * LANES]);
}

// An invocation's part of the sums of four own rows: units `lane`, `lane + LANES` and so on.
struct Sums { a: mat4x4f, b: mat4x4f, c: mat4x4f, d: mat4x4f }
// The unit to read for part `part` of them: one that exists.
fn unit_of(lane: u32, part: u32) -> u32 {
    return min(lane + part * LANES, STRIDE - 1u);
}
// Adds w times met rows 4 four to 4 four + 3.
fn add_met_a(sums: Sums, w: mat4x4f, four: u32, lane: u32) -> Sums {
    var all = sums;
    all.a = weigh(all.a, w, met_a4(four, unit_of(lane, 0u)));
    if (SUMS > 1u) {
        all.b = weigh(all.b, w, met_a4(four, unit_of(lane, 1u)));
    }
    if (SUMS > 2u) {
        all.c = weigh(all.c, w, met_a4(four, unit_of(lane, 2u)));
    }
    if (SUMS > 3u) {
        all.d = weigh(all.d, w, met_a4(four, unit_of(lane, 3u)));
    }
    return all;
}
fn add_met_b(sums: Sums, w: mat4x4f, four: u32, lane: u32) -> Sums {
    var all = sums;
    all.a = weigh(all.a, w, met_b4(four, unit_of(lane, 0u)));
    if (SUMS > 1u) {
        all.b = weigh(all.b, w, met_b4(four, unit_of(lane, 1u)));
    }
    if (SUMS > 2u) {
        all.c = weigh(all.c, w, met_b4(four, unit_of(lane, 2u)));
    }
    if (SUMS > 3u) {
        all.d = weigh(all.d, w, met_b4(four, unit_of(lane, 3u)));
    }
    return all;
}
// Row i times x[i].
fn scaled(sums: Sums, x: vec4f) -> Sums {
    return Sums(rows_times(sums.a, x), rows_times(sums.b, x), rows_times(sums.c, x), rows_times(sums.d, x));
}
// Four rows of a head from `row` on, in the output that the importing kernel numbers by `goal`.
struct Spot { goal: u32, batch: u32, head: u32, row: u32, lane: u32 }
// Stores them through the importing kernel's store(spot, row, unit, value).
fn store_sums(spot: Spot, sums: Sums) {
    store4(spot, spot.lane, sums.a);
    store4(spot, spot.lane + LANES, sums.b);
    store4(spot, spot.lane + 2u * LANES, sums.c);
    store4(spot, spot.lane + 3u * LANES, sums.d);
}
fn store4(spot: Spot, c: u32, m: mat4x4f) {
    if (c < INNER) {
        store(spot, spot.row, c, m[0]);
        store(spot, spot.row + 1u, c, m[1]);
        store(spot, spot.row + 2u, c, m[2]);
        store(spot, spot.row + 3u, c, m[3]);
    }
}

fn along(sum: f32, x: vec4f, y: vec4f) -> f32 {
    return fma(x.w, y.w, fma(x.z, y.z, fma(x.y, y.y, fma(x.x, y.x, sum))));
}
fn along4(sum: vec4f, x: vec4f, y: mat4x4f) -> vec4f {
    return vec4f(along(sum.x, x, y[0]), along(sum.y, x, y[1]), along(sum.z, x, y[2]), along(sum.w, x, y[3]));
}
// Adds the inner products of own units x[i] with met units y[j].
fn along16(sum: mat4x4f, x: mat4x4f, y: mat4x4f) -> mat4x4f {
    return mat4x4f(along4(sum[0], x[0], y), along4(sum[1], x[1], y), along4(sum[2], x[2], y), along4(sum[3], x[3], y));
}
fn weigh4(sum: vec4f, w: vec4f, y: mat4x4f) -> vec4f {
    return fma(vec4f(w.w), y[3], fma(vec4f(w.z), y[2], fma(vec4f(w.y), y[1], fma(vec4f(w.x), y[0], sum))));
}
// Adds met units y[j], times w[i][j], to the unit of own row i.
fn weigh(sum: mat4x4f, w: mat4x4f, y: mat4x4f) -> mat4x4f {
    return mat4x4f(weigh4(sum[0], w[0], y), weigh4(sum[1], w[1], y), weigh4(sum[2], w[2], y), weigh4(sum[3], w[3], y));
}
// Row i times x[i].
fn rows_times(m: mat4x4f, x: vec4f) -> mat4x4f {
    return mat4x4f(x.x * m[0], x.y * m[1], x.z * m[2], x.w * m[3]);
}
// Row i less x[i]; column j less x[j].
fn rows_less(m: mat4x4f, x: vec4f) -> mat4x4f {
    return mat4x4f(m[0] - x.x, m[1] - x.y, m[2] - x.z, m[3] - x.w);
}
fn columns_less(m: mat4x4f, x: vec4f) -> mat4x4f {
    return mat4x4f(m[0] - x, m[1] - x, m[2] - x, m[3] - x);
}
fn times(a: mat4x4f, b: mat4x4f) -> mat4x4f {
    return mat4x4f(a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]);
}
// m[i] where the condition holds, else `other`.
fn where4(m: mat4x4f, a: vec4<bool>, b: vec4<bool>, c: vec4<bool>, d: vec4<bool>, other: f32) -> mat4x4f {
    let no = vec4f(other);
    return mat4x4f(select(no, m[0], a), select(no, m[1], b), select(no, m[2], c), select(no, m[3], d));
}
// Keys `j` to `j + 3`, of queries `row` to `row + 3`: those that are not seen become `other`.
fn unmasked(m: mat4x4f, batch: u32, row: u32, j: u32, other: f32) -> mat4x4f {
    let all = j + vec4u(0u, 1u, 2u, 3u);
    let part = present4(batch, all, dims.keys);
    return where4(m, part & (all < vec4u(end_of_keys(batch, row))), part & (all < vec4u(end_of_keys(batch, row + 1u))),
                  part & (all < vec4u(end_of_keys(batch, row + 2u))), part & (all < vec4u(end_of_keys(batch, row + 3u))), other);
}
fn exp2_4(m: mat4x4f, shift: vec4f) -> mat4x4f {
    return mat4x4f(exp2(m[0] - shift.x), exp2(m[1] - shift.y), exp2(m[2] - shift.z), exp2(m[3] - shift.w));
}
fn row_sums(m: mat4x4f) -> vec4f {
    let t = transpose(m);
    return (t[0] + t[1]) + (t[2] + t[3]);
}
fn row_tops(m: mat4x4f) -> vec4f {
    let t = transpose(m);
    return max(max(t[0], t[1]), max(t[2], t[3]));
}
// Sum and maximum over the lanes of each own row. Without SHUFFLE the first tile of met rows is overwritten.
#if SHUFFLE
fn sum_of_lanes(local: u32, x: vec4f) -> vec4f {
    var all = x;
    for (var d = 1u; d < LANES; d *= 2u) {
        all += subgroupShuffleXor(all, d);
    }
    return all;
}
fn top_of_lanes(local: u32, x: vec4f) -> vec4f {
    var all = x;
    for (var d = 1u; d < LANES; d *= 2u) {
        all = max(all, subgroupShuffleXor(all, d));
    }
    return all;
}
#else
fn top_of_lanes(local: u32, x: vec4f) -> vec4f {
    workgroupBarrier();
    met_a[local] = x;
    workgroupBarrier();
    var all = x;
    for (var i = 0u; i < LANES; i += 1u) {
        all = max(all, met_a[local - local % LANES + i]);
    }
    return all;
}
fn sum_of_lanes(local: u32, x: vec4f) -> vec4f {
    workgroupBarrier();
    met_a[local] = x;
    workgroupBarrier();
    var all = vec4f();
    for (var i = 0u; i < LANES; i += 1u) {
        all += met_a[local - local % LANES + i];
    }
    return all;
}
#endif
// The logarithm of a softmax's divisor, 0 where there is nothing to divide.
fn logarithm(greatest: f32, total: f32) -> f32 {
    return select(greatest / LOG2_E + log(total), 0.0, total == 0.0);
}

// Dropout's factors of the probabilities of keys `key` to `key + 3`, for queries `row` to `row + 3`: [query][key]. Both
// begin at multiples of four, so two draws serve all sixteen.
#if DROPOUT
fn kept16(head: u32, row: u32, key: u32) -> mat4x4f {
    let first = draw(head, row, key);
    let second = draw(head, row + 2u, key);
    let low = vec4u(0xffffu);
    return mat4x4f(factors(first & low), factors(first >> vec4u(16u)), factors(second & low), factors(second >> vec4u(16u)));
}
#else
fn kept16(head: u32, row: u32, key: u32) -> mat4x4f {
    return mat4x4f(vec4f(1.0), vec4f(1.0), vec4f(1.0), vec4f(1.0));
}
#endif
