//! Methods: what a guide passes on to a target, and how.

pub(super) mod distillation;
pub(super) mod hints;

use std::fmt;

/// Method by which a guide teaches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Method {
    /// Alignment of layers: `task + α Σ (1 − metric)`.
    #[default]
    Align,
    /// Knowledge distillation of the guide's logits z′ at a temperature T: `(1 − α) task + α T² KL(softmax(z′/T) ‖ softmax(z/T))`, the
    /// mean over the rows that have a label (Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2).
    Distill {
        /// T.
        temperature: f32,
    },
    /// Hints: `task + α Σ |W x + b − x′|² / size` over pairs of layers, where W and b are learned along with the target (FitNets,
    /// Romero et al. 2015, arXiv:1412.6550, section 2.2).
    Hints,
}

/// As in "distillation at temperature 4".
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Align => f.write_str("alignment"),
            Self::Distill { temperature } => write!(f, "distillation at temperature {temperature}"),
            Self::Hints => f.write_str("hints"),
        }
    }
}
