// attention_softmax.wgsl: p[i, :] = softmax over j of scores of attention_pairs.wgsl, times dropout's factors, in their place.
//
// in      keys, step state  as in attention.wgsl
// out     pairs (heads of this launch, queries, keys filled up to fours) f32: scores times log2 e, LOWEST where a key is not seen,
//         become probabilities
//         y  the part of attention.wgsl's output that has the logarithms of the divisors
// launch  256 / LANES queries of a head per workgroup: LANES neighbors stride over a row, so that their reads are contiguous
// memory  1 KiB: one partial sum per invocation
// cost    about 5 flop per pair; 12 bytes read and 4 written, from cache if it holds a row
// numeric the greatest score is subtracted before exp2; a row's sum is one partial sum for each lane, then as in lib/reduce.wgsl.
//         A query that may see no key gets 0, and 0 as its logarithm
// source  Milakov and Gimelshein 2018, arXiv:1805.02867, section 2

#import grid
#import reduce
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> keys: array<u32>;
@group(0) @binding(2) var<storage, read> step_state: array<u32>;
@group(0) @binding(3) var<storage, read_write> pairs: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
#import attention/attention_sizes

@compute @workgroup_size(256)
fn attention_softmax(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                     @builtin(local_invocation_index) local: u32) {
    let index = linear_group(group, groups) * (256u / LANES) + local / LANES;
    let exists = index < dims.held_heads * dims.queries;
    let lane = lane_of(local, 1u);
    let head = dims.first_head + index / dims.queries;
    let row = index % dims.queries;
    // Rows that do not exist are empty; their invocations stay for the barriers.
    let end = select(0u, fours(), exists);
    var greatest = LOWEST;
    for (var c = lane; c < end; c += LANES) {
        let s = pairs[index * fours() + c];
        greatest = max(greatest, max(max(s.x, s.y), max(s.z, s.w)));
    }
    greatest = lane_max(local, 1u, greatest);
    var total = 0.0;
    for (var c = lane; c < end; c += LANES) {
        let s = pairs[index * fours() + c];
        total += dot(select(exp2(s - greatest), vec4f(), s == vec4f(LOWEST)), vec4f(1.0));
    }
    total = lane_sum(local, 1u, total);
    // NaN is no number to compare: only a sum that is 0 is replaced.
    let empty = total == 0.0;
    let share = select(1.0 / total, 0.0, empty);
    for (var c = lane; c < end; c += LANES) {
        let s = pairs[index * fours() + c];
        let p = select(share * exp2(s - greatest), vec4f(), s == vec4f(LOWEST));
        pairs[index * fours() + c] = p * kept_keys(head, row, 4u * c);
    }
    if (lane == 0u && exists) {
        let first = 4u * dims.batch * dims.queries * dims.out_row;
        y[first + head * dims.queries + row] = select(greatest / LOG2_E + log(total), 0.0, empty);
    }
}
