// 3. center: y_ij = x_ij − mean over i of x_ij. The C of CKA: each feature loses its mean over the examples.
//
// in      x (examples, features) f32
// out     y (examples, features) f32
// launch  ceil(features / 64) workgroups of 64
// map     an invocation owns a feature, a column; neighbors read neighbors in each row
// memory  none
// cost    2 · examples · features flop, 12 bytes an element (read twice, written once): bound by memory
// numeric the mean first, then the differences. The engine sums x less the first row, so a large common offset costs no digits

struct Dims { examples: u32, features: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn center(@builtin(global_invocation_id) id: vec3u) {
    let feature = id.x;
    // There are whole workgroups only: the last has invocations without a feature.
    if (feature >= dims.features) {
        return;
    }
    var sum = 0.0;
    for (var i = 0u; i < dims.examples; i++) {
        sum += x[i * dims.features + feature];
    }
    // HOLE: write the differences from the mean, for each example of this feature.
    // END
}
