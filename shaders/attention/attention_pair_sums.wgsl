// attention_pair_sums.wgsl: dq[i] = Σ_j ds[i, j] k[j], dk[j] = Σ_i ds[i, j] q[i] and dv[j] = Σ_i p[i, j] dout[i], with p and ds of
// attention_pairs.wgsl, in one launch.
//
// in      q, k, v, dout, keys  as in attention_query_grad.wgsl; v is not read
//         pairs (2, batch, heads, queries, keys filled up to fours) f32
// out     sink  the rows of dq, dk and dv, at the offsets in `dims`; other elements stay
// launch  a workgroup per OWN queries and head for dq, then one per OWN keys and head for each of dk and dv, of GROUPS x LANES
//         invocations, see lib/attention/attention_tiles.wgsl
// memory  MET rows of the side that is summed over, and OWN x MET of p or ds: 32 KiB for 64 x 64 of head size 64
// cost    6·d flop per pair that a mask does not spare, 8 to 11 multiply-adds for 16 bytes of workgroup memory; 12 bytes per pair
//         read, from cache if it holds them. Two barriers per iteration
// numeric sums in order of keys, or of queries
// source  Vaswani et al. 2017, arXiv:1706.03762, section 3.2, differentiated

#import grid
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> q: array<T>;
@group(0) @binding(2) var<storage, read> k: array<T>;
@group(0) @binding(3) var<storage, read> v: array<T>;
@group(0) @binding(4) var<storage, read> dout: array<T>;
@group(0) @binding(5) var<storage, read> pairs: array<vec4f>;
@group(0) @binding(6) var<storage, read> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> sink: array<T>;
#import attention/attention_tiles
#import attention/attention_above
#import attention/attention_gradients
// p or ds of a query and four keys.
fn pairs_at(first: u32, row: u32, four: u32) -> vec4f {
    let fours = (dims.keys + 3u) / 4u;
    let there = pairs[(first + min(row, dims.queries - 1u)) * fours + min(four, fours - 1u)];
    return select(vec4f(), there, row < dims.queries && four < fours);
}

@compute @workgroup_size(THREADS)
fn attention_pair_sums(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                       @builtin(local_invocation_index) local: u32) {
    let all = linear_group(group, groups);
    let heads = dims.batch * dims.heads;
    let of_queries = (dims.queries + OWN - 1u) / OWN;
    let of_keys = (dims.keys + OWN - 1u) / OWN;
    if (all >= (of_queries + 2u * of_keys) * heads) {
        return; // the whole workgroup
    }
    var sum_of = DQ;
    var index = all;
    var tiles = of_queries;
    if (all >= of_queries * heads) {
        index = (all - of_queries * heads) % (of_keys * heads);
        sum_of = select(DK, DV, all - of_queries * heads >= of_keys * heads);
        tiles = of_keys;
    }
    let batch = index / tiles / dims.heads;
    let head = index / tiles % dims.heads;
    let own = OWN * (index % tiles);
    let lane = local % LANES;
    let row = 4u * (local / LANES);
    let spot = Spot(sum_of, batch, head, own + row, lane);
    // Pairs outside are 0.
    let first = (select(1u, 0u, sum_of == DV) * heads + batch * dims.heads + head) * dims.queries;
    let start = select(0u, own - own % MET, dims.causal == 1u && sum_of != DQ);
    let end = select(dims.queries, end_of_keys(batch, min(own + OWN, dims.queries) - 1u), sum_of == DQ);
    var sums = Sums();
    for (var met = start; met < end; met += MET) {
        workgroupBarrier();
        for (var n = 0u; n < MET_LOADS; n += 1u) {
            let i = n * THREADS + local;
            let at = turned(i / STRIDE, i % STRIDE);
            if (sum_of == DQ) {
                met_a[at] = k_or_none(batch, head, met + i / STRIDE, i % STRIDE);
            } else if (sum_of == DK) {
                met_a[at] = q_or_none(batch, head, met + i / STRIDE, i % STRIDE);
            } else {
                met_a[at] = dout_or_none(batch, head, met + i / STRIDE, i % STRIDE);
            }
        }
        // [own query][keys by fours], or [met query][own keys by fours].
        for (var n = 0u; n < 4u; n += 1u) {
            let i = n * THREADS + local;
            if (sum_of == DQ) {
                weights_a[i] = pairs_at(first, own + i / LANES, met / 4u + i % LANES);
            } else {
                weights_a[i] = pairs_at(first, met + i / GROUPS, own / 4u + i % GROUPS);
            }
        }
        workgroupBarrier();
        for (var four = 0u; four < LANES; four += 1u) {
            var w = weights_a4(row, four);
            if (sum_of != DQ) {
                let at = 4u * four * GROUPS + row / 4u;
                w = transpose(mat4x4f(weights_a[at], weights_a[at + GROUPS], weights_a[at + 2u * GROUPS],
                                      weights_a[at + 3u * GROUPS]));
            }
            sums = add_met_a(sums, w, four, lane);
        }
    }
    store_sums(spot, sums);
}
