//! Copy-paste and parity as data sets: the paper's sizes, smaller ones, and the score of a network that learns nothing.

use trellis_data::Place;
use trellis_tensor::ops::{SequenceTask, Sequences};

use crate::error::{Error, Result};

/// A task on sequences that are drawn on the GPU; training, validation and test examples come from streams of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnSequences {
    task: SequenceTask,
    shortest: usize,
    longest: usize,
    seed: u64,
}

/// Longest sequences that make sense here: far above the paper's 40, far below what overflows.
const LONGEST: usize = 4096;

impl DrawnSequences {
    /// `symbols` digits of length `shortest` to `longest` asked for again. The paper's is 10 digits, lengths 20 to 40.
    ///
    /// # Errors
    /// [`Error::Config`] unless there are 2 to 1000 symbols and the lengths are 1 to 4096, in order.
    pub fn copy_paste(symbols: usize, [shortest, longest]: [usize; 2], seed: u64) -> Result<Self> {
        if !(2..=1000).contains(&symbols) {
            let hint = "give 2 to 1000";
            return Err(Error::config(
                Place::setting("data"),
                "symbols",
                format!("{symbols} symbols cannot be copied"),
                hint,
            ));
        }
        Self { task: SequenceTask::CopyPaste { symbols }, shortest, longest, seed }.checked()
    }

    /// Parity: is the number of ones among `shortest` to `longest` bits odd? The paper's lengths are 2 to 50.
    ///
    /// # Errors
    /// [`Error::Config`] unless the lengths are 1 to 4096, in order.
    pub fn parity([shortest, longest]: [usize; 2], seed: u64) -> Result<Self> {
        Self { task: SequenceTask::Parity, shortest, longest, seed }.checked()
    }

    fn checked(self) -> Result<Self> {
        let Self { shortest, longest, .. } = self;
        if shortest == 0 || shortest > longest || longest > LONGEST {
            let problem = format!("{shortest} to {longest} are no lengths");
            return Err(Error::config(
                Place::setting("data"),
                "lengths",
                problem,
                format!("give two from 1 to {LONGEST}, in order"),
            ));
        }
        Ok(self)
    }

    /// `copy_paste` or `parity`.
    pub(crate) fn name(&self) -> &'static str {
        match self.task {
            SequenceTask::CopyPaste { .. } => "copy_paste",
            SequenceTask::Parity => "parity",
        }
    }

    /// The examples of a split.
    pub(crate) fn sequences(&self, stream: u32) -> Sequences {
        let Self { task, shortest, longest, seed } = *self;
        Sequences { task, shortest, longest, seed, stream }
    }

    /// The expected share of labels that the trivial solution gets right: a network that has learned nothing of its
    /// input but where the end is. Copy-paste: it guesses any digit but 0 and always says the end mark. Of `L` digits
    /// `L (s − 1) / s` are scored, one in `s − 1` of them is guessed, and the end mark comes on top. That is
    /// `(L / s + 1) / (L (s − 1) / s + 1)` with the mean length L. Parity: one half.
    ///
    /// ```
    /// use trellis_guidance::data::DrawnSequences;
    /// // The paper's recurrent network alone, which its table gives as 14.35 ± 0.01 %.
    /// let floor = DrawnSequences::copy_paste(10, [20, 40], 0)?.floor();
    /// assert!((floor - 0.1435).abs() < 0.001);
    /// # Ok::<(), trellis_guidance::Error>(())
    /// ```
    pub fn floor(&self) -> f64 {
        match self.task {
            SequenceTask::CopyPaste { symbols } => {
                let symbols = symbols as f64;
                let length = (self.shortest + self.longest) as f64 / 2.0;
                (length / symbols + 1.0) / (length * (symbols - 1.0) / symbols + 1.0)
            }
            SequenceTask::Parity => 0.5,
        }
    }
}
