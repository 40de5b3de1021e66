//! Recurrent layers.

pub(crate) mod cell;
pub(crate) mod form;
pub(crate) mod recurrence;
pub(crate) mod recurrence_grad;
