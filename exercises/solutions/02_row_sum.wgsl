// 2. row_sum: y_i = Σ_j x_ij. Many sums at once: a workgroup for each row.
//
// in      x (rows, columns) f32, row-major: element (i, j) lies at i · columns + j
// out     y (rows) f32
// launch  `rows` workgroups of 64
// map     workgroup i owns row i; its lane l adds the columns l, l + 64, l + 128, …
// memory  64 floats of workgroup memory
// cost    rows · columns flop, 4 · rows · columns bytes: bound by memory
// numeric the tree of exercise 1

struct Dims { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

var<workgroup> lanes: array<f32, 64>;

@compute @workgroup_size(64)
fn row_sum(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    var own = 0.0;
    // HOLE: add this lane's columns of row group.x to `own`. A row may have fewer columns than there are lanes.
    for (var column = lane; column < dims.columns; column += 64u) {
        own += x[group.x * dims.columns + column];
    }
    // END
    lanes[lane] = own;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half /= 2u) {
        if (lane < half) {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    if (lane == 0u) {
        y[group.x] = lanes[0];
    }
}
