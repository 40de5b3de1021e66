//! An op of one's own: implement [`Op`], here for running sums, whose kernel is `kernels/cumsum.wgsl`. The generic test of the
//! engine's ops checks it. Then a curve that never falls, a running sum of positive steps, is fitted to noisy measurements.

use trellis_rng::Rng;
use trellis_tensor::{
    Caps, DType, Dispatch, Gpu, Graph, Kernel, Lowered, Op, Optimizer, OptimizerConfig, ParamSpec, Params, Plan,
    Result, Schedule, StepState, Tensor, TensorType, TestCase, Var, check_op,
};

// ANCHOR: op
/// `y_i = Σ_{j ≤ i} x_j` over the last axis; reversed, over j ≥ i.
#[derive(Clone, Copy, Debug)]
struct CumSum {
    reverse: bool,
}

impl Op for CumSum {
    fn name(&self) -> &'static str {
        "cumsum"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if x.dtype == DType::F32 && x.shape.rank() > 0 && x.elements() > 0 => Ok((*x).clone()),
            _ => Err(format!("takes one f32 tensor with a last axis, not {inputs:?}")),
        }
    }

    // ANCHOR: backward
    /// `dx_j = Σ_{i ≥ j} dy_i`: the sums the other way.
    fn backward<'g>(&self, _: &[Var<'g>], _: Var<'g>, dy: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Ok(vec![Some(dy.graph().push(CumSum { reverse: !self.reverse }, &[dy])?)])
    }
    // ANCHOR_END: backward

    fn lower(&self, _: &Caps, _: &[&TensorType], output: &TensorType) -> Lowered {
        let n = output.shape.last_axis();
        let rows = output.elements() / n;
        let kernel = Kernel { name: "cumsum", source: include_str!("kernels/cumsum.wgsl") };
        Dispatch::linear(kernel, rows)
            .constant("REVERSE", u32::from(self.reverse))
            .dims(&[rows, n])
            .bind(1)
            .flops(rows * n)
            .iterations(n)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], output: &TensorType) -> Vec<f64> {
        let row = |x: &[f64]| -> Vec<f64> {
            let at = |i: usize| if self.reverse { &x[i..] } else { &x[..=i] };
            (0..x.len()).map(|i| at(i).iter().sum()).collect()
        };
        inputs[0].chunks(output.shape.last_axis()).flat_map(row).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let (reverse, shape) = (rng.below(2) == 0, [1 + rng.below(3), 1 + rng.below(200), 1 + rng.below(50)]);
        TestCase::new(move |x| x[0].graph().push(CumSum { reverse }, x)).normal(rng, shape)
    }
}
// ANCHOR_END: op

/// Measurements, and steps of the optimizer.
const COUNT: usize = 64;
const STEPS: usize = 300;

fn main() -> Result<()> {
    let gpu = Gpu::new()?;
    check_op::<CumSum>(&gpu)?;
    println!("cumsum: the kernel agrees with its f64 definition, and the backward rule with differences\n");

    let mut rng = Rng::new(1, 0);
    let truth: Vec<f32> = (0..COUNT).map(|i| 1.0 + (8.0 * (i as f32 / COUNT as f32 - 0.5)).tanh()).collect();
    let noisy: Vec<f32> = truth.iter().map(|y| y + 0.25 * rng.normal()).collect();

    let spec = ParamSpec { name: "log of steps".into(), shape: [COUNT].into(), values: vec![-4.0; COUNT].into() };
    let params = Params::new(&gpu, &[spec])?;
    let optimizer = Optimizer::new(&gpu, &params, OptimizerConfig::adam(Schedule::Constant(0.05)))?;
    let (measured, step_state) = (Tensor::from_f32(&gpu, "measured", [COUNT], &noisy)?, StepState::new(&gpu)?);

    let graph = Graph::new();
    let curve = graph.push(CumSum { reverse: false }, &[graph.leaf(&params.tensors()[0]).exp()?])?;
    let error = curve.sub(graph.leaf(&measured))?;
    optimizer.update(&graph, error.mul(error)?.mean_all()?, &step_state)?;
    let plan = Plan::new(&gpu, &graph, &[curve])?;
    plan.run(STEPS)?;
    let fit = plan.read(curve)?;

    for i in (0..COUNT).step_by(3) {
        let mut line = [' '; 70];
        for (mark, values) in [('o', &noisy), ('|', &truth), ('#', &fit)] {
            line[(20.0 * values[i] + 14.0).clamp(0.0, 69.0) as usize] = mark;
        }
        println!("{}", line.iter().collect::<String>().trim_end());
    }
    let distance = |values: &[f32]| {
        (values.iter().zip(&truth).map(|(value, truth)| (value - truth).powi(2)).sum::<f32>() / COUNT as f32).sqrt()
    };
    println!("\nroot mean square distance from the truth (|):");
    println!("  measurements (o) {:.3}\n  fitted curve (#) {:.3}", distance(&noisy), distance(&fit));
    Ok(())
}
