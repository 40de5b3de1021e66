// attention_key_grad.wgsl: dk[j] = scale Σ_i ds[i, j] q[i] and dv[j] = Σ_i p[i, j] dout[i], ds as in attention_query_grad.wgsl.
//
// in      q, k, v, keys  as in attention.wgsl
//         dout (batch, queries, heads · d) f32
//         rows (batch, heads, queries, 2) f32, from attention_rows.wgsl
// out     dqkv  the rows of dk and dv, where `dims` says; other elements stay
// launch  one invocation per key and head; workgroups of 256
// memory  no workgroup memory: an invocation owns one row of dk and one of dv, in registers
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
@group(0) @binding(7) var<storage, read_write> dqkv: array<T>;
#import attention

@compute @workgroup_size(256)
fn attention_key_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                      @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    if (index >= dims.batch * dims.heads * dims.keys) {
        return;
    }
    let place = place_of(index, dims.keys);
    let key = k_at(place.batch, place.head, place.row);
    let value = v_at(place.batch, place.head, place.row);
    let first_q = q_at(place.batch, place.head, 0u);
    let first_out = out_at(place.batch, place.head, 0u);
    let first_row = (place.batch * dims.heads + place.head) * dims.queries;
    let seen = place.row < end_of_keys(place.batch, dims.keys - 1u) && takes_part(place.batch, place.row);
    let end = select(0u, dims.queries, seen);
    var dk: array<T, UNITS>;
    var dv: array<T, UNITS>;
    for (var i = select(0u, place.row, CAUSAL == 1u); i < end; i += 4u) {
        let all = vec4u(i, i + 1u, i + 2u, i + 3u);
        let at = min(all, vec4u(end - 1u));
        let a = first_q + at * dims.q_row;
        let b = first_out + at * dims.out_row;
        var scores = vec4f();
        var dp = vec4f();
        for (var c = 0u; c < HEAD; c += 1u) {
            let x = k[key + c];
            let y = v[value + c];
            scores += vec4f(inner(x, q[a.x + c]), inner(x, q[a.y + c]), inner(x, q[a.z + c]), inner(x, q[a.w + c]));
            dp += vec4f(inner(y, dout[b.x + c]), inner(y, dout[b.y + c]), inner(y, dout[b.z + c]),
                        inner(y, dout[b.w + c]));
        }
        let w = rows[first_row + at.x];
        let x = rows[first_row + at.y];
        let y = rows[first_row + at.z];
        let z = rows[first_row + at.w];
        let logarithms = vec4f(w.x, x.x, y.x, z.x);
        let inside = all < vec4u(end);
        let p = select(vec4f(), exp(dims.scale * scores - logarithms), inside);
        let ds = select(vec4f(), dims.scale * p * (dp - vec4f(w.y, x.y, y.y, z.y)), inside);
        for (var c = 0u; c < HEAD; c += 1u) {
            dk[c] += ds.x * q[a.x + c] + ds.y * q[a.y + c] + ds.z * q[a.z + c] + ds.w * q[a.w + c];
            dv[c] += p.x * dout[b.x + c] + p.y * dout[b.y + c] + p.z * dout[b.z + c] + p.w * dout[b.w + c];
        }
    }
    let row = place.batch * dims.keys + place.row;
    for (var c = 0u; c < HEAD; c += 1u) {
        dqkv[dims.dk_start + row * dims.dk_row + place.head * HEAD + c] = dk[c];
        dqkv[dims.dv_start + row * dims.dv_row + place.head * HEAD + c] = dv[c];
    }
}
