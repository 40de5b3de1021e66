// Running sums along rows: y_i = Σ_{j ≤ i} x_j, or with REVERSE over j ≥ i.
//
// Shapes: x, y [rows, n], f32. Map: an invocation owns a row. No workgroup memory.
// FLOPs: rows · n. Bytes: 8 · rows · n. The kernel of `own_op.rs`.
#import grid

override REVERSE: u32 = 0u;

struct Dims { rows: u32, n: u32 }

@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(256)
fn cumsum(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u,
          @builtin(local_invocation_index) local: u32) {
    let row = linear_index(group, groups, local);
    if (row < dims.rows) {
        var sum = 0.0;
        for (var k = 0u; k < dims.n; k++) {
            let at = row * dims.n + select(k, dims.n - 1u - k, REVERSE == 1u);
            sum += x[at];
            y[at] = sum;
        }
    }
}
