// What a product does to each element before it is stored; the twin of `Epilogue` in crates/tensor/src/ops/matmul.rs.
// The importing kernel declares bias, residual and saved; variants that do not use one bind a dummy to it.
alias T = f32;
#import activation

override BIAS: u32 = 0u;     // 1: + bias[column]
override RESIDUAL: u32 = 0u; // 1: + residual[at]
override ACT: u32 = 0u;      // 0 none, 1 relu, 2 gelu, 3 tanh
override GRAD: u32 = 0u;     // 0 none, 1 relu, 3 tanh: times the derivative, from saved[at]

fn finish(product: f32, column: u32, at: u32) -> f32 {
    var v = product;
    if (BIAS == 1u) { v += bias[column]; }
    if (RESIDUAL == 1u) { v += residual[at]; }
    switch ACT {
        case 1u: { v = relu(v); }
        case 2u: { v = gelu(v); }
        case 3u: { v = tanh_exact(v); }
        default: {}
    }
    switch GRAD {
        case 1u: { v *= select(0.0, 1.0, saved[at] > 0.0); }
        case 3u: { v *= 1.0 - saved[at] * saved[at]; }
        default: {}
    }
    return v;
}
