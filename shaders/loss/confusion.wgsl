// confusion.wgsl: table[labels[r], c] += 1 for each row r, with c the first of the greatest x[r, ·].
//
// in      x      (rows, n) f32  logits
//         labels (rows)    u32
// out     table  (n, n)    u32  counts, updated
// launch  one invocation per row; workgroups of 256
// memory  none
// cost    1 comparison and 4 bytes per logit: bound by memory; one atomic addition a row
// numeric whole numbers: their sum is the same in any order. A row with a NaN, or whose label is no class, counts nowhere
// source  definition

#import grid
#import number
struct Dims { rows: u32, n: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read_write> table: array<atomic<u32>>;

@compute @workgroup_size(256)
fn confusion(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
             @builtin(local_invocation_index) local: u32) {
    let row = linear_index(group, groups, local);
    if (row >= dims.rows) {
        return;
    }
    let label = labels[row];
    let start = row * dims.n;
    var best = 0u;
    var whole = label < dims.n;
    for (var i = 0u; i < dims.n; i += 1u) {
        let v = x[start + i];
        whole = whole && !is_nan(v);
        best = select(best, i, v > x[start + best]);
    }
    if (whole) {
        atomicAdd(&table[label * dims.n + best], 1u);
    }
}
