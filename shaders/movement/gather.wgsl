// gather.wgsl: out[j, :] = table[index[j], :], or `missing` where there is no such row.
//
// in      table (rows, width) f32 or u32, moved as bits
//         index (b) u32
// out     out (b, width)
// launch  one invocation per output element, or per four of them (VEC4, when width is a multiple of 4); workgroups of 256
// memory  none
// cost    8 bytes per element and one division: bound by memory
// numeric exact copy
// source  definition

#import grid
#if VEC4
alias T = vec4u;
#else
alias T = u32;
#endif

struct Dims { n: u32, width: u32, rows: u32, missing: u32 } // n and width in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> table: array<T>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read_write> out: array<T>;

@compute @workgroup_size(256)
fn gather(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    let row = index[i / dims.width];
    var value = T(dims.missing);
    if (row < dims.rows) {
        value = table[row * dims.width + i % dims.width];
    }
    out[i] = value;
}
