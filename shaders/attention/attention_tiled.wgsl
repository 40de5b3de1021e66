// attention_tiled.wgsl: attention.wgsl for GPUs, through workgroup memory: out[i] = Σ_j p[i, j] v[j], p[i, :] = softmax over j
// of scale q[i]·k[j]. With SPLIT a workgroup has a part of the keys, and attention_join.wgsl joins them.
//
// in      q, k, v, keys, step state  as in attention.wgsl
// out     y  as in attention.wgsl; with SPLIT (parts, batch, heads, queries, 2) f32: greatest score, times log2 e, and divisor
//         parts  with SPLIT (parts, batch, heads, queries, d) f32: sums that are not divided yet
// launch  a workgroup per OWN = 4 GROUPS queries, head and part, of GROUPS x LANES invocations that each have 4 queries x 4 keys
//         of OWN x MET = 4 LANES scores (lib/attention/attention_tiles.wgsl); of a head the last queries come first, as a causal mask
//         leaves them most work. 64 x 64 in 256 invocations, 64 x 32 in 128, 32 x 32 in 64
// memory  q, k, v of an iteration and p, which replaces k: 48 KiB for 64 x 64 of head size 64, 32 for 64 x 32, 24 for 32 x 32
// cost    4·d + 5 flop per query, key and head that is not masked by the tile. Of 4·d flop's multiply-adds one in eight (scores)
//         and one in 8 to 11 (sums) wait for 16 bytes of workgroup memory. k and v are read once per OWN queries from cache,
//         all else once. Four barriers per iteration (six without SHUFFLE), whose wait other workgroups of the processor fill
// numeric online softmax in powers of two, as in attention.wgsl; the sum of a row is one partial sum for each lane, then a
//         butterfly over the lanes. SPLIT changes the order of sums, nothing else
// source  Dao 2023, arXiv:2307.08691, algorithm 1; Dao et al. 2023, "Flash-Decoding" (SPLIT)

#import grid
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> k: array<T>;
@group(0) @binding(3) var<storage, read> v: array<T>;
@group(0) @binding(4) var<storage, read> keys: array<u32>;
@group(0) @binding(5) var<storage, read> step_state: array<u32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> sink: array<T>;
#import attention/attention_tiles
#import attention/attention_by_query
#if SPLIT
#import attention/attention_sink
fn store(spot: Spot, row: u32, c: u32, x: vec4f) {
    if (row < dims.queries) {
        put(row_of_part(spot, row) * HEAD, c, x);
    }
}
fn row_of_part(spot: Spot, row: u32) -> u32 {
    return ((spot.goal * dims.batch + spot.batch) * dims.heads + spot.head) * dims.queries + row;
}
fn store_divisor(spot: Spot, row: u32, greatest: f32, total: f32) {
    if (row < dims.queries) {
        y[2u * row_of_part(spot, row)] = greatest;
        y[2u * row_of_part(spot, row) + 1u] = total;
    }
}
#else
fn store(spot: Spot, row: u32, c: u32, x: vec4f) {
    if (row < dims.queries) {
        let at = UNIT * out_at(spot.batch, spot.head, row) + 4u * c;
        let left = UNIT * HEAD - 4u * c;
        y[at] = x.x;
        if (left > 1u) { y[at + 1u] = x.y; }
        if (left > 2u) { y[at + 2u] = x.z; }
        if (left > 3u) { y[at + 3u] = x.w; }
    }
}
fn store_divisor(spot: Spot, row: u32, greatest: f32, total: f32) {
    if (row < dims.queries) {
        let first = UNIT * dims.batch * dims.queries * dims.out_row;
        y[first + (spot.batch * dims.heads + spot.head) * dims.queries + row] = logarithm(greatest, total);
    }
}
#endif

@compute @workgroup_size(THREADS)
fn attention_tiled(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                   @builtin(local_invocation_index) local: u32) {
    let index = linear_group(group, groups);
    let tiles = (dims.queries + OWN - 1u) / OWN;
    let tile = index / dims.parts;
    if (tile >= tiles * dims.batch * dims.heads) {
        return; // the whole workgroup
    }
    let batch = tile / tiles / dims.heads;
    let head = tile / tiles % dims.heads;
    let own = OWN * (tiles - 1u - tile % tiles);
    let lane = local % LANES;
    let row = 4u * (local / LANES);
    let part = index % dims.parts;
    let spot = Spot(part, batch, head, own + row, lane);
#if OWN_CACHED
#else
    for (var n = 0u; n < OWN_LOADS; n += 1u) {
        let i = n * THREADS + local;
        own_a[i] = q_or_none(batch, head, own + i / STRIDE, i % STRIDE);
    }
#endif
    // Keys that some query sees, and that all do unless ids say otherwise.
    // `part`, not `spot.goal`: a browser takes a struct for non-uniform if one member is, and refuses the barriers of the loop.
    let part_end = (part + 1u) * dims.part_keys;
    let end = min(part_end, end_of_keys(batch, min(own + OWN, dims.queries) - 1u));
    let by_all = end_of_keys(batch, own);
    var greatest = vec4f(EMPTY);
    var total = vec4f();
    var sums = Sums();
    for (var key = part * dims.part_keys; key < end; key += MET) {
        workgroupBarrier();
        meet_keys(local, batch, head, key);
        workgroupBarrier();
        var scores = mat4x4f();
        for (var c = 0u; c < INNER; c += 1u) {
            scores = along16(scores, q4(spot, row, c), met_a4(lane, c));
        }
        scores = rows_times(scores, vec4f(dims.scale * LOG2_E));
        let masked = key + MET > by_all || dims.mask == 2u;
        if (masked) {
            scores = unmasked(scores, batch, own + row, key + 4u * lane, LOWEST);
        }
        let next = max(greatest, top_of_lanes(local, row_tops(scores)));
        let shrink = exp2(greatest - next);
        greatest = next;
        var p = exp2_4(scores, next);
        if (masked) {
            p = unmasked(p, batch, own + row, key + 4u * lane, 0.0); // exp2 of what is very low need not be 0
        }
        total = fma(total, shrink, row_sums(p));
        let shares = times(p, kept16(batch * dims.heads + head, own + row, key + 4u * lane));
        workgroupBarrier();
        met_a[row * LANES + lane] = shares[0];
        met_a[(row + 1u) * LANES + lane] = shares[1];
        met_a[(row + 2u) * LANES + lane] = shares[2];
        met_a[(row + 3u) * LANES + lane] = shares[3];
        sums = scaled(sums, shrink);
        workgroupBarrier();
        for (var four = 0u; four < LANES; four += 1u) {
            let at = row * LANES + four;
            let w = mat4x4f(met_a[at], met_a[at + LANES], met_a[at + 2u * LANES], met_a[at + 3u * LANES]);
            sums = add_met_b(sums, w, four, lane);
        }
    }
    total = sum_of_lanes(local, total);
#if SPLIT
    store_sums(spot, sums);
#else
    // NaN is no number to compare: only a sum that is 0 is replaced.
    store_sums(spot, scaled(sums, select(1.0 / total, vec4f(), total == vec4f())));
#endif
    if (lane == 0u) {
        store_divisor(spot, spot.row, greatest.x, total.x);
        store_divisor(spot, spot.row + 1u, greatest.y, total.y);
        store_divisor(spot, spot.row + 2u, greatest.z, total.z);
        store_divisor(spot, spot.row + 3u, greatest.w, total.w);
    }
}
