// attention_join.wgsl: joins attention whose keys were computed in parts, by attention_tiled.wgsl with SPLIT.
//
// in      known (parts, batch, heads, queries, 2) f32: greatest score, times log2 e, and divisor
//         sums (parts, batch, heads, queries, d) f32
// out     y  as in attention.wgsl
// launch  one invocation per unit of a head's row, four elements where d is a multiple of four (VEC4); workgroups of 256
// memory  none
// cost    2 flop and 4 bytes per element and part, from cache where parts fit; 4 bytes per element written
// numeric parts are weighted by 2 to their greatest score less the greatest of all: no weight exceeds 1. In order of parts. A part
//         without keys has divisor 0 and counts nothing, a query without keys gets 0
// source  Dao et al. 2023, "Flash-Decoding for long-context inference"

#import grid
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif
struct Dims { batch: u32, heads: u32, queries: u32, head: u32, parts: u32 } // head: units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> known: array<vec2f>;
@group(0) @binding(2) var<storage, read> sums: array<T>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
const LOG2_E: f32 = 1.4426950408889634;

@compute @workgroup_size(256)
fn attention_join(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                  @builtin(local_invocation_index) local: u32) {
    let index = linear_index(group, groups, local);
    let rows = dims.batch * dims.heads * dims.queries;
    if (index >= rows * dims.head) {
        return;
    }
    let row = index / dims.head;
    let c = index % dims.head;
    var greatest = known[row].x;
    for (var part = 1u; part < dims.parts; part += 1u) {
        greatest = max(greatest, known[part * rows + row].x);
    }
    var total = 0.0;
    var sum = T();
    for (var part = 0u; part < dims.parts; part += 1u) {
        let own = known[part * rows + row];
        let share = exp2(own.x - greatest);
        total = fma(own.y, share, total);
        sum += share * sums[(part * rows + row) * dims.head + c];
    }
    // NaN is no number to compare: only a sum that is 0 is replaced.
    let empty = total == 0.0;
    let value = select(1.0 / total, 0.0, empty) * sum;
    let head = row / dims.queries;
    let at = ((head / dims.heads * dims.queries + row % dims.queries) * dims.heads + head % dims.heads) * dims.head + c;
#if VEC4
    y[4u * at] = value.x;
    y[4u * at + 1u] = value.y;
    y[4u * at + 2u] = value.z;
    y[4u * at + 3u] = value.w;
    let first = 4u * rows * dims.head;
#else
    y[at] = value;
    let first = rows * dims.head;
#endif
    if (c == 0u) {
        y[first + row] = select(greatest / LOG2_E + log(total), 0.0, empty);
    }
}
