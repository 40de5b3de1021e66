// attention.wgsl: per head, out[i] = Σ_j p[i, j] v[j] with p[i, :] = softmax over j of scale q[i]·k[j].
//
// in      q (batch, queries, heads · d) f32; k, v (batch, keys, heads · d) f32; or all three as columns of one tensor
//         keys (batch) or (batch, keys) u32: lengths or ids, see lib/attention/attention.wgsl
//         step_state (4) u32  word 0 is the step; with DROPOUT, p[i, j] counts times 0 or 1 / (1 - share)
// out     y  the output (batch, queries, heads · d) f32, then the logarithm of each softmax's divisor
//            (batch, heads, queries) f32, which the gradient needs
// launch  one invocation per query and head, the queries of a head filled up to a multiple of eight; workgroups of 256
// memory  no workgroup memory: an invocation owns one row of the output, in registers, and meets keys eight at a time
//         (lib/attention/attention.wgsl)
// cost    4·d + 5 flop per query, key and head, half of that when causal; keys and values are read once per 32 queries or
//         more from cache; 16 bytes per element of q, k, v and the output from memory. No matrix of queries x keys exists
// numeric keys in blocks of eight; earlier sums are scaled down when a block holds a greater score, so exp
//         stays in (0, 1]. A query that may see no key gets 0, and 0 as its logarithm
// source  Dao et al. 2022, arXiv:2205.14135, algorithm 1; Milakov and Gimelshein 2018, arXiv:1805.02867

#import grid
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> k: array<T>;
@group(0) @binding(3) var<storage, read> v: array<T>;
@group(0) @binding(4) var<storage, read> keys: array<u32>;
@group(0) @binding(5) var<storage, read> step_state: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
#import attention/attention

@compute @workgroup_size(256)
fn attention(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    if (index >= invocations(dims.queries)) {
        return;
    }
    let place = place_of(index, dims.queries);
    let query = q_at(place.batch, place.head, place.row);
    let first_k = k_at(place.batch, place.head, 0u);
    let first_v = v_at(place.batch, place.head, 0u);
    let own_end = end_of_keys(place.batch, place.row);
    let end = end_of_keys(place.batch, place.row | 7u); // of the eight neighbors
    var out: array<T, UNITS>;
    var greatest = LOWEST;
    var total = 0.0;
    for (var j = 0u; j < end; j += 8u) {
        let key_rows = rows_from(first_k, dims.k_row, j, dims.keys, local % 8u);
        var scores = Eight();
        for (var c = 0u; c < HEAD; c += 1u) {
            let part = inner8(q[query + c], k_units(key_rows, c));
            scores.low += part.low;
            scores.high += part.high;
        }
        let near = present4(place.batch, j + vec4u(0u, 1u, 2u, 3u), own_end);
        let far = present4(place.batch, j + vec4u(4u, 5u, 6u, 7u), own_end);
        scores.low = select(vec4f(LOWEST), dims.scale * scores.low, near);
        scores.high = select(vec4f(LOWEST), dims.scale * scores.high, far);
        let top = max(scores.low, scores.high);
        let next = max(greatest, max(max(top.x, top.y), max(top.z, top.w)));
        let shrink = exp(greatest - next);
        greatest = next;
        let p = Eight(select(vec4f(), exp(scores.low - next), near), select(vec4f(), exp(scores.high - next), far));
        total = total * shrink + dot(p.low + p.high, vec4f(1.0));
        let head = place.batch * dims.heads + place.head;
        let shares = Eight(p.low * kept_keys(head, place.row, j), p.high * kept_keys(head, place.row, j + 4u));
        let value_rows = rows_from(first_v, dims.v_row, j, dims.keys, local % 8u);
        for (var c = 0u; c < HEAD; c += 1u) {
            out[c] = out[c] * shrink + weighed(shares, v_units(value_rows, c));
        }
    }
    if (!place.exists) {
        return;
    }
    // NaN is no number to compare: only a sum that is 0 is replaced.
    let empty = total == 0.0;
    let share = select(1.0 / total, 0.0, empty);
    let first_out = out_at(place.batch, place.head, place.row);
    for (var c = 0u; c < HEAD; c += 1u) {
        let value = share * out[c];
#if VEC4
        y[4u * (first_out + c)] = value.x;
        y[4u * (first_out + c) + 1u] = value.y;
        y[4u * (first_out + c) + 2u] = value.z;
        y[4u * (first_out + c) + 3u] = value.w;
#else
        y[first_out + c] = value;
#endif
    }
    let outputs = dims.batch * dims.queries * dims.out_row;
#if VEC4
    let logarithms = 4u * outputs;
#else
    let logarithms = outputs;
#endif
    let row = (place.batch * dims.heads + place.head) * dims.queries + place.row;
    y[logarithms + row] = select(greatest + log(total), 0.0, empty);
}
