// attention.wgsl: per head, out[i] = Σ_j p[i, j] v[j] with p[i, :] = softmax over j of scale q[i]·k[j].
//
// in      q (batch, queries, heads · d) f32; k, v (batch, keys, heads · d) f32; or all three as columns of one tensor
//         keys (batch) or (batch, keys) u32: lengths or ids, see lib/attention.wgsl
// out     y  the output (batch, queries, heads · d) f32, then the logarithm of each softmax's divisor
//            (batch, heads, queries) f32, which the gradient wants
// launch  one invocation per query and head; workgroups of 256
// memory  no workgroup memory: an invocation owns one row of the output, in registers. Neighbours are neighbouring queries
//         of one head, so they read the same keys and values at the same time, from one cache line
// cost    4·d + 5 flop per query, key and head, half of that when causal; keys and values are read once per 32 queries or
//         more from cache; 16 bytes per element of q, k, v and the output from memory. No matrix of queries x keys exists
// numeric keys in blocks of eight; what was summed before is scaled down when a block holds a greater score, so exp
//         stays in (0, 1]. A query that may see no key gets 0, and 0 as its logarithm
// source  Dao et al. 2022, arXiv:2205.14135, algorithm 1; Milakov and Gimelshein 2018, arXiv:1805.02867

#import grid
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> k: array<T>;
@group(0) @binding(3) var<storage, read> v: array<T>;
@group(0) @binding(4) var<storage, read> keys: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
#import attention

// Scores of four keys, those that do not take part at the lowest.
fn masked(scores: vec4f, batch: u32, first: u32, end: u32) -> vec4f {
    return select(vec4f(LOWEST), dims.scale * scores, present(batch, first, end));
}
fn present(batch: u32, first: u32, end: u32) -> vec4<bool> {
    let j = vec4u(first, first + 1u, first + 2u, first + 3u);
    let at = min(j, vec4u(end - 1u));
    return (j < vec4u(end)) & vec4<bool>(takes_part(batch, at.x), takes_part(batch, at.y), takes_part(batch, at.z),
                                        takes_part(batch, at.w));
}

@compute @workgroup_size(256)
fn attention(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    if (index >= dims.batch * dims.heads * dims.queries) {
        return;
    }
    let place = place_of(index, dims.queries);
    let query = q_at(place.batch, place.head, place.row);
    let first_k = k_at(place.batch, place.head, 0u);
    let first_v = v_at(place.batch, place.head, 0u);
    let end = end_of_keys(place.batch, place.row);
    var out: array<T, UNITS>;
    var greatest = LOWEST;
    var total = 0.0;
    for (var j = 0u; j < end; j += 8u) {
        let near = min(vec4u(j, j + 1u, j + 2u, j + 3u), vec4u(end - 1u));
        let far = min(vec4u(j + 4u, j + 5u, j + 6u, j + 7u), vec4u(end - 1u));
        var low = vec4f();
        var high = vec4f();
        var a = first_k + near * dims.k_row;
        var b = first_k + far * dims.k_row;
        for (var c = 0u; c < HEAD; c += 1u) {
            let x = q[query + c];
            low += vec4f(inner(x, k[a.x + c]), inner(x, k[a.y + c]), inner(x, k[a.z + c]), inner(x, k[a.w + c]));
            high += vec4f(inner(x, k[b.x + c]), inner(x, k[b.y + c]), inner(x, k[b.z + c]), inner(x, k[b.w + c]));
        }
        low = masked(low, place.batch, j, end);
        high = masked(high, place.batch, j + 4u, end);
        let top = max(low, high);
        let next = max(greatest, max(max(top.x, top.y), max(top.z, top.w)));
        let shrink = exp(greatest - next);
        greatest = next;
        low = select(vec4f(), exp(low - next), present(place.batch, j, end));
        high = select(vec4f(), exp(high - next), present(place.batch, j + 4u, end));
        total = total * shrink + dot(low + high, vec4f(1.0));
        a = first_v + near * dims.v_row;
        b = first_v + far * dims.v_row;
        for (var c = 0u; c < HEAD; c += 1u) {
            out[c] = out[c] * shrink
                + low.x * v[a.x + c] + low.y * v[a.y + c] + low.z * v[a.z + c] + low.w * v[a.w + c]
                + high.x * v[b.x + c] + high.y * v[b.y + c] + high.z * v[b.z + c] + high.w * v[b.w + c];
        }
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
    y[logarithms + index] = select(greatest + log(total), 0.0, empty);
}
