// Operations on each element of a product before it is stored: `Epilogue` of crates/tensor/src/ops/gemm/epilogue.rs.
// The importing kernel declares bias, residual and saved; variants that do not use one bind a dummy to it.
#if OUT4
alias T = vec4f; // four columns at once
#else
alias T = f32;
#endif
#import activation

override BIAS: u32 = 0u;     // 1: + bias[column]; 2: times bias[SCALES + column], then + bias[column]
override SCALES: u32 = 0u;
override RESIDUAL: u32 = 0u; // 1: + residual[at]
override ACT: u32 = 0u;      // 0 none, 1 relu, 2 gelu, 3 tanh
override GRAD: u32 = 0u;     // 0 none, 1 relu, 3 tanh: times the derivative, from saved[at]

// `column` and `at` count in units of T, as the arrays do.
fn finish(product: T, column: u32, at: u32) -> T {
    var v = product;
    if (BIAS == 1u) { v += T(bias[column]); }
    if (BIAS == 2u) { v = fma(v, T(bias[SCALES + column]), T(bias[column])); }
    if (RESIDUAL == 1u) { v += residual[at]; }
    switch ACT {
        case 1u: { v = relu(v); }
        case 2u: { v = gelu(v); }
        case 3u: { v = tanh_exact(v); }
        default: {}
    }
    switch GRAD {
        case 1u: { v *= select(T(0.0), T(1.0), saved[at] > T(0.0)); }
        case 3u: { v *= T(1.0) - saved[at] * saved[at]; }
        default: {}
    }
    return v;
}
