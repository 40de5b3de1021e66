//! Checks of an op: its kernel against its f64 definition, its backward rule against central differences.
//!
//! They run every op of this crate through random shapes, and ops that are defined outside of it.

use crate::device::gpu::Gpu;
use crate::error::{Error, Result};
use crate::graph::interpreter::Interpreter;
use crate::graph::op::{Op, TestCase, TestInput};
use crate::graph::{Graph, Var};
use crate::plan::Plan;
use crate::shape::DType;
use crate::tensor::Tensor;
use trellis_rng::Rng;

/// Random cases that the kernel is compared on.
const CASES: u64 = 24;

/// Cases that the gradient is compared on, of at most four times as many that are drawn.
const GRADIENT_CASES: usize = 20;

/// Greatest relative error of a number that is rounded to f16.
const HALF: f64 = 1.0 / 2048.0;

/// Difference of a kernel's results from those of the f64 definition.
#[derive(Clone, Copy, Debug)]
pub struct KernelError {
    /// Greatest difference, relative to the greatest result.
    pub relative: f64,
    /// A product ran on a [`Block`](crate::Block).
    pub in_blocks: bool,
}

/// Differences of a gradient, relative to its greatest element.
#[derive(Clone, Copy, Debug)]
pub struct GradientErrors {
    /// Difference of the backward rule in f64 from central differences in f64.
    pub rule: f64,
    /// Difference of the gradient on the GPU from that in f64.
    pub device: f64,
}

/// Checks an op on random cases of [`Op::sample`]. Its kernels are compared 24 times with [`Op::reference`]. Its backward rule
/// is compared up to 20 times with central differences, and its gradient on the GPU with that in f64. Cases of
/// [`TestCase::forward_only`] have no gradient to compare. `examples/own_op.rs` checks an op that is defined outside this crate.
///
/// ```
/// use trellis_tensor::{Gpu, check_op, ops::Softmax};
/// check_op::<Softmax>(&Gpu::new()?)?;
/// # Ok::<(), trellis_tensor::Error>(())
/// ```
///
/// # Errors
/// [`Error::Check`] with the case, the quantity that differs and the difference; errors of recording, compiling and running.
pub fn check_op<O: Op>(gpu: &Gpu) -> Result<()> {
    for case in 0..CASES {
        let sample = O::sample(&mut Rng::new(case, 1));
        let error = sample.kernel_error(gpu)?.relative;
        if error > sample.allowed_of_kernel() {
            let problem = format!("its kernel is {error:.1e} off its f64 definition, relative to the greatest result");
            return Err(Error::Check { op: sample.recorded_name(gpu)?, case, problem });
        }
    }
    let cases = (0..4 * GRADIENT_CASES as u64).map(|case| (case, O::sample(&mut Rng::new(case, 2))));
    for (case, sample) in cases.filter(|(_, sample)| sample.differentiable).take(GRADIENT_CASES) {
        let GradientErrors { rule, device } = sample.gradient_errors(gpu)?;
        let problem = match (rule > 1e-5, device > sample.allowed_of_gradient()) {
            (false, false) => continue,
            (true, _) => format!("its backward rule is {rule:.1e} off central differences"),
            (false, true) => format!("its gradient on the GPU is {device:.1e} off that in f64"),
        };
        return Err(Error::Check { op: sample.recorded_name(gpu)?, case, problem });
    }
    Ok(())
}

impl TestCase {
    /// Greatest error of a kernel that rounding explains.
    pub fn allowed_of_kernel(&self) -> f64 {
        if self.rounds_to_f16 { HALF } else { 1e-5 }
    }

    /// Greatest error of a gradient on the GPU that rounding explains. The gradient of an f16 value is f16, and so are some of
    /// its parts.
    pub fn allowed_of_gradient(&self) -> f64 {
        let rounds_to_f16 = self.rounds_to_f16 || self.inputs.iter().any(|input| input.ty.dtype == DType::F16);
        if rounds_to_f16 { 4.0 * HALF } else { 1e-4 }
    }

    /// Name of the op that the case records last.
    fn recorded_name(&self, gpu: &Gpu) -> Result<&'static str> {
        let graph = Graph::new();
        let inputs = self.leaves(gpu, &graph, &mut Interpreter::new())?.1;
        let output = (self.record)(&inputs)?;
        Ok(output.op().map_or("op", |op| op.name()))
    }

    /// Runs the case on `gpu` and in f64. Inputs that are updated in place are compared too.
    ///
    /// # Errors
    /// Errors of recording, compiling and running.
    pub fn kernel_error(&self, gpu: &Gpu) -> Result<KernelError> {
        let (graph, mut reference) = (Graph::new(), Interpreter::new());
        let (tensors, inputs) = self.leaves(gpu, &graph, &mut reference)?;
        let output = (self.record)(&inputs)?;
        let plan = Plan::new(gpu, &graph, &[output])?;
        plan.run(1)?;
        reference.run(&graph);
        let in_blocks = plan.launches().any(|launch| launch.variant.contains("BLOCK"));
        let mut relative = relative_error_above(self.least, &read(&plan, output)?, reference.value(output));
        for tensor in &tensors {
            let now: Vec<f64> = match tensor.ty().dtype {
                DType::F32 => widen(&tensor.read_f32()?),
                DType::F16 => widen(&tensor.read_f16()?),
                DType::U32 => tensor.read_u32()?.into_iter().map(f64::from).collect(),
                DType::U8 => continue,
            };
            relative = greater(relative, relative_error_above(1e-3, &now, reference.leaf(tensor)));
        }
        Ok(KernelError { relative, in_blocks })
    }

    /// Differentiates the loss Σ r · op(x) with random r on `gpu` and in f64, and takes central differences in f64.
    ///
    /// # Errors
    /// Errors of recording, differentiating, compiling and running.
    pub fn gradient_errors(&self, gpu: &Gpu) -> Result<GradientErrors> {
        let (graph, mut reference) = (Graph::new(), Interpreter::new());
        let (tensors, inputs) = self.leaves(gpu, &graph, &mut reference)?;
        let output = (self.record)(&inputs)?;
        let mut rng = Rng::new(7, 7);
        let weights: Vec<f32> = (0..output.ty().elements()).map(|_| rng.normal()).collect();
        let r = Tensor::from_f32(gpu, "r", output.shape(), &weights)?;
        reference.set(&r, widen(&weights));
        let loss = output.cast(DType::F32)?.mul(graph.leaf(&r))?.sum_all()?;

        let float = |input: &TestInput| matches!(input.ty.dtype, DType::F32 | DType::F16);
        let floats: Vec<usize> = (0..inputs.len()).filter(|&i| float(&self.inputs[i])).collect();
        let wrt: Vec<Var<'_>> = floats.iter().map(|&i| inputs[i]).collect();
        let gradients = graph.grad(loss, &wrt)?;
        let plan = Plan::new(gpu, &graph, &gradients)?;
        plan.run(1)?;
        reference.run(&graph);
        let exact: Vec<Vec<f64>> = gradients.iter().map(|&g| reference.value(g).to_vec()).collect();

        let mut errors = GradientErrors { rule: 0.0, device: 0.0 };
        for ((&i, gradient), &var) in floats.iter().zip(&exact).zip(&gradients) {
            errors.device = greater(errors.device, relative_error_above(1e-3, &read(&plan, var)?, gradient));
            let point: Vec<f64> = reference.leaf(&tensors[i]).to_vec();
            if point.is_empty() {
                continue;
            }
            let scale = gradient.iter().fold(1e-3, |m: f64, g| m.max(g.abs()));
            for _ in 0..3 {
                // One coordinate and one random direction at a time.
                let mut direction = vec![0.0; point.len()];
                if rng.below(2) == 0 {
                    direction[rng.below(point.len())] = 1.0;
                } else {
                    direction.iter_mut().for_each(|d| *d = f64::from(rng.normal()) / (point.len() as f64).sqrt());
                }
                let mut at = |step: f64| {
                    reference.set(&tensors[i], point.iter().zip(&direction).map(|(p, d)| p + step * d).collect());
                    reference.run(&graph);
                    reference.value(loss)[0]
                };
                let step = 1e-6;
                let difference = (at(step) - at(-step)) / (2.0 * step);
                let along: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
                errors.rule = greater(errors.rule, (difference - along).abs() / scale.max(along.abs()));
                reference.set(&tensors[i], point.clone());
            }
        }
        Ok(errors)
    }

    /// Leaves with the values of the case, on the GPU and in f64.
    fn leaves<'g>(
        &self,
        gpu: &Gpu,
        graph: &'g Graph,
        reference: &mut Interpreter,
    ) -> Result<(Vec<Tensor>, Vec<Var<'g>>)> {
        let mut tensors = Vec::with_capacity(self.inputs.len());
        for (i, TestInput { ty, values }) in self.inputs.iter().enumerate() {
            let (shape, name) = (ty.shape.clone(), format!("input {i}"));
            let floats = || values.iter().map(|&v| v as f32).collect::<Vec<_>>();
            let tensor = match ty.dtype {
                DType::F32 => Tensor::from_f32(gpu, &name, shape, &floats())?,
                DType::F16 => Tensor::from_f16(gpu, &name, shape, &floats())?,
                DType::U32 => {
                    Tensor::from_u32(gpu, &name, shape, &values.iter().map(|&v| v as u32).collect::<Vec<_>>())?
                }
                DType::U8 => Tensor::from_u8(gpu, &name, shape, &values.iter().map(|&v| v as u8).collect::<Vec<_>>())?,
            };
            // The reference starts from exactly what the GPU holds.
            let exact = if ty.dtype == DType::F32 { |v: f64| f64::from(v as f32) } else { |v: f64| v };
            reference.set(&tensor, values.iter().map(|&v| exact(v)).collect());
            tensors.push(tensor);
        }
        let leaves = tensors.iter().map(|tensor| graph.leaf(tensor)).collect();
        Ok((tensors, leaves))
    }
}

fn read(plan: &Plan, var: Var<'_>) -> Result<Vec<f64>> {
    Ok(match var.ty().dtype {
        DType::U32 => plan.read_u32(var)?.into_iter().map(f64::from).collect(),
        _ => widen(&plan.read(var)?),
    })
}

fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// The maximum, where NaN is worse than any number.
fn greater(worst: f64, error: f64) -> f64 {
    if error.is_nan() { f64::INFINITY } else { worst.max(error) }
}

/// Greatest difference, relative to the greatest finite number of `b`, or to `least` if all are smaller. Infinite if one is NaN
/// where the other is not, or if their lengths differ.
fn relative_error_above(least: f64, a: &[f64], b: &[f64]) -> f64 {
    if a.len() != b.len() {
        return f64::INFINITY;
    }
    let scale = b.iter().filter(|v| v.is_finite()).fold(least, |m: f64, v| m.max(v.abs()));
    a.iter().zip(b).fold(0.0, |worst: f64, (a, b)| {
        let same = a == b || (a.is_nan() && b.is_nan());
        let error = if same { 0.0 } else { (a - b).abs() / scale };
        greater(worst, error)
    })
}
