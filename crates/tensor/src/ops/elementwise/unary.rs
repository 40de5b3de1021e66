//! Elementwise functions of one tensor, and their gradient.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::facts::Facts;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// `y = f(x)`, elementwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unary {
    /// The function.
    pub function: UnaryFunction,
}

/// `dx = f'(·) dy`, from what the function saved: its input or its output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnaryGrad {
    /// The function whose gradient it is.
    pub function: UnaryFunction,
}

/// A function of one number. The order is that of `shaders/elementwise/unary.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnaryFunction {
    /// `scale · x + shift`
    Affine {
        /// Factor.
        scale: f32,
        /// Summand.
        shift: f32,
    },
    /// `max(x, 0)`, NaN kept.
    Relu,
    /// `x Φ(x)`, the exact form (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`
    Sigmoid,
    /// `eˣ`
    Exp,
    /// Natural logarithm; NaN below 0.
    Log,
    /// Square root; NaN below 0.
    Sqrt,
    /// `x^exponent` for `x ≥ 0`.
    Pow {
        /// The exponent.
        exponent: f32,
    },
    /// `x σ(2u)` with `u = √(2/π) (x + 0.044715 x³)`: GELU with tanh in place of erf, as GPT-2 was trained.
    GeluTanh,
    /// `min(max(x, 0), 6)`, NaN kept: MobileNets' (arXiv:1801.04381).
    Relu6,
}

use UnaryFunction::{Affine, Exp, Gelu, GeluTanh, Log, Pow, Relu, Relu6, Sigmoid, Sqrt, Tanh};

impl UnaryFunction {
    /// Number of the function in the kernels.
    pub(crate) fn number(self) -> u32 {
        match self {
            Affine { .. } => 0,
            Relu => 1,
            Gelu => 2,
            Tanh => 3,
            Sigmoid => 4,
            Exp => 5,
            Log => 6,
            Sqrt => 7,
            Pow { .. } => 8,
            GeluTanh => 9,
            Relu6 => 10,
        }
    }

    fn parameters(self) -> [f32; 2] {
        match self {
            Affine { scale, shift } => [scale, shift],
            Pow { exponent } => [exponent, 0.0],
            _ => [0.0; 2],
        }
    }

    /// True if the derivative is computed from the output rather than the input.
    pub(crate) fn saves_output(self) -> bool {
        matches!(self, Relu | Relu6 | Tanh | Sigmoid | Exp | Sqrt)
    }

    /// The definition in f64.
    pub(crate) fn apply(self, x: f64) -> f64 {
        match self {
            Affine { scale, shift } => f64::from(scale) * x + f64::from(shift),
            Relu if x < 0.0 => 0.0,
            Relu => x,
            Relu6 if x < 0.0 => 0.0,
            Relu6 if x > 6.0 => 6.0,
            Relu6 => x,
            Gelu => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
            Tanh => x.tanh(),
            Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Exp => x.exp(),
            Log => x.ln(),
            Sqrt => x.sqrt(),
            Pow { exponent } => x.powf(f64::from(exponent)),
            GeluTanh => x * gelu_gate(x),
        }
    }

    /// The derivative in f64, from what the function saves.
    pub(crate) fn derivative(self, saved: f64) -> f64 {
        match self {
            Affine { scale, .. } => f64::from(scale),
            Relu => f64::from(u8::from(saved > 0.0)),
            Relu6 => f64::from(u8::from(saved > 0.0 && saved < 6.0)),
            Gelu => {
                let density = (-0.5 * saved * saved).exp() / std::f64::consts::TAU.sqrt();
                0.5 * (1.0 + erf(saved / 2f64.sqrt())) + saved * density
            }
            Tanh => 1.0 - saved * saved,
            Sigmoid => saved * (1.0 - saved),
            Exp => saved,
            Log => 1.0 / saved,
            Sqrt => 0.5 / saved,
            Pow { exponent } => f64::from(exponent) * saved.powf(f64::from(exponent) - 1.0),
            GeluTanh => {
                let gate = gelu_gate(saved);
                let slope = 2.0 * (2.0 / std::f64::consts::PI).sqrt() * (1.0 + 3.0 * 0.044715 * saved * saved);
                gate + saved * gate * (1.0 - gate) * slope
            }
        }
    }

    fn sample(rng: &mut Rng) -> Self {
        let exponent = [-1.5, -1.0, 0.0, 1.0, 2.0, 2.5, 3.0][rng.below(7)];
        let any = [
            Affine { scale: 1.5, shift: -0.25 },
            Relu,
            Relu6,
            Gelu,
            GeluTanh,
            Tanh,
            Sigmoid,
            Exp,
            Log,
            Sqrt,
            Pow { exponent },
        ];
        any[rng.below(any.len())]
    }

    fn needs_positive(self) -> bool {
        matches!(self, Log | Sqrt | Pow { .. })
    }
}

/// σ(2u) of [`UnaryFunction::GeluTanh`].
fn gelu_gate(x: f64) -> f64 {
    let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
    1.0 / (1.0 + (-2.0 * u).exp())
}

impl Op for Unary {
    fn name(&self) -> &'static str {
        match self.function {
            Affine { .. } => "affine",
            Relu => "relu",
            Relu6 => "relu6",
            Gelu => "gelu",
            GeluTanh => "gelu_tanh",
            Tanh => "tanh",
            Sigmoid => "sigmoid",
            Exp => "exp",
            Log => "log",
            Sqrt => "sqrt",
            Pow { .. } => "pow",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if x.dtype == DType::F32 => Ok((*x).clone()),
            _ => Err(format!("takes one f32 tensor, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, x: &[Var<'g>], y: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        let dx = match self.function {
            Affine { scale, .. } => dy.affine(scale, 0.0)?,
            function => {
                let saved = if function.saves_output() { y } else { x[0] };
                dy.graph().push(UnaryGrad { function }, &[saved, dy])?
            }
        };
        Ok(vec![Some(dx)])
    }

    fn facts(&self, inputs: &[Facts]) -> Facts {
        match self.function {
            Affine { shift: 0.0, .. } => {
                let Facts { symmetric, rows_sum_to_zero, .. } = inputs[0];
                Facts { symmetric, rows_sum_to_zero, ..Facts::default() }
            }
            _ => Facts::default(),
        }
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        elementwise(kernel!("elementwise/unary"), self.function, inputs[0].elements()).bind(1).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0].iter().map(|&x| self.function.apply(x)).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let function = UnaryFunction::sample(rng);
        let shape = [awkward_size(rng, 300), awkward_size(rng, 20)];
        let sample = TestCase::new(move |x| x[0].graph().push(Unary { function }, x));
        match function {
            Relu6 => sample.uniform(rng, shape, -3.0, 9.0),
            _ if function.needs_positive() => sample.uniform(rng, shape, 0.2, 3.0),
            _ => sample.normal(rng, shape),
        }
    }
}

impl Op for UnaryGrad {
    fn name(&self) -> &'static str {
        match self.function {
            Relu => "relu_grad",
            Relu6 => "relu6_grad",
            Gelu => "gelu_grad",
            GeluTanh => "gelu_tanh_grad",
            Tanh => "tanh_grad",
            Sigmoid => "sigmoid_grad",
            _ => "unary_grad",
        }
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [saved, dy] if saved == dy && dy.dtype == DType::F32 => Ok((*dy).clone()),
            _ => Err(format!("takes two equal f32 tensors, not {inputs:?}")),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        elementwise(kernel!("elementwise/unary_grad"), self.function, inputs[0].elements()).bind(2).into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0].iter().zip(&inputs[1]).map(|(&saved, &dy)| self.function.derivative(saved) * dy).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let function = UnaryFunction::sample(rng);
        let shape = [awkward_size(rng, 300), awkward_size(rng, 20)];
        let most = if function == Relu6 { 9.0 } else { 3.0 };
        TestCase::forward_only(UnaryGrad { function }).uniform(rng, shape, 0.2, most).normal(rng, shape)
    }
}

fn elementwise(kernel: crate::Kernel, function: UnaryFunction, elements: usize) -> Dispatch {
    let vec4 = elements.is_multiple_of(4);
    let invocations = if vec4 { elements / 4 } else { elements };
    Dispatch::linear(kernel, invocations)
        .flag("VEC4", vec4)
        .constant("FUNCTION", function.number())
        .dims(&[invocations])
        .floats(&function.parameters())
        .flops(elements)
}

/// The error function to about 1e-16: its Taylor series below 3, its continued fraction above.
pub(crate) fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a < 3.0 {
        let (mut term, mut sum, mut k) = (a, a, 0.0);
        while term.abs() > 1e-18 * sum.abs() {
            k += 1.0;
            term *= -a * a / k;
            sum += term / (2.0 * k + 1.0);
        }
        return 2.0 / std::f64::consts::PI.sqrt() * sum * x.signum();
    }
    let fraction = (1..60).rev().fold(0.0, |tail, k| f64::from(k) / 2.0 / (a + tail));
    (1.0 - (-a * a).exp() / (a + fraction) / std::f64::consts::PI.sqrt()) * x.signum()
}

impl<'g> Var<'g> {
    fn unary(self, function: UnaryFunction) -> Result<Var<'g>> {
        if let Some(value) = self.as_constant() {
            return Ok(self.graph().constant(function.apply(f64::from(value)) as f32, self.shape()));
        }
        self.graph().push(Unary { function }, &[self])
    }

    /// `scale · x + shift`.
    ///
    /// # Errors
    /// As every elementwise function: [`Error::Shape`](crate::Error::Shape) unless `x` is f32.
    pub fn affine(self, scale: f32, shift: f32) -> Result<Var<'g>> {
        if scale == 1.0 && shift == 0.0 {
            return Ok(self);
        }
        self.unary(Affine { scale, shift })
    }

    /// `−x`. Errors as [`Var::affine`].
    #[expect(clippy::should_implement_trait, reason = "every op returns a Result")]
    pub fn neg(self) -> Result<Var<'g>> {
        self.affine(-1.0, 0.0)
    }

    /// `max(x, 0)`, NaN kept. Errors as [`Var::affine`].
    pub fn relu(self) -> Result<Var<'g>> {
        self.unary(Relu)
    }

    /// `min(max(x, 0), 6)`, NaN kept. The gradient is 0 at both ends, as in PyTorch. Errors as [`Var::affine`].
    pub fn relu6(self) -> Result<Var<'g>> {
        self.unary(Relu6)
    }

    /// `x Φ(x)`, the exact form. Errors as [`Var::affine`].
    pub fn gelu(self) -> Result<Var<'g>> {
        self.unary(Gelu)
    }

    /// GELU with tanh in place of erf, PyTorch's `gelu(approximate="tanh")`: GPT-2's. Errors as [`Var::affine`].
    pub fn gelu_tanh(self) -> Result<Var<'g>> {
        self.unary(GeluTanh)
    }

    /// Hyperbolic tangent. Errors as [`Var::affine`].
    pub fn tanh(self) -> Result<Var<'g>> {
        self.unary(Tanh)
    }

    /// `1 / (1 + e⁻ˣ)`. Errors as [`Var::affine`].
    pub fn sigmoid(self) -> Result<Var<'g>> {
        self.unary(Sigmoid)
    }

    /// `eˣ`. Errors as [`Var::affine`].
    pub fn exp(self) -> Result<Var<'g>> {
        self.unary(Exp)
    }

    /// Natural logarithm. Errors as [`Var::affine`].
    pub fn log(self) -> Result<Var<'g>> {
        self.unary(Log)
    }

    /// Square root. Errors as [`Var::affine`].
    pub fn sqrt(self) -> Result<Var<'g>> {
        self.unary(Sqrt)
    }

    /// `x^exponent` for `x ≥ 0`. Errors as [`Var::affine`].
    pub fn pow(self, exponent: f32) -> Result<Var<'g>> {
        self.unary(Pow { exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::erf;

    #[test]
    fn erf_has_its_known_values() {
        for (x, expected) in
            [(0.5, 0.520_499_877_813_046_5), (1.0, 0.842_700_792_949_714_9), (3.5, 0.999_999_256_901_627_7)]
        {
            assert!((erf(x) - expected).abs() < 1e-14, "erf({x}) = {}", erf(x));
            assert_eq!(erf(-x), -erf(x));
        }
    }
}
