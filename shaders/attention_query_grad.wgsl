// attention_query_grad.wgsl: dq[i] = scale Σ_j ds[i, j] k[j] with ds = p (dp - Σ_c out dout) and dp = dout[i]·v[j].
//
// in      q, k, v, keys  as in attention.wgsl
//         dout (batch, queries, heads · d) f32
//         rows (batch, heads, queries, 2) f32, from attention_rows.wgsl
// out     dqkv  the rows of dq, where `dims` says; other elements stay
// launch  one invocation per query and head; workgroups of 256
// memory  no workgroup memory: an invocation owns one row of dq, in registers
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
@group(0) @binding(7) var<storage, read_write> dqkv: array<T>;
#import attention

@compute @workgroup_size(256)
fn attention_query_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                        @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    if (index >= dims.batch * dims.heads * dims.queries) {
        return;
    }
    let place = place_of(index, dims.queries);
    let query = q_at(place.batch, place.head, place.row);
    let above = out_at(place.batch, place.head, place.row);
    let first_k = k_at(place.batch, place.head, 0u);
    let first_v = v_at(place.batch, place.head, 0u);
    let end = end_of_keys(place.batch, place.row);
    let known = rows[index]; // logarithm of the sum, and out · dout
    var sums: array<T, UNITS>;
    for (var j = 0u; j < end; j += 4u) {
        let all = vec4u(j, j + 1u, j + 2u, j + 3u);
        let at = min(all, vec4u(end - 1u));
        let a = first_k + at * dims.k_row;
        let b = first_v + at * dims.v_row;
        var scores = vec4f();
        var dp = vec4f();
        for (var c = 0u; c < HEAD; c += 1u) {
            let x = q[query + c];
            let d = dout[above + c];
            scores += vec4f(inner(x, k[a.x + c]), inner(x, k[a.y + c]), inner(x, k[a.z + c]), inner(x, k[a.w + c]));
            dp += vec4f(inner(d, v[b.x + c]), inner(d, v[b.y + c]), inner(d, v[b.z + c]), inner(d, v[b.w + c]));
        }
        let present = (all < vec4u(end)) & vec4<bool>(takes_part(place.batch, at.x), takes_part(place.batch, at.y),
                                                      takes_part(place.batch, at.z), takes_part(place.batch, at.w));
        let p = exp(dims.scale * scores - known.x);
        let ds = select(vec4f(), dims.scale * p * (dp - known.y), present);
        for (var c = 0u; c < HEAD; c += 1u) {
            sums[c] += ds.x * k[a.x + c] + ds.y * k[a.y + c] + ds.z * k[a.z + c] + ds.w * k[a.w + c];
        }
    }
    let start = (place.batch * dims.queries + place.row) * dims.dq_row + place.head * HEAD;
    for (var c = 0u; c < HEAD; c += 1u) {
        dqkv[start + c] = sums[c];
    }
}
