// attention_key_grad.wgsl: dk[j] = scale Σ_i ds[i, j] q[i] and dv[j] = Σ_i p[i, j] dout[i], ds as in attention_query_grad.wgsl;
// with dropout, p[i, j] counts times 0 or 1 / (1 - share) in dv.
//
// in      q, k, v, keys, step state  as in attention.wgsl
//         dout (batch, queries, heads · d) f32
//         rows (batch, heads, queries, 2) f32, from attention_rows.wgsl
// out     dqkv  the rows of dk and dv, at the offsets in `dims`; other elements stay
// launch  one invocation per key and head, the keys of a head filled up to a multiple of eight; workgroups of 256
// memory  no workgroup memory: an invocation owns one row of dk and one of dv, in registers, and meets queries eight at a time
// cost    8·d + 6 flop per query, key and head, half of that when causal; queries come from cache
// numeric probabilities are computed again from the scores and the logarithm of their sum; sums in order of queries. Keys
//         that no query sees get 0
// source  Dao et al. 2022, arXiv:2205.14135, algorithm 4, its columns

#import grid
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> k: array<T>;
@group(0) @binding(3) var<storage, read> v: array<T>;
@group(0) @binding(4) var<storage, read> dout: array<T>;
@group(0) @binding(5) var<storage, read> rows: array<vec2f>;
@group(0) @binding(6) var<storage, read> keys: array<u32>;
@group(0) @binding(7) var<storage, read> step_state: array<u32>;
@group(0) @binding(8) var<storage, read_write> dqkv: array<T>;
#import attention/attention
#if SUBGROUP8
fn dout_units(r: Rows, c: u32) -> Units {
    return heard(dout[r.own + c]);
}
#else
fn dout_units(r: Rows, c: u32) -> Units {
    return Units(dout[r.low.x + c], dout[r.low.y + c], dout[r.low.z + c], dout[r.low.w + c],
                 dout[r.high.x + c], dout[r.high.y + c], dout[r.high.z + c], dout[r.high.w + c]);
}
#endif

@compute @workgroup_size(256)
fn attention_key_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    if (index >= invocations(dims.keys)) {
        return;
    }
    let place = place_of(index, dims.keys);
    let key = k_at(place.batch, place.head, place.row);
    let value = v_at(place.batch, place.head, place.row);
    let first_q = q_at(place.batch, place.head, 0u);
    let first_out = out_at(place.batch, place.head, 0u);
    let first_row = (place.batch * dims.heads + place.head) * dims.queries;
    let seen = place.row < end_of_keys(place.batch, dims.keys - 1u) && takes_part(place.batch, place.row);
    // The first query that sees it, and that sees one of the eight neighbors.
    let own_first = select(0u, place.row, dims.causal == 1u);
    var dk: array<T, UNITS>;
    var dv: array<T, UNITS>;
    for (var i = own_first & ~7u; i < dims.queries; i += 8u) {
        let query_rows = rows_from(first_q, dims.q_row, i, dims.queries, local % 8u);
        let out_rows = rows_from(first_out, dims.out_row, i, dims.queries, local % 8u);
        var scores = Eight();
        var dp = Eight();
        for (var c = 0u; c < HEAD; c += 1u) {
            let part = inner8(k[key + c], q_units(query_rows, c));
            let slope = inner8(v[value + c], dout_units(out_rows, c));
            scores.low += part.low;
            scores.high += part.high;
            dp.low += slope.low;
            dp.high += slope.high;
        }
        var p: array<vec4f, 2>;
        var ds: array<vec4f, 2>;
        for (var half = 0u; half < 2u; half += 1u) {
            let all = i + 4u * half + vec4u(0u, 1u, 2u, 3u);
            let at = first_row + min(all, vec4u(dims.queries - 1u));
            let known = mat4x2f(rows[at.x], rows[at.y], rows[at.z], rows[at.w]);
            let logarithms = vec4f(known[0].x, known[1].x, known[2].x, known[3].x);
            let totals = vec4f(known[0].y, known[1].y, known[2].y, known[3].y);
            let inside = (all < vec4u(dims.queries)) & (all >= vec4u(own_first)) & vec4<bool>(seen);
            let score = select(scores.low, scores.high, half == 1u);
            let slope = select(dp.low, dp.high, half == 1u);
            let kept = kept_queries(place.batch * dims.heads + place.head, i + 4u * half, place.row);
            let share = select(vec4f(), exp(dims.scale * score - logarithms), inside);
            p[half] = share * kept;
            ds[half] = select(vec4f(), dims.scale * share * (slope * kept - totals), inside);
        }
        let shares = Eight(p[0], p[1]);
        let slopes = Eight(ds[0], ds[1]);
        for (var c = 0u; c < HEAD; c += 1u) {
            dk[c] += weighed(slopes, q_units(query_rows, c));
            dv[c] += weighed(shares, dout_units(out_rows, c));
        }
    }
    if (!place.exists) {
        return;
    }
    let row = place.batch * dims.keys + place.row;
    for (var c = 0u; c < HEAD; c += 1u) {
        dqkv[dims.dk_start + row * dims.dk_row + place.head * HEAD + c] = dk[c];
        dqkv[dims.dv_start + row * dims.dv_row + place.head * HEAD + c] = dv[c];
    }
}
