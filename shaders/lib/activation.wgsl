// Activation functions and their derivatives on T, which the importing kernel declares as f32 or vec4f.
//
// relu by select, not max(): max(NaN, 0) is 0 and would hide a NaN.
fn relu(x: T) -> T {
    return select(x, T(0.0), x < T(0.0));
}
fn relu6(x: T) -> T {
    return select(relu(x), T(6.0), x > T(6.0));
}
// Near 0 the usual quotient cancels, so a series (to x^9) serves below 0.35; far out exp(-2|x|) cannot overflow.
fn tanh_exact(x: T) -> T {
    let s = x * x;
    let t = exp(-2.0 * abs(x));
    let far = sign(x) * (1.0 - t) / (1.0 + t);
    let near = x * (1.0 + s * (-1.0 / 3.0 + s * (2.0 / 15.0 + s * (-17.0 / 315.0 + s * (62.0 / 2835.0)))));
    return select(far, near, abs(x) < T(0.35));
}
// Error function, absolute error below 1.5e-7 (Abramowitz and Stegun, 7.1.26).
fn erf(x: T) -> T {
    let t = 1.0 / (1.0 + 0.3275911 * abs(x));
    let p = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
    return sign(x) * (1.0 - p * exp(-x * x));
}
fn gelu(x: T) -> T {
    return 0.5 * x * (1.0 + erf(0.70710678 * x));
}
fn gelu_derivative(x: T) -> T {
    return 0.5 * (1.0 + erf(0.70710678 * x)) + x * 0.39894228 * exp(-0.5 * x * x);
}
// With tanh in place of erf, which is a sigmoid: 0.5 (1 + tanh u) = σ(2u), u = 0.79788456 (x + 0.044715 x³).
fn gelu_tanh(x: T) -> T {
    return x * sigmoid(1.59576912 * x * (1.0 + 0.044715 * x * x));
}
fn gelu_tanh_derivative(x: T) -> T {
    let gate = sigmoid(1.59576912 * x * (1.0 + 0.044715 * x * x));
    return gate + x * gate * (1.0 - gate) * 1.59576912 * (1.0 + 0.134145 * x * x);
}
fn sigmoid(x: T) -> T {
    return 1.0 / (1.0 + exp(-x));
}
// x^a as in PyTorch: 1 for a = 0; of a negative x a number where a is whole, else NaN.
fn power(x: T, a: f32) -> T {
    if (a < 0.0) {
        return 1.0 / power_of(x, -a); // 0^a is infinite, which pow does not say everywhere
    }
    return power_of(x, a);
}
fn power_of(x: T, a: f32) -> T {
    if (a == 0.0) {
        return T(1.0);
    }
    if (floor(a) != a) {
        return pow(x, T(a));
    }
    let magnitude = pow(abs(x), T(a));
    if (a == 2.0 * floor(a / 2.0)) {
        return magnitude;
    }
    return select(magnitude, -magnitude, x < T(0.0));
}
