// ridge_inverse.wgsl: one block step k of inverting A (with FIRST: A + λ I) from one buffer into another:
//   B_kk = P,  B_kj = P A_kj,  B_ik = −A_ik P,  B_ij = A_ij − A_ik P A_kj,   P = A_kk⁻¹ from ridge_pivot.wgsl
// After all n / 16 steps B is the inverse.
//
// in      a (n, n) f32: the matrix before the step; pivot (16, 16) f32: P
// out     out (n, n) f32: the matrix after it
// launch  ceil(n/16) x ceil(n/16) workgroups of 16 x 16, one invocation per element
// memory  4 KiB: P, the blocks A_ik and A_kj, and P A_kj
// cost    64 flop per element and step, 2·n³ in all
// numeric f32; for A + λ I of a Gram matrix of mean diagonal 1 the condition is at most n / λ
// source  block Gauss and Jordan elimination

struct Dims { n: u32, start: u32, lambda: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> pivot: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

override FIRST: u32 = 0u;
var<workgroup> p: array<f32, 256>;
var<workgroup> left: array<f32, 256>;  // A_ik
var<workgroup> above: array<f32, 256>; // A_kj
var<workgroup> scaled: array<f32, 256>; // P A_kj

fn element(row: u32, column: u32) -> f32 {
    if (row >= dims.n || column >= dims.n) {
        return 0.0;
    }
    let value = a[row * dims.n + column];
    return select(value, value + dims.lambda, FIRST == 1u && row == column);
}

@compute @workgroup_size(16, 16)
fn ridge_inverse(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let at = local.y * 16u + local.x;
    let row = group.y * 16u + local.y;
    let column = group.x * 16u + local.x;
    p[at] = pivot[at];
    left[at] = element(row, dims.start + local.x);
    above[at] = element(dims.start + local.y, column);
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 16u; i += 1u) {
        sum += p[local.y * 16u + i] * above[i * 16u + local.x];
    }
    scaled[at] = sum;
    workgroupBarrier();
    let in_row = group.y * 16u == dims.start;
    let in_column = group.x * 16u == dims.start;
    var value = element(row, column);
    if (in_row && in_column) {
        value = p[at];
    } else if (in_row) {
        value = scaled[at];
    } else if (in_column) {
        value = 0.0;
        for (var i = 0u; i < 16u; i += 1u) {
            value -= left[local.y * 16u + i] * p[i * 16u + local.x];
        }
    } else {
        for (var i = 0u; i < 16u; i += 1u) {
            value -= left[local.y * 16u + i] * scaled[i * 16u + local.x];
        }
    }
    if (row < dims.n && column < dims.n) {
        out[row * dims.n + column] = value;
    }
}
