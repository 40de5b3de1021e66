// 8. cka_gradient: d CKA / d x for a layer x. With c = CKA and m = d CKA / d k = l / (|k| |l|) − c · k / |k|²:  dx = 2 m x.
//
// in      x (n, features) f32, centered; k = x xᵀ and l (n, n) f32, centered
//         sums (3) f32: <k, l>, <k, k>, <l, l>, as exercise 7 adds them up
// out     dx (n, features) f32
// launch  ceil(features / 8) x ceil(n / 8) workgroups of 8 x 8
// map     invocation (f, i) owns dx_if = 2 Σ_j m_ij x_jf
// memory  none: m is computed where it is needed, and stored nowhere
// cost    about 6 n² · features flop
// numeric the factors are computed once an invocation; m is symmetric, as k and l are

struct Dims { n: u32, features: u32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> l: array<f32>;
@group(0) @binding(4) var<storage, read> sums: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(8, 8)
fn cka_gradient(@builtin(global_invocation_id) id: vec3u) {
    let i = id.y;
    let f = id.x;
    if (i >= dims.n || f >= dims.features) {
        return;
    }
    let length_k = sqrt(sums[1]);
    let length_l = sqrt(sums[2]);
    var sum = 0.0;
    for (var j = 0u; j < dims.n; j++) {
        var m = 0.0;
        let at = i * dims.n + j;
        // HOLE: m_ij, from k[at], l[at] and the three sums. The gradient of a cosine: along l, less what is along k already.
        let c = sums[0] / (length_k * length_l);
        m = l[at] / (length_k * length_l) - c * k[at] / sums[1];
        // END
        sum += m * x[j * dims.features + f];
    }
    dx[i * dims.features + f] = 2.0 * sum;
}
