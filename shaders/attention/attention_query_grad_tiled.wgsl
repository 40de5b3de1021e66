// attention_query_grad_tiled.wgsl: attention_query_grad.wgsl for GPUs, through workgroup memory: dq[i] = scale Σ_j ds[i, j] k[j],
// ds = p (dp - Σ_c out dout), dp = dout[i]·v[j] times dropout's factor of p[i, j].
//
// in      q, k, v, dout, rows, keys, step state  as in attention_query_grad.wgsl
// out     sink  the rows of dq, at the offsets in `dims`; other elements stay
// launch  a workgroup per OWN queries and head, of GROUPS x LANES invocations with 4 queries x 4 keys each, see
//         lib/attention/attention_tiles.wgsl; of a head the last queries come first, as a causal mask leaves them most work
// memory  q and dout of the own queries (not with OWN_CACHED), k and v of an iteration, ds: 36 KiB for 32 x 32 of head size 64
// cost    6·d + 6 flop per query, key and head that is not masked by the tile: two thirds read 16 bytes of workgroup memory for 8
//         multiply-adds, one third for 8 to 11. k and v are read once per OWN queries from cache, all else once. Three barriers
//         per iteration
// numeric probabilities are computed again from the scores and the logarithm of their sum; sums in order of keys
// source  Dao 2023, arXiv:2307.08691, algorithm 2, its rows

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
#import attention/attention_by_query
#import attention/attention_above
#import attention/attention_known
#import attention/attention_gradients
#if OWN_CACHED
fn dout4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return dout_rows(spot.batch, spot.head, spot.row, c);
}
#else
fn dout4(spot: Spot, row: u32, c: u32) -> mat4x4f {
    return own_b4(row, c);
}
#endif

@compute @workgroup_size(THREADS)
fn attention_query_grad_tiled(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                              @builtin(local_invocation_index) local: u32) {
    let index = linear_group(group, groups);
    let tiles = (dims.queries + OWN - 1u) / OWN;
    if (index >= tiles * dims.batch * dims.heads) {
        return; // the whole workgroup
    }
    let batch = index / tiles / dims.heads;
    let head = index / tiles % dims.heads;
    let own = OWN * (tiles - 1u - index % tiles);
    let lane = local % LANES;
    let row = 4u * (local / LANES);
    let spot = Spot(DQ, batch, head, own + row, lane);
#if OWN_CACHED
#else
    for (var n = 0u; n < OWN_LOADS; n += 1u) {
        let i = n * THREADS + local;
        own_a[i] = q_or_none(batch, head, own + i / STRIDE, i % STRIDE);
        own_b[i] = dout_or_none(batch, head, own + i / STRIDE, i % STRIDE);
    }
#endif
    let known = known_rows(batch, head, spot.row);
    let shift = LOG2_E * known[0];
    let totals = known[1];
    // Keys that some query sees, and that all do unless ids say otherwise.
    let end = end_of_keys(batch, min(own + OWN, dims.queries) - 1u);
    let by_all = end_of_keys(batch, own);
    var sums = Sums();
    for (var key = 0u; key < end; key += MET) {
        workgroupBarrier();
        meet_keys(local, batch, head, key);
        workgroupBarrier();
        var scores = mat4x4f();
        var dp = mat4x4f();
        for (var c = 0u; c < INNER; c += 1u) {
            scores = along16(scores, q4(spot, row, c), met_a4(lane, c));
            dp = along16(dp, dout4(spot, row, c), met_b4(lane, c));
        }
        dp = times(dp, kept16(batch * dims.heads + head, spot.row, key + 4u * lane));
        var ds = times(exp2_4(rows_times(scores, vec4f(dims.scale * LOG2_E)), shift), rows_less(dp, totals));
        ds = rows_times(ds, vec4f(dims.scale));
        if (key + MET > by_all || dims.mask == 2u) {
            ds = unmasked(ds, batch, spot.row, key + 4u * lane, 0.0);
        }
        set_weights_a(row, lane, ds);
        workgroupBarrier();
        for (var four = 0u; four < LANES; four += 1u) {
            sums = add_met_a(sums, weights_a4(row, four), four, lane);
        }
    }
    store_sums(spot, sums);
}
