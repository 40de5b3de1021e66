//! The epilogue of a product: bias, residual sum, activation, gradient of an activation.

use std::any::Any;

use crate::graph::op::{Arg, Dispatch, Op};
use crate::ops::elementwise::binary::{Binary, BinaryFunction};
use crate::ops::elementwise::unary::{Unary, UnaryFunction, UnaryGrad};
use crate::shape::TensorType;

/// `v = lhs·rhs; v = norm(v); v += bias; v += residual; v = activation(v); v *= derivative(saved)`, each part optional.
/// Only fusion sets it; [`Var::matmul`] leaves it empty.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Epilogue {
    /// Batch norm with stored statistics and this ε: four inputs `[channels]`, gamma, beta, mean and variance. Of a convolution
    /// without bias only.
    pub norm: Option<f32>,
    /// An input `[n]` is added to every row.
    pub bias: bool,
    /// An input of the output's shape is added.
    pub residual: bool,
    /// relu, gelu or tanh.
    pub activation: Option<UnaryFunction>,
    /// The gradient of relu or tanh: multiplies by its derivative, from an input that holds its saved values.
    pub gradient: Option<UnaryFunction>,
}

impl Epilogue {
    /// Adds the work of `consumer` behind this epilogue, where the product is its input `position`.
    pub(crate) fn then(
        mut self,
        consumer: &dyn Op,
        position: usize,
        own: &TensorType,
        inputs: &[&TensorType],
    ) -> Option<Self> {
        let any: &dyn Any = consumer;
        if self.gradient.is_some() || self.activation.is_some() {
            return None;
        }
        if any.downcast_ref::<Binary>().is_some_and(|op| op.function == BinaryFunction::Add) {
            let other = &inputs[1 - position].shape;
            if *other == own.shape && !self.residual {
                self.residual = true;
            } else if other.rank() == 1 && other.last_axis() == own.shape.last_axis() && !self.bias && !self.residual {
                self.bias = true;
            } else {
                return None;
            }
            return Some(self);
        }
        if let Some(unary) = any.downcast_ref::<Unary>().filter(|op| is_fusable(op.function)) {
            self.activation = Some(unary.function);
            return Some(self);
        }
        if let Some(grad) = any.downcast_ref::<UnaryGrad>().filter(|_| position == 1) {
            let saved_output = is_fusable(grad.function) && grad.function.saves_output();
            self.gradient = saved_output.then_some(grad.function);
            return self.gradient.map(|_| self);
        }
        None
    }

    pub(crate) fn inputs(self) -> usize {
        self.norms() + usize::from(self.bias) + usize::from(self.residual) + usize::from(self.gradient.is_some())
    }

    /// Number of inputs of the norm.
    pub(crate) fn norms(self) -> usize {
        if self.norm.is_some() { 4 } else { 0 }
    }

    /// Bindings for bias, residual and saved, where the epilogue's inputs start at `first`. That for bias becomes the folded norm
    /// where there is one.
    pub(crate) fn args(self, first: usize) -> [Arg; 3] {
        let mut next = first + self.norms();
        [self.bias, self.residual, self.gradient.is_some()].map(|used| {
            next += usize::from(used);
            if used { Arg::Input(next - 1) } else { Arg::Unused }
        })
    }

    /// The kernels' override constants.
    pub(crate) fn constants(self, dispatch: Dispatch) -> Dispatch {
        let number = |function: Option<UnaryFunction>| function.map_or(0, UnaryFunction::number);
        dispatch
            .constant("BIAS", if self.norm.is_some() { 2 } else { u32::from(self.bias) })
            .constant("RESIDUAL", u32::from(self.residual))
            .constant("ACT", number(self.activation))
            .constant("GRAD", number(self.gradient))
    }

    pub(crate) fn reference(self, value: f64, at: usize, column: usize, extra: &[Vec<f64>]) -> f64 {
        let normed = self.norm.map_or(value, |eps| {
            let [gamma, beta, mean, variance] = [0, 1, 2, 3].map(|input: usize| extra[input][column]);
            gamma * (value - mean) / (variance + f64::from(eps)).sqrt() + beta
        });
        let mut extra = extra.iter().skip(self.norms());
        let mut next =
            |used: bool, index: usize| if used { extra.next().map_or(0.0, |values| values[index]) } else { 0.0 };
        let sum = normed + next(self.bias, column) + next(self.residual, at);
        let active = self.activation.map_or(sum, |function| function.apply(sum));
        match self.gradient {
            Some(function) => active * function.derivative(next(true, at)),
            None => active,
        }
    }
}

fn is_fusable(function: UnaryFunction) -> bool {
    matches!(function, UnaryFunction::Relu | UnaryFunction::Gelu | UnaryFunction::Tanh)
}
