// attention_key_grad_tiled.wgsl: attention_key_grad.wgsl for GPUs, through workgroup memory: dk[j] = scale Σ_i ds[i, j] q[i] and
// dv[j] = Σ_i p[i, j] dout[i], ds as in attention_query_grad_tiled.wgsl; with dropout p counts in dv times 0 or 1 / (1 - share).
//
// in      q, k, v, dout, rows, keys, step state  as in attention_key_grad.wgsl
// out     sink  the rows of dk and dv, at the offsets in `dims`; other elements stay
// launch  a workgroup per OWN keys and head, of GROUPS x LANES invocations with 4 keys x 4 queries each, see
//         lib/attention/attention_tiles.wgsl; the first keys come first, as a causal mask leaves them most work
// memory  k and v of the own keys (not with OWN_CACHED), q and dout of an iteration, p and ds: 40 KiB for 32 x 32 of head size 64
// cost    8·d + 6 flop per query, key and head that is not masked by the tile: half read 16 bytes of workgroup memory for 8
//         multiply-adds, half for 8 to 11. q and dout are read once per OWN keys from cache, all else once. 3 barriers per iteration
// numeric probabilities are computed again from the scores and the logarithm of their sum; sums in order of queries. Keys that
//         no query sees get 0
// source  Dao 2023, arXiv:2307.08691, algorithm 2, its columns

#import grid
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> k: array<T>;
@group(0) @binding(3) var<storage, read> v: array<T>;
@group(0) @binding(4) var<storage, read> dout: array<T>;
@group(0) @binding(5) var<storage, read> rows: array<vec2f>;
@group(0) @binding(6) var<storage, read> keys: array<u32>;
@group(0) @binding(7) var<storage, read> step_state: array<u32>;
@group(0) @binding(8) var<storage, read_write> sink: array<T>;
#import attention/attention_tiles
#import attention/attention_above
#import attention/attention_known
#import attention/attention_gradients
#if OWN_CACHED
fn k4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return k_rows(spot.batch, spot.head, spot.row, c);
}
fn v4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return v_rows(spot.batch, spot.head, spot.row, c);
}
#else
fn k4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return own_a4(row, c);
}
fn v4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return own_b4(row, c);
}
#endif

@compute @workgroup_size(THREADS)
fn attention_key_grad_tiled(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                            @builtin(local_invocation_index) local: u32) {
    let index = linear_group(group, groups);
    let tiles = (dims.keys + OWN - 1u) / OWN;
    if (index >= tiles * dims.batch * dims.heads) {
        return; // the whole workgroup
    }
    let batch = index / tiles / dims.heads;
    let head = index / tiles % dims.heads;
    let own = OWN * (index % tiles);
    let lane = local % LANES;
    let row = 4u * (local / LANES);
    let spot = Spot(DK, batch, head, own + row, lane);
#if OWN_CACHED
#else
    for (var n = 0u; n < OWN_LOADS; n += 1u) {
        let i = n * THREADS + local;
        own_a[i] = k_or_none(batch, head, own + i / STRIDE, i % STRIDE);
        own_b[i] = v_or_none(batch, head, own + i / STRIDE, i % STRIDE);
    }
#endif
    // Own keys that some query sees, the first query of the tile that sees one, and where there is none the end.
    let seen = present4(batch, spot.row + vec4u(0u, 1u, 2u, 3u), end_of_keys(batch, dims.keys));
    let some = own < end_of_keys(batch, dims.keys);
    let start = select(dims.queries, select(0u, own - own % MET, dims.causal == 1u), some);
    var dk = Sums();
    var dv = Sums();
    for (var query = start; query < dims.queries; query += MET) {
        workgroupBarrier();
        for (var n = 0u; n < MET_LOADS; n += 1u) {
            let i = n * THREADS + local;
            let at = turned(i / STRIDE, i % STRIDE);
            met_a[at] = q_or_none(batch, head, query + i / STRIDE, i % STRIDE);
            met_b[at] = dout_or_none(batch, head, query + i / STRIDE, i % STRIDE);
        }
        workgroupBarrier();
        var scores = mat4x4f();
        var dp = mat4x4f();
        for (var c = 0u; c < INNER; c += 1u) {
            scores = along16(scores, k4(spot, row, c), met_a4(lane, c));
            dp = along16(dp, v4(spot, row, c), met_b4(lane, c));
        }
        let all = query + 4u * lane + vec4u(0u, 1u, 2u, 3u);
        let known = known_rows(batch, head, all.x);
        let kept = transpose(kept16(batch * dims.heads + head, all.x, spot.row));
        var p = columns_less(rows_times(scores, vec4f(dims.scale * LOG2_E)), LOG2_E * known[0]);
        p = exp2_4(p, vec4f());
        var ds = times(p, columns_less(times(dp, kept), known[1]));
        p = times(p, kept);
        if (dims.causal == 1u || dims.mask != 0u || query + MET > dims.queries) {
            let there = all < vec4u(dims.queries);
            let after = select(vec4u(), spot.row + vec4u(0u, 1u, 2u, 3u), dims.causal == 1u);
            let a = there & (all >= vec4u(after.x)) & vec4<bool>(seen.x);
            let b = there & (all >= vec4u(after.y)) & vec4<bool>(seen.y);
            let c = there & (all >= vec4u(after.z)) & vec4<bool>(seen.z);
            let d = there & (all >= vec4u(after.w)) & vec4<bool>(seen.w);
            p = where4(p, a, b, c, d, 0.0);
            ds = where4(ds, a, b, c, d, 0.0);
        }
        set_weights_a(row, lane, rows_times(ds, vec4f(dims.scale)));
        set_weights_b(row, lane, p);
        workgroupBarrier();
        for (var four = 0u; four < LANES; four += 1u) {
            dk = add_met_a(dk, weights_a4(row, four), four, lane);
            dv = add_met_b(dv, weights_b4(row, four), four, lane);
        }
    }
    store_sums(spot, dk);
    store_sums(Spot(DV, batch, head, spot.row, lane), dv);
}
