// cholesky_inverse.wgsl: the inverse of the Cholesky factor of a small positive definite matrix:
//   B = L⁻¹,  L Lᵀ = A + λ I
// by the elimination that makes L, applied to a unit matrix as well: for each column c, with d = √A_cc,
//   rows c of A and B are divided by d;  rows r > c lose A_rc / d times row c.
//
// in      a (n, n) f32, n <= 32
// out     b (n, n) f32, lower triangular
// launch  one workgroup of 256; invocation i owns elements i, i + 256, i + 512 and i + 768 of both matrices of 32 x 32
// memory  8 KiB: A and B
// cost    4/3·n³ flop, two barriers a column
// numeric no exchange of rows, which a positive definite matrix does not need; past the edge A is the unit matrix
// source  Golub and Van Loan, Matrix Computations, section 4.2

struct Dims { n: u32, lambda: f32 }
@group(0) @binding(0) var<uniform> dims: Dims;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read_write> b: array<f32>;

var<workgroup> left: array<f32, 1024>;  // A
var<workgroup> right: array<f32, 1024>; // B

@compute @workgroup_size(256)
fn cholesky_inverse(@builtin(local_invocation_index) local: u32) {
    for (var i = 0u; i < 4u; i += 1u) {
        let at = local + 256u * i;
        let row = at / 32u;
        let column = at % 32u;
        let unit = select(0.0, 1.0, row == column);
        left[at] = unit;
        if (row < dims.n && column < dims.n) {
            left[at] = a[row * dims.n + column] + dims.lambda * unit;
        }
        right[at] = unit;
    }
    workgroupBarrier();
    for (var c = 0u; c < 32u; c += 1u) {
        let scale = 1.0 / sqrt(left[33u * c]);
        var lefts: array<f32, 4>;
        var rights: array<f32, 4>;
        for (var i = 0u; i < 4u; i += 1u) {
            let at = local + 256u * i;
            let row = at / 32u;
            let column = at % 32u;
            // The factor of row c itself is such that it is divided, and rows above stay.
            let factor = select(0.0, left[32u * row + c] * scale * scale, row > c);
            let own = select(1.0, scale, row == c);
            lefts[i] = left[at] * own - factor * left[32u * c + column];
            rights[i] = right[at] * own - factor * right[32u * c + column];
        }
        workgroupBarrier();
        for (var i = 0u; i < 4u; i += 1u) {
            left[local + 256u * i] = lefts[i];
            right[local + 256u * i] = rights[i];
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i += 1u) {
        let at = local + 256u * i;
        let row = at / 32u;
        let column = at % 32u;
        if (row < dims.n && column < dims.n) {
            b[row * dims.n + column] = right[at];
        }
    }
}
