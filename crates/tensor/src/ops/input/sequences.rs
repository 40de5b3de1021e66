//! Sequence tasks without a data file: each example is a pure function of seed, stream and its number.

use crate::device::caps::Caps;
use crate::error::Result;
use crate::graph::Var;
use crate::graph::op::{Dispatch, Lowered, Op, TestCase, awkward_size};
use crate::kernel;
use crate::ops::IGNORE;
use crate::shape::{DType, TensorType};
use trellis_rng::{Rng, philox};

/// A task on drawn sequences, and the lengths that it draws: uniform from `shortest` to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// The task.
    pub task: SequenceTask,
    /// Least number of symbols of an example.
    pub shortest: usize,
    /// Greatest number of symbols of an example.
    pub longest: usize,
    /// Seed of the examples.
    pub seed: u64,
    /// Tells the splits of a data set apart.
    pub stream: u32,
}

/// Task on a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceTask {
    /// `symbols` s digits `0..s`, asked for again: `[digits, s + 1, zeros, s + 2]` with the labels
    /// `[ignored …, digits, s + 2]`, padded by 0. As in the paper digit 0 is neither asked for nor scored.
    CopyPaste {
        /// Different digits.
        symbols: usize,
    },
    /// Bits, padded by 2. The label of an example is 1 if the number of ones is odd, else 0.
    Parity,
}

/// Token ids `u32[batch, time]` of the examples whose numbers are the input `u32[batch]`; padding for `u32::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceTokens(pub Sequences);

/// Labels of these examples: `u32[batch, time]` of copy-paste, `u32[batch]` of parity; [`IGNORE`] where nothing is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceLabels(pub Sequences);

/// Fourth counter word, "SEQS": apart from the numbers that [`Rng`] draws under the same seed; also in
/// `shaders/input/sequences.wgsl`.
const DOMAIN: u32 = 0x5345_5153;

impl Sequences {
    /// Number of positions of an example, padding included.
    pub fn time(&self) -> usize {
        match self.task {
            SequenceTask::CopyPaste { .. } => 2 * self.longest + 2,
            SequenceTask::Parity => self.longest,
        }
    }

    /// Number of token ids.
    pub fn vocabulary(&self) -> usize {
        match self.task {
            SequenceTask::CopyPaste { symbols } => symbols + 3,
            SequenceTask::Parity => 3,
        }
    }

    /// Number of different symbols that are drawn.
    fn symbols(&self) -> usize {
        match self.task {
            SequenceTask::CopyPaste { symbols } => symbols,
            SequenceTask::Parity => 2,
        }
    }

    fn padding(&self) -> u32 {
        match self.task {
            SequenceTask::CopyPaste { .. } => 0,
            SequenceTask::Parity => 2,
        }
    }

    /// The symbols of example `number`.
    fn drawn(&self, number: u32) -> Vec<u32> {
        let key = [self.seed as u32, (self.seed >> 32) as u32];
        let below = |at: usize, bound: usize| {
            let word = philox([number, (at / 4) as u32, self.stream, DOMAIN], key)[at % 4];
            ((u64::from(word) * bound as u64) >> 32) as u32
        };
        let length = self.shortest + below(0, 1 + self.longest - self.shortest) as usize;
        (1..=length).map(|at| below(at, self.symbols())).collect()
    }

    fn tokens(&self, number: u32) -> Vec<u32> {
        let mut tokens = Vec::new();
        if number != u32::MAX {
            tokens = self.drawn(number);
            if let SequenceTask::CopyPaste { symbols } = self.task {
                let length = tokens.len();
                tokens.push(symbols as u32 + 1);
                tokens.resize(2 * length + 1, 0);
                tokens.push(symbols as u32 + 2);
            }
        }
        tokens.resize(self.time(), self.padding());
        tokens
    }

    fn labels(&self, number: u32) -> Vec<u32> {
        match self.task {
            SequenceTask::Parity if number == u32::MAX => vec![IGNORE],
            SequenceTask::Parity => vec![self.drawn(number).iter().sum::<u32>() % 2],
            SequenceTask::CopyPaste { symbols } => {
                let mut labels = Vec::new();
                if number != u32::MAX {
                    let digits = self.drawn(number);
                    labels = vec![IGNORE; digits.len() + 1];
                    labels.extend(digits.iter().map(|&digit| if digit == 0 { IGNORE } else { digit }));
                    labels.push(symbols as u32 + 2);
                }
                labels.resize(self.time(), IGNORE);
                labels
            }
        }
    }

    fn check(&self, inputs: &[&TensorType]) -> Result<usize, String> {
        let Self { shortest, longest, .. } = *self;
        if !(1..=longest).contains(&shortest) || longest >= 1 << 20 || !(2..1 << 20).contains(&self.symbols()) {
            let symbols = self.symbols();
            return Err(format!("lengths {shortest} to {longest} of {symbols} symbols: give 1 or more, in this order"));
        }
        match inputs {
            [numbers] if numbers.dtype == DType::U32 && numbers.shape.rank() == 1 => Ok(numbers.shape[0]),
            _ => Err(format!("takes numbers of examples, u32[batch], not {inputs:?}")),
        }
    }

    fn dispatch(&self, output: &TensorType, labels: bool) -> Lowered {
        let Self { shortest, longest, seed, stream, .. } = *self;
        let parity = self.task == SequenceTask::Parity;
        let n = output.elements();
        Dispatch::linear(kernel!("input/sequences"), n)
            .constant("PARITY", u32::from(parity))
            .constant("LABELS", u32::from(labels))
            .dims(&[n, self.time(), shortest, 1 + longest - shortest, self.symbols()])
            .dims(&[stream as usize, seed as u32 as usize, (seed >> 32) as usize])
            .iterations(if parity && labels { longest } else { 0 })
            .bind(1)
            .into()
    }

    fn sample(rng: &mut Rng) -> Self {
        let copy = SequenceTask::CopyPaste { symbols: 2 + rng.below(20) };
        let task = if rng.below(2) == 0 { SequenceTask::Parity } else { copy };
        let longest = awkward_size(rng, 40);
        let shortest = 1 + rng.below(longest);
        let seed = u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32());
        Self { task, shortest, longest, seed, stream: rng.below(3) as u32 }
    }
}

/// Numbers of examples, now and then that of none.
fn sample_numbers(rng: &mut Rng, sample: TestCase) -> TestCase {
    let batch = awkward_size(rng, 70);
    let number = |_| f64::from(if rng.below(9) == 0 { u32::MAX } else { rng.next_u32() });
    let numbers = (0..batch).map(number).collect();
    sample.input(TensorType::u32([batch]), numbers)
}

impl Op for SequenceTokens {
    fn name(&self) -> &'static str {
        "sequence_tokens"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        Ok(TensorType::u32([self.0.check(inputs)?, self.0.time()]))
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], output: &TensorType) -> Lowered {
        self.0.dispatch(output, false)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0].iter().flat_map(|&number| self.0.tokens(number as u32)).map(f64::from).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let sample = TestCase::forward_only(SequenceTokens(Sequences::sample(rng)));
        sample_numbers(rng, sample)
    }
}

impl Op for SequenceLabels {
    fn name(&self) -> &'static str {
        "sequence_labels"
    }

    fn infer(&self, inputs: &[&TensorType]) -> Result<TensorType, String> {
        let batch = self.0.check(inputs)?;
        Ok(match self.0.task {
            SequenceTask::CopyPaste { .. } => TensorType::u32([batch, self.0.time()]),
            SequenceTask::Parity => TensorType::u32([batch]),
        })
    }

    fn backward<'g>(&self, _: &[Var<'g>], y: Var<'g>, _: Var<'g>) -> Result<Vec<Option<Var<'g>>>> {
        Err(y.not_differentiable())
    }

    fn lower(&self, _: &Caps, _: &[&TensorType], output: &TensorType) -> Lowered {
        self.0.dispatch(output, true)
    }

    fn reference(&self, inputs: &mut [Vec<f64>], _: &[&TensorType], _: &TensorType) -> Vec<f64> {
        inputs[0].iter().flat_map(|&number| self.0.labels(number as u32)).map(f64::from).collect()
    }

    fn sample(rng: &mut Rng) -> TestCase {
        let sample = TestCase::forward_only(SequenceLabels(Sequences::sample(rng)));
        sample_numbers(rng, sample)
    }
}

impl<'g> Var<'g> {
    /// Tokens `u32[batch, time]` and labels (`u32[batch, time]`, or `u32[batch]` of parity) of the examples of `sequences` whose
    /// numbers these are, u32 `[batch]`. Number `u32::MAX` is none: padding, and labels that are ignored.
    ///
    /// The same seed, stream and number give the same example on every adapter.
    /// *Source:* the tasks are those of arXiv:2410.20035.
    ///
    /// # Errors
    /// [`Error::Shape`](crate::Error::Shape) unless these are numbers and the lengths 1 or more, in order.
    pub fn sequences(self, sequences: Sequences) -> Result<[Var<'g>; 2]> {
        let graph = self.graph();
        Ok([graph.push(SequenceTokens(sequences), &[self])?, graph.push(SequenceLabels(sequences), &[self])?])
    }
}
