// 9. softmax: y_ij = exp(x_ij) / Σ_k exp(x_ik). Logits become probabilities, for logits of any size.
//
// in      x (rows, columns) f32
// out     y (rows, columns) f32, each row adds up to 1
// launch  ceil(rows / 64) workgroups of 64
// map     an invocation owns a row
// memory  none
// cost    about 4 flop an element; 16 bytes an element, as a row is read three times
// numeric exp overflows from 89 on. Softmax is the same for x − greatest, whose exponentials are at most 1

struct Dims { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn softmax(@builtin(global_invocation_id) id: vec3u) {
    if (id.x >= dims.rows) {
        return;
    }
    let first = id.x * dims.columns;
    var shift = 0.0;
    // HOLE: `shift` by which exponentials neither overflow nor vanish all together.
    shift = x[first];
    for (var column = 1u; column < dims.columns; column++) {
        shift = max(shift, x[first + column]);
    }
    // END
    var sum = 0.0;
    for (var column = 0u; column < dims.columns; column++) {
        sum += exp(x[first + column] - shift);
    }
    for (var column = 0u; column < dims.columns; column++) {
        y[first + column] = exp(x[first + column] - shift) / sum;
    }
}
