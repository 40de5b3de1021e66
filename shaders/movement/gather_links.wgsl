// gather_links.wgsl: for each row, the list of the positions j in ascending order at which index[j] names it.
//
// in      index (b) u32
// out     links (rows + b) u32   links[row] is the first position that names the row, links[rows + j] the next one
//         after j that names the same row; 0xffffffff where there is none
// launch  one invocation per link; workgroups of 256
// memory  none
// cost    each invocation reads on until it finds its row: at most b (rows + b / 2) reads of 4 bytes, all invocations
//         the same or neighboring ones, and far fewer when rows repeat often
// numeric integers; the order of the lists fixes the order of the sums in gather_grad.wgsl
// source  linked lists in place of atomic additions, whose order varies from run to run

#import grid

struct Dims { rows: u32, b: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> links: array<u32>;

@compute @workgroup_size(256)
fn gather_links(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
                @builtin(local_invocation_index) local: u32) {
    let i = linear_index(group, groups, local);
    if (i >= dims.rows + dims.b) {
        return;
    }
    var row = i;
    var j = 0u;
    if (i >= dims.rows) {
        row = index[i - dims.rows];
        j = i - dims.rows + 1u;
    }
    while (j < dims.b && index[j] != row) {
        j += 1u;
    }
    links[i] = select(0xffffffffu, j, j < dims.b);
}
