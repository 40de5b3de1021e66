// gather_grad.wgsl: dtable[row, :] = Σ dy[j, :] over the positions j that name the row.
//
// in      dy (b, width) f32
//         links (rows + b) u32   lists of positions, from gather_links.wgsl
// out     dtable (rows, width) f32
// launch  one invocation per element, or per four of them (VEC4, when width is a multiple of 4); workgroups of 256
// memory  none
// cost    1 flop and 4 bytes per element of dy, 4 bytes per element of dtable: bound by memory
// numeric sums in order of j, in f32: same bits every time. Rows that no index names are 0
// source  definition

#import grid
#if VEC4
alias T = vec4f;
#else
alias T = f32;
#endif

struct Dims { n: u32, width: u32, rows: u32 } // n and width in units of T
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> dy: array<T>;
@group(0) @binding(2) var<storage, read> links: array<u32>;
@group(0) @binding(3) var<storage, read_write> dtable: array<T>;

@compute @workgroup_size(256)
fn gather_grad(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
               @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.n) {
        return;
    }
    var sum = T(0.0);
    var j = links[i / dims.width];
    while (j != 0xffffffffu) {
        sum += dy[j * dims.width + i % dims.width];
        j = links[dims.rows + j];
    }
    dtable[i] = sum;
}
