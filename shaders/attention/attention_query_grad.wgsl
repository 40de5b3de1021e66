// attention_query_grad.wgsl: dq[i] = scale Σ_j ds[i, j] k[j] with ds = p (dp - Σ_c out dout) and dp = dout[i]·v[j],
// times dropout's factor of p[i, j].
//
// in      q, k, v, keys, step state  as in attention.wgsl
//         dout (batch, queries, heads · d) f32
//         rows (batch, heads, queries, 2) f32, from attention_rows.wgsl
// out     dqkv  the rows of dq, at the offsets in `dims`; other elements stay
// launch  one invocation per query and head, the queries of a head filled up to a multiple of eight; workgroups of 256
// memory  no workgroup memory: an invocation owns one row of dq, in registers, and meets keys eight at a time
// cost    6·d + 6 flop per query, key and head, half of that when causal; keys and values come from cache
// numeric probabilities are computed again from the scores and the logarithm of their sum; sums in order of keys
// source  Dao et al. 2022, arXiv:2205.14135, algorithm 4, its rows

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

@compute @workgroup_size(256)
fn attention_query_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                        @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    if (index >= invocations(dims.queries)) {
        return;
    }
    let place = place_of(index, dims.queries);
    let query = q_at(place.batch, place.head, place.row);
    let above = out_at(place.batch, place.head, place.row);
    let first_k = k_at(place.batch, place.head, 0u);
    let first_v = v_at(place.batch, place.head, 0u);
    let own_end = end_of_keys(place.batch, place.row);
    let end = end_of_keys(place.batch, place.row | 7u); // of the eight neighbors
    // Logarithm of the softmax's divisor, and out · dout.
    let known = rows[(place.batch * dims.heads + place.head) * dims.queries + place.row];
    var sums: array<T, UNITS>;
    for (var j = 0u; j < end; j += 8u) {
        let key_rows = rows_from(first_k, dims.k_row, j, dims.keys, local % 8u);
        let value_rows = rows_from(first_v, dims.v_row, j, dims.keys, local % 8u);
        var scores = Eight();
        var dp = Eight();
        for (var c = 0u; c < HEAD; c += 1u) {
            let part = inner8(q[query + c], k_units(key_rows, c));
            let slope = inner8(dout[above + c], v_units(value_rows, c));
            scores.low += part.low;
            scores.high += part.high;
            dp.low += slope.low;
            dp.high += slope.high;
        }
        let near = present4(place.batch, j + vec4u(0u, 1u, 2u, 3u), own_end);
        let far = present4(place.batch, j + vec4u(4u, 5u, 6u, 7u), own_end);
        let head = place.batch * dims.heads + place.head;
        dp.low *= kept_keys(head, place.row, j);
        dp.high *= kept_keys(head, place.row, j + 4u);
        let low = dims.scale * exp(dims.scale * scores.low - known.x) * (dp.low - known.y);
        let high = dims.scale * exp(dims.scale * scores.high - known.x) * (dp.high - known.y);
        let ds = Eight(select(vec4f(), low, near), select(vec4f(), high, far));
        for (var c = 0u; c < HEAD; c += 1u) {
            sums[c] += weighed(ds, k_units(key_rows, c));
        }
    }
    if (!place.exists) {
        return;
    }
    let start = (place.batch * dims.queries + place.row) * dims.dq_row + place.head * HEAD;
    for (var c = 0u; c < HEAD; c += 1u) {
        dqkv[start + c] = sums[c];
    }
}
