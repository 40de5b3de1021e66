//! Cells of recurrent layers, and the op over time as its kernels see it.

use crate::ops::attention::mask::Keys;
use crate::ops::recurrent::form::RecurrenceForm;

/// The states of a recurrent layer, `[batch, time, hidden]`, then what its gradient needs. A step that is not real keeps the
/// state.
///
/// Inputs: the projected input z `[batch, time, gates · hidden]`, w `[gates · hidden, hidden]`, bias `[gates · hidden]`, first
/// state h0 `[batch, hidden]`; of an LSTM c0 likewise. Unless all steps are real, lengths u32 `[batch]` or ids u32
/// `[batch, time]` follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recurrence {
    /// Computation of a step.
    pub cell: Cell,
    /// Steps that are real.
    pub steps: Keys,
    /// Form of the computation; `None`, or a form that an adapter cannot run: chosen by adapter and sizes.
    pub form: Option<RecurrenceForm>,
}

/// Computation of a step of a recurrent layer, with `a = W h[t−1] + b`. Gates have PyTorch's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `h = tanh(z + a)`.
    Tanh,
    /// `i, f, g, o = σ, σ, tanh, σ (z + a)`, `c = f c[t−1] + i g`, `h = o tanh(c)`.
    Lstm,
    /// `r, u = σ(z + a)`, `n = tanh(z_n + r a_n)`, `h = (1 − u) n + u h[t−1]`.
    Gru,
}

impl Cell {
    /// Number of blocks of `hidden` rows in its weights.
    pub fn gates(self) -> usize {
        match self {
            Self::Tanh => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}
