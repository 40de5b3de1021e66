//! Indices of the examples of a step, drawn on the GPU as a pure function of the step number.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::shape::{DType, TensorType};
use trellis_rng::{Rng, philox};

/// A batch of indices without replacement: each epoch is a fresh permutation of `0..n`, cut into `n / batch` batches.
/// The `n % batch` indices that do not fill a batch are left out, different ones every epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleBatch {
    /// Number of examples.
    pub n: usize,
    /// Indices per step.
    pub batch: usize,
    /// Seed of the permutations.
    pub seed: u64,
}

/// The indices `step · batch + i`, and `u32::MAX` (no index) from `n` on: one pass for an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequentialBatch {
    /// Number of examples.
    pub n: usize,
    /// Indices per step.
    pub batch: usize,
}

/// The indices `step mod slots · stride + i`: positions of the step's batch in a ring of batches that the CPU writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingBatch {
    /// Batches that the ring holds.
    pub slots: usize,
    /// Examples from one batch to the next.
    pub stride: usize,
    /// Indices per step.
    pub batch: usize,
}

/// Keeps the random bits apart from those of other ops with the same seed; also in `shaders/input/sampler.wgsl`.
const STREAM: u32 = 0x5a4d_504c;

/// Sizes below this keep `step · batch + i` within 32 bits.
const LIMIT: usize = 1 << 31;

/// Bits of the halves of the Feistel network: together they count to at least `n`.
fn halves(n: usize) -> [u32; 2] {
    let bits = n.next_power_of_two().trailing_zeros();
    [bits / 2, bits.div_ceil(2)]
}

/// The permutation of `0..n` for one epoch.
fn permuted(position: u32, n: usize, seed: u64, epoch: u32) -> u32 {
    let [left_bits, right_bits] = halves(n);
    let [left_mask, right_mask] = [(1 << left_bits) - 1, (1 << right_bits) - 1];
    let key = [seed as u32, (seed >> 32) as u32];
    let [even, odd] = [0, 1].map(|block| philox([epoch, block, 0, STREAM], key));
    let mut index = position;
    loop {
        let [mut left, mut right] = [index >> right_bits, index & right_mask];
        for (even, odd) in even.iter().zip(&odd) {
            left = (left ^ mix(right ^ even)) & left_mask;
            right = (right ^ mix(left ^ odd)) & right_mask;
        }
        index = left << right_bits | right;
        if (index as usize) < n {
            return index;
        }
    }
}

/// The finalizer of MurmurHash3: every input bit changes every output bit with probability near 1/2.
fn mix(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

/// True if a type is that of a step_state: u32[4], of which word 0 is the step number.
pub(crate) fn is_step_state(ty: &TensorType) -> bool {
    ty.dtype == DType::U32 && *ty.shape == [4]
}

/// A step state for random cases: any step number, and words that must not matter.
pub(crate) fn sample_step_state(rng: &mut Rng) -> Vec<f64> {
    let step = if rng.below(4) == 0 { rng.next_u32() } else { rng.below(50) as u32 };
    vec![f64::from(step), f64::from(rng.next_u32()), 3.0, 4.0]
}

fn infer(n: usize, batch: usize, inputs: &[&TensorType]) -> Result<TensorType, String> {
    match inputs {
        [step_state] if is_step_state(step_state) && (1..LIMIT).contains(&n) && (1..LIMIT).contains(&batch) => {
            Ok(TensorType::u32([batch]))
        }
        [step_state] if is_step_state(step_state) => {
            Err(format!("n = {n} and batch = {batch} must be positive and below 2^31"))
        }
        _ => Err(format!("takes a step state, u32[4], not {inputs:?}")),
    }
}

impl SampleBatch {
    /// The indices of a step, as the GPU draws them: for batches that the CPU assembles.
    pub fn indices(&self, step: u32) -> Vec<u32> {
        let Self { n, batch, seed } = *self;
        let batches = (n / batch) as u32;
        let first = step % batches * batch as u32;
        (0..batch as u32).map(|i| permuted(first + i, n, seed, step / batches)).collect()
    }
}

impl Op for SampleBatch {
    fn name(&self) -> &'static str {
        "sample_batch"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let Self { n, batch, .. } = *self;
        if batch > n {
            return Err(format!("{n} examples do not fill a batch of {batch}"));
        }
        infer(n, batch, inputs)
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let Self { n, batch, seed } = *self;
        let [left, right] = halves(n).map(|bits| bits as usize);
        Dispatch::linear(kernel!("input/sampler"), batch)
            .constant("ORDER", 1u32)
            .dims(&[n, batch, n / batch, seed as u32 as usize, (seed >> 32) as usize, left, right])
            .bind(1)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        self.indices(inputs[0][0] as u32).into_iter().map(f64::from).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let n = awkward_size(rng, 3000);
        let batch = 1 + rng.below(n);
        let seed = u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32());
        TestCase::forward_only(SampleBatch { n, batch, seed }).input(TensorType::u32([4]), sample_step_state(rng))
    }
}

impl Op for SequentialBatch {
    fn name(&self) -> &'static str {
        "sequential_batch"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        infer(self.n, self.batch, inputs)
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let Self { n, batch } = *self;
        Dispatch::linear(kernel!("input/sampler"), batch)
            .constant("ORDER", 0u32)
            .dims(&[n, batch, n.div_ceil(batch), 0, 0, 0, 0])
            .bind(1)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let start = inputs[0][0] * self.batch as f64;
        let index = |i| start + i as f64;
        (0..self.batch).map(|i| if index(i) < self.n as f64 { index(i) } else { f64::from(u32::MAX) }).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let batch = awkward_size(rng, 300);
        let n = 1 + rng.below(50 * batch);
        TestCase::forward_only(SequentialBatch { n, batch }).input(TensorType::u32([4]), sample_step_state(rng))
    }
}

impl Op for RingBatch {
    fn name(&self) -> &'static str {
        "ring_batch"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let Self { slots, stride, batch } = *self;
        if batch > stride {
            return Err(format!("batches of {batch} overlap where one begins every {stride} examples"));
        }
        infer(slots.saturating_mul(stride), batch, inputs)
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], _: &TensorType) -> Lowered {
        let Self { slots, stride, batch } = *self;
        Dispatch::linear(kernel!("input/sampler"), batch)
            .constant("ORDER", 2u32)
            .dims(&[stride, batch, slots, 0, 0, 0, 0])
            .bind(1)
            .into()
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        let start = inputs[0][0] as usize % self.slots * self.stride;
        (start..start + self.batch).map(|index| index as f64).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let batch = awkward_size(rng, 300);
        let op = RingBatch { slots: 1 + rng.below(70), stride: batch + rng.below(4), batch };
        TestCase::forward_only(op).input(TensorType::u32([4]), sample_step_state(rng))
    }
}

impl<'g> Var<'g> {
    /// Indices of `batch` of `n` examples for the step that this step state shows, without replacement within an epoch of
    /// `n / batch` steps. Shapes: step_state u32 `[4]`, of which word 0 is the step number, to u32 `[batch]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless this is a step state and `1 ≤ batch ≤ n < 2³¹`.
    pub fn sample_batch(self, n: usize, batch: usize, seed: u64) -> Result<Var<'g>> {
        self.graph().push(SampleBatch { n, batch, seed }, &[self])
    }

    /// The indices `step · batch + i` for `i < batch`, `u32::MAX` where that is `n` or more: steps 0 to
    /// `⌈n / batch⌉ − 1` see every example once. Shapes: step_state u32 `[4]` to u32 `[batch]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless this is a step state and both sizes are positive and below 2³¹.
    pub fn sequential_batch(self, n: usize, batch: usize) -> Result<Var<'g>> {
        self.graph().push(SequentialBatch { n, batch }, &[self])
    }

    /// The indices `step mod slots · stride + i` for `i < batch`: of the step's batch in a ring of `slots` batches.
    /// Shapes: step_state u32 `[4]` to u32 `[batch]`.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless this is a step state, `1 ≤ batch ≤ stride` and the ring holds fewer than 2³¹.
    pub fn ring_batch(self, slots: usize, stride: usize, batch: usize) -> Result<Var<'g>> {
        self.graph().push(RingBatch { slots, stride, batch }, &[self])
    }
}
