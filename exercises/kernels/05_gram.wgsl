// 5. gram: k_ij = Σ_f x_if x_jf, the matrix of dot products between examples. It says how alike each two examples are in a layer.
//
// in      x (examples, features) f32, centered
// out     k (examples, examples) f32, symmetric
// launch  ceil(examples / 8) x ceil(examples / 8) workgroups of 8 x 8
// map     invocation (j, i) with j ≥ i owns k_ij, and its mirror image k_ji; those with j < i have nothing to do
// memory  none
// cost    examples² · features flop, half of a product's, as k is symmetric
// numeric f32 sums in the order of features

struct Dims { examples: u32, features: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> k: array<f32>;

@compute @workgroup_size(8, 8)
fn gram(@builtin(global_invocation_id) id: vec3u) {
    let i = id.y;
    let j = id.x;
    if (i >= dims.examples || j >= dims.examples || j < i) {
        return;
    }
    // HOLE: the dot product of rows i and j of x, written to both of its places.
    // END
}
