// ridge_pivot.wgsl: the inverse of one 16 x 16 block on the diagonal of A (with FIRST: of A + λ I), for
// ridge_inverse.wgsl.
//
// in      a (n, n) f32: A, or A after the earlier block steps
// out     pivot (16, 16) f32
// launch  one workgroup of 16 x 16, one invocation per element
// memory  1 KiB: the block
// cost    2·16³ flop
// numeric Gauss and Jordan without exchange of rows, which a positive definite matrix does not need
// source  Golub and Van Loan, Matrix Computations, section 4.2: no pivoting for positive definite systems

struct Dims { n: u32, start: u32, lambda: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> pivot: array<f32>;

override FIRST: u32 = 0u;
var<workgroup> block: array<f32, 256>;

@compute @workgroup_size(16, 16)
fn ridge_pivot(@builtin(local_invocation_id) local: vec3u) {
    let row = local.y;
    let column = local.x;
    let at = row * 16u + column;
    let diagonal = row == column;
    // Past the edge the block is the unit matrix, which is its own inverse.
    var value = select(0.0, 1.0, diagonal);
    if (dims.start + row < dims.n && dims.start + column < dims.n) {
        value = a[(dims.start + row) * dims.n + dims.start + column];
        if (FIRST == 1u && diagonal) {
            value += dims.lambda;
        }
    }
    block[at] = value;
    workgroupBarrier();
    for (var c = 0u; c < 16u; c += 1u) {
        let scale = 1.0 / block[c * 17u];
        let across = block[c * 16u + column];
        let down = block[row * 16u + c];
        workgroupBarrier();
        if (row == c) {
            value = select(across * scale, scale, column == c);
        } else {
            value = select(value - down * across * scale, -down * scale, column == c);
        }
        block[at] = value;
        workgroupBarrier();
    }
    pivot[at] = value;
}
