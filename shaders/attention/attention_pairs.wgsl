// attention_pairs.wgsl: for every query and key of a head p[i, j], times dropout's factor, and ds[i, j] as in
// attention_query_grad.wgsl. attention_pair_sums.wgsl computes the gradient of a small attention from them.
//
// in      q, k, v, dout, rows, keys, step state  as in attention_query_grad.wgsl
// out     pairs (2, batch, heads, queries, keys filled up to fours) f32: p, then ds, times scale; 0 where a key is not seen
// launch  a workgroup per OWN queries x MET keys and head, of GROUPS x LANES invocations with 4 x 4 pairs each, see
//         lib/attention/attention_tiles.wgsl
// memory  OWN and MET rows: q and k, then dout and v in their place; 32 KiB for 64 x 64 of head size 64
// cost    4·d + 6 flop per pair, each 8 multiply-adds read 16 bytes of workgroup memory; 8 bytes per pair written. q, k, v and
//         dout are read once per OWN or MET rows from cache. Four barriers in all
// numeric as in attention_query_grad.wgsl
// source  Vaswani et al. 2017, arXiv:1706.03762; Dao et al. 2022, arXiv:2205.14135, appendix B.2

#import grid
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> k: array<T>;
@group(0) @binding(3) var<storage, read> v: array<T>;
@group(0) @binding(4) var<storage, read> dout: array<T>;
@group(0) @binding(5) var<storage, read> rows: array<vec2f>;
@group(0) @binding(6) var<storage, read> keys: array<u32>;
@group(0) @binding(7) var<storage, read> step_state: array<u32>;
@group(0) @binding(8) var<storage, read_write> pairs: array<vec4f>;
#import attention/attention_tiles
#import attention/attention_above
#import attention/attention_known
fn store(spot: Spot, row: u32, four: u32, x: vec4f) {
    let fours = (dims.keys + 3u) / 4u;
    if (row < dims.queries && four < fours) {
        pairs[(((spot.goal * dims.batch + spot.batch) * dims.heads + spot.head) * dims.queries + row) * fours + four] = x;
    }
}
fn store_pairs(spot: Spot, four: u32, m: mat4x4f) {
    store(spot, spot.row, four, m[0]);
    store(spot, spot.row + 1u, four, m[1]);
    store(spot, spot.row + 2u, four, m[2]);
    store(spot, spot.row + 3u, four, m[3]);
}

@compute @workgroup_size(THREADS)
fn attention_pairs(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let index = linear_group(group, groups);
    let tiles = vec2u((dims.queries + OWN - 1u) / OWN, (dims.keys + MET - 1u) / MET);
    let tile = index / tiles.y;
    if (tile >= tiles.x * dims.batch * dims.heads) {
        return; // the whole workgroup
    }
    let batch = tile / tiles.x / dims.heads;
    let head = tile / tiles.x % dims.heads;
    let own = OWN * (tile % tiles.x);
    let key = MET * (index % tiles.y);
    let lane = local % LANES;
    let row = 4u * (local / LANES);
    let spot = Spot(0u, batch, head, own + row, lane);
    let four = key / 4u + lane;
    let of_ds = Spot(1u, batch, head, spot.row, lane);
    if (key >= end_of_keys(batch, min(own + OWN, dims.queries) - 1u)) {
        store_pairs(spot, four, mat4x4f());
        store_pairs(of_ds, four, mat4x4f());
        return; // the whole workgroup
    }
    for (var n = 0u; n < OWN_LOADS; n += 1u) {
        let i = n * THREADS + local;
        own_a[i] = q_or_none(batch, head, own + i / STRIDE, i % STRIDE);
    }
    for (var n = 0u; n < MET_LOADS; n += 1u) {
        let i = n * THREADS + local;
        met_a[turned(i / STRIDE, i % STRIDE)] = k_or_none(batch, head, key + i / STRIDE, i % STRIDE);
    }
    workgroupBarrier();
    var scores = mat4x4f();
    for (var c = 0u; c < INNER; c += 1u) {
        scores = along16(scores, own_a4(row, c), met_a4(lane, c));
    }
    workgroupBarrier();
    for (var n = 0u; n < OWN_LOADS; n += 1u) {
        let i = n * THREADS + local;
        own_a[i] = dout_or_none(batch, head, own + i / STRIDE, i % STRIDE);
    }
    for (var n = 0u; n < MET_LOADS; n += 1u) {
        let i = n * THREADS + local;
        met_a[turned(i / STRIDE, i % STRIDE)] = v_or_none(batch, head, key + i / STRIDE, i % STRIDE);
    }
    workgroupBarrier();
    var dp = mat4x4f();
    for (var c = 0u; c < INNER; c += 1u) {
        dp = along16(dp, own_a4(row, c), met_a4(lane, c));
    }
    let known = known_rows(batch, head, spot.row);
    let kept = kept16(batch * dims.heads + head, spot.row, key + 4u * lane);
    var p = exp2_4(rows_times(scores, vec4f(dims.scale * LOG2_E)), LOG2_E * known[0]);
    var ds = rows_times(times(p, rows_less(times(dp, kept), known[1])), vec4f(dims.scale));
    p = times(p, kept);
    if (key + MET > end_of_keys(batch, own) || dims.mask == 2u) {
        p = unmasked(p, batch, spot.row, key + 4u * lane, 0.0);
        ds = unmasked(ds, batch, spot.row, key + 4u * lane, 0.0);
    }
    store_pairs(spot, four, p);
    store_pairs(of_ds, four, ds);
}
