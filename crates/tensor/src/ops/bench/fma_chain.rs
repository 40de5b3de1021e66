//! Chains of multiply-adds and nothing else: the profiler measures the adapter's arithmetic ceiling with them.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::Rng;

/// Sums, for every element x, of eight chains that start at x, x + 1, …, x + 7 and go through `v ← 0.999 v + 0.001`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FmaChain {
    /// Number of rounds, four multiply-adds of each chain at a time. Software adapters leave a loop after 65,535 iterations.
    pub rounds: u32,
}

const A: f32 = 0.999;
const B: f32 = 0.001;

impl Op for FmaChain {
    fn name(&self) -> &'static str {
        "fma_chain"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        match inputs {
            [x] if x.dtype == DType::F32 && self.rounds < 65_000 => Ok((*x).clone()),
            _ => Err("takes one f32 tensor and less than 65,000 rounds".to_string()),
        }
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, inputs: &[&TensorType], _: &TensorType) -> Lowered {
        let n = inputs[0].elements();
        Dispatch::linear(kernel!("bench/fma_chain"), n)
            .dims(&[n, self.rounds as usize])
            .floats(&[A, B])
            .bind(1)
            .flops(64 * n * self.rounds as usize)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let chain = |start: f64| (0..4 * self.rounds).fold(start, |v, _| f64::from(A) * v + f64::from(B));
        inputs[0].iter().map(|x| (0..8).map(|j| chain(x + f64::from(j))).sum()).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let op = FmaChain { rounds: rng.below(100) as u32 };
        let n = awkward_size(rng, 300);
        TestCase::forward_only(op).normal(rng, [n])
    }
}
